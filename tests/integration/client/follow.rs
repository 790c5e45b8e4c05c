//! Connections that end, and reconnections.

use std::io::Write;
use std::net::TcpListener;

use super::peer::{builtin_frame, numbered_frame, serve, serve_on};
use crate::support::program::Program;

#[test]
fn the_log_names_the_peer_and_the_reason_of_a_loss() {
    let server = serve(|_, mut stream| drop(stream.write_all(&numbered_frame(1))));
    let client = Program::client(&["-n", "2", &server]).finish();
    client.assert_exit(0).assert_stderr(&format!("connected to {server} from 127.0.0.1:"));
    client.assert_stderr("connection lost: closed by the server; reconnecting in ");
}

#[test]
fn a_client_reconnects_to_a_killed_server() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = Program::client(&["-n", "2", &address.to_string()]);
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(&numbered_frame(1)).unwrap();
    client.wait_out("{\"n\":1}\n");
    // As the system does for a process that was killed in the middle of a frame.
    drop(listener);
    stream.write_all(&builtin_frame()[..20]).unwrap();
    drop(stream);
    client.wait_log("connection lost: the stream ended inside a frame: 20 of");
    serve_on(TcpListener::bind(address).unwrap(), |_, mut stream| drop(stream.write_all(&numbered_frame(2))));
    client.finish().assert_exit(0).assert_stdout("{\"n\":1}\n{\"n\":2}\n");
}

#[test]
fn a_server_that_is_away_is_retried() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Program::client(&[&listener.local_addr().unwrap().to_string()]);
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(&numbered_frame(1)).unwrap();
    drop((stream, listener));
    client.wait_log("Connection refused (os error 111); trying again in ");
}

#[test]
fn a_silent_connection_is_replaced() {
    let mut kept = Vec::new();
    let server = serve(move |number, mut stream| {
        stream.write_all(&numbered_frame(i64::try_from(number).unwrap())).unwrap();
        kept.push(stream);
    });
    let client = Program::client(&["-n", "2", "--stale-after", "2s", &server]).finish();
    client.assert_exit(0).assert_stdout("{\"n\":0}\n{\"n\":1}\n");
    client.assert_stderr("no frame for 2s: stale; reconnecting in ");
}

#[test]
fn a_connection_without_a_byte_is_replaced_early() {
    let mut kept = Vec::new();
    // As one of several servers on a port whose process hangs: the system accepts the connection.
    let server = serve(move |number, mut stream| {
        if number > 0 {
            stream.write_all(&numbered_frame(1)).unwrap();
        }
        kept.push(stream);
    });
    let client = Program::client(&["-n", "1", &server]).finish();
    client.assert_exit(0).assert_stdout("{\"n\":1}\n");
    client.assert_stderr("no map within 15s of connecting: the server has none yet, or it hangs; reconnecting in ");
}
