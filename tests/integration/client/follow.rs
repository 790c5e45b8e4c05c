//! Connections that end, and reconnections.

use std::io::Write;
use std::net::TcpListener;
use std::sync::mpsc;

use super::peer::{BUILTIN_LINE, builtin_frame, numbered_frame, serve, serve_on};
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

#[test]
fn a_silent_server_is_explained_once_after_3_s() {
    let (go, went) = mpsc::channel::<()>();
    let server = serve(move |_, mut stream| {
        went.recv().unwrap();
        stream.write_all(&builtin_frame()).unwrap();
        // The connection stays open, without another map.
        went.recv().unwrap_or_default();
    });
    let client = Program::client(&["--once", &server]);
    let line = client.wait_log("no map after 3s; still waiting: ");
    assert!(
        line.contains("the server may need --tls, be full, have no map yet, or have its map on another port"),
        "{line}"
    );
    go.send(()).unwrap();
    let client = client.finish();
    client.assert_exit(0).assert_stdout(BUILTIN_LINE);
    assert_eq!(client.stderr.matches("still waiting").count(), 1, "{}", client.stderr);
}

#[test]
fn a_refused_follower_says_once_why_that_may_be() {
    for args in [&["--once"][..], &["-n", "1", "--exec", "true"]] {
        let server = serve(|number, mut stream| {
            if number > 1 {
                let _ = stream.write_all(&builtin_frame());
            }
        });
        let client = Program::client(&[args, &[&server]].concat()).finish();
        client.assert_exit(0).assert_stderr("closed the connection before any map; perhaps the server is full");
        assert_eq!(client.stderr.matches("perhaps").count(), 1, "{}", client.stderr);
    }
    // Without another connection the reason comes with the end.
    let server = Program::server(&["--allow", "192.0.2.0/24"]);
    let client = Program::client(&["--no-reconnect", &server.addr().to_string()]).finish();
    client.assert_exit(0).assert_stdout("").assert_stderr("does not allow this address (--allow), needs --tls");
}

#[test]
fn a_lost_connection_after_a_map_is_not_explained() {
    let server = serve(|_, mut stream| drop(stream.write_all(&builtin_frame())));
    let client = Program::client(&["-n", "2", &server]).finish();
    client.assert_exit(0).assert_stderr("connection lost: closed by the server");
    assert!(!client.stderr.contains("perhaps"), "{}", client.stderr);
}
