//! One feed: threads that publish, read, wait and subscribe.

use std::time::Duration;

use mapcast::{Format, Map};
use shuttle::sync::Arc;
use shuttle::thread;

use crate::clock;
use crate::feed::Feed;
use crate::threads::{Notifier, WakeReason, waker};

/// The changes that each publishing thread makes.
const CHANGES: i64 = 2;

/// The clock stands still, so this never passes: a wait that no change ends is a deadlock, which shuttle reports.
const FOR_EVER: Duration = Duration::from_hours(1);

fn feed() -> Arc<Feed> {
    clock::start(0);
    Arc::new(Feed::new(Format::Json, 100))
}

fn numbered(number: i64) -> Map {
    Map::from([("n".into(), number.into())])
}

/// Starts a thread that publishes `CHANGES` maps, numbered from `first`. Each one is a change.
fn publish_from(feed: &Arc<Feed>, first: i64) -> thread::JoinHandle<()> {
    let feed = Arc::clone(feed);
    thread::spawn(move || {
        for number in first..first + CHANGES {
            assert!(feed.publish(&numbered(number)).unwrap());
        }
    })
}

/// Two threads publish and one reads. The reader's versions never decrease, each version is one map, and once
/// [`Feed::version`] has returned a version, [`Feed::latest`] returns that one or a newer one.
pub(crate) fn publish_against_read() {
    let feed = feed();
    let publishers = [publish_from(&feed, 0), publish_from(&feed, 100)];
    let mut seen = (0, None);
    for _ in 0..4 {
        let announced = feed.version();
        let latest = feed.latest();
        let (version, payload) =
            latest.map_or((0, None), |latest| (latest.version, Some(latest.frame.payload().to_vec())));
        assert!(version >= announced, "version() returned {announced}, and then latest() {version}");
        assert!(version >= seen.0, "{version} after {}", seen.0);
        assert!(version > seen.0 || payload == seen.1, "two maps have version {version}");
        seen = (version, payload);
    }
    for publisher in publishers {
        publisher.join().unwrap();
    }
    assert_eq!((feed.version(), feed.latest().unwrap().version), (4, 4));
}

/// Whenever a thread begins to wait, it gets the last change, and no version twice or after a newer one.
pub(crate) fn publish_against_wait() {
    let feed = feed();
    let publishers = [publish_from(&feed, 0), publish_from(&feed, 100)];
    let mut seen = 0;
    while seen < 4 {
        let version = feed.wait(seen, FOR_EVER).expect("a newer map").version;
        assert!(version > seen, "{version} after {seen}");
        seen = version;
    }
    for publisher in publishers {
        publisher.join().unwrap();
    }
}

/// A thread that subscribes, then reads the feed, and reads it again after each notification gets the last change. Only one
/// thread publishes: a notification by a second one would hide a lost notification by the first.
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

/// Of two threads that publish equal maps at the same time, exactly one makes a change.
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
