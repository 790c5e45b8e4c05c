//! The README's readers in other languages, taken from the page and run unchanged.
use std::io::{ErrorKind, Write};
use std::net::{Shutdown as Direction, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;

use mapcast::frame::Frame;
use mapcast::{Format, Map, Value};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::program::{Program, clean};
use crate::support::{PATIENCE, eventually, has_command, skip};

/// A reader: its fence in the README, its command, and its format.
struct Reader {
    language: &'static str,
    command: &'static [&'static str],
    format: Format,
}

const PYTHON: Reader = Reader { language: "python", command: &["python3"], format: Format::Json };
const NODE: Reader = Reader { language: "js", command: &["node"], format: Format::Json };
const SHELL: Reader = Reader { language: "bash", command: &["bash"], format: Format::Text };
const GO: Reader = Reader { language: "go", command: &["go", "run"], format: Format::Text };

/// A reader of the README in a temporary file.
struct Script {
    command: &'static [&'static str],
    directory: TempDir,
    path: PathBuf,
}

impl Reader {
    /// Returns the only block of the README in this language.
    fn text(&self) -> String {
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("the README");
        // A file's name may follow the language.
        let fence = format!("\n```{}", self.language);
        let blocks = page.split(&fence).skip(1);
        let blocks = blocks.filter(|rest| rest.starts_with([' ', '\n'])).filter_map(|rest| rest.split("\n```").next());
        let blocks: Vec<_> = blocks.filter_map(|block| block.split_once('\n')).map(|(_, text)| text).collect();
        let [block] = blocks[..] else { panic!("{} blocks in {}", blocks.len(), self.language) };
        format!("{block}\n")
    }

    /// Writes the reader to a file; `None`, and a skipped test, without its interpreter.
    fn script(&self) -> Option<Script> {
        if !has_command(self.command[0]) {
            skip(&format!("no {}", self.command[0]));
            return None;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(format!("reader.{}", self.language));
        std::fs::write(&path, self.text()).expect("a file");
        Some(Script { command: self.command, directory, path })
    }

    /// The reader must print the map, print the next one, and end with the server.
    fn prints_each_map(&self) {
        let Some(script) = self.script() else { return };
        let mut server = Program::server(&["--format", self.format.name(), "--interval", "1h", "--source", "-"]);
        let mut input = server.stdin();
        let mut reader = script.start(server.addr());
        for city in ["Bogotá", "Cádiz"] {
            writeln!(input, r#"{{"city": "{city}", "n": 1}}"#).expect("a server that reads");
            reader.wait_out(city);
        }
        server.signal(Signal::INT);
        assert_eq!((reader.exit_code(), server.exit_code()), (0, 0));
    }

    /// The reader must join slices of a byte and a payload of many segments, skip empty frames, and end with the
    /// stream.
    fn puts_slices_together(&self) {
        let Some(script) = self.script() else { return };
        let (mut reader, mut socket) = script.start_and_accept();
        for part in ["0         ".as_bytes(), self.frame("Lima", 0).as_bytes(), b"0         "] {
            for byte in part {
                socket.write_all(&[*byte]).expect("a reader that reads");
            }
        }
        reader.wait_out("Lima");
        // Two frames at once, larger than any buffer in between.
        let (large, last) = (self.frame("Quito", 900_000), self.frame("Sucre", 0));
        socket.write_all(&[large.as_bytes(), last.as_bytes()].concat()).expect("a reader that reads");
        reader.wait_out("Quito");
        reader.wait_out("Sucre");
        socket.shutdown(Direction::Write).expect("a reader that is there");
        assert_eq!(reader.exit_code(), 0);
    }

    /// The reader must not accept a frame that was cut, is too large or broken, nor report success then.
    fn refuses_what_is_no_whole_frame(&self) {
        let Some(script) = self.script() else { return };
        let frame = self.frame("Lima", 0);
        let cut = &frame.as_bytes()[..frame.as_bytes().len() - 1];
        for stream in [&frame.as_bytes()[..2], cut, b"9999999999", b"-1        ", b"Lima      "] {
            let (mut reader, mut socket) = script.start_and_accept();
            socket.write_all(stream).expect("a reader that reads");
            // Fails if the reader has exited already, as it should.
            let _ = socket.shutdown(Direction::Write);
            assert_ne!(reader.exit_code(), 0, "{}", stream.escape_ascii());
            assert!(reader.out().is_empty(), "{}: {:?}", stream.escape_ascii(), reader.out());
        }
    }

    /// Returns the frame of a map with this city and the given number of further bytes.
    fn frame(&self, city: &str, beside: usize) -> Frame {
        let map = Map::from([("city".into(), city.into()), ("text".into(), Value::Text("x".repeat(beside)))]);
        Frame::new(&self.format.encode_map(&map).expect("a map"), 1 << 20).expect("a frame")
    }
}

impl Script {
    fn start(&self, addr: SocketAddr) -> Program {
        let mut command = clean(self.command[0]);
        command.args(&self.command[1..]).arg(&self.path);
        command.args([addr.ip().to_string(), addr.port().to_string()]).current_dir(self.directory.path());
        Program::start(command)
    }

    /// Starts the reader and returns it with its connection, for the test to write to.
    fn start_and_accept(&self) -> (Program, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let reader = self.start(listener.local_addr().expect("an address"));
        let mut accepted = None;
        eventually("the reader connects", || match listener.accept() {
            Ok((socket, _)) => accepted.replace(socket).is_none(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        });
        let socket = accepted.expect("accepted just now");
        socket.set_nonblocking(false).expect("a socket");
        socket.set_nodelay(true).expect("a socket");
        socket.set_write_timeout(Some(PATIENCE)).expect("a socket");
        (reader, socket)
    }
}

#[test]
fn every_reader_has_fewer_than_twenty_lines() {
    for reader in [PYTHON, NODE, SHELL, GO] {
        let lines = reader.text().lines().count();
        assert!(lines < 20, "{}: {lines}", reader.language);
    }
}

#[test]
fn the_reader_in_python_prints_each_map() {
    PYTHON.prints_each_map();
}

#[test]
fn the_reader_in_node_prints_each_map() {
    NODE.prints_each_map();
}

#[test]
fn the_reader_in_the_shell_prints_each_map() {
    SHELL.prints_each_map();
}

#[test]
fn the_reader_in_python_joins_split_frames() {
    PYTHON.puts_slices_together();
}

#[test]
fn the_reader_in_node_joins_split_frames() {
    NODE.puts_slices_together();
}

#[test]
fn the_reader_in_the_shell_joins_split_frames() {
    SHELL.puts_slices_together();
}

#[test]
fn the_reader_in_python_rejects_an_incomplete_frame() {
    PYTHON.refuses_what_is_no_whole_frame();
}

#[test]
fn the_reader_in_node_rejects_an_incomplete_frame() {
    NODE.refuses_what_is_no_whole_frame();
}

#[test]
fn the_reader_in_the_shell_rejects_an_incomplete_frame() {
    SHELL.refuses_what_is_no_whole_frame();
}

#[test]
fn the_reader_in_go_prints_each_map() {
    GO.prints_each_map();
}

#[test]
fn the_reader_in_go_joins_split_frames() {
    GO.puts_slices_together();
}
