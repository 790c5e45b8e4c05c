//! The map service: sends the map on connect, on every change, and at least every N seconds.

mod helper;
mod helper_handle;
mod publisher;
mod round;
mod send_mode;
mod subscribers;
mod timer_queue;

use std::io;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::{CloseReason, Service, counted};
use crate::connection::{ClientSender, Connection, Error};
use crate::display::units::format_duration;
use crate::feed::Feed;
use crate::frame::Frame;
use crate::shutdown::Shutdown;
use crate::sync::Mutex;
use crate::threads::{Threads, WakeReason, WorkerThread};

use helper::{HELPER_RANGE, start_helpers};
use publisher::start_publishers;
pub use send_mode::SendMode;
use subscribers::Subscribers;

/// A publisher's reference to a client's sender. Weak, so that only the client's own thread closes the socket.
type WeakSender = Weak<ClientSender>;

impl Service for Cast {
    /// The loop of one client's thread: sends the newest map, header and payload, then waits.
    fn serve(&self, connection: &mut Connection, stop: &Shutdown) -> Result<CloseReason, Error> {
        connection.count_in(self.feed.backlog());
        // Subscribed before the map is read: a publisher then sends a change between the read and the wait.
        let subscription = self.subscribers.subscribe(connection.sender());
        let _changes =
            (self.mode == Some(SendMode::Thread)).then(|| self.feed.subscribe(connection.waker(WakeReason::Update)));
        while !stop.is_triggered() {
            connection.flush()?;
            // Always the newest map: a slow client skips the versions in between.
            if let Some(latest) = self.feed.latest() {
                connection.send_frame(&latest.frame, latest.version, subscription.repeat_before(Instant::now()))?;
            }
            let reasons = connection.wait(subscription.next_check(connection.last_frame()))?;
            if reasons.contains(WakeReason::Input) && connection.discard_input()? {
                return Ok(CloseReason::Client);
            }
            if reasons.is_empty() {
                subscription.check_publisher(connection.last_frame());
            }
        }
        Ok(CloseReason::Stopping)
    }

    /// Starts the publishers and their helpers with the first listener.
    fn start(&self) -> io::Result<()> {
        let mut publishers = self.publishers.lock();
        if publishers.is_empty() && self.mode != Some(SendMode::Thread) {
            let mode = self.mode.unwrap_or_else(SendMode::detect);
            *publishers = start_publishers(&self.threads, &self.feed, &self.subscribers, mode)?;
            let helped = &HELPER_RANGE;
            publishers.extend(start_helpers(&self.threads, &self.feed, &self.subscribers, helped, mode)?);
        }
        Ok(())
    }

    /// The newest map.
    fn first_frame(&self) -> Option<(Frame, u64)> {
        let latest = self.feed.latest().filter(|_| self.mode != Some(SendMode::Thread))?;
        Some((latest.frame.clone(), latest.version))
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
/// The accept loop sends the first map, unless it is large, and publisher threads send changes and repeats, to every client
/// whose socket accepts the frame without blocking. A client's own thread sends the rest. It also guarantees the repeats: it
/// sends a repeat that is overdue, and all repeats while there is no publisher. With [`SendMode::Thread`] it sends everything
/// itself.
#[derive(Debug)]
pub struct Cast {
    feed: Arc<Feed>,
    interval: Duration,
    subscribers: Subscribers,
    /// `None`: what the system allows, found out by `start`.
    mode: Option<SendMode>,
    threads: Threads,
    /// Guards the start of the publishers and their helpers; empty until then. They stop when this is dropped.
    publishers: Mutex<Vec<WorkerThread>>,
}

impl Cast {
    /// Returns the service that sends `feed`'s map on connect, on every change, and at least every `interval`, counted from
    /// the last frame.
    pub fn new(feed: Arc<Feed>, interval: Duration) -> Self {
        Self {
            feed,
            interval,
            subscribers: Subscribers::new(interval),
            mode: None,
            threads: Threads::default(),
            publishers: Mutex::default(),
        }
    }

    /// Sets which threads send the map, and how; by default [`SendMode::detect`].
    #[must_use]
    pub fn with_send_mode(self, mode: SendMode) -> Self {
        Self { mode: Some(mode), ..self }
    }

    /// Registers the service's own threads in `threads`, which a monitor checks.
    #[must_use]
    pub fn with_threads(self, threads: &Threads) -> Self {
        Self { threads: threads.clone(), ..self }
    }
}

#[cfg(test)]
mod tests;
