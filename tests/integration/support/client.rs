//! `mapcast-client` as a child process.

use std::fs;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take: far more than it does on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running client. Killed and reaped when dropped.
pub(crate) struct ClientProcess {
    child: Child,
    command: String,
    started: Instant,
    stdout: Output,
    stderr: Output,
}

/// A client that has ended by itself.
pub(crate) struct Finished {
    command: String,
    status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    pub(crate) elapsed: Duration,
}

impl ClientProcess {
    /// Starts a client without standard input.
    pub(crate) fn spawn(args: &[&str]) -> Self {
        Self::spawn_with(args, |command| command)
    }

    /// As [`spawn`](Self::spawn), after `change` has changed the command: another variable, another stream.
    pub(crate) fn spawn_with(args: &[&str], change: impl FnOnce(&mut Command) -> &mut Command) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mapcast-client"));
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // What the developer has set must not decide.
        for (name, _) in std::env::vars_os() {
            if name == "RUST_LOG" || name.to_string_lossy().starts_with("MAPCAST_") {
                command.env_remove(name);
            }
        }
        change(&mut command);
        let started = Instant::now();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = Output::pump(child.stdout.take());
        let stderr = Output::pump(child.stderr.take());
        Self { child, command: format!("mapcast-client {}", args.join(" ")), started, stdout, stderr }
    }

    /// Waits until standard output contains `text`.
    pub(crate) fn wait_for_stdout(&self, text: &str) {
        self.wait_for(&self.stdout, "standard output", text);
    }

    /// Waits until standard error contains `text`.
    pub(crate) fn wait_for_stderr(&self, text: &str) {
        self.wait_for(&self.stderr, "standard error", text);
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The most memory that the process has ever had resident, in KiB. It must still run.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// True if and only if it has not ended yet.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Finished {
        // Standard error stays open as long as the process lives.
        assert!(self.stderr.wait_until(|output| output.ended), "it does not end\n{}", self.report());
        let status = self.child.wait().unwrap();
        let elapsed = self.started.elapsed();
        Finished {
            command: self.command.clone(),
            status,
            stdout: self.stdout.join(),
            stderr: self.stderr.text(),
            elapsed,
        }
    }

    fn wait_for(&self, output: &Output, name: &str, text: &str) {
        let contains = |so_far: &Bytes| String::from_utf8_lossy(&so_far.bytes).contains(text);
        output.wait_until(|so_far| so_far.ended || contains(so_far));
        assert!(output.text().contains(text), "{name} does not say \"{text}\"\n{}", self.report());
    }

    fn report(&self) -> String {
        report(&self.command, "not waited for", &self.stdout.text(), &self.stderr.text())
    }
}

impl Drop for ClientProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    /// Fails, showing everything, unless the exit code was `code`.
    #[track_caller]
    pub(crate) fn assert_exit(&self, code: i32) -> &Self {
        assert_eq!(self.status.code(), Some(code), "{}", self.report());
        self
    }

    /// Fails, showing everything, unless standard output was exactly `text`.
    #[track_caller]
    pub(crate) fn assert_stdout(&self, text: &str) -> &Self {
        assert_eq!(String::from_utf8_lossy(&self.stdout), text, "{}", self.report());
        self
    }

    /// Fails, showing everything, unless standard error contains `text`.
    #[track_caller]
    pub(crate) fn assert_stderr(&self, text: &str) -> &Self {
        assert!(self.stderr.contains(text), "standard error does not say \"{text}\"\n{}", self.report());
        self
    }

    fn report(&self) -> String {
        report(&self.command, &self.status.to_string(), &String::from_utf8_lossy(&self.stdout), &self.stderr)
    }
}

fn report(command: &str, status: &str, stdout: &str, stderr: &str) -> String {
    let rule = "=".repeat(40);
    format!(
        "{rule}\ncommand: {command}\nstatus: {status}\nstandard output:\n{stdout}\nstandard error:\n{stderr}\n{rule}"
    )
}

/// What a stream of the process has said so far, read by a thread of its own so that the process never waits for a test.
struct Output {
    so_far: Arc<(Mutex<Bytes>, Condvar)>,
    pump: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Bytes {
    bytes: Vec<u8>,
    ended: bool,
}

impl Output {
    /// `None` is a stream that the test has taken for itself: nothing comes.
    fn pump(stream: Option<impl Read + Send + 'static>) -> Self {
        let so_far = Arc::new((Mutex::new(Bytes { ended: stream.is_none(), ..Bytes::default() }), Condvar::new()));
        let pump = stream.map(|mut stream| {
            let so_far = Arc::clone(&so_far);
            let run = move || {
                let mut chunk = [0; 4096];
                loop {
                    let read = stream.read(&mut chunk).unwrap_or(0);
                    let mut output = so_far.0.lock().unwrap();
                    output.bytes.extend_from_slice(&chunk[..read]);
                    output.ended = read == 0;
                    so_far.1.notify_all();
                    if output.ended {
                        return;
                    }
                }
            };
            thread::Builder::new().spawn(run).unwrap()
        });
        Self { so_far, pump }
    }

    /// Waits until `condition` holds. Returns whether it does: false if and only if that takes too long.
    fn wait_until(&self, condition: impl Fn(&Bytes) -> bool) -> bool {
        let output = self.so_far.0.lock().unwrap();
        let (output, _) = self.so_far.1.wait_timeout_while(output, PATIENCE, |output| !condition(output)).unwrap();
        condition(&output)
    }

    /// What has come so far.
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.so_far.0.lock().unwrap().bytes).into_owned()
    }

    /// All that came.
    fn join(&mut self) -> Vec<u8> {
        self.pump.take().into_iter().for_each(|pump| pump.join().unwrap());
        std::mem::take(&mut self.so_far.0.lock().unwrap().bytes)
    }
}
