//! A client: its socket, and the library's frame sender with the library's notifier.

use std::io::{self, ErrorKind};
use std::net::Shutdown as Direction;

use mapcast::frame::{Frame, FrameReader};
use shuttle::sync::{Arc, Condvar, Mutex};

use crate::frame_sender::{FrameSender, Notify, SendStatus, Socket};
use crate::threads::{Notifier, WakeReason};

/// The frame sender of a client.
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

/// The socket of a client: a send buffer of limited size, and the bytes that its reader has received.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    state: Mutex<Buffer>,
    /// Notified when `free` grows.
    writable: Condvar,
    /// Notified when `received` grows.
    arrival: Condvar,
}

#[derive(Debug, Default)]
struct Buffer {
    /// The bytes that the socket still accepts.
    free: usize,
    received: Vec<u8>,
}

impl Pipe {
    /// Returns a socket that accepts `free` bytes.
    pub(crate) fn with_room(free: usize) -> Arc<Self> {
        let pipe = Arc::new(Self::default());
        pipe.make_room(free);
        pipe
    }

    /// Lets the socket accept `bytes` more, as a client that reads does.
    pub(crate) fn make_room(&self, bytes: usize) {
        self.state.lock().unwrap().free += bytes;
        self.writable.notify_all();
    }

    /// Waits until the socket accepts a byte, like a poll for writing.
    fn wait_room(&self) {
        let state = self.state.lock().unwrap();
        drop(self.writable.wait_while(state, |state| state.free == 0).unwrap());
    }

    /// Waits until `bytes` bytes have arrived.
    pub(crate) fn wait_bytes(&self, bytes: usize) {
        let state = self.state.lock().unwrap();
        drop(self.arrival.wait_while(state, |state| state.received.len() < bytes).unwrap());
    }

    /// Waits until the bytes that have arrived end with `end`.
    pub(crate) fn wait_end(&self, end: &[u8]) {
        let state = self.state.lock().unwrap();
        drop(self.arrival.wait_while(state, |state| !state.received.ends_with(end)).unwrap());
    }

    /// The number of bytes that have arrived.
    pub(crate) fn bytes(&self) -> usize {
        self.state.lock().unwrap().received.len()
    }

    /// The versions that have arrived. Fails the model unless each one is a whole frame.
    pub(crate) fn versions(&self) -> Vec<u64> {
        let received = self.state.lock().unwrap().received.clone();
        let mut frames = FrameReader::new(received.as_slice(), 100);
        let mut versions = Vec::new();
        while let Some(payload) = frames.read_frame().expect("whole frames") {
            versions.push(String::from_utf8(payload).expect("digits").trim().parse().expect("a version"));
        }
        versions
    }

    /// The socket as the registry sees it, which only shuts it down.
    pub(crate) fn tcp(&self) -> &Self {
        self
    }

    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "the signature of std's socket")]
    pub(crate) fn shutdown(&self, _: Direction) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for Arc<Pipe> {
    fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state.lock().unwrap();
        let sent = bytes.len().min(state.free);
        if sent == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        state.free -= sent;
        state.received.extend_from_slice(&bytes[..sent]);
        self.arrival.notify_all();
        Ok(sent)
    }
}

/// Sends a frame to several sockets. With a ring, in reverse order: the kernel may complete the sends of a batch in any order.
#[derive(Debug)]
pub(crate) struct SendBatch {
    has_ring: bool,
}

impl SendBatch {
    /// The sockets of a batch: two, so that three clients take two batches.
    pub(crate) const MAX: usize = 2;

    pub(crate) fn plain() -> Self {
        Self { has_ring: false }
    }

    #[allow(clippy::unnecessary_wraps, reason = "the signature of the library")]
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

/// Finishes the frame in flight, like the client's own thread.
pub(crate) fn flush(sender: &ClientSender) {
    let status = sender.flush().unwrap();
    finish(sender, status);
}

/// Sends the rest of the frame in flight, if `status` says that there is one, whenever the socket accepts more.
pub(crate) fn finish(sender: &ClientSender, mut status: SendStatus) {
    while status != SendStatus::Idle {
        sender.socket().wait_room();
        status = sender.flush().unwrap();
    }
}

/// Fails the model if a version arrived twice, or after a newer one.
pub(crate) fn assert_ascending(versions: &[u64]) {
    assert!(versions.is_sorted_by(|one, next| one < next), "repeated, or out of order: {versions:?}");
}
