//! Logging must not block the program: standard error is a pipe or a terminal that is unread, closed or full.

use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mapcast::{Format, Value};
use nix::pty::openpty;
use rustix::process::Signal;

use crate::http::{Site, ask, token};
use crate::support::program::{CLIENT, Program, SERVER, clean};
use crate::support::reader::{Reader, ends_in_order};
use crate::support::server::{MapServer, numbered};
use crate::support::{PATIENCE, eventually, free_port, pause};

/// The size of a small pipe: one page.
const PIPE_SIZE: usize = 4096;

/// A number of lines that exceeds the program's queue of 1 MiB.
const FLOOD: i64 = 20_000;

/// A program whose standard error is a small pipe, and the pipe's reading end.
struct Unread {
    program: Program,
    log: BufReader<PipeReader>,
}

impl Unread {
    /// Starts `command`, and reads its log only up to the lines with `wanted`, in this order. Returns these lines.
    #[track_caller]
    fn start(mut command: Command, wanted: &[&str]) -> (Self, Vec<String>) {
        let (reader, mut writer) = std::io::pipe().unwrap();
        assert_eq!(rustix::pipe::fcntl_setpipe_size(&writer, PIPE_SIZE).unwrap(), PIPE_SIZE);
        command.stderr(writer.try_clone().unwrap());
        let mut fill = || writeln!(writer, "{}", "-".repeat(PIPE_SIZE - 8)).unwrap();
        if wanted.is_empty() {
            fill();
        }
        let mut unread = Self { program: Program::start(command), log: BufReader::new(reader) };
        let lines: Vec<String> = wanted.iter().map(|text| unread.wait_line(text)).collect();
        if !wanted.is_empty() {
            fill();
        }
        (unread, lines)
    }

    /// Starts the server with `args`. Returns it with its address.
    #[track_caller]
    fn server(args: &[&str]) -> (Self, SocketAddr) {
        let mut command = clean(SERVER);
        command.args(args).args(["--listen", "127.0.0.1:0"]);
        let (unread, lines) = Self::start(command, &["listening on "]);
        (unread, addr(&lines[0], "listening on "))
    }

    /// Starts the server with `args` and a page. Returns it with its address and the page's.
    #[track_caller]
    fn site(args: &[&str]) -> (Self, SocketAddr, SocketAddr) {
        let mut command = clean(SERVER);
        command.args(args).args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]).stdin(Stdio::piped());
        let (unread, lines) = Self::start(command, &["web page on ", ": the map as "]);
        (unread, addr(&lines[1], "listening on "), addr(&lines[0], "http://"))
    }

    /// Starts a client whose log is never read.
    #[track_caller]
    fn client(args: &[&str]) -> Self {
        let mut command = clean(CLIENT);
        command.args(args);
        Self::start(command, &[]).0
    }

    /// Reads up to a line with `text` and returns it.
    #[track_caller]
    fn wait_line(&mut self, text: &str) -> String {
        loop {
            let line = self.line();
            if line.contains(text) {
                return line;
            }
            assert!(!line.is_empty(), "the log ended before {text:?}");
        }
    }

    /// Reads the next line; empty at the end.
    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.log.read_line(&mut line).unwrap();
        line
    }
}

/// Returns the address after `text` in a log line.
#[track_caller]
fn addr(line: &str, text: &str) -> SocketAddr {
    let rest = line.split(text).nth(1).unwrap_or_else(|| panic!("{text:?} in {line:?}"));
    rest.split([' ', '/']).next().and_then(|addr| addr.trim_end_matches(':').parse().ok()).expect("an address")
}

/// Connects `count` clients one after the other; each disconnects once it has the map.
fn come_and_go(addr: SocketAddr, count: usize) {
    (0..count).for_each(|_| drop(Reader::connect(addr).payload()));
}

/// Floods the log of a server with `-v --source -`, which logs a line for each input line. The thread ends with the server,
/// or returns the input.
fn flood(program: &mut Program) -> JoinHandle<ChildStdin> {
    let mut input = program.stdin();
    let write = move || {
        let mut write = |number| writeln!(input, "{{\"n\":{number}}}").is_ok();
        assert!((0..FLOOD).all(&mut write), "the server has ended");
        input
    };
    thread::Builder::new().spawn(write).unwrap()
}

/// Waits until `number` returns the last number of the flood. A hung server would repeat an older one.
#[track_caller]
fn wait_flood(mut number: impl FnMut() -> i64) {
    let (mut last, mut deadline) = (-1, Instant::now() + PATIENCE);
    while last != FLOOD - 1 {
        let next = number();
        assert!(next >= last, "{next} after {last}");
        if next > last {
            (last, deadline) = (next, Instant::now() + PATIENCE);
        }
        assert!(Instant::now() < deadline, "nothing comes after {last}");
    }
}

/// Floods the log, and waits for the last map.
#[track_caller]
fn flood_and_wait(program: &mut Program, addr: SocketAddr) -> JoinHandle<ChildStdin> {
    let mut reader = Reader::connect(addr);
    let flood = flood(program);
    wait_flood(|| match reader.map(Format::Bincode).get(&"n".into()) {
        Some(Value::Int(number)) => *number,
        other => panic!("no number: {other:?}"),
    });
    flood
}

#[test]
fn an_unread_log_blocks_no_client_write_or_stop() {
    let (file, token) = token();
    let token_file = file.path().to_str().unwrap();
    let args = ["--interval", "200ms", "--max-connections", "30", "--http-token-file", token_file];
    let (mut unread, server, page) = Unread::site(&args);
    let mut old = Reader::connect(server);
    old.payload();
    come_and_go(server, 20);
    for number in 1..=5 {
        let answer = ask(page, "PUT /map", &token, &format!("{{\"n\":{number}}}"));
        assert_eq!(answer.code, 200, "{answer:?}");
        old.change(Format::Bincode, &numbered(number));
        assert_eq!(Reader::connect(server).map(Format::Bincode), numbered(number));
    }
    // At the limit the accept loop itself logs each refusal.
    let mut full: Vec<Reader> = Vec::new();
    eventually("the server is full", || {
        full.push(Reader::connect(server));
        !full.last().unwrap().is_served()
    });
    for _ in 0..20 {
        assert!(ends_in_order(&mut TcpStream::connect(server).unwrap()), "refused");
    }
    drop(full);
    eventually("there is a place again", || Reader::connect(server).is_served());
    unread.program.signal(Signal::TERM);
    assert_eq!(unread.program.exit_code(), 0);
    old.drain();
}

#[test]
fn an_unread_log_does_not_delay_changes_of_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("map.json");
    let write = |number: i64| {
        std::fs::write(directory.path().join("new"), format!("{{\"n\":{number}}}")).unwrap();
        std::fs::rename(directory.path().join("new"), &path).unwrap();
    };
    write(0);
    let (mut unread, addr) = Unread::server(&["--source", path.to_str().unwrap()]);
    let mut old: Vec<Reader> = (0..3).map(|_| Reader::connect(addr)).collect();
    for reader in &mut old {
        reader.payload();
    }
    come_and_go(addr, 20);
    // The file is checked once a second.
    for number in 1..=3 {
        write(number);
        for reader in &mut old {
            reader.change(Format::Bincode, &numbered(number));
        }
    }
    unread.program.signal(Signal::TERM);
    assert_eq!(unread.program.exit_code(), 0);
}

#[test]
fn dropped_lines_are_counted_and_reported_when_the_log_is_read() {
    let (mut unread, _, page) = Unread::site(&["-v", "--source", "-"]);
    let flood = flood(&mut unread.program);
    wait_flood(|| {
        pause();
        let answer = ask(page, "GET /map", "", "");
        let map = serde_json::from_str::<serde_json::Value>(&answer.body).unwrap_or_default();
        // There is no map yet.
        map["n"].as_i64().unwrap_or(-1)
    });
    let count = |name: &str| {
        let metrics = ask(page, "GET /metrics", "", "").body;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{metrics}"));
        line.trim().parse::<u64>().unwrap()
    };
    assert!(count("mapcast_log_lines_dropped_total ") > 0);
    let status = ask(page, "GET /status", "", "").body;
    assert!(status.contains("\"log\":{\"dropped_lines\":"), "{status}");
    assert!(!status.contains("\"log\":{\"dropped_lines\":0}"), "{status}");

    // Once read: the queued lines in order, then one line for the gap, then new lines. The line of the first map follows those
    // of the others that were read with it.
    let (mut published, mut dropped) = (1, None);
    while dropped.is_none() {
        let line = unread.line();
        let version = line.split(", version ").nth(1).and_then(|version| version.trim().parse::<u64>().ok());
        if let Some(version) = version.filter(|version| *version > 1 && line.contains("standard input: ")) {
            assert_eq!(version, published + 1, "{line}");
            published = version;
        }
        let rest = line.split(" WARN ] dropped ").nth(1);
        dropped = rest.and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
        assert!(!line.is_empty());
    }
    assert_eq!(dropped, Some(count("mapcast_log_lines_dropped_total ")));
    let mut input = flood.join().unwrap();
    writeln!(input, "{{\"n\":0}}").unwrap();
    unread.wait_line(&format!("version {}\n", FLOOD + 1));
    assert_eq!(dropped, Some(count("mapcast_log_lines_dropped_total ")));
    // Lines that are queued at the end are still written.
    unread.program.signal(Signal::TERM);
    unread.wait_line("stopped: 0 clients served, 0 cut");
    assert_eq!(unread.program.exit_code(), 0);
}

#[test]
fn a_paused_terminal_does_not_block_the_server() {
    let terminal = openpty(None, None).unwrap();
    let mut command = clean(SERVER);
    command.args(["-v", "--source", "-", "--listen", "127.0.0.1:0"]).stdin(Stdio::piped()).stderr(terminal.slave);
    let mut program = Program::start(command);
    let mut shown = BufReader::new(File::from(terminal.master)).lines().map(Result::unwrap);
    let addr = addr(&shown.find(|line| line.contains("listening on ")).unwrap(), "listening on ");
    let _input = flood_and_wait(&mut program, addr);
    program.signal(Signal::TERM);
    assert_eq!(program.exit_code(), 0);
}

/// Waits until a server listens on `addr`.
#[track_caller]
fn wait_listening(addr: SocketAddr) {
    eventually("it listens", || TcpStream::connect(addr).is_ok());
}

#[test]
fn a_closed_or_full_log_does_not_end_the_server() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let gone = || std::io::pipe().unwrap().1;
    for (name, stderr) in [("full", Some(Stdio::from(full()))), ("no reader", Some(gone().into())), ("closed", None)] {
        let addr = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let args = ["-v", "--source", "-", "--listen", &addr.to_string()].map(str::to_owned);
        let mut command = if stderr.is_some() { clean(SERVER) } else { clean("sh") };
        if stderr.is_none() {
            command.args(["-c", "exec \"$0\" \"$@\" 2>&-", SERVER]);
        }
        command.args(args).stdin(Stdio::piped()).stderr(stderr.unwrap_or_else(Stdio::null));
        let mut program = Program::start(command);
        wait_listening(addr);
        let _input = flood_and_wait(&mut program, addr);
        program.signal(Signal::TERM);
        assert_eq!(program.exit_code(), 0, "{name}");
    }
}

#[test]
fn a_second_signal_ends_a_server_whose_log_is_unread() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("map.json");
    std::fs::write(&path, format!(r#"{{"text":"{}"}}"#, "x".repeat(8_000_000))).unwrap();
    let args = ["--max-frame", "16MiB", "--drain-timeout", "1h", "--source", path.to_str().unwrap()];
    let (mut unread, addr) = Unread::server(&args);
    let stalled = TcpStream::connect(addr).unwrap();
    stalled.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(stalled.peek(&mut [0]).unwrap(), 1, "the frame's first byte");
    unread.program.signal(Signal::INT);
    unread.program.signal_again(Signal::INT);
    assert_eq!(unread.program.exit_code(), 130);
}

/// Waits until the file contains the map `{"n": number}`.
#[track_caller]
fn wait_file(path: &Path, number: i64) {
    eventually(&format!("{number} is in the file"), || {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.split_whitespace().collect::<String>() == format!("{{\"n\":{number}}}")
    });
}

#[test]
fn a_client_with_an_unread_log_delivers_maps_and_ends_in_time() {
    let server = MapServer::start(Duration::from_millis(50));
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name);
    let addr = server.running.addr.to_string();
    let copy = |name: &str| format!("cp \"$MAPCAST_FILE\" {0}.new; mv {0}.new {0}", place(name).display());
    let (write, exec, run) = (place("write.json"), copy("exec"), copy("run") + "; exec sleep 1000");
    let kinds: [(&str, Vec<&str>); 3] = [
        ("write.json", vec!["--write", write.to_str().unwrap()]),
        ("exec", vec!["--exec", &exec]),
        ("run", vec!["--run", "--", "sh", "-c", &run]),
    ];
    let mut number = 0;
    for (name, args) in kinds {
        let mut client = Unread::client(&[&["-f", "json", &addr], &args[..]].concat());
        for _ in 0..3 {
            wait_file(&place(name), number);
            number += 1;
            server.feed.publish(&numbered(number)).unwrap();
        }
        wait_file(&place(name), number);
        client.program.signal(Signal::TERM);
        // The program of --run reports its own end.
        assert_eq!(client.program.exit_code(), if name == "run" { 128 + 15 } else { 0 }, "{name}");
        let mut client = Unread::client(&[&["-f", "json", "-W", "500ms", &addr], &args[..]].concat());
        assert_eq!(client.program.exit_code(), 124, "{name}");
    }
}

#[test]
fn a_burst_of_bad_lines_or_tokens_logs_one_line_a_second() {
    let mut server = Program::server(&["--source", "-"]);
    server.addr();
    let mut input = server.stdin();
    input.write_all(&b"no map\n".repeat(3000)).unwrap();
    server.wait_log("line 1, column 2");
    server.wait_log("more bad line");
    let (file, _) = token();
    let site = Site::start(&["--http-token-file", file.path().to_str().unwrap()]);
    let refused = || assert_eq!(site.ask("PUT /map", "", "{}").code, 401);
    let mut last_burst = None;
    eventually("the suppressed lines are reported", || {
        // On a busy machine the last request of a burst may be the logged one.
        if last_burst.is_none_or(|last: Instant| last.elapsed() > Duration::from_secs(5)) {
            (0..10).for_each(|_| refused());
            last_burst = Some(Instant::now());
        }
        site.server.log().iter().any(|line| line.contains("writing refused: ") && line.ends_with(" more like this"))
    });
    site.server.wait_log("wrong or no token");
}
