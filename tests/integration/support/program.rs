//! The programs, as child processes that never outlive their test.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::output::Output;
use super::{PATIENCE, pause, process_status};

/// The server program.
pub const SERVER: &str = env!("CARGO_BIN_EXE_mapcast-server");

/// The client program.
pub const CLIENT: &str = env!("CARGO_BIN_EXE_mapcast-client");

/// Variables that affect the programs, beside their own.
const DECIDING: [&str; 4] = ["RUST_LOG", "RUST_BACKTRACE", "RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"];

/// Returns a command whose environment has no variables of mapcast, of the log, or for temporary files: the
/// developer's settings must not matter.
pub fn clean(program: &str) -> Command {
    let mut command = if ignores_signals() {
        // A shell ignores SIGINT and SIGQUIT in background processes, nohup SIGHUP: that would be inherited.
        let mut command = Command::new("env");
        command.args(["--default-signal=HUP,INT,QUIT", program]);
        command
    } else {
        Command::new(program)
    };
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MAPCAST_") || DECIDING.iter().any(|deciding| name == *deciding) {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// True if and only if this process, and so its children, ignores SIGHUP, SIGINT or SIGQUIT.
fn ignores_signals() -> bool {
    // A hexadecimal mask, whose lowest bit is signal 1 (proc_pid_status(5)).
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0) & 0b111 != 0
}

/// A child with its output; killed and reaped on drop, and shown if its test has failed.
pub struct Program {
    command: String,
    child: Child,
    started: Instant,
    stdout: Output,
    stderr: Output,
}

/// A child that has exited by itself.
pub struct Finished {
    command: String,
    status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
    pub elapsed: Duration,
}

impl Program {
    /// Starts `command`, made by [`clean`].
    #[track_caller]
    pub fn start(mut command: Command) -> Self {
        let started = Instant::now();
        // A program that a test has just copied is busy as long as the child of another test, forked meanwhile, has its file open.
        let mut child = loop {
            match command.spawn() {
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy && started.elapsed() < PATIENCE => {
                    pause();
                }
                spawned => break spawned.unwrap_or_else(|error| panic!("{command:?}: {error}")),
            }
        };
        let (stdout, stderr) = (Output::pump(child.stdout.take()), Output::pump(child.stderr.take()));
        let words = command.get_args().map(|word| format!(" {}", word.to_string_lossy()));
        let command = command.get_program().to_string_lossy().into_owned() + &words.collect::<String>();
        Self { command, child, started, stdout, stderr }
    }

    /// Starts the server with `args` on a free port, with a pipe for standard input.
    #[track_caller]
    pub fn server(args: &[&str]) -> Self {
        let mut command = clean(SERVER);
        command.args(args).args(["--listen", "127.0.0.1:0"]).stdin(Stdio::piped());
        Self::start(command)
    }

    /// Starts a client without standard input.
    #[track_caller]
    pub fn client(args: &[&str]) -> Self {
        Self::client_with(args, |command| command)
    }

    /// As [`client`](Self::client), with the command modified by `change`: another variable, another stream.
    #[track_caller]
    pub fn client_with(args: &[&str], change: impl FnOnce(&mut Command) -> &mut Command) -> Self {
        let mut command = clean(CLIENT);
        change(command.args(args));
        Self::start(command)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The address in the server's log.
    #[track_caller]
    pub fn addr(&self) -> SocketAddr {
        let line = self.wait_log("listening on ");
        let addr = line.split("listening on ").nth(1).and_then(|rest| rest.split(": ").next());
        addr.and_then(|addr| addr.parse().ok()).unwrap_or_else(|| panic!("no address in {line:?}"))
    }

    /// As [`addr`](Self::addr), for a server with TLS.
    #[cfg(feature = "tls")]
    #[track_caller]
    pub fn addr_with_tls(&self) -> SocketAddr {
        let line = self.wait_log(" with TLS: ");
        let addr = line.split("listening on ").nth(1).and_then(|rest| rest.split(' ').next());
        addr.and_then(|addr| addr.parse().ok()).unwrap_or_else(|| panic!("no address in {line:?}"))
    }

    /// Standard input, to write to or to close.
    pub fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("a pipe, taken once")
    }

    /// Waits for a line with `text` in the log and returns it.
    #[track_caller]
    pub fn wait_log(&self, text: &str) -> String {
        self.stderr.wait_line(text).unwrap_or_else(|| panic!("no log line with {text:?}\n{}", self.report()))
    }

    /// Waits for a line with `text` on standard output and returns it.
    #[track_caller]
    pub fn wait_out(&self, text: &str) -> String {
        self.stdout.wait_line(text).unwrap_or_else(|| panic!("no output with {text:?}\n{}", self.report()))
    }

    /// The log so far.
    pub fn log(&self) -> Vec<String> {
        self.stderr.text().lines().map(str::to_owned).collect()
    }

    /// Standard output so far.
    pub fn out(&self) -> Vec<String> {
        self.stdout.text().lines().map(str::to_owned).collect()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a child of ours");
    }

    /// Sends another signal, late enough not to count as a duplicate.
    pub fn signal_again(&self, signal: Signal) {
        thread::park_timeout(Duration::from_millis(150));
        self.signal(signal);
    }

    /// The peak resident memory of the child in KiB, without its code: a debug build has 8 MB of that. The child must
    /// still run.
    pub fn peak_memory(&self) -> u64 {
        process_status(self.pid(), "VmHWM").saturating_sub(process_status(self.pid(), "RssFile"))
    }

    /// True if and only if it has not exited yet.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_none()
    }

    /// Waits for the exit and returns the exit code; 128 plus the signal that killed it.
    #[track_caller]
    pub fn exit_code(&mut self) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return code(status);
            }
            assert!(Instant::now() < deadline, "it does not end\n{}", self.report());
            pause();
        }
    }

    /// Waits for the exit and all of the output.
    #[track_caller]
    pub fn finish(mut self) -> Finished {
        // Standard error stays open as long as the process lives.
        assert!(self.stderr.wait_end(), "it does not end\n{}", self.report());
        let status = self.child.wait().expect("a child of ours");
        let elapsed = self.started.elapsed();
        let (stdout, stderr) = (self.stdout.join(), self.stderr.text());
        Finished { command: self.command.clone(), status, stdout, stderr, elapsed }
    }

    fn report(&self) -> String {
        report(&self.command, "not waited for", &self.stdout.text(), &self.stderr.text())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fails only if the child has exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("{}", self.report());
        }
    }
}

impl Finished {
    /// The exit code; 128 plus the signal that killed it.
    pub fn code(&self) -> i32 {
        code(self.status)
    }

    /// Fails, showing everything, unless the exit code was `wanted`.
    #[track_caller]
    pub fn assert_exit(&self, wanted: i32) -> &Self {
        assert_eq!(self.code(), wanted, "{}", self.report());
        self
    }

    /// Fails, showing everything, unless standard output was exactly `text`.
    #[track_caller]
    pub fn assert_stdout(&self, text: &str) -> &Self {
        assert_eq!(String::from_utf8_lossy(&self.stdout), text, "{}", self.report());
        self
    }

    /// Fails, showing everything, unless standard error contains `text`.
    #[track_caller]
    pub fn assert_stderr(&self, text: &str) -> &Self {
        assert!(self.stderr.contains(text), "standard error does not say \"{text}\"\n{}", self.report());
        self
    }

    fn report(&self) -> String {
        report(&self.command, &self.status.to_string(), &String::from_utf8_lossy(&self.stdout), &self.stderr)
    }
}

fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

fn report(command: &str, status: &str, stdout: &str, stderr: &str) -> String {
    let rule = "=".repeat(40);
    format!(
        "{rule}\ncommand: {command}\nstatus: {status}\nstandard output:\n{stdout}\nstandard error:\n{stderr}\n{rule}"
    )
}

/// Runs `command`, made by [`clean`], until it exits.
#[track_caller]
pub fn run(command: Command) -> Finished {
    Program::start(command).finish()
}
