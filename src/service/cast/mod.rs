//! The map: at once, on change, and at least every N seconds.

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

/// How many intervals a client's thread waits between two looks for a repeat that nobody sent, as long as a publisher is
/// there to send it: eight. One look costs as much as a send or two: at every interval that made a repeat cost 3.7 bare
/// sends (measured). A publisher that is stuck is found sooner, by its helper.
const SELF_CHECK_INTERVALS: u32 = 8;

/// Sends a feed's current map to each client.
///
/// Changes and repeats are sent by publisher threads, to every client for which nobody has to wait. Each client's own
/// thread sends the first map and whatever a publisher could not send whole, and it is what guarantees the rest: it sends
/// a repeat that it finds overdue, and all of them if there is no publisher.
#[derive(Debug)]
pub struct Cast {
    feed: Arc<Feed>,
    interval: Duration,
    subscribers: Subscribers,
    threads: Threads,
    /// Guards the start of the publishers and their helpers; empty before it. They end when this is dropped.
    publishers: Mutex<Vec<WorkerThread>>,
}

impl Cast {
    /// Returns the service that sends `feed`'s map at once, again when it changes, and at least every `interval`,
    /// counted from the last frame.
    pub fn new(feed: Arc<Feed>, interval: Duration) -> Self {
        Self {
            feed,
            interval,
            subscribers: Subscribers::new(interval),
            threads: Threads::default(),
            publishers: Mutex::default(),
        }
    }

    /// Has its own threads be of `threads`, which a monitor looks after.
    #[must_use]
    pub fn with_threads(self, threads: &Threads) -> Self {
        Self { threads: threads.clone(), ..self }
    }

    /// When a client's thread looks after its repeat itself.
    fn next_check(&self, connection: &Connection, subscription: &ClientSubscription<'_>) -> Option<Instant> {
        let period = if subscription.has_publisher() {
            self.interval.saturating_mul(SELF_CHECK_INTERVALS)
        } else {
            self.interval
        };
        // Counted from the begin of the frame: a slow write does not stretch the interval. Where there was no map yet it
        // looks for one all the same.
        connection.last_frame().unwrap_or_else(Instant::now).checked_add(period)
    }
}

impl Service for Cast {
    fn start(&self) -> io::Result<()> {
        let mut publishers = self.publishers.lock().unwrap_or_else(PoisonError::into_inner);
        if publishers.is_empty() {
            *publishers = start_publishers(&self.threads, &self.feed, &self.subscribers)?;
            publishers.extend(start_helpers(&self.threads, &self.feed, &self.subscribers, &HELPER_RANGE)?);
        }
        Ok(())
    }

    fn serve(&self, connection: &mut Connection, stop: &Shutdown) -> Result<CloseReason, Error> {
        connection.count_in(self.feed.backlog());
        // Before the first look at the map: a change between the look and the wait then comes from a publisher.
        let subscription = self.subscribers.subscribe(connection.sender());
        while !stop.is_triggered() {
            connection.flush()?;
            // Only ever the newest map: a client that was slow has skipped those in between.
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

    fn describe(&self) -> String {
        format!("the map as {} every {}", self.feed.format(), format_duration(self.interval))
    }

    fn sent(&self, connection: &Connection) -> String {
        counted(connection.frames(), "frame")
    }
}

#[cfg(test)]
mod tests;
