//! `check`: an exit code and one line, in time.

use std::net::TcpStream;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::peer::{builtin_frame, closed_address, serve, serve_bytes};
use crate::support::program::{Finished, Program};

fn check(args: &[&str]) -> Finished {
    check_within(&[&["-W", "1m"], args].concat())
}

/// As [`check`], with the time limit in `args`.
fn check_within(args: &[&str]) -> Finished {
    let check = Program::client(&[&["check"], args].concat()).finish();
    check.assert_stdout("");
    assert_eq!(check.stderr.lines().count(), usize::from(!args.contains(&"-q")), "{}", check.stderr);
    check
}

#[test]
fn a_good_map_is_0_and_one_line() {
    let server = serve_bytes(builtin_frame());
    let line = format!("{server}: good: bincode, 4 entries, {} bytes, ", builtin_frame().len() - 10);
    check(&[&server]).assert_exit(0).assert_stderr(&line);
    check(&["-q", &server]).assert_exit(0);
}

#[test]
fn address_and_format_may_come_from_the_environment() {
    let server = serve_bytes(b"7         {\"n\":1}".to_vec());
    let check = Program::client_with(&["check"], |command| {
        command.env("MAPCAST_ADDRESS", &server).env("MAPCAST_FORMAT", "json")
    });
    check.finish().assert_exit(0).assert_stderr(": good: json, 1 entry, 7 bytes, ");
}

#[test]
fn a_refused_connection_is_3() {
    check(&[&closed_address()]).assert_exit(3).assert_stderr("cannot connect to");
}

#[test]
fn an_unanswered_connection_is_3_in_time() {
    // A listener with a full queue: the kernel drops further connections, as if the machine were gone.
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_secs(2)) {
        queued.push(stream);
    }
    let check = check_within(&["-W", "300ms", &address.to_string()]);
    check.assert_exit(3).assert_stderr("timed out");
}

#[test]
fn a_silent_server_is_124_after_2_s_or_the_timeout() {
    let server = serve_bytes(Vec::new());
    for (args, least) in [(&[server.as_str()][..], 2000), (&["-W", "1s", &server], 1000)] {
        let check = check_within(args);
        check.assert_exit(124).assert_stderr("does the server need --tls, is it full, or does it have no map yet?");
        assert!(check.elapsed.as_millis() >= least, "{:?}", check.elapsed);
    }
}

#[test]
fn an_invalid_map_is_4() {
    let server = serve_bytes(b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec());
    check(&[&server]).assert_exit(4).assert_stderr("not a frame header");
    check(&["-f", "json", &serve_bytes(builtin_frame())]).assert_exit(4).assert_stderr("use -f bincode");
    check(&["--max-frame", "10", &serve_bytes(builtin_frame())]).assert_exit(4).assert_stderr("--max-frame");
}

#[test]
fn a_server_that_closes_before_a_map_is_1() {
    check(&[&serve(|_, stream| drop(stream))]).assert_exit(1).assert_stderr("before any map");
}

#[test]
fn a_closed_standard_output_does_not_hide_a_failure() {
    let (_, closed) = std::io::pipe().unwrap();
    let check =
        Program::client_with(&["check", "-W", "1s", &serve_bytes(Vec::new())], |command| command.stdout(closed));
    check.finish().assert_exit(124);
}
