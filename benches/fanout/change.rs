//! A change: its payload, and its publisher.

use std::io::{self, Write};
use std::ops::Range;
use std::time::{Duration, Instant};

use mapcast::Shutdown;

/// A map of one entry in JSON: the number of the change, its time in nanoseconds, and padding.
const START: &str = r#"{"change":""#;
const END: &str = r#""}"#;

/// The positions of the number and the time: twenty digits each, with a space between them.
const NUMBER: Range<usize> = START.len()..START.len() + 20;
const TIME: Range<usize> = NUMBER.end + 1..NUMBER.end + 21;

/// The minimum size of a payload in bytes.
pub const MIN_SIZE: usize = TIME.end + END.len();

/// The content of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The number of the change, from 1.
    pub number: u64,
    /// The time of publication since the publisher's epoch.
    pub published: Duration,
}

impl Change {
    /// Returns a payload of `size` bytes: a map of one entry in JSON.
    pub fn to_payload(self, size: usize) -> Vec<u8> {
        let (number, nanos) = (self.number, self.published.as_nanos());
        let mut text = format!("{START}{number:020} {nanos:020}");
        while text.len() + END.len() < size {
            text.push('x');
        }
        text.push_str(END);
        text.into_bytes()
    }

    /// Returns the change in `payload`; `None` if and only if it is not a change of `size` bytes.
    pub fn from_payload(payload: &[u8], size: usize) -> Option<Self> {
        let digits = |range: Range<usize>| str::from_utf8(payload.get(range)?).ok()?.parse().ok();
        let is_whole =
            payload.len() == size && payload.starts_with(START.as_bytes()) && payload.ends_with(END.as_bytes());
        is_whole.then_some(())?;
        Some(Self { number: digits(NUMBER)?, published: Duration::from_nanos(digits(TIME)?) })
    }
}

/// Wraps a payload in the server's publishing protocol.
pub type Wrap = fn(&[u8]) -> Vec<u8>;

/// Publishes changes to a server.
pub struct Publisher {
    sink: Box<dyn Write + Send>,
    wrap: Wrap,
    size: usize,
    epoch: Instant,
    /// The number of the last change; 0 before the first.
    last: u64,
}

impl Publisher {
    /// Returns a publisher of changes of `size` bytes, at least [`MIN_SIZE`], that writes to `sink` in the form of `wrap`.
    pub fn new(sink: Box<dyn Write + Send>, wrap: Wrap, size: usize) -> Self {
        Self { sink, wrap, size: size.max(MIN_SIZE), epoch: Instant::now(), last: 0 }
    }

    /// The number of the last change; 0 before the first.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Returns the start of the changes' times.
    pub fn epoch(&self) -> Instant {
        self.epoch
    }

    /// Returns the size of a payload in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Continues its own numbers and times with the sink of `other`.
    pub fn continue_at(&mut self, other: Self) {
        (self.sink, self.wrap) = (other.sink, other.wrap);
    }

    /// Publishes one change.
    ///
    /// # Errors
    /// If the server does not accept it.
    pub fn publish(&mut self) -> io::Result<()> {
        self.last += 1;
        let change = Change { number: self.last, published: self.epoch.elapsed() };
        self.sink.write_all(&(self.wrap)(&change.to_payload(self.size)))?;
        self.sink.flush()
    }

    /// Publishes `count` changes, one every `period`, the first one at once. Returns one period after the last change, or as soon
    /// as `stop` is requested.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn publish_every(&mut self, period: Duration, count: u32, stop: &Shutdown) -> io::Result<()> {
        let started = Instant::now();
        for number in 1..=count {
            self.publish()?;
            let next = started + period * number;
            if stop.wait(next.saturating_duration_since(Instant::now())) {
                break;
            }
        }
        Ok(())
    }
}
