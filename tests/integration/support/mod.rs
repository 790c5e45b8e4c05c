//! What the tests stand on: servers in this process and as programs, raw readers, deadlines.

#[cfg(any(feature = "tls", feature = "tls-ring"))]
pub mod authority;
#[cfg(feature = "cli")]
pub mod browser;
pub mod log;
#[cfg(feature = "cli")]
pub mod output;
#[cfg(feature = "cli")]
pub mod program;
pub mod proxy;
pub mod reader;
#[cfg(all(feature = "cli", feature = "redis"))]
pub mod redis_server;
pub mod server;

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a test waits for an event before it fails. It ends tests that hang, and says nothing about speed: a browser that
/// started on a busy machine took more than twenty seconds.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until `holds`, looking every few milliseconds.
///
/// # Panics
/// If it does not hold in time; `what` names it.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "in {PATIENCE:?} it did not come true: {what}");
        pause();
    }
}

/// Connects to `addr`. No read and no write on the socket waits longer than [`PATIENCE`].
#[track_caller]
pub fn connect(addr: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(addr).expect("a server that listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    socket.set_write_timeout(Some(PATIENCE)).expect("a socket");
    socket
}

/// A moment between two looks at something that cannot be waited for: another process, a counter.
pub fn pause() {
    std::thread::park_timeout(Duration::from_millis(2));
}

/// Says that a test is not run here, and why; the test then returns.
///
/// # Panics
/// If `MAPCAST_TESTS_COMPLETE` is set and not empty: the gate sets it where everything is provided, and a test that is
/// not run there is a failure.
#[cfg(feature = "cli")]
#[track_caller]
pub fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
    let complete = std::env::var_os("MAPCAST_TESTS_COMPLETE").is_some_and(|value| !value.is_empty());
    assert!(!complete, "MAPCAST_TESTS_COMPLETE is set, and a test is skipped: {reason}");
}

/// True if and only if this machine has the command `name`.
#[cfg(feature = "cli")]
pub fn has_command(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// Returns a number from a `/proc/PID/status` line, such as `VmHWM` in KiB or `Threads`.
#[cfg(feature = "cli")]
pub fn process_status(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process of ours");
    let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_else(|| panic!("{field} in {status}"));
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}
