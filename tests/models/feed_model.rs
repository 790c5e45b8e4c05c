//! Publishers, readers, waiters and subscribers of one feed.

use std::task::Wake;
use std::time::Duration;

use mapcast::{Format, Map};
use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::thread;

use crate::feed::Feed;

/// Changes that each publisher makes.
const CHANGES: i64 = 2;

/// Shuttle's clock stands still: a wait that is not ended by a change never ends, and is reported as a deadlock.
const FOR_EVER: Duration = Duration::from_hours(1);

fn feed() -> Arc<Feed> {
    Arc::new(Feed::new(Format::Json, 100))
}

fn numbered(number: i64) -> Map {
    Map::from([("n".into(), number.into())])
}

/// Publishes `CHANGES` maps that nobody else publishes. Every one is a change.
fn publish_from(feed: &Arc<Feed>, first: i64) -> thread::JoinHandle<()> {
    let feed = Arc::clone(feed);
    thread::spawn(move || {
        for number in first..first + CHANGES {
            assert!(feed.publish(&numbered(number)).unwrap());
        }
    })
}

/// Two publish and one reads: versions never go back for the reader, none is given twice, and the version that is told
/// without the lock is one that can be read.
pub(crate) fn publish_against_read() {
    let feed = feed();
    let publishers = [publish_from(&feed, 0), publish_from(&feed, 100)];
    let mut seen = (0, None);
    for _ in 0..4 {
        let told = feed.version();
        let latest = feed.latest();
        let (version, payload) =
            latest.map_or((0, None), |latest| (latest.version, Some(latest.frame.payload().to_vec())));
        assert!(version >= told, "version {told} was told, and {version} is what there is");
        assert!(version >= seen.0, "back from {} to {version}", seen.0);
        assert!(version > seen.0 || payload == seen.1, "two maps of version {version}");
        seen = (version, payload);
    }
    for publisher in publishers {
        publisher.join().unwrap();
    }
    assert_eq!((feed.version(), feed.latest().unwrap().version), (4, 4));
}

/// Whenever it begins to wait, a waiter has the last change in the end, and nothing twice or backwards.
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

/// Stays pending until it is taken, as the notifier of a publisher's thread.
#[derive(Default)]
struct Notifier {
    pending: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Notifier {
    fn wake(self: Arc<Self>) {
        *self.pending.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

impl Notifier {
    fn wait(&self) {
        let pending = self.pending.lock().unwrap();
        *self.changed.wait_while(pending, |pending| !*pending).unwrap() = false;
    }
}

/// Whenever it subscribes, one who looks at the feed first and whenever it is woken has the last change in the end. With
/// one publisher: a second one's wake-up would make good what the first forgot.
pub(crate) fn publish_against_subscribe() {
    let (feed, notifier) = (feed(), Arc::new(Notifier::default()));
    let publisher = publish_from(&feed, 0);
    let subscription = feed.subscribe(Arc::clone(&notifier).into());
    while feed.latest().is_none_or(|latest| latest.version < 2) {
        notifier.wait();
    }
    drop(subscription);
    publisher.join().unwrap();
}

/// Of two who publish equal maps at the same time, exactly one has made a change.
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
