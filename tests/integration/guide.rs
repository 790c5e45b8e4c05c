//! The guide for beginners, docs/guia.md: each step's command and Python program, taken from the page and run.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use rustix::process::Signal;

use crate::support::program::{Program, SERVER, clean};
use crate::support::{has_command, skip};

/// One step of the guide.
struct Step {
    /// The words after `mapcast-server`.
    options: Vec<String>,
    python: String,
    output: String,
}

impl Step {
    /// Returns step `number`; `None`, and a skipped test, without Python.
    fn read(number: usize) -> Option<Self> {
        if !has_command("python3") {
            skip("no python3");
            return None;
        }
        let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/guia.md")).expect("the guide");
        let heading = format!("\n## {number}. ");
        let section = page.split(&heading).nth(1).expect("the step").split("\n## ").next().expect("its text");
        let block = |language: &str| {
            let rest = section.split(&format!("\n```{language}\n")).nth(1).expect("a block");
            rest.split("```").next().expect("its end").to_owned()
        };
        let command = block("sh");
        let options = command.trim().strip_prefix("mapcast-server ").expect("a command of ours");
        Some(Self { options: words(options), python: block("python"), output: block("text") })
    }

    /// Starts the step's server on a free port, and the step's Python program for that port.
    fn start(&self, change: impl FnOnce(&mut Command)) -> (Program, Program) {
        let mut command = clean(SERVER);
        command.args(&self.options).args(["--listen", "127.0.0.1:0"]);
        change(&mut command);
        let server = Program::start(command);
        let python = self.start_python(server.addr());
        (server, python)
    }

    /// Starts the step's Python program for the server at `addr`.
    fn start_python(&self, addr: SocketAddr) -> Program {
        let program = self.python.replace("8080", &addr.port().to_string());
        assert_ne!(program, self.python, "it does not connect to the default port");
        let mut command = clean("python3");
        command.args(["-c", &program]);
        Program::start(command)
    }

    /// Starts the step's Python program for a server that sends `bytes` and closes.
    fn start_python_with(&self, bytes: &[u8]) -> Program {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let python = self.start_python(listener.local_addr().expect("its address"));
        listener.accept().expect("the step's client").0.write_all(bytes).expect("room in the kernel");
        python
    }

    /// The Python program must print what the page shows, and end.
    fn prints_what_the_page_says(&self) -> Program {
        let (server, python) = self.start(|_| ());
        python.finish().assert_exit(0).assert_stdout(&self.output);
        server
    }
}

/// Splits a command as a shell does; the page uses only single quotes.
fn words(command: &str) -> Vec<String> {
    let parts = command.split('\'').enumerate();
    let words = parts.flat_map(|(number, part)| {
        let is_quoted = number % 2 == 1;
        if is_quoted { vec![part] } else { part.split_whitespace().collect() }
    });
    words.map(str::to_owned).collect()
}

#[test]
fn the_first_steps_print_what_the_page_shows() {
    for number in 1..=4 {
        let Some(step) = Step::read(number) else { return };
        step.prints_what_the_page_says();
    }
}

#[test]
fn the_server_counts_many_clients_up_and_down() {
    let Some(step) = Step::read(5) else { return };
    let server = step.prints_what_the_page_says();
    server.wait_log("(active connections: 50)");
    server.wait_log("(active connections: 0)");
}

#[test]
fn the_end_of_the_server_is_noticed_between_frames() {
    let Some(step) = Step::read(6) else { return };
    let (mut server, mut python) = step.start(|_| ());
    let (map, ending) = step.output.trim_end().split_once('\n').expect("two lines");
    python.wait_out(map);
    server.signal(Signal::INT);
    python.wait_out(ending);
    assert_eq!((python.exit_code(), server.exit_code()), (0, 0));
}

#[test]
fn an_end_inside_a_frame_is_an_error() {
    let Some(step) = Step::read(6) else { return };
    for cut in [&b"48   "[..], b"48        ", b"48        {"] {
        let output = step.start_python_with(cut).finish();
        output.assert_exit(1).assert_stdout("");
        assert!(output.stderr.contains("EOFError"), "{}", output.stderr);
    }
}

#[test]
fn the_last_steps_skip_empty_frames() {
    for (number, printed) in [(6, r#"{"a": 1}"#), (7, "{'a': 1}")] {
        let Some(step) = Step::read(number) else { return };
        step.start_python_with(b"0         8         {\"a\": 1}0         ").wait_out(printed);
    }
}

#[test]
fn the_map_is_sent_again_when_its_file_changes() {
    let Some(step) = Step::read(7) else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("mapa.json");
    fs::write(&file, r#"{"oscuro": false}"#).expect("a file");
    let (_server, python) = step.start(|command| {
        command.current_dir(directory.path());
    });
    let (before, after) = step.output.trim_end().split_once('\n').expect("two lines");
    python.wait_out(before);
    fs::write(&file, r#"{"oscuro": true}"#).expect("a file");
    python.wait_out(after);
}

#[test]
fn a_reconnecting_reader_gets_the_map_of_a_restarted_server() {
    let Some(step) = Step::read(9) else { return };
    let (mut server, python) = step.start(|_| ());
    let addr = server.addr();
    let mut lines = step.output.lines();
    python.wait_out(lines.next().expect("the map"));
    server.signal(Signal::INT);
    assert_eq!(server.exit_code(), 0);
    for line in lines {
        python.wait_out(line);
    }
    let mut command = clean(SERVER);
    command.args(&step.options).args(["--set", "vuelta=1", "--listen", &addr.to_string()]);
    let _server = Program::start(command);
    python.wait_out("'vuelta': 1");
}

#[test]
fn the_tutorial_prints_what_it_shows() {
    crate::console::run("docs/tutorial.md");
}
