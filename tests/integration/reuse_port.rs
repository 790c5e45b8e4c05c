//! Several server processes on one port (`SO_REUSEPORT`).

use std::net::SocketAddr;

use crate::support::eventually;
use crate::support::program::{Program, SERVER, clean, run};
use crate::support::reader::Reader;

fn start(listen: &str, reuse_port: bool) -> Program {
    let mut command = clean(SERVER);
    command.args(["--listen", listen, "--interval", "1h"]).args(reuse_port.then_some("--reuse-port"));
    Program::start(command)
}

/// Connects to `addr` until `server` has received a client.
fn wait_served(server: &Program, addr: SocketAddr) {
    let mut readers = Vec::new();
    eventually("a client for each of the processes", || {
        let mut reader = Reader::connect(addr);
        reader.payload();
        readers.push(reader);
        server.log().iter().any(|line| line.contains("client 1 connected"))
    });
}

#[test]
fn two_processes_share_a_port_and_one_serves_on_alone() {
    let first = start("127.0.0.1:0", true);
    let addr = first.addr();
    let mut second = start(&addr.to_string(), true);
    assert_eq!(second.addr(), addr);
    wait_served(&first, addr);
    wait_served(&second, addr);
    second.signal(rustix::process::Signal::TERM);
    assert_eq!(second.exit_code(), 0);
    for _ in 0..20 {
        Reader::connect(addr).payload();
    }
}

#[test]
fn a_port_is_shared_only_if_both_servers_set_the_option() {
    let alone = start("127.0.0.1:0", false);
    for option in [&["--reuse-port"][..], &[]] {
        let mut command = clean(SERVER);
        command.args(["--listen", &alone.addr().to_string()]).args(option);
        run(command).assert_exit(2).assert_stderr("stop the other program or use --listen");
    }
    let shared = start("127.0.0.1:0", true);
    let mut command = clean(SERVER);
    command.args(["--listen", &shared.addr().to_string()]);
    run(command).assert_exit(2).assert_stderr("stop the other program or use --listen");
}
