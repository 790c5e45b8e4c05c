//! The threads that send a change from the other end of the publishers' shards, so that a fan-out to few takes half the
//! time where a core is idle. Each also checks that its publisher sends the repeats.

use std::hint::black_box;
use std::io;
use std::num::NonZero;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::publisher::SENDS_PER_CLOCK_READ;
use super::subscribers::{PREFETCH_DISTANCE, Shard, Subscribers, WeakSender};
use crate::feed::{Feed, Snapshot};
use crate::threads::{Notifier, WakeReason, WorkerThread, waker};
use crate::threads::{ROUND, Threads, Worker};

/// How many clients a shard has if it gets help. With fewer, its publisher needs a millisecond alone. With more, CPU counts
/// more than the time of one change, as it limits how many changes there can be: on two cores that 9,000 readers share,
/// help brought p99 from 57 to 51 ms, and CPU a delivery from 5.5 to 6.2 us (measured).
pub(super) const HELPER_RANGE: RangeInclusive<usize> = 256..=2048;

/// Bytes of a frame up to which there is help: with 16 KiB, for 1,000 clients, it brought CPU a delivery from 6.8 to 7.4 us,
/// and the last client had it no earlier (measured).
const MAX_HELPED_BYTES: usize = 4096;

/// How often the publisher is checked: four times an interval, but no more often than every 100 ms, and at least each time that
/// the thread comes round. Two checks in a row make a publisher count as stuck, so that its clients have a repeat that it did
/// not send half an interval late.
const CHECKS_PER_INTERVAL: u32 = 4;
const MIN_CHECK_PERIOD: Duration = Duration::from_millis(100);

/// True if and only if `latest` is sent from both ends to so many clients, where as many as `helped` get help.
pub(super) fn should_help(latest: &Snapshot, clients: usize, helped: &RangeInclusive<usize>) -> bool {
    latest.frame.as_bytes().len() <= MAX_HELPED_BYTES && helped.contains(&clients)
}

/// So many clients in a row that have the change already: the publisher has been there. Fewer may just have come.
const CATCH_UP_RUN: usize = 8;

/// Starts a helper for each publisher. It helps shards of so many clients as are `helped`, and none where there is one core
/// only.
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
            // What was there before is the clients' own to send.
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

/// Sends every change after the version that was `published` to those who get help, and checks the publisher, until the notifier
/// notifies for the stop.
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
        // Before the first wait too: no thread was subscribed to a change just before.
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

/// Finds out whether the publisher of a shard is stuck. If it is, each client's thread sends its own repeats until the publisher
/// goes on. Without this they would look for a repeat every eighth interval only, when the clients have long given up.
struct PublisherCheck<'shard> {
    shard: &'shard Shard,
    period: Duration,
    /// When the next check is due.
    due: Instant,
    /// The publisher's rounds at the last check, if it had a repeat to send.
    overdue: Option<u64>,
}

impl<'shard> PublisherCheck<'shard> {
    fn new(shard: &'shard Shard) -> Self {
        let period = (shard.period() / CHECKS_PER_INTERVAL).clamp(MIN_CHECK_PERIOD, ROUND);
        Self { shard, period, due: Instant::now() + period, overdue: None }
    }

    /// Checks the publisher at `now`, if that is due. A publisher that had a repeat to send at two checks in a row, and has not
    /// come round between them, is stuck. One check is not enough: after a pause of the whole process every repeat is overdue.
    fn run(&mut self, now: Instant) {
        if now < self.due {
            return;
        }
        self.due = now + self.period;
        let overdue = self.shard.overdue(now);
        if overdue.is_some() && overdue == self.overdue {
            log::debug!("repeats are overdue: each client's thread sends its own until the publisher goes on");
            self.shard.detach_publisher();
        }
        self.overdue = overdue;
    }
}

/// Offers `latest` to `clients`, the last one first, until the publisher is already_sent or there is something newer.
pub(super) fn send_from_the_end(worker: &Worker, feed: &Feed, latest: &Snapshot, clients: &[WeakSender]) {
    let mut already_sent = 0;
    for (number, client) in clients.iter().enumerate().rev() {
        // As the publisher does: while the kernel sends.
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
