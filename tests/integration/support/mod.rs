//! Common support for the tests: servers in this process and as programs, raw readers, deadlines.

#[cfg(feature = "tls")]
pub mod authority;
#[cfg(feature = "cli")]
pub mod browser;
pub mod imports;
pub mod log;
#[path = "../../../benches/support/netstat.rs"]
pub mod netstat;
#[cfg(feature = "cli")]
pub mod output;
#[cfg(feature = "cli")]
pub mod program;
pub mod proxy;
pub mod reader;
#[cfg(all(feature = "cli", feature = "redis"))]
pub mod redis_server;
pub mod server;
#[cfg(feature = "cli")]
pub mod sources;
pub mod tokens;

#[cfg(feature = "cli")]
pub use crate::testing::has_command;
pub use crate::testing::skip;

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a test waits for an event before it fails. It ends tests that hang, and is not a measure of speed: a
/// browser on a busy machine took more than twenty seconds to start.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until `holds`, checking every few milliseconds.
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

/// Connects to `addr`. Reads and writes on the socket wait no longer than [`PATIENCE`].
#[track_caller]
pub fn connect(addr: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(addr).expect("a server that listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    socket.set_write_timeout(Some(PATIENCE)).expect("a socket");
    socket
}

/// A moment between two checks of something without an event: another process, a counter.
pub fn pause() {
    std::thread::park_timeout(Duration::from_millis(2));
}

/// Returns a port that no program listens on. It is below Linux's ephemeral ports (from 32,768, ip(7)): until it is used, no
/// other test gets it by binding port 0. Processes of tests begin at different numbers.
#[cfg(feature = "cli")]
pub fn free_port() -> u16 {
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicU32, Ordering};
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id() % 220 * 100;
    let numbers = (0..22_000).map(|_| (first + TAKEN.fetch_add(1, Ordering::Relaxed)) % 22_000 + 10_000);
    let mut ports = numbers.filter_map(|number| u16::try_from(number).ok());
    ports.find(|port| TcpListener::bind(("0.0.0.0", *port)).is_ok()).expect("a free port")
}

/// Returns the names of the threads of a process, those that have not ended meanwhile.
#[cfg(feature = "cli")]
pub fn thread_names(pid: u32) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a process of ours");
    let names = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("comm")).ok());
    names.map(|name| name.trim_end().to_owned()).collect()
}

/// Returns a number from a `/proc/PID/status` line, such as `VmHWM` in KiB or `Threads`.
#[cfg(feature = "cli")]
pub fn process_status(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process of ours");
    let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_else(|| panic!("{field} in {status}"));
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}
