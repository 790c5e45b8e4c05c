//! The programs themselves, as children that never outlive their test.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::PATIENCE;

/// Returns a command whose environment has nothing of mapcast's or of the log's.
pub fn clean(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MAPCAST_") || name == "RUST_LOG" || name == "RUST_BACKTRACE" {
            command.env_remove(name);
        }
    }
    command
}

/// The server's program.
pub const SERVER: &str = env!("CARGO_BIN_EXE_mapcast-server");

/// The client's program.
pub const CLIENT: &str = env!("CARGO_BIN_EXE_mapcast-client");

/// Lines that a child has written so far.
#[derive(Clone, Default)]
struct Lines(Arc<(Mutex<Vec<String>>, Condvar)>);

impl Lines {
    /// Collects what comes from `stream`, on a thread that ends with it.
    fn pump(&self, stream: impl Read + Send + 'static) {
        let lines = self.clone();
        let pump = move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                lines.0.0.lock().unwrap().push(line);
                lines.0.1.notify_all();
            }
        };
        thread::Builder::new().spawn(pump).expect("a thread");
    }

    fn all(&self) -> Vec<String> {
        self.0.0.lock().unwrap().clone()
    }

    /// Waits until a line for which `wanted` holds is there.
    fn wait(&self, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let (lines, changed) = &*self.0;
        let deadline = Instant::now() + PATIENCE;
        let mut lines = lines.lock().unwrap();
        loop {
            if let Some(line) = lines.iter().find(|line| wanted(line)) {
                return Some(line.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            lines = changed.wait_timeout(lines, left).unwrap().0;
        }
    }
}

/// A child with its output; killed and waited for when dropped.
pub struct Program {
    command: String,
    child: Child,
    out: Lines,
    err: Lines,
}

impl Program {
    /// Starts `command`, with a pipe for standard input.
    #[track_caller]
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (out, err) = (Lines::default(), Lines::default());
        out.pump(child.stdout.take().expect("a pipe"));
        err.pump(child.stderr.take().expect("a pipe"));
        Self { command: format!("{command:?}"), child, out, err }
    }

    /// Starts the server with `args` on a free port.
    #[track_caller]
    pub fn server(args: &[&str]) -> Self {
        let mut command = clean(SERVER);
        command.args(args).args(["--listen", "127.0.0.1:0"]);
        Self::start(command)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The address that the log names.
    #[track_caller]
    pub fn addr(&self) -> SocketAddr {
        let line = self.wait_log("listening on ");
        let addr = line.split("listening on ").nth(1).and_then(|rest| rest.split(": ").next());
        addr.and_then(|addr| addr.parse().ok()).unwrap_or_else(|| panic!("no address in {line:?}"))
    }

    /// Standard input, to write to or to close.
    pub fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("taken once")
    }

    /// Waits for a line with `text` in the log and returns it.
    #[track_caller]
    pub fn wait_log(&self, text: &str) -> String {
        self.err
            .wait(|line| line.contains(text))
            .unwrap_or_else(|| panic!("no log line with {text:?}\n{}", self.show()))
    }

    /// Waits for a line with `text` on standard output and returns it.
    #[track_caller]
    pub fn wait_out(&self, text: &str) -> String {
        self.out.wait(|line| line.contains(text)).unwrap_or_else(|| panic!("no output with {text:?}\n{}", self.show()))
    }

    pub fn log(&self) -> Vec<String> {
        self.err.all()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("a child of ours");
    }

    /// Waits for the end and returns the exit code; the signal that killed it counts as 128 and itself.
    #[track_caller]
    pub fn exit_code(&mut self) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return code(status);
            }
            assert!(Instant::now() < deadline, "it does not end\n{}", self.show());
            super::pause();
        }
    }

    fn show(&self) -> String {
        let Self { command, .. } = self;
        format!("{command}\n--- stdout\n{}\n--- stderr\n{}", self.out.all().join("\n"), self.err.all().join("\n"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It fails only if the child has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("{}", self.show());
        }
    }
}

/// What a program that has ended said.
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Runs `command` to its end, without standard input, for at most [`PATIENCE`].
#[track_caller]
pub fn run(command: Command) -> Ended {
    let mut program = Program::start(command);
    drop(program.child.stdin.take());
    let code = program.exit_code();
    // The pumps end with the pipes, which may be a moment after the program.
    super::eventually("the output's end", || {
        Arc::strong_count(&program.out.0) == 1 && Arc::strong_count(&program.err.0) == 1
    });
    Ended { code, out: program.out.all().join("\n"), err: program.err.all().join("\n") }
}

fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

/// Runs `command` and expects it to take no longer than `limit`.
#[track_caller]
pub fn run_within(limit: Duration, command: Command) -> Ended {
    let started = Instant::now();
    let ended = run(command);
    assert!(started.elapsed() < limit, "it took {:?}\n{}", started.elapsed(), ended.err);
    ended
}
