//! The library's publishers, helpers and subscribers, with clients that connect and leave. The threads of publishers and
//! helpers are the library's own. A client's thread does what the library's `Cast::serve` does.

use std::sync::Arc;
use std::time::Duration;

use mapcast::{DEFAULT_MAX_FRAME, Format};
use shuttle::rand::{Rng, thread_rng};
use shuttle::thread::{self, JoinHandle};

use super::SendMode;
use super::helper::start_helpers;
use super::publisher::start_publishers;
use super::subscribers::{ClientSubscription, Subscribers};
use crate::client::{ClientSender, Pipe, assert_ascending, finish, flush};
use crate::clock::{self, Instant};
use crate::feed::Feed;
use crate::threads::{Notifier, Threads, WakeReason, WorkerThread, waker};

/// The changes that each model publishes.
const CHANGES: u64 = 2;

/// The interval of the models of changes: no repeat is ever due.
const NEVER: Duration = Duration::from_hours(1);

/// The interval of the model of repeats: shorter than a thread's round.
const INTERVAL: Duration = Duration::from_secs(1);

/// What the threads of a model share.
struct Cast {
    feed: Arc<Feed>,
    subscribers: Subscribers,
}

impl Cast {
    fn new(interval: Duration) -> Arc<Self> {
        let feed = Arc::new(Feed::new(Format::Json, DEFAULT_MAX_FRAME));
        Arc::new(Self { feed, subscribers: Subscribers::new(interval) })
    }

    /// Starts the publishers. They send in batches in some schedules, and without in others.
    fn start_publishers(&self) -> Vec<WorkerThread> {
        start_publishers(&Threads::default(), &self.feed, &self.subscribers, some_mode()).unwrap()
    }

    /// Starts the helpers. They help with shards of any size.
    fn start_helpers(&self) -> Vec<WorkerThread> {
        start_helpers(&Threads::default(), &self.feed, &self.subscribers, &(0..=10), some_mode()).unwrap()
    }

    /// Starts a thread that publishes the numbers of the versions, one after the other.
    fn publish_all(self: &Arc<Self>) -> JoinHandle<()> {
        let cast = Arc::clone(self);
        thread::spawn(move || (1..=CHANGES).for_each(|version| assert!(cast.feed.publish_typed(&version).unwrap())))
    }

    /// Serves the client like the library's `Cast::serve`, until the calling thread is notified of the stop.
    fn serve(&self, sender: &ClientSender, subscription: &ClientSubscription<'_>) {
        loop {
            flush(sender);
            if let Some(latest) = self.feed.latest() {
                let repeat_before = subscription.repeat_before(Instant::now());
                finish(sender, sender.begin(&latest.frame, latest.version, repeat_before).unwrap());
            }
            if sender.notifier().wait(None).contains(WakeReason::Stop) {
                break;
            }
        }
        sender.close();
        flush(sender);
    }
}

/// Returns a random one of the modes with publishers.
fn some_mode() -> SendMode {
    if thread_rng().gen_bool(0.5) { SendMode::Batch } else { SendMode::Plain }
}

/// Returns a client whose socket accepts every frame. The calling thread owns it.
fn client() -> Arc<ClientSender> {
    Arc::new(ClientSender::new(Pipe::with_room(1000), Notifier::for_current_thread()))
}

/// Waits until the last change has arrived.
fn wait_last_change(sender: &ClientSender) {
    sender.socket().wait_end(CHANGES.to_string().as_bytes());
}

/// Serves `sender` until the last change has arrived, and checks the order of what it received.
fn serve_until_last_change(cast: &Cast, sender: &Arc<ClientSender>) {
    let stopper = {
        let sender = Arc::clone(sender);
        thread::spawn(move || {
            wait_last_change(&sender);
            sender.notifier().notify(WakeReason::Stop);
        })
    };
    let subscription = cast.subscribers.subscribe(sender);
    cast.serve(sender, &subscription);
    drop(subscription);
    stopper.join().unwrap();
    assert_ascending(&sender.socket().versions());
}

/// A client that connects before, during or after the changes gets the last change, and no version twice or after a newer one.
/// If no thread sends it, a thread waits for ever, which shuttle reports as a deadlock.
pub(crate) fn subscribe_against_publish() {
    clock::start(0);
    let cast = Cast::new(NEVER);
    let threads = (cast.start_publishers(), cast.start_helpers());
    let source = cast.publish_all();
    serve_until_last_change(&cast, &client());
    source.join().unwrap();
    drop(threads);
}

/// The same for a client whose first frame another thread has sent, whole or in part, before its own thread runs.
pub(crate) fn first_frame_against_publish() {
    clock::start(0);
    let cast = Cast::new(NEVER);
    let threads = (cast.start_publishers(), cast.start_helpers());
    let source = cast.publish_all();
    let pipe = Pipe::with_room(thread_rng().gen_range(0..20));
    let sender = Arc::new(ClientSender::new(pipe, Notifier::without_owner()));
    if let Some(latest) = cast.feed.latest() {
        sender.begin(&latest.frame, latest.version, None).unwrap();
    }
    let client = {
        let (cast, sender) = (Arc::clone(&cast), Arc::clone(&sender));
        thread::spawn(move || {
            sender.notifier().adopt();
            serve_until_last_change(&cast, &sender);
        })
    };
    sender.socket().make_room(1000);
    client.join().unwrap();
    source.join().unwrap();
    drop(threads);
}

/// The same holds without publishers: the feed wakes the client's own thread.
pub(crate) fn subscribe_against_publish_by_thread() {
    clock::start(0);
    let cast = Cast::new(NEVER);
    let (source, sender) = (cast.publish_all(), client());
    let changes = cast.feed.subscribe(waker(&sender, WakeReason::Update));
    serve_until_last_change(&cast, &sender);
    drop(changes);
    source.join().unwrap();
}

/// Three clients, two of them in one batch and one of them slow, get the last change.
pub(crate) fn publish_to_several_against_slow_write() {
    clock::start(0);
    let cast = Cast::new(NEVER);
    let threads = (cast.start_publishers(), cast.start_helpers());
    let clients: Vec<_> = [1000, 3, 1000]
        .map(|room| {
            let cast = Arc::clone(&cast);
            thread::spawn(move || {
                let sender = Arc::new(ClientSender::new(Pipe::with_room(room), Notifier::for_current_thread()));
                let reader = {
                    let sender = Arc::clone(&sender);
                    thread::spawn(move || (0..6).for_each(|_| sender.socket().make_room(10)))
                };
                serve_until_last_change(&cast, &sender);
                reader.join().unwrap();
            })
        })
        .into();
    let source = cast.publish_all();
    for client in clients {
        client.join().unwrap();
    }
    source.join().unwrap();
    drop(threads);
}

/// A publisher that is stopped before, while or after it sends notifies each client's thread, which then sends what the
/// publisher has not sent.
pub(crate) fn stop_against_publish() {
    clock::start(0);
    let cast = Cast::new(NEVER);
    let publishers = cast.start_publishers();
    let sender = client();
    let subscription = cast.subscribers.subscribe(&sender);
    let source = cast.publish_all();
    let stopper = {
        let sender = Arc::clone(&sender);
        thread::spawn(move || {
            source.join().unwrap();
            drop(publishers);
            wait_last_change(&sender);
            sender.notifier().notify(WakeReason::Stop);
        })
    };
    cast.serve(&sender, &subscription);
    stopper.join().unwrap();
    assert!(!subscription.has_publisher());
    assert_ascending(&sender.socket().versions());
}

/// Two clients connect to a publisher without clients, and one leaves while repeats are due. The publisher alone sends the
/// repeats of the other client. The client that has left is sent nothing after its end.
pub(crate) fn leave_against_repeat() {
    // More than the three frames that the model waits for: a wait may also time out before a repeat is due.
    clock::start(8);
    let cast = Cast::new(INTERVAL);
    assert!(cast.feed.publish_typed(&1).unwrap());
    let publishers = cast.start_publishers();
    let leaver = {
        let cast = Arc::clone(&cast);
        thread::spawn(move || {
            let sender = client();
            drop(cast.subscribers.subscribe(&sender));
            sender.close();
            let sent = sender.socket().bytes();
            (sender, sent)
        })
    };
    let sender = client();
    let subscription = cast.subscribers.subscribe(&sender);
    let whole = cast.feed.latest().unwrap().frame.as_bytes().len();
    sender.socket().wait_bytes(3 * whole);
    let (left, sent) = leaver.join().unwrap();
    assert!(subscription.has_publisher());
    drop(subscription);
    drop(publishers);
    assert_eq!(left.socket().bytes(), sent, "a frame was sent after the end");
    assert!(sender.socket().versions().iter().all(|version| *version == 1));
}
