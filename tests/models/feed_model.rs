//! Publishers, readers, waiters and subscribers of one feed.

use std::time::Duration;

use mapcast::{Format, Map};
use shuttle::sync::Arc;
use shuttle::thread;

use crate::clock;
use crate::feed::Feed;
use crate::threads::{Notifier, WakeReason, waker};

/// Changes that each publisher makes.
const CHANGES: i64 = 2;

/// The clock stands still: a wait that no change ends is a deadlock, which shuttle reports.
const FOR_EVER: Duration = Duration::from_hours(1);

fn feed() -> Arc<Feed> {
    clock::start(0);
    Arc::new(Feed::new(Format::Json, 100))
}

fn numbered(number: i64) -> Map {
    Map::from([("n".into(), number.into())])
}

/// Publishes `CHANGES` maps that differ from all others. Each one is a change.
fn publish_from(feed: &Arc<Feed>, first: i64) -> thread::JoinHandle<()> {
    let feed = Arc::clone(feed);
    thread::spawn(move || {
        for number in first..first + CHANGES {
            assert!(feed.publish(&numbered(number)).unwrap());
        }
    })
}

/// Two threads publish and one reads: versions never go back for the reader, each one is one map, and the version that is read
/// without the lock can be read with its map.
pub(crate) fn publish_against_read() {
    let feed = feed();
    let publishers = [publish_from(&feed, 0), publish_from(&feed, 100)];
    let mut seen = (0, None);
    for _ in 0..4 {
        let announced = feed.version();
        let latest = feed.latest();
        let (version, payload) =
            latest.map_or((0, None), |latest| (latest.version, Some(latest.frame.payload().to_vec())));
        assert!(version >= announced, "version {announced} is announced, and the map has {version}");
        assert!(version >= seen.0, "back from {} to {version}", seen.0);
        assert!(version > seen.0 || payload == seen.1, "two maps of version {version}");
        seen = (version, payload);
    }
    for publisher in publishers {
        publisher.join().unwrap();
    }
    assert_eq!((feed.version(), feed.latest().unwrap().version), (4, 4));
}

/// Whenever it begins to wait, a waiter has the last change in the end, and none twice or backwards.
pub(crate) fn publish_against_wait() {
    let feed = feed();
    let publishers = [publish_from(&feed, 0), publish_from(&feed, 100)];
    let mut seen = 0;
    while seen < 4 {
        let version = feed.wait(seen, FOR_EVER).expect("a newer map").version;
        assert!(version > seen, "again, or back: {version} after {seen}");
        seen = version;
    }
    for publisher in publishers {
        publisher.join().unwrap();
    }
}

/// A thread that subscribes, then reads the feed, and reads it again whenever it is notified has the last change in the end. With
/// one publisher: a second one's wake-up would repair what the first forgot.
pub(crate) fn publish_against_subscribe() {
    let (feed, notifier) = (feed(), Arc::new(Notifier::for_current_thread()));
    let publisher = publish_from(&feed, 0);
    let subscription = feed.subscribe(waker(&notifier, WakeReason::Update));
    while feed.latest().is_none_or(|latest| latest.version < 2) {
        notifier.wait(None);
    }
    drop(subscription);
    publisher.join().unwrap();
}

/// If two threads publish equal maps at the same time, exactly one of them makes a change.
pub(crate) fn publish_the_same_twice() {
    let feed = feed();
    feed.publish(&numbered(0)).unwrap();
    let publishers = [0, 1].map(|_| {
        let feed = Arc::clone(&feed);
        thread::spawn(move || feed.publish(&numbered(1)).unwrap())
    });
    let changes = publishers.map(|publisher| publisher.join().unwrap()).into_iter().filter(|changed| *changed).count();
    assert_eq!((changes, feed.version()), (1, 2));
}
