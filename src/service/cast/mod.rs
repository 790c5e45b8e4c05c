//! The map service: sends the map on connect, on every change, and at least every N seconds.

mod helper;
mod publisher;
mod subscribers;
mod timer_queue;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{CloseReason, Service, counted};
use crate::connection::{Connection, Error};
use crate::display::units::format_duration;
use crate::feed::Feed;
use crate::shutdown::Shutdown;
use crate::threads::Threads;
use crate::threads::{WakeReason, WorkerThread};

use helper::{HELPER_RANGE, start_helpers};
use publisher::start_publishers;
use subscribers::{ClientSubscription, Subscribers};

impl Service for Cast {
    /// The loop of one client's thread: sends the newest map, header and payload, then waits.
    fn serve(&self, connection: &mut Connection, stop: &Shutdown) -> Result<CloseReason, Error> {
        connection.count_in(self.feed.backlog());
        // Subscribed before the map is read: a publisher then sends a change between the read and the wait.
        let subscription = self.subscribers.subscribe(connection.sender());
        while !stop.is_triggered() {
            connection.flush()?;
            // Always the newest map: a slow client skips the versions in between.
            if let Some(latest) = self.feed.latest() {
                connection.send_frame(&latest.frame, latest.version, subscription.repeat_before(Instant::now()))?;
            }
            if connection.wait(self.next_check(connection, &subscription))?.contains(WakeReason::Input)
                && connection.discard_input()?
            {
                return Ok(CloseReason::Client);
            }
        }
        Ok(CloseReason::Stopping)
    }

    /// Starts the publishers and their helpers with the first listener.
    fn start(&self) -> io::Result<()> {
        let mut publishers = self.publishers.lock().unwrap_or_else(PoisonError::into_inner);
        if publishers.is_empty() {
            *publishers = start_publishers(&self.threads, &self.feed, &self.subscribers)?;
            publishers.extend(start_helpers(&self.threads, &self.feed, &self.subscribers, &HELPER_RANGE)?);
        }
        Ok(())
    }

    fn describe(&self) -> String {
        format!("the map as {} every {}", self.feed.format(), format_duration(self.interval))
    }

    fn sent(&self, connection: &Connection) -> String {
        counted(connection.frames(), "frame")
    }
}

/// Sends a feed's current map to each client.
///
/// Publisher threads send changes and repeats to every client whose socket accepts the frame without blocking. A client's
/// own thread sends the first map and each frame that a publisher could not send whole. It also guarantees the repeats: it
/// sends a repeat that is overdue, and all repeats while there is no publisher.
#[derive(Debug)]
pub struct Cast {
    feed: Arc<Feed>,
    interval: Duration,
    subscribers: Subscribers,
    threads: Threads,
    /// Guards the start of the publishers and their helpers; empty until then. They stop when this is dropped.
    publishers: Mutex<Vec<WorkerThread>>,
}

/// How many intervals a client's thread waits before it checks for an unsent repeat itself, while it has a publisher: 8.
/// A check costs as much as one or two sends: with one per interval, a repeat cost 3.7 bare sends (measured). The helper
/// detects a stuck publisher sooner.
const SELF_CHECK_INTERVALS: u32 = 8;

impl Cast {
    /// Returns the service that sends `feed`'s map on connect, on every change, and at least every `interval`, counted from
    /// the last frame.
    pub fn new(feed: Arc<Feed>, interval: Duration) -> Self {
        Self {
            feed,
            interval,
            subscribers: Subscribers::new(interval),
            threads: Threads::default(),
            publishers: Mutex::default(),
        }
    }

    /// Registers the service's own threads in `threads`, which a monitor checks.
    #[must_use]
    pub fn with_threads(self, threads: &Threads) -> Self {
        Self { threads: threads.clone(), ..self }
    }

    /// When the client's thread next checks for an unsent repeat.
    fn next_check(&self, connection: &Connection, subscription: &ClientSubscription<'_>) -> Option<Instant> {
        let period = if subscription.has_publisher() {
            self.interval.saturating_mul(SELF_CHECK_INTERVALS)
        } else {
            self.interval
        };
        // Counted from the start of the frame: a slow write does not stretch the interval. Without a map yet, the thread
        // checks for one at the same rate.
        connection.last_frame().unwrap_or_else(Instant::now).checked_add(period)
    }
}

#[cfg(test)]
mod tests;
