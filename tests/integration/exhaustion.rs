//! Exhausted descriptors and threads, and refused polls.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::time::Instant;

use mapcast::Format;
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};

use crate::http::Site;
use crate::support::program::{CLIENT, Program, SERVER, clean, run};
use crate::support::reader::Reader;
use crate::support::{eventually, skip};

#[test]
fn a_server_survives_a_full_descriptor_table_without_spinning() {
    let site = Site::start(&["--interval", "100ms"]);
    let (server, addr) = (&site.server, site.server.addr());
    let mut steady = Reader::connect(addr);
    steady.payload();
    let pid = Pid::from_raw(i32::try_from(server.pid()).unwrap()).unwrap();
    let limit = Rlimit { current: Some(64), maximum: Some(64) };
    prlimit(Some(pid), Resource::Nofile, limit).unwrap();
    let began = Instant::now();
    let crowd: Vec<_> = (0..200).map(|_| TcpStream::connect(addr).unwrap()).collect();
    server.wait_log("cannot accept a client");
    // The connected client gets its maps while the table is full.
    for _ in 0..30 {
        steady.payload();
    }
    let complaints = server.log().iter().filter(|line| line.contains("cannot accept")).count() as u64;
    let elapsed = began.elapsed();
    // One line per second for the clients' listener, and one for HTTP's.
    assert!(complaints <= 2 * (elapsed.as_secs() + 1), "{complaints} lines in {elapsed:?}");
    drop(crowd);
    // The server recovers by itself.
    Reader::connect(addr).payload();
    let metrics = site.get("/metrics").body;
    let failures = metrics.lines().find_map(|line| line.strip_prefix("mapcast_accept_errors_total{errno=\"EMFILE\"} "));
    let (failures, elapsed) = (failures.unwrap().parse::<u64>().unwrap(), began.elapsed());
    eprintln!("no descriptors: {failures} failures to accept in {elapsed:?}");
    // The shortest pause is 10 ms. Each served client ends one.
    assert!(u128::from(failures) <= 201 + elapsed.as_millis() / 10, "{failures} failures in {elapsed:?}");
}

#[test]
fn a_server_survives_a_limit_on_threads() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can give a user of its own to the server");
    }
    // A user without other processes: the limit counts all threads of a user.
    let user = 54_321;
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("mapcast-server");
    std::fs::copy(SERVER, &program).unwrap();
    std::os::unix::fs::chown(directory.path(), Some(user), Some(user)).unwrap();
    let mut command = clean(program.to_str().unwrap());
    command.args(["--listen", "127.0.0.1:0", "--interval", "100ms"]).uid(user).gid(user);
    let server = Program::start(command);
    let addr = server.addr();
    let mut steady = Reader::connect(addr);
    steady.payload();
    // prlimit(1) run by that user: without CAP_SYS_RESOURCE even root may not limit another user's process.
    let mut limit = clean("prlimit");
    limit.args(["--pid", &server.pid().to_string(), "--nproc=20:20"]).uid(user).gid(user);
    run(limit).assert_exit(0);
    let crowd: Vec<_> = (0..40).map(|_| TcpStream::connect(addr).unwrap()).collect();
    server.wait_log("cannot start a thread for client");
    for _ in 0..5 {
        steady.payload();
    }
    drop(crowd);
    let mut command = clean(CLIENT);
    command.args(["-n", "1", &addr.to_string()]);
    eventually("it recovers by itself", || Reader::connect(addr).is_served());
    run(command).assert_exit(0);
}

#[test]
fn a_server_survives_a_limit_that_refuses_every_poll() {
    let mut server = Program::server(&["--interval", "50ms", "--source", "-"]);
    let (addr, mut stdin, pid) = (server.addr(), server.stdin(), Pid::from_raw(server.pid().cast_signed()));
    writeln!(stdin, "{{\"n\":1}}").unwrap();
    let mut steady = Reader::connect(addr);
    steady.payload();
    let before = rustix::process::getrlimit(Resource::Nofile);
    // poll(2) of more descriptors is refused: those of the accept loop and of the source.
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(1), ..before }).unwrap();
    drop(TcpStream::connect(addr).unwrap());
    server.wait_log("cannot wait for clients: Invalid argument");
    server.wait_log("standard input: cannot be read");
    for _ in 0..5 {
        steady.payload();
    }
    prlimit(pid, Resource::Nofile, before).unwrap();
    writeln!(stdin, "{{\"n\":2}}").unwrap();
    let wanted = mapcast::Map::from([("n".into(), 2.into())]);
    eventually("the new map", || steady.map(Format::Bincode) == wanted);
    eventually("a new client", || Reader::connect(addr).socket().peek(&mut [0]).is_ok_and(|read| read == 1));
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), 0);
}
