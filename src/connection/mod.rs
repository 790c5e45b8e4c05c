//! One client: its stream, its deadlines, and what wakes its thread.

mod ending;
mod frame_sender;
mod over_limit;
mod payload;
pub(crate) mod testing;
mod watcher;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::backlog::{Backlog, Payload, Pending};
use crate::frame::Frame;
use crate::platform::{self, Readiness};
use crate::shutdown::Shutdown;
use crate::stats::histogram::Histogram;
use crate::stream::Stream;
use crate::threads::{Notifier, WakeReason, WakeReasons, waker};
use crate::tls::{Acceptor, HandshakeError};

pub(crate) use frame_sender::{FrameSender, SendCounts};
use frame_sender::{Notify, SendStatus, Socket};
pub use over_limit::{OverLimit, RESERVE_TIMEOUT};
use payload::explain;
pub(crate) use watcher::Watcher;

/// How much a client may send where nothing is expected of it: 64 KiB are thrown away, then it is closed.
pub const DISCARD_LIMIT: usize = 64 * 1024;

/// Why a connection has failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The client did not take what was sent by the deadline; it has a part of it.
    #[error("not taken within {}: too slow, cut", crate::display::units::format_duration(*.0))]
    TimedOut(Duration),
    /// The client held an older map while slow clients held more memory than they may.
    #[error("too slow: cut to free the memory of an older map; raise --max-backlog if it should have had longer")]
    Backlog,
    /// The client sent more than it may.
    #[error("it sent more than {DISCARD_LIMIT} bytes, where nothing is expected: closed")]
    TooMuchInput,
    /// The client, or the network, broke the connection off.
    #[error("broken off by the client")]
    Reset(#[source] io::Error),
    /// The client broke a rule of TLS, or somebody between changed what it sent.
    #[error("what came is not encrypted as agreed: {0}")]
    Tls(HandshakeError),
    /// The drain was over before the connection was.
    #[error("cut at the end of the drain")]
    Cut,
    /// The system refused.
    #[error("the system refused: {0}")]
    System(#[source] io::Error),
}

/// What [`Connection::receive`] has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// That many bytes, at least one.
    Bytes(usize),
    /// The client has ended its side.
    Eof,
    /// Nothing, because the server stops.
    Stopping,
    /// Nothing by the deadline.
    TimedOut,
}

/// How far the watcher is told of this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WatchState {
    /// Not yet: it has never waited.
    Unregistered,
    /// Its next input notifies its thread.
    Armed,
    /// It has notified its thread, and must be armed again.
    Fired,
}

/// A client's socket, non-blocking, and its thread's notifier: what others than the thread itself may know of it. They keep
/// it weakly, so that the thread's own end closes the socket.
pub(crate) type ClientSender = FrameSender<Stream, Notifier>;

impl Socket for Stream {
    fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        Self::try_send(self, bytes)
    }
}

impl Notify for Notifier {
    fn notify_pending(&self) {
        self.notify(WakeReason::Update);
    }
}

impl ClientSender {
    /// The notifier of the connection's thread.
    pub(crate) fn notifier(&self) -> &Notifier {
        self.owner()
    }
}

impl AsRef<Notifier> for ClientSender {
    fn as_ref(&self) -> &Notifier {
        self.owner()
    }
}

impl AsFd for ClientSender {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

/// One client, owned by its thread: nobody else reads from it, and only publishers write to it, whole frames through
/// its sender.
#[derive(Debug)]
pub struct Connection {
    id: u64,
    peer: SocketAddr,
    /// Everything that is sent in frames goes through it, this thread's own too.
    sender: Arc<ClientSender>,
    watcher: Arc<Watcher>,
    watch: WatchState,
    /// For one whole frame, or one [`send`](Self::send).
    write_timeout: Duration,
    /// Where it is counted how long a frame took that did not go whole at once.
    waits: Arc<Histogram>,
    /// Where it is counted while it waits for its client to take a shared payload.
    backlog: Option<Arc<Backlog>>,
    /// Bytes sent outside of frames.
    bytes: u64,
    /// Input thrown away so far.
    discarded: usize,
    /// The limit that it exceeds; `None` for nearly all.
    over_limit: Option<OverLimit>,
    /// The client goes on sending what was refused: see [`expect_refused_input`](Self::expect_refused_input).
    expects_refused_input: bool,
}

impl Connection {
    /// Returns the connection of the calling thread, which alone may use it.
    pub(crate) fn new(
        id: u64,
        peer: SocketAddr,
        sender: Arc<ClientSender>,
        watcher: Arc<Watcher>,
        write_timeout: Duration,
        waits: Arc<Histogram>,
    ) -> Self {
        Self {
            id,
            peer,
            sender,
            watcher,
            watch: WatchState::Unregistered,
            write_timeout,
            waits,
            backlog: None,
            bytes: 0,
            discarded: 0,
            over_limit: None,
            expects_refused_input: false,
        }
    }

    /// The same connection with the limit that it exceeds, if it does: then no write takes longer than
    /// [`RESERVE_TIMEOUT`].
    pub(crate) fn over(mut self, limit: Option<OverLimit>) -> Self {
        self.over_limit = limit;
        if limit.is_some() {
            self.write_timeout = self.write_timeout.min(RESERVE_TIMEOUT);
        }
        self
    }

    /// The limit that this connection exceeds; `None` if it exceeds none. One that does is on the server's reserve: its
    /// service should answer one request within [`RESERVE_TIMEOUT`] and return.
    pub fn over_limit(&self) -> Option<OverLimit> {
        self.over_limit
    }

    /// True if and only if the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.stream().is_tls()
    }

    /// Counts the payloads that the client is slow to take in `backlog`, which may cut the connection for that. A service
    /// that sends a feed's maps should call this with [`Feed::backlog`](crate::Feed::backlog) first.
    pub fn count_in(&mut self, backlog: &Arc<Backlog>) {
        self.backlog = Some(Arc::clone(backlog));
    }

    /// Counts the server's connections from 1.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The client's address; an IPv4 address that came as IPv6 is IPv4 here.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Frames sent whole.
    pub fn frames(&self) -> u64 {
        self.sender.sent().frames
    }

    /// Bytes sent.
    pub fn bytes(&self) -> u64 {
        self.bytes + self.sender.sent().bytes
    }

    /// Versions that the client never got, because a newer one was there before it was ready for them.
    pub fn skipped(&self) -> u64 {
        self.sender.sent().skipped
    }

    /// Sends one frame, in one system call if the kernel has room for it: the newest that there is, if its `version` is
    /// above that of the last one, or if it is the same and that one was started no later than `repeat_before`. A frame that a
    /// publisher has started is finished first. Each frame has one absolute deadline, from when it was started.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_frame(&mut self, frame: &Frame, version: u64, repeat_before: Option<Instant>) -> Result<(), Error> {
        self.flush()?;
        let left = self.sender.begin(frame, version, repeat_before).map_err(|error| self.broken(error))?;
        self.flush_from(left)
    }

    /// Finishes the frame that is in flight, if there is one, by its own deadline.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn flush(&mut self) -> Result<(), Error> {
        let left = self.sender.flush().map_err(|error| self.broken(error))?;
        self.flush_from(left)
    }

    fn flush_from(&self, left: SendStatus) -> Result<(), Error> {
        let SendStatus::InFlight(started_at) = left else { return Ok(()) };
        let Some((frame, version)) = self.sender.in_flight() else { return Ok(()) };
        // Dropped before the frame is.
        let pending = self.enter_backlog(Payload::new(version, frame.as_bytes()));
        loop {
            let step = self.wait_writable(started_at.checked_add(self.write_timeout));
            let step = step.and_then(|()| self.sender.flush().map_err(|error| self.broken(error)));
            if step.map_err(|error| explain(error, pending.as_ref()))? == SendStatus::Idle {
                self.waits.observe(started_at.elapsed());
                return Ok(());
            }
        }
    }

    /// When the last frame was started; `None` before the first.
    pub fn last_frame(&self) -> Option<Instant> {
        self.sender.last().map(|(_, started_at)| started_at)
    }

    /// Shakes hands with a client of `acceptor`, within `timeout` in all, unless the server stops.
    pub(crate) fn shake_hands(
        &self,
        acceptor: &Acceptor,
        timeout: Duration,
        stop: &Shutdown,
    ) -> Result<(), HandshakeError> {
        let Stream::Tls(session) = self.stream() else { return Ok(()) };
        acceptor.shake_hands(session, timeout, stop)?;
        if self.stream().has_input() {
            // It came with the end of the handshake: nobody else will tell of it.
            self.sender.notifier().notify(WakeReason::Input);
        }
        Ok(())
    }

    /// The frame sender, for publishers.
    pub(crate) fn sender(&self) -> &Arc<ClientSender> {
        &self.sender
    }

    /// Hands all of `bytes` to the kernel, by one absolute deadline: progress does not extend it.
    ///
    /// # Errors
    /// `TimedOut` if the client did not take it in time, `Reset` if it has left, `Cut` if the drain was over. The
    /// client may have a part of it: nothing may be sent after it.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.send_by(bytes, Instant::now().checked_add(self.write_timeout), None, &mut None)
    }

    fn send_by(
        &mut self,
        bytes: &[u8],
        deadline: Option<Instant>,
        payload: Option<Payload>,
        pending: &mut Option<Pending>,
    ) -> Result<(), Error> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.stream().try_send(rest) {
                Ok(written) => {
                    rest = &rest[written..];
                    self.bytes += written as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if pending.is_none() {
                        *pending = payload.and_then(|payload| self.enter_backlog(payload));
                    }
                    self.wait_writable(deadline)?;
                }
                Err(error) => return Err(self.broken(error)),
            }
        }
        Ok(())
    }

    /// Reads what there is into `buffer`, or waits for it without end, until the server stops.
    ///
    /// # Errors
    /// `Reset` if the client broke off, `Cut` if the drain was over.
    pub fn receive(&mut self, buffer: &mut [u8], stop: &Shutdown) -> Result<Received, Error> {
        self.receive_by(buffer, stop, None)
    }

    /// As [`receive`](Self::receive), but waits no longer than until `deadline`; `None` never passes.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub fn receive_by(
        &mut self,
        buffer: &mut [u8],
        stop: &Shutdown,
        deadline: Option<Instant>,
    ) -> Result<Received, Error> {
        while !stop.is_triggered() {
            match self.stream().try_take(buffer) {
                Ok(None) => return Ok(Received::Eof),
                Ok(Some(taken)) if taken.data > 0 => return Ok(Received::Bytes(taken.data)),
                Ok(Some(_)) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                        return Ok(Received::TimedOut);
                    }
                    stop.wait_readable(&*self.sender, deadline).map_err(Error::System)?;
                }
                Err(error) => return Err(self.broken(error)),
            }
        }
        Ok(Received::Stopping)
    }

    /// Throws away what the client has sent. Returns true if and only if it has shut down its writing side.
    ///
    /// # Errors
    /// `TooMuchInput` above [`DISCARD_LIMIT`] bytes in all, as they come over the wire; `Reset` if it broke off.
    // Its buffer, in the frame of the caller that waits below it, would cost each idle thread one more page of stack.
    #[inline(never)]
    pub fn discard_input(&mut self) -> Result<bool, Error> {
        let mut sink = [0; 4096];
        loop {
            match self.stream().try_take(&mut sink) {
                Ok(None) => return Ok(true),
                Ok(Some(taken)) => self.discarded += taken.wire,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(self.broken(error)),
            }
            if self.discarded > DISCARD_LIMIT {
                return Err(Error::TooMuchInput);
            }
        }
    }

    /// Waits for a notification or until `until` has passed; `None` never passes. Returns the reasons, none if and
    /// only if the time was over. Unread input stays pending.
    ///
    /// # Errors
    /// If the system has no room to watch another socket.
    pub fn wait(&mut self, until: Option<Instant>) -> Result<WakeReasons, Error> {
        match self.watch {
            WatchState::Unregistered => self.watcher.watch(self.id, &self.sender),
            WatchState::Fired => self.watcher.watch_again(self.id, &self.sender),
            WatchState::Armed => Ok(()),
        }
        .map_err(Error::System)?;
        self.watch = WatchState::Armed;
        let reasons = self.sender.notifier().wait(until);
        if reasons.contains(WakeReason::Input) {
            self.watch = WatchState::Fired;
        }
        Ok(reasons)
    }

    /// Returns a waker that notifies for `reason`, to be given to the source of updates.
    pub fn waker(&self, reason: WakeReason) -> Waker {
        waker(&self.sender, reason)
    }

    fn stream(&self) -> &Stream {
        self.sender.socket()
    }

    fn wait_writable(&self, deadline: Option<Instant>) -> Result<(), Error> {
        // Looked at first: a client that takes a little now and then always has room for a little more.
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(Error::TimedOut(self.write_timeout));
        }
        match platform::wait_ready([(self.sender.as_fd(), Readiness::Writable)], deadline) {
            Ok([true]) => Ok(()),
            Ok([false]) => Err(Error::TimedOut(self.write_timeout)),
            Err(error) => Err(Error::System(error)),
        }
    }

    /// A socket that was cut by us fails as one that was broken off by the peer; the notifier knows.
    fn broken(&self, error: io::Error) -> Error {
        if self.sender.notifier().is_cut() {
            return Error::Cut;
        }
        crate::tls::in_server_session(error).map_or_else(Error::Reset, Error::Tls)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.watch != WatchState::Unregistered {
            self.watcher.forget(self.id);
        }
    }
}

#[cfg(test)]
mod tests;
