//! Python programs that are older than mapcast and use its header, unchanged, with our programs.
use std::io::Write;
use std::process::Command;

use crate::support::program::{CLIENT, Finished, Program, SERVER, clean, run};
use crate::support::{eventually, has_command, skip};

const BUILTIN: &str = "{1: 'Hola', 2: 'Bienvenido', 3: 'Al', 4: 'Servidor'}";

/// Returns the command for a program in `tests/old`; `None` without Python.
fn python(program: &str, args: &[&str]) -> Option<Command> {
    if !has_command("python3") {
        skip("no python3");
        return None;
    }
    let mut command = clean("python3");
    // Unbuffered, because the tests wait for its output.
    command.arg("-u").arg(format!("{}/tests/old/{program}", env!("CARGO_MANIFEST_DIR"))).args(args);
    Some(command)
}

/// Starts an old reader of `server`.
fn old_reader(program: &str, server: &Program) -> Option<Program> {
    let addr = server.addr();
    Some(Program::start(python(program, &[&addr.ip().to_string(), &addr.port().to_string()])?))
}

#[track_caller]
fn prints_three_times(reader: &Program, line: &str) {
    reader.wait_out(line);
    eventually(line, || reader.out().iter().filter(|printed| *printed == line).count() >= 3);
}

/// Runs our client with `args`, in which ADDR is replaced by the address of an old server.
fn client_of(program: &str, args: &[&str]) -> Option<Finished> {
    let server = Program::start(python(program, &[])?);
    let addr = format!("127.0.0.1:{}", server.wait_out(""));
    let mut command = clean(CLIENT);
    command.args(["--timeout", "15s"]).args(args.iter().map(|arg| if *arg == "ADDR" { &addr } else { *arg }));
    Some(run(command))
}

#[test]
fn a_reader_of_pickles_reads_our_maps() {
    let server = Program::server(&["--format", "pickle", "--interval", "100ms"]);
    let Some(reader) = old_reader("read_pickle.py", &server) else { return };
    prints_three_times(&reader, BUILTIN);
}

#[test]
fn a_reader_of_pickles_sees_the_map_change() {
    let mut server = Program::server(&["--format", "pickle", "--interval", "1h", "--source", "-"]);
    let Some(reader) = old_reader("read_pickle.py", &server) else { return };
    let mut input = server.stdin();
    for (line, wanted) in [
        (r#"{"a": 1, "b": [true, null, 1.5]}"#, "{'a': 1, 'b': [True, None, 1.5]}"),
        (r#"{"a": "Señor", "big": 5000000000}"#, "{'a': 'Señor', 'big': 5000000000}"),
    ] {
        writeln!(input, "{line}").unwrap();
        reader.wait_out(wanted);
    }
}

#[test]
fn a_reader_of_sixteen_bytes_at_a_time_stays_in_sync() {
    let server = Program::server(&["--format", "pickle", "--interval", "300ms"]);
    let Some(reader) = old_reader("read_pickle_in_chunks.py", &server) else { return };
    prints_three_times(&reader, BUILTIN);
}

#[test]
fn a_reader_of_utf8_reads_text_and_json() {
    for (format, wanted) in
        [("text", "4=Servidor"), ("json", r#"{"1":"Hola","2":"Bienvenido","3":"Al","4":"Servidor"}"#)]
    {
        let server = Program::server(&["--format", format, "--interval", "100ms"]);
        let Some(reader) = old_reader("read_utf8.py", &server) else { return };
        prints_three_times(&reader, wanted);
    }
}

#[test]
fn a_reader_of_a_greeting_gets_the_text_and_the_end() {
    let mut command = clean(SERVER);
    command.args(["greet", "Welcome to the server!", "--listen", "127.0.0.1:0"]);
    let server = Program::start(command);
    let Some(mut reader) = old_reader("read_greeting.py", &server) else { return };
    assert_eq!(reader.exit_code(), 0);
    reader.wait_out("Welcome to the server!");
}

#[test]
fn a_half_closed_hello_is_echoed() {
    let mut command = clean(SERVER);
    command.args(["echo", "--listen", "127.0.0.1:0"]);
    let server = Program::start(command);
    let Some(mut sender) = old_reader("send_hello.py", &server) else { return };
    assert_eq!(sender.exit_code(), 0);
    sender.wait_out("Received b'Hello, world'");
}

#[test]
fn our_client_reads_pickles_of_protocol_4_in_two_sends() {
    let Some(ended) = client_of("serve_pickle.py", &["--format", "pickle", "--count", "3", "ADDR"]) else { return };
    let line = r#"{"1":"Hola","2":"Bienvenido","3":"Al","4":"Servidor"}"#;
    ended.assert_exit(0).assert_stdout(&[line, "\n"].concat().repeat(3));
}

#[test]
fn our_client_prints_a_payload_that_is_not_a_map_unchanged() {
    let Some(ended) = client_of("serve_utf8.py", &["--output", "raw", "--count", "1", "ADDR"]) else { return };
    ended.assert_exit(0).assert_stdout("Welcome to the server!");
}

#[test]
fn our_client_reads_a_greeting() {
    let Some(ended) = client_of("serve_greeting.py", &["greet", "ADDR"]) else { return };
    ended.assert_exit(0).assert_stdout("Welcome to the server!");
}

#[test]
fn our_client_gets_its_text_echoed() {
    let Some(ended) = client_of("serve_echo.py", &["echo", "ADDR", "Hello, world"]) else { return };
    ended.assert_exit(0).assert_stdout("Hello, world");
}
