//! The library's publishers, helpers and subscribers, and clients that come and go. A client's thread does what
//! `Cast::serve` does; the publishers' threads are the library's own.

use std::sync::Arc;
use std::time::Duration;

use mapcast::{DEFAULT_MAX_FRAME, Format};
use shuttle::rand::{Rng, thread_rng};
use shuttle::thread::{self, JoinHandle};

use super::SendMode;
use super::helper::start_helpers;
use super::publisher::start_publishers;
use super::subscribers::{ClientSubscription, Subscribers};
use crate::client::{ClientSender, Pipe, assert_forward, flush, wait_out};
use crate::clock::{self, Instant};
use crate::feed::Feed;
use crate::threads::{Notifier, Threads, WakeReason, WorkerThread, waker};

/// Changes that are published.
const CHANGES: u64 = 2;

/// No repeat is due in the models of changes.
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

    /// Starts publishers, in some schedules with batches and in others without.
    fn start_publishers(&self) -> Vec<WorkerThread> {
        start_publishers(&Threads::default(), &self.feed, &self.subscribers, some_mode()).unwrap()
    }

    /// Starts helpers that send to shards of any size.
    fn start_helpers(&self) -> Vec<WorkerThread> {
        start_helpers(&Threads::default(), &self.feed, &self.subscribers, &(0..=10), some_mode()).unwrap()
    }

    /// Publishes the versions as maps, one after the other.
    fn publish_all(self: &Arc<Self>) -> JoinHandle<()> {
        let cast = Arc::clone(self);
        thread::spawn(move || (1..=CHANGES).for_each(|version| assert!(cast.feed.publish_typed(&version).unwrap())))
    }

    /// As `Cast::serve` does, until its thread is notified of the stop.
    fn serve(&self, sender: &ClientSender, subscription: &ClientSubscription<'_>) {
        loop {
            flush(sender);
            if let Some(latest) = self.feed.latest() {
                let repeat_before = subscription.repeat_before(Instant::now());
                wait_out(sender, sender.begin(&latest.frame, latest.version, repeat_before).unwrap());
            }
            if sender.notifier().wait(None).contains(WakeReason::Stop) {
                break;
            }
        }
        sender.close();
        flush(sender);
    }
}

fn some_mode() -> SendMode {
    if thread_rng().gen_bool(0.5) { SendMode::Batch } else { SendMode::Plain }
}

/// A client with room for every frame, whose thread is the calling one.
fn client() -> Arc<ClientSender> {
    Arc::new(ClientSender::new(Pipe::with_room(1000), Notifier::for_current_thread()))
}

/// Waits until the last change has come.
fn wait_last_change(sender: &ClientSender) {
    sender.socket().wait_end(CHANGES.to_string().as_bytes());
}

/// Serves `sender`, whose last change is awaited by another thread, and checks what it was sent.
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
    assert_forward(&sender.socket().versions());
}

/// A client that comes before, while or after changes are published and sent has the last change in the end, and none twice
/// or backwards. If no thread sends it, the client waits for ever: a deadlock.
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

/// The same without publishers: the feed wakes the client's own thread.
pub(crate) fn subscribe_against_publish_by_thread() {
    clock::start(0);
    let cast = Cast::new(NEVER);
    let (source, sender) = (cast.publish_all(), client());
    let changes = cast.feed.subscribe(waker(&sender, WakeReason::Update));
    serve_until_last_change(&cast, &sender);
    drop(changes);
    source.join().unwrap();
}

/// Three clients, two of them in one batch, have the last change in the end, although one of them is slow.
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

/// A publisher that is stopped, before, while or after it sends, notifies each client's thread, which then sends what the
/// publisher has not.
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
    assert_forward(&sender.socket().versions());
}

/// Clients come while the publisher waits with none to send to, and one leaves while repeats are due: the other one has its
/// repeats from the publisher alone, and the one that left is sent nothing after its end.
pub(crate) fn leave_against_repeat() {
    // More than the repeats that are waited for: a wait that times out early is another one.
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
            let at_the_end = sender.socket().bytes();
            (sender, at_the_end)
        })
    };
    let sender = client();
    let subscription = cast.subscribers.subscribe(&sender);
    let whole = cast.feed.latest().unwrap().frame.as_bytes().len();
    sender.socket().wait_bytes(3 * whole);
    let (left, at_the_end) = leaver.join().unwrap();
    assert!(subscription.has_publisher());
    drop(subscription);
    drop(publishers);
    assert_eq!(left.socket().bytes(), at_the_end, "sent after the end");
    assert!(sender.socket().versions().iter().all(|version| *version == 1));
}
