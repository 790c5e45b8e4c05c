//! Publishers and owners of one sender, as `service/cast` has them, in miniature.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use mapcast::frame::{Frame, FrameReader};
use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::thread;

use crate::frame_sender::{FrameSender, Notify, SendStatus, Socket};

/// Changes that are published in each model.
const CHANGES: u64 = 3;

/// A socket's send buffer: room for so many bytes, and a reader that makes room.
#[derive(Default)]
struct Pipe {
    state: Mutex<Buffer>,
    roomy: Condvar,
    taking: Condvar,
}

#[derive(Default)]
struct Buffer {
    room: usize,
    taken: Vec<u8>,
}

impl Pipe {
    fn make_room(&self, bytes: usize) {
        self.state.lock().unwrap().room += bytes;
        self.roomy.notify_all();
    }

    /// What a poll for writing does.
    fn wait_room(&self) {
        let state = self.state.lock().unwrap();
        drop(self.roomy.wait_while(state, |state| state.room == 0).unwrap());
    }

    /// Waits until so many bytes have come.
    fn wait_bytes(&self, bytes: usize) {
        let state = self.state.lock().unwrap();
        drop(self.taking.wait_while(state, |state| state.taken.len() < bytes).unwrap());
    }

    /// Waits until the last change has come whole.
    fn wait_last_change(&self) {
        let last = frame(CHANGES);
        let state = self.state.lock().unwrap();
        drop(self.taking.wait_while(state, |state| !state.taken.ends_with(last.as_bytes())).unwrap());
    }

    /// The versions that arrived, each in a whole frame: anything else fails the model.
    fn versions(&self) -> Vec<u64> {
        let taken = self.state.lock().unwrap().taken.clone();
        let mut frames = FrameReader::new(taken.as_slice(), 100);
        let mut versions = Vec::new();
        while let Some(payload) = frames.read_frame().expect("whole frames") {
            versions.push(String::from_utf8(payload).expect("digits").trim().parse().expect("a version"));
        }
        versions
    }
}

impl Socket for Arc<Pipe> {
    fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state.lock().unwrap();
        let sent = bytes.len().min(state.room);
        if sent == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        state.room -= sent;
        state.taken.extend_from_slice(&bytes[..sent]);
        self.taking.notify_all();
        Ok(sent)
    }
}

/// The notifier: bits that stay pending until they are taken.
#[derive(Default)]
struct Notifier {
    pending: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Notifier {
    fn notify_stop(&self) {
        self.pending.lock().unwrap().1 = true;
        self.changed.notify_all();
    }

    /// Waits for news or the stop. Returns true if and only if it is the stop.
    fn wait(&self) -> bool {
        let pending = self.pending.lock().unwrap();
        let mut pending = self.changed.wait_while(pending, |pending| !pending.0 && !pending.1).unwrap();
        pending.0 = false;
        pending.1
    }
}

impl Notify for Arc<Notifier> {
    fn notify_pending(&self) {
        self.pending.lock().unwrap().0 = true;
        self.changed.notify_all();
    }
}

type ModelSender = FrameSender<Arc<Pipe>, Arc<Notifier>>;

/// The feed and its subscribers.
#[derive(Default)]
struct Cast {
    latest: Mutex<u64>,
    subscribers: Mutex<Vec<Arc<ModelSender>>>,
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
    /// due for a repeat.
    fn serve(&self, sender: &Arc<ModelSender>, pipe: &Pipe, notifier: &Notifier, repeat_before: Option<Instant>) {
        self.subscribers.lock().unwrap().push(Arc::clone(sender));
        loop {
            flush(sender, pipe);
            let latest = *self.latest.lock().unwrap();
            if latest > 0 {
                let left = sender.begin(&frame(latest), latest, repeat_before).unwrap();
                wait_out(sender, pipe, left);
            }
            if notifier.wait() {
                break;
            }
        }
        sender.close();
        flush(sender, pipe);
    }
}

fn flush(sender: &ModelSender, pipe: &Pipe) {
    let left = sender.flush().unwrap();
    wait_out(sender, pipe, left);
}

fn wait_out(sender: &ModelSender, pipe: &Pipe, mut left: SendStatus) {
    while left != SendStatus::Idle {
        pipe.wait_room();
        left = sender.flush().unwrap();
    }
}

/// One client with `room` in its socket, its thread, and the cast.
fn connect(room: usize) -> (Arc<Cast>, Arc<ModelSender>, Arc<Pipe>, Arc<Notifier>) {
    let (pipe, notifier) = (Arc::new(Pipe::default()), Arc::new(Notifier::default()));
    pipe.make_room(room);
    let sender = Arc::new(FrameSender::new(Arc::clone(&pipe), Arc::clone(&notifier)));
    (Arc::new(Cast::default()), sender, pipe, notifier)
}

/// Publishes all changes, one after the other.
fn publish_all(cast: &Arc<Cast>) -> thread::JoinHandle<()> {
    let cast = Arc::clone(cast);
    thread::spawn(move || (1..=CHANGES).for_each(|version| cast.publish(version)))
}

/// Offers the newest change from beside the publisher, once for each.
fn aid(cast: &Arc<Cast>) -> thread::JoinHandle<()> {
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

fn assert_forward(versions: &[u64]) {
    assert!(versions.is_sorted_by(|one, next| one < next), "again, or back: {versions:?}");
}

/// Later than any frame of a model is started: everything is always due.
fn far_future() -> Instant {
    Instant::now() + Duration::from_hours(1)
}

/// Whenever the client comes, it has the last change in the end, and nothing twice or backwards. One that misses it
/// waits for ever, which shuttle reports as a deadlock.
pub(crate) fn publish_against_connect() {
    let (cast, sender, pipe, notifier) = connect(1000);
    let (publisher, helper) = (publish_all(&cast), aid(&cast));
    let owner = {
        let (cast, pipe, notifier) = (Arc::clone(&cast), Arc::clone(&pipe), Arc::clone(&notifier));
        thread::spawn(move || cast.serve(&sender, &pipe, &notifier, None))
    };
    publisher.join().unwrap();
    helper.join().unwrap();
    pipe.wait_last_change();
    notifier.notify_stop();
    owner.join().unwrap();
    assert_forward(&pipe.versions());
}

/// However slowly room is made, frames are whole and in order, and the last change comes in the end, without another
/// event to wake the thread for it.
pub(crate) fn publish_against_slow_write() {
    let (cast, sender, pipe, notifier) = connect(3);
    let owner = {
        let (cast, pipe, notifier) = (Arc::clone(&cast), Arc::clone(&pipe), Arc::clone(&notifier));
        thread::spawn(move || cast.serve(&sender, &pipe, &notifier, None))
    };
    let (publisher, helper) = (publish_all(&cast), aid(&cast));
    let reader = {
        let pipe = Arc::clone(&pipe);
        thread::spawn(move || (0..6).for_each(|_| pipe.make_room(10)))
    };
    for thread in [publisher, helper, reader] {
        thread.join().unwrap();
    }
    // There is room for everything now: nothing but the notification that a publisher owed brings the last change.
    pipe.wait_last_change();
    notifier.notify_stop();
    owner.join().unwrap();
    assert_forward(&pipe.versions());
}

/// Whenever the stop comes, what was started is finished and nothing is started after it.
pub(crate) fn publish_against_stop() {
    let (cast, sender, pipe, notifier) = connect(3);
    let owner = {
        let (cast, pipe, notifier) = (Arc::clone(&cast), Arc::clone(&pipe), Arc::clone(&notifier));
        thread::spawn(move || {
            cast.serve(&sender, &pipe, &notifier, None);
            pipe.state.lock().unwrap().taken.len()
        })
    };
    let (publisher, helper) = (publish_all(&cast), aid(&cast));
    let reader = {
        let pipe = Arc::clone(&pipe);
        thread::spawn(move || (0..10).for_each(|_| pipe.make_room(10)))
    };
    notifier.notify_stop();
    let at_the_end = owner.join().unwrap();
    for thread in [publisher, helper, reader] {
        thread.join().unwrap();
    }
    assert_forward(&pipe.versions());
    assert_eq!(pipe.state.lock().unwrap().taken.len(), at_the_end, "started after the end");
}

/// Whatever a repeat meets - a change, a full socket, the owner at work, the stop - frames stay whole, none is older than
/// the one before, and none is started after the end.
pub(crate) fn repeat_against_change_and_stop() {
    let (cast, sender, pipe, notifier) = connect(17);
    let owner = {
        let (cast, pipe, notifier) = (Arc::clone(&cast), Arc::clone(&pipe), Arc::clone(&notifier));
        thread::spawn(move || {
            cast.serve(&sender, &pipe, &notifier, None);
            pipe.state.lock().unwrap().taken.len()
        })
    };
    let source = publish_all(&cast);
    let publisher = {
        let cast = Arc::clone(&cast);
        thread::spawn(move || (0..CHANGES).for_each(|_| cast.repeat(far_future())))
    };
    let reader = {
        let pipe = Arc::clone(&pipe);
        thread::spawn(move || (0..10).for_each(|_| pipe.make_room(10)))
    };
    notifier.notify_stop();
    let at_the_end = owner.join().unwrap();
    for thread in [source, publisher, reader] {
        thread.join().unwrap();
    }
    let versions = pipe.versions();
    assert!(versions.is_sorted(), "back: {versions:?}");
    assert_eq!(pipe.state.lock().unwrap().taken.len(), at_the_end, "started after the end");
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
    let (cast, sender, pipe, notifier) = connect(room);
    *cast.latest.lock().unwrap() = 1;
    let owner = {
        let (cast, pipe, notifier) = (Arc::clone(&cast), Arc::clone(&pipe), Arc::clone(&notifier));
        thread::spawn(move || cast.serve(&sender, &pipe, &notifier, Some(far_future())))
    };
    // The first frame has been started: what is started from here on is a repeat.
    pipe.wait_bytes(room.min(whole));
    let publisher = {
        let cast = Arc::clone(&cast);
        thread::spawn(move || cast.repeat(far_future()))
    };
    pipe.make_room(whole * 4);
    pipe.wait_bytes(whole * 2);
    publisher.join().unwrap();
    notifier.notify_stop();
    owner.join().unwrap();
    pipe.versions();
}
