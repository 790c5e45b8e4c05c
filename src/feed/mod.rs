//! The feed: holds the current map, encoded once for all clients; once in each format if there are several.

mod subscribers;

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use serde::Serialize;

use crate::backlog::Backlog;
use crate::format::{self, Format};
use crate::frame::{self, Frame};
use crate::map::Map;
use crate::stats::histogram::Histogram;
use crate::sync::{AtomicU64, Instant, Mutex, Ordering, RwLock};
use subscribers::Subscribers;
pub use subscribers::Subscription;

/// The histogram bounds of rounds: 1 ms to 10 s. A change to 9,000 clients takes some 50 ms.
const ROUND_BOUNDS: &[Duration] = &[
    Duration::from_millis(1),
    Duration::from_millis(3),
    Duration::from_millis(10),
    Duration::from_millis(30),
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(10),
];

/// Why a map was not published. The previous map stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The map cannot be encoded in the feed's format.
    #[error(transparent)]
    Format(#[from] format::Error),
    /// The value is encoded as zero bytes; a frame of length 0 means "nothing changed". No map is encoded as zero bytes.
    #[error("cannot publish a value of zero bytes as {0}: it means \"nothing changed\"; publish a map or a structure")]
    Empty(Format),
    /// The encoded map is above the limit for a frame.
    #[error("the map takes {len} bytes as {format}, above the limit of {max}")]
    TooLarge {
        /// The size of the encoded map in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
        /// The feed's format.
        format: Format,
    },
}

/// One version of the feed's map.
#[derive(Debug)]
pub struct Snapshot {
    /// The number of changes so far: 1 for the first map, one more with each change.
    pub version: u64,
    /// The encoded map with its header.
    pub frame: Frame,
    /// When it was published.
    pub published: Instant,
    /// The map's age at that time: zero, unless an earlier server had published it.
    pub age_before: Duration,
}

impl Snapshot {
    /// The time since the map changed to this one.
    pub fn age(&self) -> Duration {
        self.published.elapsed().saturating_add(self.age_before)
    }
}

/// The current map, encoded once and shared by all threads that send it. Shared by reference or in an [`Arc`].
///
/// ```
/// use mapcast::{Feed, Format, builtin_map};
///
/// let feed = Feed::new(Format::Json, mapcast::DEFAULT_MAX_FRAME);
/// assert!(feed.publish(&builtin_map())?);
/// assert!(!feed.publish(&builtin_map())?, "equal maps are no change");
/// assert_eq!(feed.latest().map(|snapshot| snapshot.version), Some(1));
/// # Ok::<(), mapcast::feed::Error>(())
/// ```
#[derive(Debug)]
pub struct Feed {
    format: Format,
    max_frame: usize,
    /// Guards only the pointer: held for one clone or one store, never while encoding, waking or writing. Not arc-swap: each
    /// new thread walks its list of debts, which made the cost of connecting 9,000 clients quadratic.
    current: RwLock<Option<Arc<Snapshot>>>,
    /// The version of `current`, readable without its lock. 0 before the first map.
    version: AtomicU64,
    /// Locked first and held for a whole publication, so that concurrent publications store their versions in order.
    publishing: Mutex<()>,
    subscribers: Subscribers,
    /// The durations of rounds, recorded by the publishers; shared with `others`.
    rounds: Arc<Histogram>,
    /// The newest version whose round has ended; 0 before the first.
    offered_version: AtomicU64,
    /// Shared with `others`.
    backlog: Arc<Backlog>,
    /// The same maps in other formats. Each is published with this one, under its lock `publishing`.
    others: Vec<Arc<Self>>,
}

/// A map that is encoded in every format of a feed, and within its limit in each.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    frame: Frame,
    /// In the order of the feed's `others`.
    others: Vec<Frame>,
}

impl Prepared {
    /// True if and only if `snapshot` has this map.
    pub(crate) fn equals(&self, snapshot: &Snapshot) -> bool {
        self.frame == snapshot.frame
    }
}

impl Feed {
    /// Returns a feed without a map. It refuses maps of more than `max_frame` encoded bytes. Its backlog, the memory of older
    /// maps that slow peers are still receiving, is limited to [`Backlog::default_limit`] bytes.
    pub fn new(format: Format, max_frame: usize) -> Self {
        Self {
            format,
            max_frame,
            current: RwLock::new(None),
            version: AtomicU64::new(0),
            publishing: Mutex::new(()),
            subscribers: Subscribers::default(),
            rounds: Arc::new(Histogram::new(ROUND_BOUNDS)),
            offered_version: AtomicU64::new(0),
            backlog: Arc::new(Backlog::new(Backlog::default_limit(max_frame))),
            others: Vec::new(),
        }
    }

    /// Sets the backlog: it limits the memory of older maps that slow peers are still receiving, over all peers.
    #[must_use]
    pub fn with_backlog(self, backlog: Backlog) -> Self {
        let formats: Vec<Format> = self.others.iter().map(|other| other.format).collect();
        Self { backlog: Arc::new(backlog), others: Vec::new(), ..self }.with_formats(&formats)
    }

    /// Returns the feed with a feed in each of `formats`, to which every map that is published here is also published. Each has
    /// this feed's limit for a frame, and all share its backlog. [`in_format`](Self::in_format) returns them.
    #[must_use]
    pub fn with_formats(mut self, formats: &[Format]) -> Self {
        for format in formats {
            if *format != self.format && self.others.iter().all(|other| other.format != *format) {
                let (rounds, backlog) = (Arc::clone(&self.rounds), Arc::clone(&self.backlog));
                self.others.push(Arc::new(Self { rounds, backlog, ..Self::new(*format, self.max_frame) }));
            }
        }
        self
    }

    /// Returns the feed with the same maps in `format`: this one, or one of [`with_formats`](Self::with_formats). Publish in
    /// this feed only.
    pub fn in_format(self: &Arc<Self>, format: Format) -> Option<Arc<Self>> {
        [self].into_iter().chain(&self.others).find(|feed| feed.format == format).cloned()
    }

    /// The backlog, in which senders of this feed's maps count payloads that their peers are slow to accept.
    pub fn backlog(&self) -> &Arc<Backlog> {
        &self.backlog
    }

    /// The durations of rounds: from the publication of a change until a publisher has offered it to all its clients.
    pub(crate) fn rounds(&self) -> &Histogram {
        &self.rounds
    }

    /// Records that a publisher has offered `snapshot` to all its clients, and how long that took if it had any.
    pub(crate) fn end_round(&self, snapshot: &Snapshot, had_clients: bool) {
        if had_clients {
            self.rounds.observe(snapshot.published.elapsed());
        }
        self.offered_version.fetch_max(snapshot.version, Ordering::SeqCst);
    }

    /// The newest version whose round has ended; 0 before the first, and without a publisher.
    pub(crate) fn offered(&self) -> u64 {
        self.offered_version.load(Ordering::SeqCst)
    }

    /// Makes `map` the current one in every format and wakes all waiters and subscribers. Returns true if and only if it differs
    /// from the previous map in any format; a map with equal encoded bytes is not a change.
    ///
    /// # Errors
    /// If the map cannot be encoded or is too large, in any format; the previous map stays in all of them.
    pub fn publish(&self, map: &Map) -> Result<bool, Error> {
        self.publish_kept(map, Duration::ZERO)
    }

    /// As [`publish`](Self::publish), for a map that an earlier server published `age` ago.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn publish_kept(&self, map: &Map, age: Duration) -> Result<bool, Error> {
        Ok(self.publish_all(self.prepare(map)?, age))
    }

    /// As [`publish`](Self::publish), for a value of any serializable type instead of a map.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn publish_typed<T: Serialize + ?Sized>(&self, value: &T) -> Result<bool, Error> {
        Ok(self.publish_all(self.prepare_by(|format| format.encode(value))?, Duration::ZERO))
    }

    /// Returns `Ok` if and only if [`publish`](Self::publish) would accept `map`, as a change or not.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn check(&self, map: &Map) -> Result<(), Error> {
        self.prepare(map).map(drop)
    }

    /// Encodes `map` and checks its size, for [`publish_prepared`](Self::publish_prepared).
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub(crate) fn prepare(&self, map: &Map) -> Result<Prepared, Error> {
        self.prepare_by(|format| format.encode_map(map))
    }

    /// Publishes a map that this feed has prepared; otherwise as [`publish`](Self::publish), without its errors.
    pub(crate) fn publish_prepared(&self, prepared: Prepared) -> bool {
        self.publish_all(prepared, Duration::ZERO)
    }

    /// Returns the age of the current map if `prepared` equals it, and zero otherwise.
    pub(crate) fn age_of(&self, prepared: &Prepared) -> Duration {
        self.latest().filter(|latest| prepared.equals(latest)).map_or(Duration::ZERO, |latest| latest.age())
    }

    /// Encodes by `encode` in every format.
    fn prepare_by(&self, encode: impl Fn(Format) -> Result<Vec<u8>, format::Error>) -> Result<Prepared, Error> {
        let frame = |feed: &Self| feed.frame(&encode(feed.format)?);
        let others = self.others.iter().map(|other| frame(other)).collect::<Result<_, _>>()?;
        Ok(Prepared { frame: frame(self)?, others })
    }

    fn frame(&self, payload: &[u8]) -> Result<Frame, Error> {
        if payload.is_empty() {
            return Err(Error::Empty(self.format));
        }
        Frame::new(payload, self.max_frame).map_err(|error| match error {
            frame::Error::TooLarge { .. } => {
                Error::TooLarge { len: payload.len(), max: self.max_frame, format: self.format }
            }
            // Creating a frame can fail only because of its size.
            error => Error::Format(format::Error::Encode { format: self.format, source: error.into() }),
        })
    }

    /// Stores the map in every format, then wakes the subscribers of each one that has changed.
    fn publish_all(&self, prepared: Prepared, age_before: Duration) -> bool {
        let publishing = self.publishing.lock();
        let mut changed: Vec<&Self> = Vec::new();
        changed.extend(Some(self).filter(|feed| feed.store(prepared.frame, age_before)));
        for (other, frame) in self.others.iter().zip(prepared.others) {
            let _publishing = other.publishing.lock();
            changed.extend(Some(other.as_ref()).filter(|feed| feed.store(frame, age_before)));
        }
        drop(publishing);
        for feed in &changed {
            feed.subscribers.wake();
        }
        !changed.is_empty()
    }

    /// Makes `frame` the current one, with `publishing` locked. Returns false if and only if it equals the current one.
    fn store(&self, frame: Frame, age_before: Duration) -> bool {
        if self.latest().is_some_and(|latest| latest.frame == frame) {
            return false;
        }
        let version = self.version() + 1;
        let snapshot = Arc::new(Snapshot { version, frame, published: Instant::now(), age_before });
        *self.current.write() = Some(snapshot);
        self.version.store(version, Ordering::SeqCst);
        true
    }

    /// The current version of the map; `None` before the first.
    pub fn latest(&self) -> Option<Arc<Snapshot>> {
        self.current.read().clone()
    }

    /// The version of the current map; 0 before the first.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    /// The format of the payloads.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The largest payload in bytes.
    pub fn max_frame(&self) -> usize {
        self.max_frame
    }

    /// Waits until there is a newer map than version `after` and returns it; returns `None` after `timeout`. Skips versions in
    /// between.
    pub fn wait(&self, after: u64, timeout: Duration) -> Option<Arc<Snapshot>> {
        self.subscribers.wait_while(Instant::now().checked_add(timeout), || self.version() <= after);
        self.latest().filter(|latest| latest.version > after)
    }

    /// Wakes `waker` after each change until the returned subscription is dropped. An earlier change does not wake it:
    /// subscribe first, then read [`latest`](Self::latest).
    pub fn subscribe(&self, waker: Waker) -> Subscription<'_> {
        self.subscribers.subscribe(waker)
    }
}

#[cfg(test)]
mod tests;
