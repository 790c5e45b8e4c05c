//! One change: what is published, and when it was.

use std::io::{self, Write};
use std::ops::Range;
use std::time::{Duration, Instant};

use mapcast::Shutdown;

/// A map of one entry, as it is written in JSON: the number of the change, the time in nanoseconds, and filling.
const START: &str = r#"{"change":""#;
const END: &str = r#""}"#;

/// Where the number and the time are, twenty digits each with a space between them.
const NUMBER: Range<usize> = START.len()..START.len() + 20;
const TIME: Range<usize> = NUMBER.end + 1..NUMBER.end + 21;

/// The least bytes of a payload.
pub const MIN_SIZE: usize = TIME.end + END.len();

/// What a payload says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Counts the changes, from 1.
    pub number: u64,
    /// When it was published, since the publisher's epoch.
    pub published: Duration,
}

impl Change {
    /// Returns the payload, `size` bytes of it: a map of one entry, in JSON.
    pub fn to_payload(self, size: usize) -> Vec<u8> {
        let (number, nanos) = (self.number, self.published.as_nanos());
        let mut text = format!("{START}{number:020} {nanos:020}");
        while text.len() + END.len() < size {
            text.push('x');
        }
        text.push_str(END);
        text.into_bytes()
    }

    /// Returns what `payload` says; `None` if and only if it is no change of `size` bytes.
    pub fn from_payload(payload: &[u8], size: usize) -> Option<Self> {
        let digits = |range: Range<usize>| str::from_utf8(payload.get(range)?).ok()?.parse().ok();
        let is_whole =
            payload.len() == size && payload.starts_with(START.as_bytes()) && payload.ends_with(END.as_bytes());
        is_whole.then_some(())?;
        Some(Self { number: digits(NUMBER)?, published: Duration::from_nanos(digits(TIME)?) })
    }
}

/// How a server is told of a change.
pub type Wrap = fn(&[u8]) -> Vec<u8>;

/// Tells a server of changes.
pub struct Publisher {
    sink: Box<dyn Write + Send>,
    wrap: Wrap,
    size: usize,
    epoch: Instant,
    /// The number of the last change; 0 before the first.
    last: u64,
}

impl Publisher {
    /// Returns a publisher of changes of `size` bytes, [`MIN_SIZE`] at least, into `sink`, each put there by `wrap`.
    pub fn new(sink: Box<dyn Write + Send>, wrap: Wrap, size: usize) -> Self {
        Self { sink, wrap, size: size.max(MIN_SIZE), epoch: Instant::now(), last: 0 }
    }

    /// The number of the last change; 0 before the first.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Since when the times of the changes count.
    pub fn epoch(&self) -> Instant {
        self.epoch
    }

    /// Bytes of each payload.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Goes on with its own numbers and times, where `other` would publish.
    pub fn continue_at(&mut self, other: Self) {
        (self.sink, self.wrap) = (other.sink, other.wrap);
    }

    /// Publishes one change.
    ///
    /// # Errors
    /// If the server does not take it.
    pub fn publish(&mut self) -> io::Result<()> {
        self.last += 1;
        let change = Change { number: self.last, published: self.epoch.elapsed() };
        self.sink.write_all(&(self.wrap)(&change.to_payload(self.size)))?;
        self.sink.flush()
    }

    /// Publishes `count` changes, one every `period`, the first at once, and returns a period after the last one, or as
    /// soon as `stop` is requested.
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
