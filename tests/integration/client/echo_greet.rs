//! Echo and greet.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::net::TcpStream;

use rustix::process::Signal;

use super::peer::serve;
use crate::support::program::Program;

/// Sends back what it reads, in slices, and reads nothing while it sends.
fn echo_back(_: usize, mut stream: TcpStream) {
    let mut chunk = [0; 16 * 1024];
    loop {
        match stream.read(&mut chunk).unwrap() {
            0 => return,
            read => stream.write_all(&chunk[..read]).unwrap(),
        }
    }
}

#[test]
fn a_text_is_echoed() {
    let server = serve(echo_back);
    Program::client(&["echo", &server, "Hola"]).finish().assert_exit(0).assert_stdout("Hola");
}

#[test]
fn standard_input_of_any_size_is_echoed() {
    let bytes: Vec<u8> = (0..20_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    file.rewind().unwrap();
    let server = serve(echo_back);
    let client = Program::client_with(&["echo", &server], |command| command.stdin(file)).finish();
    client.assert_exit(0);
    assert!(client.stdout == bytes);
}

#[test]
fn a_line_is_echoed_before_the_input_ends() {
    let (stdin, mut writer) = io::pipe().unwrap();
    let server = serve(echo_back);
    let client = Program::client_with(&["echo", &server], |command| command.stdin(stdin));
    writer.write_all(b"one\n").unwrap();
    client.wait_out("one\n");
    writer.write_all(b"two\n").unwrap();
    client.wait_out("two\n");
    drop(writer);
    client.finish().assert_exit(0).assert_stdout("one\ntwo\n");
}

#[test]
fn an_incomplete_echo_is_1() {
    let server = serve(|_, mut stream| {
        stream.read_exact(&mut [0; 4]).unwrap();
        stream.write_all(b"Ho").unwrap();
    });
    let client = Program::client(&["echo", &server, "Hola"]).finish();
    client.assert_exit(1).assert_stdout("Ho").assert_stderr("after 2 of 4 bytes had come back");
}

#[test]
fn a_timeout_ends_an_echo_without_an_answer() {
    let server =
        serve(|_, mut stream| drop(io::copy(&mut stream, &mut io::sink()).and_then(|_| stream.read(&mut [0]))));
    let zeros = || File::open("/dev/zero").unwrap();
    let endless = Program::client_with(&["echo", "-W", "300ms", &server], |command| command.stdin(zeros()));
    endless.finish().assert_exit(124).assert_stdout("");
}

#[test]
fn an_interrupt_ends_an_echo_that_waits_for_input() {
    let (stdin, mut writer) = io::pipe().unwrap();
    let server = serve(echo_back);
    let client = Program::client_with(&["echo", &server], |command| command.stdin(stdin));
    writer.write_all(b"one\n").unwrap();
    client.wait_out("one\n");
    client.signal(Signal::INT);
    client.finish().assert_exit(130);
}

#[test]
fn a_greeting_is_printed_unchanged() {
    let server = serve(|_, mut stream| stream.write_all("¡Bienvenido!".as_bytes()).unwrap());
    Program::client(&["greet", &server]).finish().assert_exit(0).assert_stdout("¡Bienvenido!");
}

#[test]
fn a_timeout_ends_an_endless_greeting() {
    let server = serve(|_, mut stream| while stream.write_all(b"Hola ").is_ok() {});
    Program::client(&["-W", "300ms", "greet", &server]).finish().assert_exit(124);
}
