//! Helper threads: send a change to a publisher's shard from its other end, which halves the time of a small fan-out where
//! a core is idle. Each also checks that its publisher sends the repeats.

use std::hint::black_box;
use std::io;
use std::num::NonZero;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::subscribers::{PREFETCH_DISTANCE, SENDS_PER_CLOCK_READ, Shard, Subscribers, WeakSender};
use crate::feed::{Feed, Snapshot};
use crate::sync::{Instant, thread};
use crate::threads::{Notifier, WakeReason, WorkerThread, waker};
use crate::threads::{ROUND, Threads, Worker};

/// The shard sizes, in clients, at which the helper sends: 256 to 2048. With fewer clients the publisher alone needs a
/// millisecond. With more, CPU matters more than the time of one change, because it limits the rate of changes: on two
/// cores shared with 9,000 readers, help changed p99 from 57 to 51 ms, and CPU per delivery from 5.5 to 6.2 us (measured).
pub(super) const HELPER_RANGE: RangeInclusive<usize> = 256..=2048;

/// The largest frame that the helper sends, in bytes: 4 KiB. With 16 KiB, for 1,000 clients, help raised CPU per delivery
/// from 6.8 to 7.4 us, and the last client received the frame no earlier (measured).
const MAX_HELPED_BYTES: usize = 4096;

/// How often the publisher is checked: four times per interval, at most every 100 ms, at least every [`ROUND`]. Two failed
/// checks in a row mean that the publisher is stuck, so that its clients get an unsent repeat half an interval late.
const CHECKS_PER_INTERVAL: u32 = 4;
const MIN_CHECK_PERIOD: Duration = Duration::from_millis(100);

/// True if and only if the helper sends `latest` to a shard of that many clients; `helped` is the range of shard sizes.
pub(super) fn should_help(latest: &Snapshot, clients: usize, helped: &RangeInclusive<usize>) -> bool {
    latest.frame.as_bytes().len() <= MAX_HELPED_BYTES && helped.contains(&clients)
}

/// How many clients in a row that have the change already show that the publisher has reached them: 8. Fewer may be new
/// clients.
const CATCH_UP_RUN: usize = 8;

/// Starts one helper per publisher. It sends to shards whose size is in `helped`, and to none on a single core.
pub(super) fn start_helpers(
    threads: &Threads,
    feed: &Arc<Feed>,
    subscribers: &Subscribers,
    helped: &RangeInclusive<usize>,
) -> io::Result<Vec<WorkerThread>> {
    #[allow(clippy::reversed_empty_ranges, reason = "no number of clients is in it")]
    let helped = if is_multicore() { helped.clone() } else { 1..=0 };
    let start = |(number, shard): (usize, &Arc<Shard>)| {
        let (feed, shard, helped) = (Arc::clone(feed), Arc::clone(shard), helped.clone());
        WorkerThread::start(threads, &format!("helper-{number}"), "helping to send the map", move |notifier, worker| {
            // Each client's own thread sends the map that exists already.
            let published = feed.version();
            let (notifier, worker, feed) = (Arc::clone(notifier), Arc::clone(worker), Arc::clone(&feed));
            let (shard, helped) = (Arc::clone(&shard), helped.clone());
            move || help(&notifier, &worker, &feed, published, &shard, &helped)
        })
    };
    subscribers.shards().iter().enumerate().map(start).collect()
}

/// True if and only if more than one thread runs at a time.
pub(super) fn is_multicore() -> bool {
    thread::available_parallelism().map_or(1, NonZero::get) > 1
}

/// Sends every change after version `published` to a shard of suitable size, and checks its publisher, until notified of
/// the stop.
fn help(
    notifier: &Arc<Notifier>,
    worker: &Worker,
    feed: &Feed,
    mut published: u64,
    shard: &Shard,
    helped: &RangeInclusive<usize>,
) {
    shard.register_helper();
    let _subscription = feed.subscribe(waker(notifier, WakeReason::Update));
    let (mut clients, mut generation) = (Vec::new(), 0);
    let mut check = PublisherCheck::new(shard);
    loop {
        // Checked before the first wait: a change before the subscription notified no thread.
        while let Some(latest) = feed.latest().filter(|latest| latest.version > published) {
            published = latest.version;
            if should_help(&latest, shard.clients(), helped) {
                shard.refresh_list(&mut clients, &mut generation);
                send_from_the_end(worker, feed, &latest, &clients);
            }
        }
        if notifier.wait_round(worker, Some(check.due)).contains(WakeReason::Stop) {
            return;
        }
        check.run(Instant::now());
    }
}

/// Detects a stuck publisher. While it is stuck, each client's thread sends its own repeats. Without this check the threads
/// would check for an unsent repeat only every eighth interval, long after their clients have timed out.
struct PublisherCheck<'shard> {
    shard: &'shard Shard,
    period: Duration,
    /// When the next check is due.
    due: Instant,
    /// The publisher's round count at the last check, if a repeat was overdue then.
    overdue: Option<u64>,
}

impl<'shard> PublisherCheck<'shard> {
    fn new(shard: &'shard Shard) -> Self {
        let period = (shard.period() / CHECKS_PER_INTERVAL).clamp(MIN_CHECK_PERIOD, ROUND);
        Self { shard, period, due: Instant::now() + period, overdue: None }
    }

    /// Checks the publisher if a check is due at `now`. It is stuck if a repeat was overdue at two checks in a row and it
    /// counted no round in between. One check is not enough: after a pause of the whole process every repeat is overdue.
    fn run(&mut self, now: Instant) {
        if now < self.due {
            return;
        }
        self.due = now + self.period;
        let overdue = self.shard.overdue(now);
        if overdue.is_some() && overdue == self.overdue {
            log::debug!("publisher is stuck: each client's thread sends its own repeats until it resumes");
            self.shard.detach_publisher();
        }
        self.overdue = overdue;
    }
}

/// Offers `latest` to `clients`, last one first, until it reaches those that the publisher has served or a newer map exists.
pub(super) fn send_from_the_end(worker: &Worker, feed: &Feed, latest: &Snapshot, clients: &[WeakSender]) {
    let mut already_sent = 0;
    for (number, client) in clients.iter().enumerate().rev() {
        // Prefetches as the publisher does.
        if let Some(later) = number.checked_sub(PREFETCH_DISTANCE) {
            black_box(clients[later].strong_count());
        }
        let Some(sender) = client.upgrade() else { continue };
        if number.is_multiple_of(SENDS_PER_CLOCK_READ) {
            worker.round();
        }
        let now = Instant::now();
        let started_at = sender.try_send_frame(&latest.frame, latest.version, None, now);
        already_sent = if started_at.is_none_or(|started_at| started_at == now) { 0 } else { already_sent + 1 };
        if already_sent == CATCH_UP_RUN || feed.version() != latest.version {
            return;
        }
    }
}
