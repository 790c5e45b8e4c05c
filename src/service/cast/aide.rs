//! The threads that send a change from the other end of the publishers' shares, so that a fan-out to few takes half the
//! time where a core is idle.

use std::hint::black_box;
use std::io;
use std::num::NonZero;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::audience::{AHEAD, Audience, Client, Share};
use super::publisher::CLOCK_PERIOD;
use crate::connection::{Bell, Belled, BelledThread, Cause};
use crate::feed::{Feed, Snapshot};
use crate::threads::{Threads, Worker};

/// How many clients a share has if it gets help. With fewer, its publisher needs a millisecond alone. With more, CPU counts
/// more than the time of one change, as it limits how many changes there can be: on two cores that 9,000 readers share,
/// help brought p99 from 57 to 51 ms, and CPU a delivery from 5.5 to 6.2 us (measured).
pub(super) const HELPED: RangeInclusive<usize> = 256..=2048;

/// Bytes of a frame up to which there is help: with 16 KiB, for 1,000 clients, it brought CPU a delivery from 6.8 to 7.4 us,
/// and the last client had it no earlier (measured).
const MOST_BYTES: usize = 4096;

/// True if and only if `latest` is sent from both ends to so many clients, where as many as `helped` get help.
pub(super) fn is_helped(latest: &Snapshot, clients: usize, helped: &RangeInclusive<usize>) -> bool {
    latest.frame.as_bytes().len() <= MOST_BYTES && helped.contains(&clients)
}

/// So many clients in a row that have the change already: the publisher has been there. Fewer may just have come.
const MET: usize = 8;

/// Starts an aide for each publisher, for shares of so many clients as are `helped`; none where there is one core only.
pub(super) fn start_aides(
    threads: &Threads,
    feed: &Arc<Feed>,
    audience: &Audience,
    helped: &RangeInclusive<usize>,
) -> io::Result<Vec<BelledThread>> {
    if thread::available_parallelism().map_or(1, NonZero::get) < 2 {
        return Ok(Vec::new());
    }
    let start = |(number, share): (usize, &Arc<Share>)| {
        let (feed, share, helped) = (Arc::clone(feed), Arc::clone(share), helped.clone());
        BelledThread::start(threads, &format!("aide-{number}"), "helping to send the map", move |bell, worker| {
            // What was there before is the clients' own to send.
            let published = feed.version();
            let (bell, worker, feed) = (Arc::clone(bell), Arc::clone(worker), Arc::clone(&feed));
            let (share, helped) = (Arc::clone(&share), helped.clone());
            move || help(&bell, &worker, &feed, published, &share, &helped)
        })
    };
    audience.shares().iter().enumerate().map(start).collect()
}

/// Sends every change after the version that was `published` to those who get help, until the bell rings for the stop.
fn help(
    bell: &Arc<Bell>,
    worker: &Worker,
    feed: &Feed,
    mut published: u64,
    share: &Share,
    helped: &RangeInclusive<usize>,
) {
    share.keep_aide();
    let _subscription = feed.subscribe(bell.waker(Cause::News));
    let (mut everyone, mut edition) = (Vec::new(), 0);
    loop {
        // Before the first wait too: a change just before the subscription rang for nobody.
        while let Some(latest) = feed.latest().filter(|latest| latest.version > published) {
            published = latest.version;
            if is_helped(&latest, share.clients(), helped) {
                share.list(&mut everyone, &mut edition);
                offer_from_the_end(worker, feed, &latest, &everyone);
            }
        }
        if bell.wait_round(worker, None).contains(Cause::Stop) {
            return;
        }
    }
}

/// Offers `latest` to `clients`, the last one first, until the publisher is met or there is something newer.
pub(super) fn offer_from_the_end(worker: &Worker, feed: &Feed, latest: &Snapshot, clients: &[Client]) {
    let mut met = 0;
    for (number, client) in clients.iter().enumerate().rev() {
        // As the publisher does: while the kernel sends.
        if let Some(later) = number.checked_sub(AHEAD) {
            black_box(clients[later].strong_count());
        }
        let Some(outlet) = client.upgrade() else { continue };
        if number.is_multiple_of(CLOCK_PERIOD) {
            worker.round();
        }
        let now = Instant::now();
        let begun = outlet.offer(&latest.frame, latest.version, None, now);
        met = if begun.is_none_or(|begun| begun == now) { 0 } else { met + 1 };
        if met == MET || feed.version() != latest.version {
            return;
        }
    }
}
