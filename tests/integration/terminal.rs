//! Text from a peer or a file must not control the terminal: the log and the maps, on a real terminal.

use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use mapcast::{Map, Value};
use nix::pty::{Winsize, openpty};
use rustix::process::Signal;

use crate::support::eventually;
use crate::support::output::Output;
use crate::support::program::{CLIENT, Program, SERVER, clean};
use crate::support::server::MapServer;

/// Clears the screen, begins a new line, and does it again with the one-byte introducer of C1.
const HOSTILE: &str = "\u{1b}[2J\r\n\u{9b}2J";

/// Which stream of a program is the terminal.
#[derive(Clone, Copy)]
enum Shown {
    Output,
    Log,
}

/// Starts `command` with one of its streams on a terminal. Returns what the terminal receives.
fn on_a_terminal(mut command: Command, shown: Shown) -> (Program, Output) {
    let terminal = openpty(None, None).unwrap();
    command.env("TERM", "xterm").env_remove("NO_COLOR").env_remove("CI");
    match shown {
        Shown::Output => command.stdout(terminal.slave),
        Shown::Log => command.stderr(terminal.slave),
    };
    (Program::start(command), Output::pump(Some(File::from(terminal.master))))
}

/// Fails if `text` contains control sequences other than colours and line ends. Returns the number of colours.
fn assert_tame(text: &str) -> usize {
    let mut parts = text.split('\u{1b}');
    let beginning = parts.next().unwrap_or_default();
    let mut colours = 0;
    for part in parts.clone() {
        let code = part.strip_prefix('[').unwrap_or("?").trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        assert!(code.starts_with('m'), "not a colour: {part:?} in {text:?}");
        colours += 1;
    }
    for part in std::iter::once(beginning).chain(parts) {
        let control = part.replace("\r\n", "").chars().find(|c| c.is_control());
        assert_eq!(control, None, "in {text:?}");
    }
    colours
}

#[test]
fn the_servers_log_escapes_paths_and_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(format!("{HOSTILE}.json"));
    std::fs::write(&path, r#"{"a": 1}"#).unwrap();
    let mut command = clean(SERVER);
    command.args(["--listen", "127.0.0.1:0", "--source", path.to_str().unwrap()]);
    let (_server, shown) = on_a_terminal(command, Shown::Log);
    shown.wait_line("listening on").expect("the log");
    std::fs::write(&path, format!("{{\"{HOSTILE}\": {HOSTILE}}}")).unwrap();
    shown.wait_line("the last good map stays").expect("a warning");
    let text = shown.text();
    assert!(assert_tame(&text) > 0, "no colours: it does not take this for a terminal: {text:?}");
    let begins = |line: &str| line.is_empty() || line.starts_with("\u{1b}[") || line.starts_with('[');
    assert!(text.split("\r\n").all(begins), "a line of its own: {text:?}");
}

#[test]
fn a_bad_file_is_shown_with_its_line_on_a_terminal() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flags.json");
    std::fs::write(&path, "{\"a\": 1,\n \"b\": True}").unwrap();
    let mut command = clean(SERVER);
    command.args(["--check-config", path.to_str().unwrap()]);
    let (mut server, shown) = on_a_terminal(command, Shown::Log);
    shown.wait_line("^").expect("a caret");
    let text = shown.text();
    assert!(text.ends_with("True is not JSON; write true\r\n2 |  \"b\": True}\r\n  |       ^\r\n"), "{text:?}");
    assert_eq!(server.exit_code(), 2);
}

#[test]
fn the_clients_log_escapes_text_from_a_server() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = clean(CLIENT);
    command.arg(listener.local_addr().unwrap().to_string());
    let (mut client, shown) = on_a_terminal(command, Shown::Log);
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(HOSTILE.repeat(2).as_bytes()).unwrap();
    assert_eq!(client.exit_code(), 4);
    shown.wait_line("not a frame header").expect("the reason");
    assert!(assert_tame(&shown.text()) > 0, "{:?}", shown.text());
}

#[test]
fn maps_cannot_control_the_terminal() {
    const HIDDEN: &str = "\u{202e}\u{2066}\u{200f}\u{200b}\u{2028}\u{e0041}";
    let server = MapServer::start(Duration::from_hours(1));
    let nested = Value::Map(Map::from([(HOSTILE.into(), Value::List(vec![HOSTILE.into()]))]));
    server
        .feed
        .publish(&Map::from([
            (HOSTILE.into(), HOSTILE.into()),
            ("in".into(), nested),
            ("hidden".into(), HIDDEN.into()),
        ]))
        .unwrap();
    for output in ["json", "pretty", "text", "value", "diff"] {
        let mut command = clean(CLIENT);
        command.args(["-f", "json", "-n", "1", "-o", output, &server.running.addr.to_string()]);
        let (mut client, shown) = on_a_terminal(command, Shown::Output);
        assert_eq!(client.exit_code(), 0);
        assert!(shown.wait_end(), "the terminal is still open");
        assert!(shown.text().contains("2J"), "{output}: {:?}", shown.text());
        // Keys and changes have colours.
        assert_eq!(assert_tame(&shown.text()) > 0, output != "value", "{output}");
        assert!(
            shown.text().contains("\\u202e\\u2066\\u200f\\u200b\\u2028\\udb40\\udc41"),
            "{output}: {:?}",
            shown.text()
        );
        assert!(!shown.text().contains(|character| HIDDEN.contains(character)), "{output}");
    }
}

#[test]
fn old_values_and_keys_cannot_control_a_watching_terminal() {
    // Sets the title of a terminal; unlike a cleared screen, the client itself never does.
    const TITLE: &str = "\u{1b}]0;title\u{7}";
    let server = MapServer::start(Duration::from_hours(1));
    let publish = |value: String| server.feed.publish(&Map::from([(TITLE.into(), Value::Text(value))])).unwrap();
    publish(TITLE.to_owned());
    let size = Winsize { ws_row: 12, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(Some(&size), None).unwrap();
    let mut command = clean(CLIENT);
    command.args(["--watch", "-f", "json", &server.running.addr.to_string()]).env("TERM", "xterm");
    command.stdin(terminal.slave.try_clone().unwrap()).stdout(terminal.slave);
    let client = Program::start(command);
    let shown = Output::pump(Some(File::from(terminal.master)));
    eventually("the map", || shown.text().contains("connected"));
    publish(format!("{TITLE}2"));
    eventually("the old value", || shown.text().contains("(was "));
    client.signal(Signal::TERM);
    client.finish().assert_exit(0);
    let text = shown.text();
    assert!(text.contains(r"\u{1b}]0;title\u{7}") && text.contains(r"(was "), "{text:?}");
    assert!(!text.contains("\u{1b}]") && !text.contains('\u{7}'), "{text:?}");
}
