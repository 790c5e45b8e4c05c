//! Who is sent a change, and the threads that send it.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io;
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::connection::{Bell, Belled, Cause, ClientOutlet};
use crate::feed::Feed;

/// The most publisher threads: two. On two cores, with 9,000 readers on the same machine, a second one brought p50 from
/// 1.1 to 1.0 times that of bare sends, and CPU a delivery from 1.1 to 1.2 times theirs (measured).
const MOST_PUBLISHERS: usize = 2;

/// Sends after which a publisher looks at the clock again: 32, some 0.3 ms.
const CLOCK_PERIOD: usize = 32;

/// How many clients ahead of the one that is sent to memory is fetched: four sends take longer than that does.
const AHEAD: usize = 4;

/// Everyone who is sent the changes, in as many shares as there are publishers.
#[derive(Debug)]
pub(super) struct Audience {
    shares: Vec<Share>,
}

/// One publisher's share. The lock is held for one change of the list, or one copy of it; never while sending.
///
/// Weak, so that a client's socket is closed by its own thread, whatever a publisher is about.
type Share = Mutex<BTreeMap<u64, Weak<ClientOutlet>>>;

/// A client's place in the audience. Given back when dropped.
#[derive(Debug)]
pub(super) struct Seat<'audience> {
    share: &'audience Share,
    id: u64,
}

impl Audience {
    /// Returns an audience of nobody: a share for every two cores, at least one.
    pub(super) fn new() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Self { shares: (0..(cores / 2).clamp(1, MOST_PUBLISHERS)).map(|_| Share::default()).collect() }
    }

    /// Has the outlet of connection `id` sent each change, until the seat is dropped.
    pub(super) fn seat(&self, id: u64, outlet: &Arc<ClientOutlet>) -> Seat<'_> {
        #[allow(clippy::cast_possible_truncation, reason = "only the remainder counts")]
        let share = &self.shares[id as usize % self.shares.len()];
        lock(share).insert(id, Arc::downgrade(outlet));
        Seat { share, id }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        lock(self.share).remove(&self.id);
    }
}

fn lock(share: &Share) -> MutexGuard<'_, BTreeMap<u64, Weak<ClientOutlet>>> {
    share.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One thread that sends each change to its share of the audience. Ends when it is dropped.
#[derive(Debug)]
pub(super) struct Publisher {
    bell: Arc<Bell>,
    /// Taken when the publisher is dropped.
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    /// Starts a publisher for each share.
    pub(super) fn start_all(feed: &Arc<Feed>, audience: &Arc<Audience>) -> io::Result<Vec<Self>> {
        (0..audience.shares.len()).map(|share| Self::start(share, Arc::clone(feed), Arc::clone(audience))).collect()
    }

    fn start(share: usize, feed: Arc<Feed>, audience: Arc<Audience>) -> io::Result<Self> {
        let (bells, hung) = mpsc::sync_channel(1);
        let publish = move || {
            let bell = Arc::new(Bell::for_this_thread());
            // Nobody takes it if the starter has gone, which ends the thread as well.
            if bells.send(Arc::clone(&bell)).is_ok() {
                publish(&bell, &feed, &audience.shares[share]);
            }
        };
        let thread = thread::Builder::new().name(format!("publisher-{share}")).spawn(publish)?;
        let bell = hung.recv().map_err(io::Error::other)?;
        Ok(Self { bell, thread: Some(thread) })
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.bell.ring(Cause::Stop);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("a publisher's thread panicked: changes came late, from the clients' own threads");
        }
    }
}

/// Sends each change to everyone in `share`, until the bell rings for the stop.
fn publish(bell: &Arc<Bell>, feed: &Feed, share: &Share) {
    let _subscription = feed.subscribe(bell.waker(Cause::News));
    let mut published = 0;
    let mut outlets: Vec<Weak<ClientOutlet>> = Vec::new();
    loop {
        // Before the first wait too: a change just before the subscription rang for nobody.
        while let Some(mut latest) = feed.latest().filter(|latest| latest.version > published) {
            published = latest.version;
            outlets.extend(lock(share).values().cloned());
            let mut now = Instant::now();
            for (number, outlet) in outlets.iter().enumerate() {
                // Reading a later client's counts brings what stands beside them into the cache while the kernel sends.
                if let Some(later) = outlets.get(number + AHEAD) {
                    black_box(later.strong_count());
                }
                let Some(outlet) = outlet.upgrade() else { continue };
                if number % CLOCK_PERIOD == 0 {
                    now = Instant::now();
                }
                // A change during the round: the rest gets the newest at once, those before it in the next round.
                if feed.version() != latest.version
                    && let Some(newest) = feed.latest()
                {
                    latest = newest;
                }
                outlet.offer(&latest.frame, latest.version, now);
            }
            outlets.clear();
        }
        if bell.wait(None).contains(Cause::Stop) {
            return;
        }
    }
}
