//! The map: at once, on change, and at least every N seconds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Goodbye, Service, counted};
use crate::connection::{Cause, Connection, Error};
use crate::feed::Feed;
use crate::shutdown::Shutdown;
use crate::units::format_duration;

/// Sends a feed's current map to each client.
#[derive(Debug)]
pub struct Cast {
    feed: Arc<Feed>,
    interval: Duration,
}

impl Cast {
    /// Returns the service that sends `feed`'s map at once, again when it changes, and at least every `interval`,
    /// counted from the last frame.
    pub fn new(feed: Arc<Feed>, interval: Duration) -> Self {
        Self { feed, interval }
    }
}

impl Service for Cast {
    fn serve(&self, connection: &mut Connection, stop: &Shutdown) -> Result<Goodbye, Error> {
        // Before the first look at the map: a change between the look and the wait then rings.
        let _subscription = self.feed.subscribe(connection.waker(Cause::News));
        let mut sent = 0;
        let mut due = None;
        while !stop.is_triggered() {
            // Only ever the newest map: a client that was slow has skipped those in between.
            if let Some(latest) = self.feed.latest()
                && (latest.version != sent || due.is_some_and(|due| Instant::now() >= due))
            {
                // Counted from the begin of the frame: a slow write does not stretch the interval.
                due = Instant::now().checked_add(self.interval);
                connection.send_frame(&latest.frame)?;
                sent = latest.version;
            }
            if connection.wait(due)?.contains(Cause::Input) && connection.discard_input()? {
                return Ok(Goodbye::Client);
            }
        }
        Ok(Goodbye::Stopping)
    }

    fn describe(&self) -> String {
        format!("the map as {} every {}", self.feed.format(), format_duration(self.interval))
    }

    fn sent(&self, connection: &Connection) -> String {
        counted(connection.frames(), "frame")
    }
}
