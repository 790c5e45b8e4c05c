//! The examples do what their documentation says.

use std::net::{SocketAddr, TcpStream};

use mapcast::frame::FrameReader;
use mapcast::{DEFAULT_MAX_FRAME, Format, builtin_map};
use rustix::process::Signal;

use crate::support::program::{CLIENT, Program, clean, run};
use crate::support::{PATIENCE, skip};

/// Starts an example. Calls `skip` and returns `None` if it was not built: `cargo test` builds all examples, `cargo test --test
/// integration` none.
fn example(name: &str, args: &[&str]) -> Option<Program> {
    let tests = std::env::current_exe().unwrap();
    let program = tests.ancestors().nth(2).unwrap().join("examples").join(name);
    if !program.exists() {
        skip(&format!("the example {name} is not built (cargo build --examples)"));
        return None;
    }
    let mut command = clean(program.to_str().unwrap());
    command.args(args);
    Some(Program::start(command))
}

/// The next map of the JSON server at `addr`, as a client prints it.
fn next_map(addr: &str) -> String {
    let mut command = clean(CLIENT);
    command.args(["-f", "json", "-n", "1", "-W", "1m", addr]);
    String::from_utf8(run(command).assert_exit(0).stdout.clone()).unwrap()
}

#[test]
fn the_flags_follow_the_server_and_stay_when_it_stops() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("flags.json");
    std::fs::write(&file, r#"{"dark": false, "limit": 10, "unknown": [1]}"#).unwrap();
    let mut server = Program::server(&["-f", "json", "-s", file.to_str().unwrap()]);
    let Some(program) = example("feature_flags", &[&server.addr().to_string()]) else { return };
    program.wait_out("Flags { dark: false, limit: 10 }");
    std::fs::write(&file, r#"{"dark": true}"#).unwrap();
    program.wait_out("Flags { dark: true, limit: 0 }");
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), 0);
    program.wait_log("reconnecting");
    program.signal(Signal::INT);
    let printed = program.finish().assert_exit(0).stdout.clone();
    assert!(printed.ends_with(b"Flags { dark: true, limit: 0 }\n"));
}

#[test]
fn the_rates_reach_a_client_and_the_program_stops_cleanly() {
    let Some(program) = example("exchange_rates", &["127.0.0.1:0"]) else { return };
    let addr = program.addr().to_string();
    assert!(next_map(&addr).contains(r#""rates":{"CHF":"#));
    program.signal(Signal::INT);
    program.finish().assert_exit(0).assert_stdout("1 clients served\n");
}

#[test]
fn a_part_of_a_map_is_served_without_its_prefix() {
    let server = Program::server(&["--set", "app.dark=true", "--set", "db.host=h"]);
    let Some(mut program) = example("narrow", &[&server.addr().to_string(), "app.", "127.0.0.1:0"]) else { return };
    assert_eq!(next_map(&program.addr().to_string()), "{\"dark\":true}\n");
    program.signal(Signal::TERM);
    assert_eq!(program.exit_code(), 0);
}

/// Connects, and returns the stream of frames that come.
fn frames(addr: SocketAddr) -> FrameReader<TcpStream> {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    FrameReader::new(stream, DEFAULT_MAX_FRAME)
}

#[test]
fn the_thread_per_connection_server_counts_repeats_and_stops() {
    let Some(program) = example("thread_per_connection", &["127.0.0.1:0", "1"]) else { return };
    let map = Format::Bincode.encode_map(&builtin_map()).unwrap();
    let (mut first, mut second) = (frames(program.addr()), frames(program.addr()));
    for _ in 0..2 {
        assert_eq!(first.read_frame().unwrap(), Some(map.clone()));
        assert_eq!(second.read_frame().unwrap(), Some(map.clone()));
    }
    program.wait_log("connected (active connections: 2)");
    drop(first);
    program.wait_log("disconnected (active connections: 1)");
    program.signal(Signal::INT);
    // The last client sees the end of the stream, after a whole frame.
    while second.read_frame().unwrap().is_some() {}
    program.finish().assert_exit(0).assert_stderr("disconnected (active connections: 0)");
}
