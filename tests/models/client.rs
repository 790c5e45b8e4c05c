//! The socket of a client, and its sender with the library's notifier.

use std::io::{self, ErrorKind};
use std::net::Shutdown as Direction;

use mapcast::frame::{Frame, FrameReader};
use shuttle::sync::{Arc, Condvar, Mutex};

use crate::frame_sender::{FrameSender, Notify, SendStatus, Socket};
use crate::threads::{Notifier, WakeReason};

/// The sender of a model's client.
pub(crate) type ClientSender = FrameSender<Arc<Pipe>, Notifier>;

impl ClientSender {
    pub(crate) fn notifier(&self) -> &Notifier {
        self.owner()
    }
}

impl AsRef<Notifier> for ClientSender {
    fn as_ref(&self) -> &Notifier {
        self.owner()
    }
}

impl Notify for Notifier {
    fn notify_pending(&self) {
        self.notify(WakeReason::Update);
    }
}

/// A send buffer with a capacity in bytes, and its reader.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    state: Mutex<Buffer>,
    roomy: Condvar,
    taking: Condvar,
}

#[derive(Debug, Default)]
struct Buffer {
    room: usize,
    taken: Vec<u8>,
}

impl Pipe {
    pub(crate) fn with_room(room: usize) -> Arc<Self> {
        let pipe = Arc::new(Self::default());
        pipe.make_room(room);
        pipe
    }

    pub(crate) fn make_room(&self, bytes: usize) {
        self.state.lock().unwrap().room += bytes;
        self.roomy.notify_all();
    }

    /// Waits for room, as a poll for writing does.
    fn wait_room(&self) {
        let state = self.state.lock().unwrap();
        drop(self.roomy.wait_while(state, |state| state.room == 0).unwrap());
    }

    /// Waits until this many bytes have arrived.
    pub(crate) fn wait_bytes(&self, bytes: usize) {
        let state = self.state.lock().unwrap();
        drop(self.taking.wait_while(state, |state| state.taken.len() < bytes).unwrap());
    }

    /// Waits until `end` is the last version that has arrived.
    pub(crate) fn wait_end(&self, end: &[u8]) {
        let state = self.state.lock().unwrap();
        drop(self.taking.wait_while(state, |state| !state.taken.ends_with(end)).unwrap());
    }

    /// The number of bytes that have arrived.
    pub(crate) fn bytes(&self) -> usize {
        self.state.lock().unwrap().taken.len()
    }

    /// The versions that arrived, each in a whole frame: anything else fails the model.
    pub(crate) fn versions(&self) -> Vec<u64> {
        let taken = self.state.lock().unwrap().taken.clone();
        let mut frames = FrameReader::new(taken.as_slice(), 100);
        let mut versions = Vec::new();
        while let Some(payload) = frames.read_frame().expect("whole frames") {
            versions.push(String::from_utf8(payload).expect("digits").trim().parse().expect("a version"));
        }
        versions
    }

    /// The socket for the registry, which only shuts it down.
    pub(crate) fn tcp(&self) -> &Self {
        self
    }

    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "as std's socket has it")]
    pub(crate) fn shutdown(&self, _: Direction) -> io::Result<()> {
        Ok(())
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

/// Sends to pipes: through a ring in the reverse order, since the kernel may complete the sends of a batch in any order.
#[derive(Debug)]
pub(crate) struct SendBatch {
    has_ring: bool,
}

impl SendBatch {
    /// Two, so that three clients are two batches.
    pub(crate) const MAX: usize = 2;

    pub(crate) fn plain() -> Self {
        Self { has_ring: false }
    }

    #[allow(clippy::unnecessary_wraps, reason = "as the library has it")]
    pub(crate) fn with_ring() -> io::Result<Self> {
        Ok(Self { has_ring: true })
    }

    pub(crate) fn send(&mut self, frame: &Frame, pipes: &[&Arc<Pipe>]) -> Vec<io::Result<usize>> {
        if !self.has_ring {
            return pipes.iter().map(|pipe| pipe.try_send(frame.as_bytes())).collect();
        }
        let mut sent: Vec<_> = pipes.iter().rev().map(|pipe| pipe.try_send(frame.as_bytes())).collect();
        sent.reverse();
        sent
    }
}

/// Finishes the frame in flight, as the client's own thread does.
pub(crate) fn flush(sender: &ClientSender) {
    let left = sender.flush().unwrap();
    wait_out(sender, left);
}

/// Waits for room until nothing is in flight.
pub(crate) fn wait_out(sender: &ClientSender, mut left: SendStatus) {
    while left != SendStatus::Idle {
        sender.socket().wait_room();
        left = sender.flush().unwrap();
    }
}

/// Fails the model if a version arrived twice, or after a newer one.
pub(crate) fn assert_forward(versions: &[u64]) {
    assert!(versions.is_sorted_by(|one, next| one < next), "again, or back: {versions:?}");
}
