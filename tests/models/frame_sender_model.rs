//! Publishers and the owner of one sender. The owner is the model's main thread.

use std::time::Duration;

use mapcast::frame::Frame;
use shuttle::sync::{Arc, Mutex};
use shuttle::thread::{self, JoinHandle};

use crate::client::{ClientSender, Pipe, assert_forward, flush, wait_out};
use crate::clock::{self, Instant};
use crate::threads::{Notifier, WakeReason};

/// Changes that are published in each model.
const CHANGES: u64 = 3;

/// The feed and its subscribers, in miniature: the sends of `service/cast` in any order.
#[derive(Default)]
struct Cast {
    latest: Mutex<u64>,
    subscribers: Mutex<Vec<Arc<ClientSender>>>,
}

fn frame(version: u64) -> Frame {
    Frame::new(format!("{version:>4}").as_bytes(), 100).unwrap()
}

impl Cast {
    /// As a source and its publisher do: the pointer first, then a copy of the list, then the sends.
    fn publish(&self, version: u64) {
        *self.latest.lock().unwrap() = version;
        let senders = self.subscribers.lock().unwrap().clone();
        for sender in senders {
            sender.try_send_frame(&frame(version), version, None, Instant::now());
        }
    }

    /// As a publisher does when everyone is due: every frame was started before `repeat_before`.
    fn repeat(&self, repeat_before: Instant) {
        let latest = *self.latest.lock().unwrap();
        let senders = self.subscribers.lock().unwrap().clone();
        for sender in senders {
            sender.try_send_frame(&frame(latest), latest, Some(repeat_before), Instant::now());
        }
    }

    /// As a connection's thread does, until it is notified of the stop. What was started no later than `repeat_before` is
    /// due for a repeat. Returns how many bytes have been sent then.
    fn serve(&self, sender: &Arc<ClientSender>, repeat_before: Option<Instant>) -> usize {
        self.subscribers.lock().unwrap().push(Arc::clone(sender));
        loop {
            flush(sender);
            let latest = *self.latest.lock().unwrap();
            if latest > 0 {
                let left = sender.begin(&frame(latest), latest, repeat_before).unwrap();
                wait_out(sender, left);
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

/// One client with `room` in its socket, whose owner is the calling thread, and the cast.
fn connect(room: usize) -> (Arc<Cast>, Arc<ClientSender>) {
    clock::start(0);
    (Arc::default(), Arc::new(ClientSender::new(Pipe::with_room(room), Notifier::for_current_thread())))
}

/// Does `work` with the sender on a thread of its own.
fn spawn(sender: &Arc<ClientSender>, work: impl FnOnce(&ClientSender) + Send + 'static) -> JoinHandle<()> {
    let sender = Arc::clone(sender);
    thread::spawn(move || work(&sender))
}

/// Publishes all changes, one after the other.
fn publish_all(cast: &Arc<Cast>) -> JoinHandle<()> {
    let cast = Arc::clone(cast);
    thread::spawn(move || (1..=CHANGES).for_each(|version| cast.publish(version)))
}

/// Offers the newest change from beside the publisher, once for each.
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

/// Makes room, a little at a time.
fn read(sender: &Arc<ClientSender>, times: usize) -> JoinHandle<()> {
    spawn(sender, move |sender| (0..times).for_each(|_| sender.socket().make_room(10)))
}

/// Notifies the owner of the stop, once the last change has come whole.
fn stop_after_the_last_change(sender: &Arc<ClientSender>) -> JoinHandle<()> {
    spawn(sender, |sender| {
        sender.socket().wait_end(frame(CHANGES).as_bytes());
        sender.notifier().notify(WakeReason::Stop);
    })
}

fn stop_at_once(sender: &Arc<ClientSender>) -> JoinHandle<()> {
    spawn(sender, |sender| sender.notifier().notify(WakeReason::Stop))
}

fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// Later than any frame of a model is started: everything is always due.
fn far_future() -> Instant {
    Instant::now() + Duration::from_hours(1)
}

/// Whenever the client comes, it has the last change in the end, and nothing twice or backwards. If it misses that change, it
/// waits for ever, which shuttle reports as a deadlock.
pub(crate) fn publish_against_connect() {
    let (cast, sender) = connect(1000);
    let threads = [publish_all(&cast), help(&cast), stop_after_the_last_change(&sender)];
    cast.serve(&sender, None);
    join(threads);
    assert_forward(&sender.socket().versions());
}

/// However slowly room is made, frames are whole and in order, and the last change comes in the end: the owner needs no other
/// event than the notification that a publisher owes it.
pub(crate) fn publish_against_slow_write() {
    let (cast, sender) = connect(3);
    let threads = [publish_all(&cast), help(&cast), read(&sender, 6), stop_after_the_last_change(&sender)];
    cast.serve(&sender, None);
    join(threads);
    assert_forward(&sender.socket().versions());
}

/// Whenever the stop comes, the frame in flight is finished and none is started after it.
pub(crate) fn publish_against_stop() {
    let (cast, sender) = connect(3);
    let threads = [publish_all(&cast), help(&cast), read(&sender, 10), stop_at_once(&sender)];
    let at_the_end = cast.serve(&sender, None);
    join(threads);
    assert_forward(&sender.socket().versions());
    assert_eq!(sender.socket().bytes(), at_the_end, "started after the end");
}

/// Whatever a repeat meets - a change, a full socket, the owner at work, the stop - frames stay whole, none is older than
/// the one before, and none is started after the end.
pub(crate) fn repeat_against_change_and_stop() {
    let (cast, sender) = connect(17);
    let publisher = {
        let cast = Arc::clone(&cast);
        thread::spawn(move || (0..CHANGES).for_each(|_| cast.repeat(far_future())))
    };
    let threads = [publish_all(&cast), publisher, read(&sender, 10), stop_at_once(&sender)];
    let at_the_end = cast.serve(&sender, None);
    join(threads);
    let versions = sender.socket().versions();
    assert!(versions.is_sorted(), "back: {versions:?}");
    assert_eq!(sender.socket().bytes(), at_the_end, "started after the end");
}

/// A repeat that finds no room, or only some, or the frame before it still in flight, is sent by the owner, without
/// another event to wake it. A lost one waits for ever, which shuttle reports as a deadlock.
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
            // The first frame has been started: what is started from here on is a repeat.
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
    sender.socket().versions();
}
