//! The thread that notifies the service manager: ready, status, watchdog, stopping.

use std::env;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use anyhow::Context;
use mapcast::Shutdown;
use mapcast::source::Sink;
use mapcast::stats::Stats;
use mapcast::threads::{Thread, Threads};

use super::notifications::Notification;
use super::notify_socket::NotifySocket;

/// How often the status is updated, and sent if it has changed.
const STATUS_PERIOD: Duration = Duration::from_secs(1);

/// How long a stop may take in addition to the drain: 1 s for connections that are cut off, and some for joining
/// threads.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// The connection to the service manager.
#[derive(Debug)]
pub(crate) struct Supervisor {
    channel: NotifySocket,
    /// The watchdog timeout, after which the manager ends the process; `None` without a watchdog.
    watchdog: Option<Duration>,
}

/// What is reported.
pub(crate) struct ServerState {
    /// The source's sink; `None` for a service without a map.
    pub(crate) sink: Option<Sink>,
    pub(crate) stats: Arc<Stats>,
    /// The long-lived threads: the watchdog is not notified while one of them is stuck.
    pub(crate) threads: Threads,
    pub(crate) drain_timeout: Duration,
    pub(crate) stop: Shutdown,
}

impl Supervisor {
    /// Returns the supervisor for `NOTIFY_SOCKET`, if it is set. If the socket cannot be reached, logs a warning.
    pub(crate) fn from_env() -> Option<Self> {
        let path = env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty())?;
        match NotifySocket::connect(&path) {
            Ok(channel) => {
                let number = |name| env::var(name).ok()?.parse().ok();
                Some(Self { channel, watchdog: watchdog(number("WATCHDOG_USEC"), number("WATCHDOG_PID")) })
            }
            Err(error) => {
                log::warn!("cannot reach the service manager (NOTIFY_SOCKET): {error}");
                None
            }
        }
    }

    /// The longest round of an accept loop for the watchdog: half of the watchdog's period.
    pub(crate) fn heartbeat(&self) -> Option<Duration> {
        self.watchdog.map(|timeout| timeout / 4)
    }

    /// Reports on `state` from a thread of its own until the stop, and reports the stop.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub(crate) fn follow(self, mut state: ServerState) -> anyhow::Result<Thread> {
        let worker = state.threads.register("supervisor", "notifying the service manager");
        state.stop = state.stop.for_worker(&worker);
        let run = move || worker.run(|pause| state.stop.wait(pause), || self.run(&state));
        Thread::start("supervisor", run).context("cannot start the thread for the service manager")
    }

    fn run(&self, state: &ServerState) {
        wait_first_map(state, || self.channel.send(&[Notification::Status("waiting for the first map")]));
        if !state.stop.is_triggered() {
            self.run_ready(state);
        }
        let timeout = state.drain_timeout.saturating_add(STOP_GRACE);
        self.channel.send(&[
            Notification::Stopping,
            Notification::Status("stopping"),
            Notification::ExtendTimeout(timeout),
        ]);
    }

    fn run_ready(&self, state: &ServerState) {
        let mut status = Status::default();
        let mut watchdog_timer = self.watchdog.map(|timeout| Watchdog::new(timeout / 2));
        let tick = self.heartbeat().map_or(STATUS_PERIOD, |heartbeat| heartbeat.min(STATUS_PERIOD));
        let (mut reported, mut reported_at) = (status.text(state), Instant::now());
        self.channel.send(&[Notification::Ready, Notification::Status(&reported)]);
        while !state.stop.wait(tick) {
            let text = status.text(state);
            if text != reported && reported_at.elapsed() >= STATUS_PERIOD {
                self.channel.send(&[Notification::Status(&text)]);
                (reported, reported_at) = (text, Instant::now());
            }
            let is_well = state.threads.fatal_problem().is_none();
            let is_due =
                |watchdog_timer: &mut Watchdog| watchdog_timer.is_due(Instant::now(), state.stats.heartbeats());
            if is_well && watchdog_timer.as_mut().is_some_and(is_due) {
                self.channel.send(&[Notification::Watchdog]);
            }
        }
    }
}

/// Returns the watchdog timeout, if the watchdog is for this process (`sd_watchdog_enabled`(3)).
fn watchdog(usec: Option<u64>, pid: Option<u64>) -> Option<Duration> {
    let is_ours = pid.is_none_or(|pid| pid == u64::from(std::process::id()));
    usec.filter(|usec| is_ours && *usec > 0).map(Duration::from_micros)
}

/// Waits for the first map, if there will be one, or for the stop. Calls `wait` first if there is no map yet.
fn wait_first_map(state: &ServerState, wait: impl FnOnce()) {
    let Some(sink) = &state.sink else { return };
    // A second stop, for this wait alone: it wakes the polling thread.
    let Ok(published) = Shutdown::new() else { return };
    let _subscription = sink.feed().subscribe(Waker::from(Arc::new(Publication(published.clone()))));
    if sink.feed().version() == 0 {
        wait();
        // If the wait fails, the server reports readiness early.
        let _ = state.stop.wait_readable(&published, None);
    }
}

/// Ends the wait for the first map.
struct Publication(Shutdown);

impl Wake for Publication {
    fn wake(self: Arc<Self>) {
        self.0.trigger();
    }
}

/// The line in `systemctl status`.
#[derive(Debug, Default)]
struct Status {
    /// The version of the last counted map, and its number of entries.
    counted: (u64, Option<u64>),
}

impl Status {
    fn text(&mut self, state: &ServerState) -> String {
        let mut text = count(state.stats.active(), "active connection", "active connections");
        if let Some(entries) = state.sink.as_ref().and_then(|sink| self.entries(sink)) {
            text = format!("{text}, {}", count(entries, "entry", "entries"));
        }
        text
    }

    /// Returns the number of entries of the current map; decodes each version once.
    fn entries(&mut self, sink: &Sink) -> Option<u64> {
        let latest = sink.feed().latest()?;
        if self.counted.0 != latest.version {
            let map = sink.feed().format().decode_map(latest.frame.payload()).ok();
            self.counted = (latest.version, map.map(|map| map.len() as u64));
        }
        self.counted.1
    }
}

fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// When to notify the watchdog, and whether the server is alive.
#[derive(Debug)]
struct Watchdog {
    period: Duration,
    due: Instant,
    /// The accept loop's rounds at the last notification.
    seen: u64,
}

impl Watchdog {
    fn new(period: Duration) -> Self {
        Self { period, due: Instant::now(), seen: 0 }
    }

    /// True if and only if a period has passed since the last notification, and the accept loop has made a round
    /// since.
    fn is_due(&mut self, now: Instant, heartbeats: u64) -> bool {
        let due = now >= self.due && heartbeats != self.seen;
        if due {
            (self.due, self.seen) = (now + self.period, heartbeats);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_for_another_process_is_ignored() {
        let pid = u64::from(std::process::id());
        assert_eq!(watchdog(Some(30_000_000), Some(pid)), Some(Duration::from_secs(30)));
        assert_eq!(watchdog(Some(30_000_000), None), Some(Duration::from_secs(30)));
        assert_eq!(watchdog(Some(30_000_000), Some(pid + 1)), None);
        assert_eq!(watchdog(Some(0), None), None);
        assert_eq!(watchdog(None, None), None);
    }

    #[test]
    fn the_watchdog_needs_a_round_of_the_accept_loop() {
        let mut watchdog_timer = Watchdog::new(Duration::from_secs(10));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!watchdog_timer.is_due(at(0), 0), "it has not begun");
        assert!(watchdog_timer.is_due(at(1), 1));
        assert!(!watchdog_timer.is_due(at(5), 2), "too soon");
        assert!(watchdog_timer.is_due(at(11), 3));
        assert!(!watchdog_timer.is_due(at(21), 3) && !watchdog_timer.is_due(at(30), 3), "it hangs");
        assert!(watchdog_timer.is_due(at(31), 4), "it hung, and continues");
    }
}
