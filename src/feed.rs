//! The feed: the current map, encoded once, however many send it.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::backlog::Backlog;
use crate::format::{self, Format};
use crate::frame::{self, Frame};
use crate::map::Map;
use crate::stats::histogram::Histogram;
use crate::sync::{AtomicU64, Condvar, Mutex, MutexGuard, Ordering, PoisonError, RwLock};

/// Up to which durations rounds are counted: 1 ms to 10 s. A change to 9,000 clients takes some 50 ms.
const ROUNDS: &[Duration] = &[
    Duration::from_millis(1),
    Duration::from_millis(3),
    Duration::from_millis(10),
    Duration::from_millis(30),
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(10),
];

/// Why a map was not published. The one before it stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The map has no form in the feed's format.
    #[error(transparent)]
    Format(#[from] format::Error),
    /// The value takes no bytes at all, and a frame of length 0 means "nothing changed". No map is such a value.
    #[error("a value that takes no bytes as {0} cannot be told from \"nothing changed\"; publish a map or a structure")]
    Empty(Format),
    /// The encoded map is above the limit for a frame.
    #[error("the map takes {len} bytes as {format}, above the limit of {max}")]
    TooLarge {
        /// Bytes of the encoded map.
        len: usize,
        /// The limit in bytes.
        max: usize,
        /// The feed's format.
        format: Format,
    },
}

/// One state of the feed: what is sent until the next one.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts the changes, from 1. Grows by one with each.
    pub version: u64,
    /// The encoded map with its header.
    pub frame: Frame,
    /// When it was published.
    pub published: Instant,
    /// How old the map was then: zero, unless an earlier server had published it.
    pub age_before: Duration,
}

impl Snapshot {
    /// The time since the map changed to this one.
    pub fn age(&self) -> Duration {
        self.published.elapsed().saturating_add(self.age_before)
    }
}

/// The current map, encoded once and shared by everyone who sends it. Shared by reference or in an [`Arc`].
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
    /// Guards the pointer alone: it is held for one clone or one store, never while encoding, waking or writing. Not
    /// arc-swap: each new thread walks its list of debts, which made connecting 9,000 clients cost N squared.
    current: RwLock<Option<Arc<Snapshot>>>,
    /// The version of `current`, to look at without its lock. 0 before the first map.
    version: AtomicU64,
    /// ReadCount first and held through a publication, so that two publishers cannot store out of order.
    publishing: Mutex<()>,
    /// Guards the list of those to wake; held while it is changed or copied, never while anyone is woken.
    subscribers: Mutex<WakerList>,
    /// Wakes those in [`wait`](Self::wait); waited on with `subscribers`.
    changed: Condvar,
    /// How long changes took to go round: counted by those who send them.
    rounds: Histogram,
    /// The newest version that went round; 0 before the first.
    offered: AtomicU64,
    backlog: Arc<Backlog>,
}

#[derive(Debug, Default)]
struct WakerList {
    next_id: u64,
    wakers: HashMap<u64, Waker>,
}

/// A place in the list of those whom the feed wakes. Given back when dropped.
#[derive(Debug)]
pub struct Subscription<'feed> {
    feed: &'feed Feed,
    id: u64,
}

impl Feed {
    /// Returns a feed that has no map yet. Maps of more than `max_frame` encoded bytes will be refused. Older maps that slow
    /// peers have not taken yet may take [`Backlog::default_limit`] bytes.
    pub fn new(format: Format, max_frame: usize) -> Self {
        Self {
            format,
            max_frame,
            current: RwLock::new(None),
            version: AtomicU64::new(0),
            publishing: Mutex::new(()),
            subscribers: Mutex::default(),
            changed: Condvar::new(),
            rounds: Histogram::new(ROUNDS),
            offered: AtomicU64::new(0),
            backlog: Arc::new(Backlog::new(Backlog::default_limit(max_frame))),
        }
    }

    /// Sets how many bytes older maps that slow peers have not taken yet may have, over all peers together.
    #[must_use]
    pub fn with_max_backlog(self, max: usize) -> Self {
        Self { backlog: Arc::new(Backlog::new(max)), ..self }
    }

    /// Where those who send this feed's maps count what their peers are slow to take.
    pub fn backlog(&self) -> &Arc<Backlog> {
        &self.backlog
    }

    /// How long changes took until everyone had been offered them, or those of one publisher where there are several.
    pub(crate) fn rounds(&self) -> &Histogram {
        &self.rounds
    }

    /// Takes note that `snapshot` has been offered to everyone, or to all whom one of several publishers has; and of how long
    /// that took, if there was anyone.
    pub(crate) fn end_round(&self, snapshot: &Snapshot, was_anyone: bool) {
        if was_anyone {
            self.rounds.observe(snapshot.published.elapsed());
        }
        self.offered.fetch_max(snapshot.version, Ordering::SeqCst);
    }

    /// The newest version that has been offered to everyone; 0 before the first, and if nobody does that.
    pub(crate) fn offered(&self) -> u64 {
        self.offered.load(Ordering::SeqCst)
    }

    /// Makes `map` the current one and wakes everyone who waits. Returns true if and only if it differs from the one
    /// before: equal maps are equal bytes, and no change.
    ///
    /// # Errors
    /// If the map cannot be encoded or is too large; the one before it stays.
    pub fn publish(&self, map: &Map) -> Result<bool, Error> {
        self.publish_payload(&self.format.encode_map(map)?, Duration::ZERO)
    }

    /// As [`publish`](Self::publish), for a map that became the current one `age` ago, at an earlier server.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn publish_kept(&self, map: &Map, age: Duration) -> Result<bool, Error> {
        self.publish_payload(&self.format.encode_map(map)?, age)
    }

    /// As [`publish`](Self::publish), for a value of any serde type instead of a map.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn publish_typed<T: Serialize + ?Sized>(&self, value: &T) -> Result<bool, Error> {
        self.publish_payload(&self.format.encode(value)?, Duration::ZERO)
    }

    /// Returns `Ok` if and only if [`publish`](Self::publish) would take `map`, as a change or as none.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn check(&self, map: &Map) -> Result<(), Error> {
        self.age_of(map).map(|_| ())
    }

    /// As [`check`](Self::check). Returns the current map's age if `map` equals it, and zero if it would be a change.
    pub(crate) fn age_of(&self, map: &Map) -> Result<Duration, Error> {
        let frame = self.frame(&self.format.encode_map(map)?)?;
        Ok(self.latest().filter(|latest| latest.frame == frame).map_or(Duration::ZERO, |latest| latest.age()))
    }

    fn frame(&self, payload: &[u8]) -> Result<Frame, Error> {
        if payload.is_empty() {
            return Err(Error::Empty(self.format));
        }
        Frame::new(payload, self.max_frame).map_err(|error| match error {
            frame::Error::TooLarge { .. } => {
                Error::TooLarge { len: payload.len(), max: self.max_frame, format: self.format }
            }
            // Only its size can be wrong with a frame that is written.
            error => Error::Format(format::Error::Encode { format: self.format, source: error.into() }),
        })
    }

    fn publish_payload(&self, payload: &[u8], age_before: Duration) -> Result<bool, Error> {
        let frame = self.frame(payload)?;
        let publishing = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.latest().is_some_and(|latest| latest.frame == frame) {
            return Ok(false);
        }
        let version = self.version() + 1;
        let snapshot = Arc::new(Snapshot { version, frame, published: Instant::now(), age_before });
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(snapshot);
        self.version.store(version, Ordering::SeqCst);
        drop(publishing);
        self.wake_subscribers();
        Ok(true)
    }

    /// The current map as it is sent; `None` before the first.
    pub fn latest(&self) -> Option<Arc<Snapshot>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
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

    /// Waits until there is a newer map than version `after` and returns it, or `None` when `timeout` is over first.
    /// Versions in between are skipped.
    pub fn wait(&self, after: u64, timeout: Duration) -> Option<Arc<Snapshot>> {
        let subscribers = self.lock_subscribers();
        let (subscribers, _) = self
            .changed
            .wait_timeout_while(subscribers, timeout, |_| self.version() <= after)
            .unwrap_or_else(PoisonError::into_inner);
        drop(subscribers);
        self.latest().filter(|latest| latest.version > after)
    }

    /// Has `waker` woken after each change until the subscription is dropped. A change just before the call is not
    /// told: subscribe first, then read [`latest`](Self::latest).
    pub fn subscribe(&self, waker: Waker) -> Subscription<'_> {
        let mut subscribers = self.lock_subscribers();
        let id = subscribers.next_id;
        subscribers.next_id += 1;
        subscribers.wakers.insert(id, waker);
        Subscription { feed: self, id }
    }

    fn wake_subscribers(&self) {
        let subscribers = self.lock_subscribers();
        self.changed.notify_all();
        // A copy, so that nobody who comes or goes waits until thousands are awake.
        let wakers: Vec<Waker> = subscribers.wakers.values().cloned().collect();
        drop(subscribers);
        wakers.iter().for_each(Waker::wake_by_ref);
    }

    fn lock_subscribers(&self) -> MutexGuard<'_, WakerList> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Subscription<'_> {
    fn drop(&mut self) {
        self.feed.lock_subscribers().wakers.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::builtin;
    use std::task::Wake;
    use std::thread;

    fn feed() -> Feed {
        Feed::new(Format::Json, 100)
    }

    fn numbered(number: i64) -> Map {
        Map::from([("n".into(), number.into())])
    }

    #[test]
    fn nothing_is_sent_before_the_first_map() {
        assert!(feed().latest().is_none());
        assert_eq!(feed().version(), 0);
    }

    #[test]
    fn an_equal_map_is_no_change() {
        let feed = feed();
        assert!(feed.publish(&builtin()).unwrap());
        assert!(!feed.publish(&builtin()).unwrap());
        assert_eq!(feed.version(), 1);
    }

    #[test]
    fn a_map_of_an_earlier_server_keeps_its_age_until_it_changes() {
        let (feed, day) = (feed(), Duration::from_hours(24));
        assert!(feed.publish_kept(&numbered(1), day).unwrap());
        assert!(!feed.publish(&numbered(1)).unwrap());
        assert!(feed.latest().unwrap().age() >= day && feed.age_of(&numbered(1)).unwrap() >= day);
        assert_eq!(feed.age_of(&numbered(2)).unwrap(), Duration::ZERO);
        feed.publish(&numbered(2)).unwrap();
        assert!(feed.latest().unwrap().age() < day);
    }

    #[test]
    fn a_map_above_the_limit_is_refused_and_the_last_good_one_stays() {
        let feed = feed();
        feed.publish(&numbered(1)).unwrap();
        let large = Map::from([("text".into(), "x".repeat(200).into())]);
        assert!(matches!(feed.check(&large), Err(Error::TooLarge { len: 211, max: 100, .. })));
        assert!(matches!(feed.publish(&large), Err(Error::TooLarge { len: 211, max: 100, .. })));
        assert_eq!(feed.latest().unwrap().frame.payload(), br#"{"n":1}"#);
    }

    #[test]
    fn a_value_that_takes_no_bytes_is_refused() {
        let feed = Feed::new(Format::Bincode, 100);
        assert!(matches!(feed.publish_typed(&()), Err(Error::Empty(Format::Bincode))));
        assert!(feed.latest().is_none());
    }

    #[test]
    fn an_empty_map_is_a_map() {
        for format in Format::ALL {
            assert!(Feed::new(format, 100).publish(&Map::new()).unwrap(), "{format}");
        }
    }

    #[test]
    fn the_map_is_encoded_once_for_everyone() {
        let feed = feed();
        feed.publish(&builtin()).unwrap();
        let (first, second) = (feed.latest().unwrap(), feed.latest().unwrap());
        assert!(std::ptr::eq(first.frame.as_bytes(), second.frame.as_bytes()));
    }

    #[test]
    fn a_waiter_skips_to_the_newest_map() {
        let feed = feed();
        for number in 1..=5 {
            feed.publish(&numbered(number)).unwrap();
        }
        assert_eq!(feed.wait(1, Duration::ZERO).unwrap().version, 5);
        assert!(feed.wait(5, Duration::ZERO).is_none());
    }

    #[test]
    fn a_publication_ends_the_wait_for_it() {
        let feed = feed();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| feed.wait(0, Duration::from_hours(1)).unwrap().version);
            feed.publish(&builtin()).unwrap();
            assert_eq!(waiter.join().unwrap(), 1);
        });
    }

    #[derive(Default)]
    struct Count(AtomicU64);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_subscriber_is_woken_by_each_change_until_it_leaves() {
        let (feed, count) = (feed(), Arc::new(Count::default()));
        let subscription = feed.subscribe(count.clone().into());
        feed.publish(&numbered(1)).unwrap();
        feed.publish(&numbered(1)).unwrap();
        feed.publish(&numbered(2)).unwrap();
        drop(subscription);
        feed.publish(&numbered(3)).unwrap();
        assert_eq!(count.0.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn publishers_at_once_leave_the_versions_in_order() {
        let feed = feed();
        thread::scope(|scope| {
            for thread in 0..4 {
                let feed = &feed;
                scope.spawn(move || {
                    for number in 0..50 {
                        feed.publish(&numbered(thread * 1000 + number)).unwrap();
                    }
                });
            }
            let mut seen = 0;
            while seen < 200 {
                let snapshot = feed.wait(seen, Duration::from_mins(1)).expect("a newer map");
                assert!(snapshot.version > seen);
                seen = snapshot.version;
            }
        });
    }
}
