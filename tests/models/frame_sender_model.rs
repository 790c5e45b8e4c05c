//! One frame sender, its publishers and its owner. The owner is the model's main thread.

use std::time::Duration;

use mapcast::frame::Frame;
use shuttle::sync::{Arc, Mutex};
use shuttle::thread::{self, JoinHandle};

use crate::client::{ClientSender, Pipe, assert_ascending, finish, flush};
use crate::clock::{self, Instant};
use crate::threads::{Notifier, WakeReason};

/// The changes that each model publishes.
const CHANGES: u64 = 3;

/// A minimal feed with its subscribers. It sends like the publishers of `service/cast`, in any order.
#[derive(Default)]
struct Cast {
    latest: Mutex<u64>,
    subscribers: Mutex<Vec<Arc<ClientSender>>>,
}

/// Returns the frame of `version`: all have the same length.
fn frame(version: u64) -> Frame {
    Frame::new(format!("{version:>4}").as_bytes(), 100).unwrap()
}

impl Cast {
    /// Publishes like a source and a publisher: stores the version, copies the list, then sends.
    fn publish(&self, version: u64) {
        *self.latest.lock().unwrap() = version;
        let senders = self.subscribers.lock().unwrap().clone();
        for sender in senders {
            sender.try_send_frame(&frame(version), version, None, Instant::now());
        }
    }

    /// Sends a repeat like a publisher, to the subscribers whose last frame was started before `repeat_before`.
    fn repeat(&self, repeat_before: Instant) {
        let latest = *self.latest.lock().unwrap();
        let senders = self.subscribers.lock().unwrap().clone();
        for sender in senders {
            sender.try_send_frame(&frame(latest), latest, Some(repeat_before), Instant::now());
        }
    }

    /// Serves the client like a connection's thread, until the thread is notified of the stop. A repeat is due if the last frame
    /// was started no later than `repeat_before`. Returns how many bytes were sent until the end.
    fn serve(&self, sender: &Arc<ClientSender>, repeat_before: Option<Instant>) -> usize {
        self.subscribers.lock().unwrap().push(Arc::clone(sender));
        loop {
            flush(sender);
            let latest = *self.latest.lock().unwrap();
            if latest > 0 {
                let left = sender.begin(&frame(latest), latest, repeat_before).unwrap();
                finish(sender, left);
            }
            if sender.notifier().wait(None).contains(WakeReason::Stop) {
                break;
            }
        }
        sender.close();
        flush(sender);
        sender.socket().bytes()
    }
}

/// Returns the cast, and one client whose socket accepts `room` bytes. The calling thread owns the client.
fn connect(room: usize) -> (Arc<Cast>, Arc<ClientSender>) {
    clock::start(0);
    (Arc::default(), Arc::new(ClientSender::new(Pipe::with_room(room), Notifier::for_current_thread())))
}

/// Starts a thread that does `work` with the sender.
fn spawn(sender: &Arc<ClientSender>, work: impl FnOnce(&ClientSender) + Send + 'static) -> JoinHandle<()> {
    let sender = Arc::clone(sender);
    thread::spawn(move || work(&sender))
}

/// Starts a thread that publishes all changes, one after the other.
fn publish_all(cast: &Arc<Cast>) -> JoinHandle<()> {
    let cast = Arc::clone(cast);
    thread::spawn(move || (1..=CHANGES).for_each(|version| cast.publish(version)))
}

/// Starts a thread that sends the newest change like a helper, once for each change.
fn help(cast: &Arc<Cast>) -> JoinHandle<()> {
    let cast = Arc::clone(cast);
    thread::spawn(move || {
        for _ in 1..=CHANGES {
            let latest = *cast.latest.lock().unwrap();
            let senders = cast.subscribers.lock().unwrap().clone();
            for sender in senders.iter().filter(|_| latest > 0) {
                sender.try_send_frame(&frame(latest), latest, None, Instant::now());
            }
        }
    })
}

/// Starts a thread that reads from the socket `times` times, 10 bytes each time.
fn read(sender: &Arc<ClientSender>, times: usize) -> JoinHandle<()> {
    spawn(sender, move |sender| (0..times).for_each(|_| sender.socket().make_room(10)))
}

/// Starts a thread that notifies the owner of the stop when the last change has arrived whole.
fn stop_after_the_last_change(sender: &Arc<ClientSender>) -> JoinHandle<()> {
    spawn(sender, |sender| {
        sender.socket().wait_end(frame(CHANGES).as_bytes());
        sender.notifier().notify(WakeReason::Stop);
    })
}

/// Starts a thread that notifies the owner of the stop at any time.
fn stop_at_once(sender: &Arc<ClientSender>) -> JoinHandle<()> {
    spawn(sender, |sender| sender.notifier().notify(WakeReason::Stop))
}

fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// Returns a time after the start of every frame: a repeat is always due.
fn far_future() -> Instant {
    Instant::now() + Duration::from_hours(1)
}

/// Whenever the client connects, it gets the last change, and no version twice or after a newer one. If it missed that change,
/// the stopping thread would wait for ever, which shuttle reports as a deadlock.
pub(crate) fn publish_against_connect() {
    let (cast, sender) = connect(1000);
    let threads = [publish_all(&cast), help(&cast), stop_after_the_last_change(&sender)];
    cast.serve(&sender, None);
    join(threads);
    assert_ascending(&sender.socket().versions());
}

/// However slowly the client reads, frames are whole and in order, and the last change arrives. The only event that the owner
/// needs is the publisher's notification.
pub(crate) fn publish_against_slow_write() {
    let (cast, sender) = connect(3);
    let threads = [publish_all(&cast), help(&cast), read(&sender, 6), stop_after_the_last_change(&sender)];
    cast.serve(&sender, None);
    join(threads);
    assert_ascending(&sender.socket().versions());
}

/// Whenever the stop comes, the frame in flight is finished, and no other is started.
pub(crate) fn publish_against_stop() {
    let (cast, sender) = connect(3);
    let threads = [publish_all(&cast), help(&cast), read(&sender, 10), stop_at_once(&sender)];
    let sent = cast.serve(&sender, None);
    join(threads);
    assert_ascending(&sender.socket().versions());
    assert_eq!(sender.socket().bytes(), sent, "a frame was started after the end");
}

/// A repeat may coincide with a change, a full socket, a send by the owner, or the stop. Frames stay whole, none is older than
/// the one before it, and none is started after the end.
pub(crate) fn repeat_against_change_and_stop() {
    let (cast, sender) = connect(17);
    let publisher = {
        let cast = Arc::clone(&cast);
        thread::spawn(move || (0..CHANGES).for_each(|_| cast.repeat(far_future())))
    };
    let threads = [publish_all(&cast), publisher, read(&sender, 10), stop_at_once(&sender)];
    let sent = cast.serve(&sender, None);
    join(threads);
    let versions = sender.socket().versions();
    assert!(versions.is_sorted(), "out of order: {versions:?}");
    assert_eq!(sender.socket().bytes(), sent, "a frame was started after the end");
}

/// The owner sends a repeat for which the socket has not enough room, or which finds a frame in flight. The owner needs no other
/// event. If the repeat were lost, the reader would wait for ever, which shuttle reports as a deadlock.
pub(crate) fn repeat_against_slow_write() {
    let whole = frame(1).as_bytes().len();
    for room in [whole / 2, whole, whole + 3] {
        repeat_with_room(room, whole);
    }
}

fn repeat_with_room(room: usize, whole: usize) {
    let (cast, sender) = connect(room);
    *cast.latest.lock().unwrap() = 1;
    let publisher = {
        let cast = Arc::clone(&cast);
        spawn(&sender, move |sender| {
            // The first frame has been started: every later one is a repeat.
            sender.socket().wait_bytes(room.min(whole));
            cast.repeat(far_future());
        })
    };
    let reader = spawn(&sender, move |sender| {
        sender.socket().wait_bytes(room.min(whole));
        sender.socket().make_room(whole * 4);
        sender.socket().wait_bytes(whole * 2);
        sender.notifier().notify(WakeReason::Stop);
    });
    cast.serve(&sender, Some(far_future()));
    join([publisher, reader]);
    // Fails if a frame is not whole.
    sender.socket().versions();
}
