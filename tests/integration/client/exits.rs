//! Every exit code, and its message.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::time::Duration;

use mapcast::Map;
use rustix::process::Signal;

use super::peer::{BUILTIN_LINE, builtin_frame, closed_address, map_frame, numbered_frame, serve, serve_bytes};
use crate::support::program::{CLIENT, Program, clean, run};

#[test]
fn a_reached_count_is_0() {
    let server = serve_bytes(builtin_frame().repeat(3));
    let client = Program::client(&["-n", "2", &server]).finish();
    client.assert_exit(0).assert_stdout(&BUILTIN_LINE.repeat(2));
}

#[test]
fn without_reconnecting_an_orderly_end_is_0() {
    let server = serve(|_, mut stream| stream.write_all(&builtin_frame()).unwrap());
    Program::client(&["--no-reconnect", &server]).finish().assert_exit(0).assert_stdout(BUILTIN_LINE);
}

#[test]
fn an_end_before_the_count_is_1() {
    let server = serve(|_, mut stream| stream.write_all(&builtin_frame()).unwrap());
    let client = Program::client(&["--no-reconnect", "-n", "2", &server]).finish();
    client.assert_exit(1).assert_stderr("after 1 of 2 maps");
}

#[test]
fn without_reconnecting_a_cut_is_1() {
    for cut in [10, 12] {
        let server = serve(move |_, mut stream| stream.write_all(&builtin_frame()[..cut]).unwrap());
        let client = Program::client(&["--no-reconnect", &server]).finish();
        client.assert_exit(1).assert_stdout("").assert_stderr("mapcast-client: the stream ended inside a frame");
    }
}

#[test]
fn without_reconnecting_a_silence_is_1() {
    let server = serve_bytes(builtin_frame());
    let client = Program::client(&["--no-reconnect", "--stale-after", "2s", &server]).finish();
    client.assert_exit(1).assert_stdout(BUILTIN_LINE).assert_stderr("mapcast-client: no frame for 2s: stale");
}

#[test]
fn usage_errors_are_2_and_one_clear_message() {
    for (args, text) in [
        (&["--format", "yaml"][..], "[possible values: auto, bincode, json, msgpack, pickle, text]"),
        (&["--timeout", "soon"], "write 5s, 500ms"),
        (&["localhost:http"], "write HOST, HOST:PORT"),
        (&["-n", "3", "greet"], "it is for printing or delivering maps"),
        (&["--no-such-option"], "--no-such-option"),
        (&["--write", "-", "--write-format", "json"], "to print maps use --output instead of --write"),
        (&["--write", "/dev/stdout", "--write-format", "json"], "to print maps use --output instead of --write"),
        (&["-n", "0"], "must be at least 1"),
    ] {
        let client = Program::client(args).finish();
        client.assert_exit(2).assert_stdout("").assert_stderr(text);
        assert!(!client.stderr.contains("panicked"), "{}", client.stderr);
    }
}

#[test]
fn a_bad_value_in_the_environment_is_2_and_names_the_option() {
    let client = Program::client_with(&[], |command| command.env("MAPCAST_TIMEOUT", "soon"));
    client.finish().assert_exit(2).assert_stderr("--timeout");
}

#[test]
fn help_and_version_are_0() {
    Program::client(&["--help"]).finish().assert_exit(0);
    let version = concat!("mapcast-client ", env!("CARGO_PKG_VERSION"), "\n");
    Program::client(&["--version"]).finish().assert_exit(0).assert_stdout(version);
}

#[test]
fn a_refused_connection_is_3() {
    let closed_address = closed_address();
    for args in [&[closed_address.as_str()][..], &["echo", &closed_address, "Hola"], &["greet", &closed_address]] {
        let client = Program::client(args).finish();
        client.assert_exit(3).assert_stderr(&format!("mapcast-client: cannot connect to {closed_address}"));
        assert_eq!(client.stderr.matches("refused").count(), 1, "{}", client.stderr);
    }
}

#[test]
fn a_mistyped_command_gets_a_hint_if_the_host_is_unknown() {
    let client = Program::client(&["chek"]).finish();
    client
        .assert_exit(3)
        .assert_stderr("cannot connect to chek:8080")
        .assert_stderr("; mapcast-client --help lists the commands\n");
    assert!(!Program::client(&["localhost:1"]).finish().stderr.contains("--help lists the commands"));
}

#[test]
fn a_variable_that_is_the_cause_is_named() {
    let run = |name: &str, value: &str, args: &[&str]| {
        let mut command = clean(CLIENT);
        command.args(args).env(name, value);
        run(command)
    };
    let wrong = run("MAPCAST_TIMEOUT", "foo", &["127.0.0.1:1"]);
    wrong
        .assert_exit(2)
        .assert_stderr("invalid value 'foo' for 'MAPCAST_TIMEOUT, the variable of --timeout <DURATION>'");
    let typed = run("MAPCAST_TIMEOUT", "foo", &["-W", "bar"]);
    typed.assert_exit(2).assert_stderr("invalid value 'bar' for '--timeout <DURATION>'");
    let unknown = run("MAPCAST_TIMEOUTT", "1s", &["127.0.0.1:1"]);
    unknown.assert_exit(3).assert_stderr("MAPCAST_TIMEOUTT has no effect; did you mean MAPCAST_TIMEOUT?");
    for (name, value) in
        [("MAPCAST_OUTPUT", "x"), ("MAPCAST_TIMEOUT", "x"), ("MAPCAST_TLS_CA", "/x"), ("MAPCAST_X", "")]
    {
        let completions = run(name, value, &["completions", "bash"]);
        completions.assert_exit(0);
        assert_eq!(completions.stderr, "", "{name}");
    }
    let plain = run("MAPCAST_TLS_CA", "/x", &["127.0.0.1:1"]);
    plain
        .assert_exit(3)
        .assert_stderr("MAPCAST_TLS_CA has no effect without MAPCAST_TLS: the connection is not encrypted");
}

#[test]
fn options_may_follow_the_keys_of_a_command() {
    let server = serve_bytes(builtin_frame());
    Program::client(&["get", "4", "-s", &server]).finish().assert_exit(0).assert_stdout("Servidor\n");
    let refused = Program::client(&["set", "a=1", "--http", "127.0.0.1:1"]).finish();
    refused.assert_exit(3).assert_stderr("cannot connect to http://127.0.0.1:1");
}

#[test]
fn a_typed_option_overrides_conflicting_variables() {
    let server = serve_bytes(builtin_frame());
    for (args, variable, value, printed) in [
        (&["-n", "1", "-o", "json"][..], "MAPCAST_WATCH", "true", BUILTIN_LINE),
        (&["-n", "1"], "MAPCAST_RUN", "false", BUILTIN_LINE),
        (&["-n", "1", "-o", "json"], "MAPCAST_EXEC", "echo no", BUILTIN_LINE),
        (&["-n", "1", "--prefix", ""], "MAPCAST_WRITE", "/missing/x.json", BUILTIN_LINE),
        (&["-n", "1", "-k", "1"], "MAPCAST_OUTPUT", "raw", "{\"1\":\"Hola\"}\n"),
        (&["--run", "echo", "ran"], "MAPCAST_COUNT", "1", "ran\n"),
        (&["--run", "echo", "ran"], "MAPCAST_ONCE", "true", "ran\n"),
        (&["--once"], "MAPCAST_COUNT", "2", BUILTIN_LINE),
        (&["--once", "-k", "1", "-F", "%v"], "MAPCAST_OUTPUT", "raw", "Hola\n"),
        (&["--once", "-o", "json"], "MAPCAST_LINE_FORMAT", "%k", BUILTIN_LINE),
    ] {
        let args = [&[server.as_str()], args].concat();
        let client = Program::client_with(&args, |command| command.env(variable, value)).finish();
        client.assert_exit(0).assert_stdout(printed);
    }
    let both = |command: &mut std::process::Command| {
        command.env("MAPCAST_EXEC", "true").env("MAPCAST_RUN", "true");
    };
    let client = Program::client_with(&[&server], |command| {
        both(command);
        command
    });
    client.finish().assert_exit(2).assert_stderr("--exec and --run cannot be used together");
}

#[test]
fn another_format_is_4_at_once() {
    let server = serve_bytes(builtin_frame());
    let client = Program::client(&["-f", "json", &server]).finish();
    client
        .assert_exit(4)
        .assert_stdout("")
        .assert_stderr("the server sends bincode, not json; use -f bincode or leave -f out");
}

#[test]
fn another_protocol_is_4_at_once_and_is_escaped() {
    let server = serve_bytes(b"\x1b[2JHTTP/1.1 400".to_vec());
    let client = Program::client(&[&server]).finish();
    client.assert_exit(4).assert_stderr(r#"not a frame header: "\x1b[2JHTTP/1""#);
    assert!(!client.stderr.contains('\x1b'), "{}", client.stderr);
}

#[test]
fn another_protocol_with_a_short_greeting_is_4_at_once() {
    let greeting = || serve(|_, mut stream| stream.write_all(b"Hola\x1b").unwrap());
    for args in [&["-n", "1"][..], &["--no-reconnect"], &["check"]] {
        let client = Program::client(&[args, &[&greeting()]].concat()).finish();
        client.assert_exit(4).assert_stdout("");
        client.assert_stderr(r#"not a frame header: "Hola\x1b" (closed after 5 of 10 bytes)"#);
    }
}

#[test]
fn a_frame_too_large_is_4_and_names_the_option() {
    let client = Program::client(&["--max-frame", "10", &serve_bytes(builtin_frame())]).finish();
    client.assert_exit(4).assert_stderr("above the limit of 10").assert_stderr("raise --max-frame");
}

#[test]
fn a_missing_entry_is_5_and_named() {
    let server = serve_bytes(builtin_frame());
    let client = Program::client(&["-k", "1", "-k", "no such", &server]).finish();
    client.assert_exit(5).assert_stdout("").assert_stderr("mapcast-client: the map has no entry \"no such\"");
}

#[test]
fn a_timeout_is_124_with_or_without_maps() {
    for (bytes, printed) in [(Vec::new(), ""), (builtin_frame(), BUILTIN_LINE)] {
        let client = Program::client(&["-W", "3s", &serve_bytes(bytes)]).finish();
        client.assert_exit(124).assert_stdout(printed);
        assert!(client.elapsed >= Duration::from_secs(3), "{:?}", client.elapsed);
    }
}

#[test]
fn a_timeout_before_any_byte_suggests_causes() {
    let hint = "no map was received (is this the port of the map, does the server need --tls, is it full, or does it have no map yet?): timed out";
    for args in [&["-W", "300ms"][..], &["-W", "300ms", "--write", "x.json"], &["check", "-W", "300ms"]] {
        let client = Program::client(&[args, &[&serve_bytes(Vec::new())]].concat()).finish();
        client.assert_exit(124).assert_stderr(hint);
    }
    for bytes in [b"1".to_vec(), builtin_frame()] {
        let client = Program::client(&["-W", "3s", &serve_bytes(bytes)]).finish();
        client.assert_exit(124).assert_stderr("mapcast-client: timed out\n");
    }
}

#[test]
fn a_timeout_between_two_connections_is_124() {
    let server = serve(|number, mut stream| {
        if number == 0 {
            stream.write_all(&builtin_frame()).unwrap();
        }
    });
    Program::client(&["-W", "3s", &server]).finish().assert_exit(124).assert_stderr("reconnecting");
}

#[test]
fn an_interrupt_before_any_map_is_130_and_quiet() {
    for signal in [Signal::INT, Signal::TERM] {
        let client = Program::client(&[&serve_bytes(Vec::new())]);
        client.wait_log("connected to");
        client.signal(signal);
        let client = client.finish();
        client.assert_exit(130).assert_stdout("");
        assert_eq!(client.stderr.lines().count(), 1, "{}", client.stderr);
    }
}

#[test]
fn an_interrupt_after_a_map_is_0() {
    let client = Program::client(&[&serve_bytes(builtin_frame())]);
    client.wait_out("Hola");
    client.signal(Signal::INT);
    client.finish().assert_exit(0).assert_stdout(BUILTIN_LINE);
}

/// Returns the frame of a map that is larger than a pipe holds (64 KiB on Linux, pipe(7)).
fn large_frame() -> Vec<u8> {
    map_frame(&Map::from([("text".into(), "x".repeat(90_000).into())]))
}

/// Starts a client with `args` whose output is not read. Returns it once its pipe is full, with the pipe. `before` is
/// sent, and read, first.
fn blocked(args: &[&str], before: &[u8]) -> (Program, io::PipeReader) {
    let server = serve_bytes([before, &large_frame()].concat());
    let (mut unread, stdout) = io::pipe().unwrap();
    let client = Program::client_with(&[args, &[&server]].concat(), |command| command.stdout(stdout));
    let mut line = vec![0; if before.is_empty() { 0 } else { BUILTIN_LINE.len() }];
    unread.read_exact(&mut line).unwrap();
    // The large map has begun to fill the pipe: the rest finds no room.
    unread.read_exact(&mut [0]).unwrap();
    (client, unread)
}

#[test]
fn a_timeout_ends_a_client_with_unread_output() {
    for args in [&["-W", "3s"][..], &["-W", "3s", "-o", "raw"]] {
        let (client, _unread) = blocked(args, &[]);
        client.finish().assert_exit(124).assert_stderr("timed out");
    }
    let echo = serve(|_, mut stream| while stream.write_all(&[b'x'; 9_000]).is_ok() {});
    for words in [&["greet", &echo][..], &["echo", &echo, "text"]] {
        let (_unread, stdout) = io::pipe().unwrap();
        let client = Program::client_with(&[&["-W", "500ms"], words].concat(), |command| command.stdout(stdout));
        client.finish().assert_exit(124);
    }
}

#[test]
fn a_signal_ends_a_client_with_unread_output() {
    for (before, wanted) in [(Vec::new(), 130), (builtin_frame(), 0)] {
        let (mut client, _unread) = blocked(&[], &before);
        assert!(client.is_running(), "it should wait for its output");
        client.signal(Signal::TERM);
        client.finish().assert_exit(wanted);
    }
}

#[test]
fn a_closed_output_is_a_quiet_0_without_another_map() {
    let server = serve_bytes(numbered_frame(1));
    let (reader, stdout) = io::pipe().unwrap();
    let client = Program::client_with(&[&server], |command| command.stdout(stdout));
    let mut line = String::new();
    BufReader::new(reader).read_line(&mut line).unwrap();
    assert_eq!(line, "{\"n\":1}\n");
    let client = client.finish();
    client.assert_exit(0);
    assert_eq!(client.stderr.lines().count(), 1, "{}", client.stderr);
}

#[test]
fn a_map_for_a_closed_output_is_a_quiet_0() {
    let server = serve(|_, mut stream| while stream.write_all(&builtin_frame()).is_ok() {});
    let (reader, stdout) = io::pipe().unwrap();
    drop(reader);
    let client = Program::client_with(&[&server], |command| command.stdout(stdout)).finish();
    client.assert_exit(0);
    assert!(!client.stderr.contains("mapcast-client:"), "{}", client.stderr);
}

#[test]
fn a_connection_is_logged_once() {
    let client = Program::client(&["-v", "-n", "1", &serve_bytes(builtin_frame())]).finish();
    client.assert_exit(0);
    assert_eq!(client.stderr.matches("connected to").count(), 1, "{}", client.stderr);
    let client = Program::client(&["-v", "greet", &serve(|_, stream| drop(stream))]).finish();
    assert_eq!(client.stderr.matches("connected to").count(), 1, "{}", client.stderr);
}
