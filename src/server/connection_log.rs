//! The log lines of connections that start and end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Role;
use crate::display::throttle::LOG_PERIOD;
use crate::platform::Wakeup;
use crate::service::counted;
use crate::stats::Stats;
use crate::sync::Mutex;

/// Maximum number of lines per second: 500. Without a limit, 67,000 connections in 3 s wrote 8 MB of log (measured).
const MAX_LINES: u64 = 500;

/// Logs a line for each connection that starts or ends. Above [`MAX_LINES`] per second, one line per second summarizes the
/// rest.
#[derive(Debug)]
pub(super) struct ConnectionLog {
    role: Role,
    /// Has the number of active connections for a summary. The number at the last change may differ a lot: threads that start
    /// at the same time log their connections in any order.
    stats: Arc<Stats>,
    /// Guards the counts only. Held for one change; never while logging.
    window: Mutex<Window>,
    /// Wakes the accept loop, which calls [`flush`](Self::flush) when it is due.
    wakeup: Arc<Wakeup>,
}

/// The start or the end of a connection.
#[derive(Debug, Clone, Copy)]
enum Change {
    Connected,
    Disconnected,
}

/// The counts of one period of the log, at least one second.
#[derive(Debug, Clone, Copy)]
struct Window {
    started: Instant,
    lines: u64,
    /// Connections that have started, and ended, without a line.
    connected: u64,
    disconnected: u64,
}

impl ConnectionLog {
    pub(super) fn new(role: Role, stats: Arc<Stats>, wakeup: Arc<Wakeup>) -> Self {
        Self { role, stats, window: Mutex::new(Window::starting_at(Instant::now())), wakeup }
    }

    /// Logs the start of a connection; `active` counts it too.
    pub(super) fn connected(&self, id: u64, peer: SocketAddr, active: u64) {
        if self.has_line(Change::Connected) {
            let (noun, level) = (self.role.noun(), self.role.level());
            log::log!(level, "{noun} {id} connected from {peer} (active connections: {active})");
        }
    }

    /// Logs the end of a connection after `elapsed` for `reason`; `active` does not count it.
    pub(super) fn disconnected(&self, id: u64, elapsed: Duration, sent: &str, reason: &str, active: u64) {
        if self.has_line(Change::Disconnected) {
            let (noun, level, elapsed) = (self.role.noun(), self.role.level(), elapsed.as_secs_f64());
            log::log!(
                level,
                "{noun} {id} disconnected after {elapsed:.1}s and {sent}: {reason} (active connections: {active})"
            );
        }
    }

    /// When the summary of changes without a line is due; `None` if there are none.
    pub(super) fn due(&self) -> Option<Instant> {
        self.window.lock().due()
    }

    /// Logs the summary of changes without a line if it is due; at the end of the server, in any case.
    pub(super) fn flush(&self, is_end: bool) {
        let now = Instant::now();
        let mut window = self.window.lock();
        if window.due().is_some_and(|due| is_end || due <= now) {
            let over = std::mem::replace(&mut *window, Window::starting_at(now));
            drop(window);
            self.sum_up(&over);
        }
    }

    /// Counts the change. Returns true if and only if it has a line of its own.
    fn has_line(&self, change: Change) -> bool {
        if !log::log_enabled!(self.role.level()) {
            return false;
        }
        let mut window = self.window.lock();
        let (has_line, over) = window.count(change, Instant::now());
        let is_first = !has_line && window.connected + window.disconnected == 1;
        drop(window);
        if let Some(over) = over {
            self.sum_up(&over);
        }
        if is_first {
            self.wakeup.wake();
        }
        has_line
    }

    fn sum_up(&self, over: &Window) {
        let Window { connected, disconnected, .. } = *over;
        if connected + disconnected > 0 {
            let (noun, level, active) = (self.role.noun(), self.role.level(), self.stats.active());
            let connected = counted(connected, &format!("more {noun}"));
            log::log!(
                level,
                "{connected} connected and {disconnected} disconnected within a second (active connections: {active})"
            );
        }
    }
}

impl Window {
    fn starting_at(started: Instant) -> Self {
        Self { started, lines: 0, connected: 0, disconnected: 0 }
    }

    /// When the period ends, if changes in it have no line.
    fn due(&self) -> Option<Instant> {
        if self.connected + self.disconnected == 0 { None } else { self.started.checked_add(LOG_PERIOD) }
    }

    /// Counts a change at `now`. Returns whether it has a line of its own, and the previous period if that has ended.
    fn count(&mut self, change: Change, now: Instant) -> (bool, Option<Self>) {
        let has_ended = now.saturating_duration_since(self.started) >= LOG_PERIOD;
        let over = has_ended.then(|| std::mem::replace(self, Self::starting_at(now)));
        self.lines += 1;
        if self.lines <= MAX_LINES {
            return (true, over);
        }
        match change {
            Change::Connected => self.connected += 1,
            Change::Disconnected => self.disconnected += 1,
        }
        (false, over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_above_the_limit_are_counted_until_the_second_ends() {
        let start = Instant::now();
        let mut window = Window::starting_at(start);
        for _ in 0..MAX_LINES {
            assert!(window.count(Change::Connected, start).0);
        }
        assert_eq!(window.due(), None);
        assert!(!window.count(Change::Connected, start).0);
        assert!(!window.count(Change::Disconnected, start).0);
        assert_eq!(window.due(), start.checked_add(LOG_PERIOD));
        let (has_line, over) = window.count(Change::Connected, start + LOG_PERIOD);
        let over = over.unwrap();
        assert!(has_line && window.due().is_none());
        assert_eq!((over.connected, over.disconnected), (1, 1));
    }
}
