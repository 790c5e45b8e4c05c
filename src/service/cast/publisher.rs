//! The threads that send changes and repeats to everyone for whom nobody has to wait.

use std::hint::black_box;
use std::io;
use std::sync::{Arc, Weak, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::audience::{Audience, Client, Share};
use crate::connection::{Bell, Belled, Cause};
use crate::feed::{Feed, Snapshot};

/// Sends after which a publisher looks at the clock again: 32, some 0.3 ms.
const CLOCK_PERIOD: usize = 32;

/// How many clients ahead of the one that is sent to memory is fetched: four sends take longer than that does.
const AHEAD: usize = 4;

/// Repeats after which a publisher looks for a change: 256, some 2 ms.
const BATCH: usize = 256;

/// How much earlier than it is due a repeat may be sent, so that one wake-up, which costs as much as a send or two, serves
/// several clients: a 128th of the period, at most 2 ms.
const SLACK_DIVISOR: u32 = 128;
const LONGEST_SLACK: Duration = Duration::from_millis(2);

/// One thread that sends to its share of the audience. Ends when it is dropped.
#[derive(Debug)]
pub(super) struct Publisher {
    bell: Arc<Bell>,
    /// Taken when the publisher is dropped.
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    /// Starts a publisher for each share.
    pub(super) fn start_all(feed: &Arc<Feed>, audience: &Audience) -> io::Result<Vec<Self>> {
        let start = |(number, share): (usize, &Arc<Share>)| Self::start(number, Arc::clone(feed), Arc::clone(share));
        audience.shares().iter().enumerate().map(start).collect()
    }

    fn start(number: usize, feed: Arc<Feed>, share: Arc<Share>) -> io::Result<Self> {
        let (bells, hung) = mpsc::sync_channel(1);
        let publish = move || {
            let bell = Arc::new(Bell::for_this_thread());
            let shift = Shift::begin(&bell, &feed, &share);
            // Nobody takes it if the starter has gone, which ends the thread as well.
            if bells.send(Arc::clone(&bell)).is_ok() {
                shift.publish();
            }
        };
        let thread = thread::Builder::new().name(format!("publisher-{number}")).spawn(publish)?;
        let bell = hung.recv().map_err(io::Error::other)?;
        Ok(Self { bell, thread: Some(thread) })
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.bell.ring(Cause::Stop);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("a publisher's thread panicked: the clients' own threads sent their maps");
        }
    }
}

/// A publisher at work. However it ends, every client's thread is then told that it is alone with its repeats.
struct Shift<'a> {
    bell: &'a Arc<Bell>,
    feed: &'a Feed,
    share: &'a Share,
    slack: Duration,
    /// The last version that everyone was offered.
    published: u64,
}

impl<'a> Shift<'a> {
    fn begin(bell: &'a Arc<Bell>, feed: &'a Feed, share: &'a Share) -> Self {
        share.engage(bell);
        Self { bell, feed, share, slack: (share.period() / SLACK_DIVISOR).min(LONGEST_SLACK), published: 0 }
    }

    /// Sends each change, and each repeat that is due, until the bell rings for the stop.
    fn publish(mut self) {
        let _subscription = self.feed.subscribe(self.bell.waker(Cause::News));
        let (mut everyone, mut edition) = (Vec::new(), 0);
        let mut due = Vec::new();
        loop {
            // Before the first wait too: a change just before the subscription rang for nobody.
            while let Some(latest) = self.feed.latest().filter(|latest| latest.version > self.published) {
                self.published = latest.version;
                self.share.list(&mut everyone, &mut edition);
                self.offer(latest, &everyone, |_, _| {});
            }
            let next = self.repeat(&mut due);
            if self.bell.wait(next).contains(Cause::Stop) {
                return;
            }
        }
    }

    /// Sends the map again to a batch of those who are due. Returns when the next one is.
    fn repeat(&self, due: &mut Vec<Client>) -> Option<Instant> {
        let now = Instant::now();
        self.share.take_due(now + self.slack, BATCH, due);
        let mut begun: Vec<(u64, Instant)> = Vec::with_capacity(due.len());
        match self.feed.latest() {
            Some(latest) => self.offer(latest, due, |id, then| begun.push((id, then))),
            None => begun.extend(due.iter().map(|(id, _)| (*id, now))),
        }
        due.clear();
        self.share.reschedule(begun.into_iter())
    }

    /// Offers `latest`, or what is newer by then, to `clients`; tells of each who is still there when its last frame was
    /// begun, or what time it is if its own thread looks after it.
    fn offer(&self, mut latest: Arc<Snapshot>, clients: &[Client], mut tell: impl FnMut(u64, Instant)) {
        let mut now = Instant::now();
        for (number, (id, outlet)) in clients.iter().enumerate() {
            // Reading a later client's counts brings what stands beside them into the cache while the kernel sends.
            if let Some((_, later)) = clients.get(number + AHEAD) {
                black_box(later.strong_count());
            }
            let Some(outlet) = Weak::upgrade(outlet) else { continue };
            if number % CLOCK_PERIOD == 0 {
                now = Instant::now();
            }
            // A change during the round: the rest gets the newest at once, those before it in the next round.
            if self.feed.version() != latest.version
                && let Some(newest) = self.feed.latest()
            {
                latest = newest;
            }
            let repeat_before = (now + self.slack).checked_sub(self.share.period());
            tell(*id, outlet.offer(&latest.frame, latest.version, repeat_before, now).unwrap_or(now));
        }
    }
}

impl Drop for Shift<'_> {
    fn drop(&mut self) {
        self.share.disengage();
    }
}
