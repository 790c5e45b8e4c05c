//! One client's connection: its stream, its deadlines and the notifier of its thread.

mod ending;
mod eviction;
mod frame_sender;
mod over_limit;
mod payload;
mod send_batch;
#[cfg(unix)]
pub(crate) mod testing;
mod unexpected_input;
mod watcher;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::backlog::{Backlog, Payload, Pending};
use crate::frame::Frame;
use crate::platform::{self, AsFd, BorrowedFd, Readiness};
use crate::shutdown::Shutdown;
use crate::stats::histogram::Histogram;
use crate::stream::Stream;
use crate::threads::{Notifier, WakeReason, WakeReasons, waker};
use crate::tls::{Acceptor, HandshakeError};

pub(crate) use ending::{abort, end_at_once, finish};
use eviction::{enter_backlog, explain};
pub(crate) use frame_sender::{FrameSender, Offer, SendCounts};
use frame_sender::{Notify, SendStatus, Socket};
pub use over_limit::{OverLimit, RESERVE_TIMEOUT};
pub(crate) use payload::send_parts;
pub(crate) use send_batch::SendBatch;
pub use unexpected_input::UnexpectedInput;
pub(crate) use watcher::Watcher;

/// How many bytes of unexpected input a connection discards before it fails: 64 KiB.
pub const DISCARD_LIMIT: usize = 64 * 1024;

/// Why a connection has failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The client did not accept the data by the deadline; it may have received a part.
    #[error("not taken within {}: too slow, cut", crate::display::units::format_duration(*.0))]
    TimedOut(Duration),
    /// The client was receiving an older map when the backlog exceeded its limit.
    #[error("too slow: cut to free the memory of an older map; the backlog limit was exceeded")]
    Backlog,
    /// The client sent more than [`DISCARD_LIMIT`] bytes of unexpected input.
    #[error("sent more than {DISCARD_LIMIT} bytes of unexpected input: closed")]
    TooMuchInput,
    /// The client or the network reset the connection.
    #[error("connection reset by the client")]
    Reset(#[source] io::Error),
    /// The client violated the TLS protocol, or its data was changed on the way.
    #[error("TLS protocol violation: {0}")]
    Tls(HandshakeError),
    /// The connection was still open at the end of the drain.
    #[error("cut at the end of the drain")]
    Cut,
    /// A system call failed.
    #[error("the system refused: {0}")]
    System(#[source] io::Error),
}

/// The outcome of [`Connection::receive`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// This many bytes, at least one.
    Bytes(usize),
    /// The client has shut down its sending side.
    Eof,
    /// No data: the server is stopping.
    Stopping,
    /// No data by the deadline.
    TimedOut,
}

/// The state of the connection's registration with the watcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WatchState {
    /// Not registered: the connection has never waited.
    Unregistered,
    /// The next input notifies the connection's thread.
    Armed,
    /// The thread has been notified; the watch must be armed again.
    Fired,
}

/// A client's non-blocking socket and its thread's notifier, for use by other threads. They hold it weakly, so that the
/// socket is closed when the connection's own thread ends.
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

/// A client's connection, owned by its thread. Only this thread reads from it. Other threads may write whole frames
/// through its sender: publishers and helpers.
#[derive(Debug)]
pub struct Connection {
    id: u64,
    peer: SocketAddr,
    /// Sends all frames, including those of the connection's own thread.
    sender: Arc<ClientSender>,
    watcher: Arc<Watcher>,
    watch: WatchState,
    /// The time limit of one whole frame, or one [`send`](Self::send).
    write_timeout: Duration,
    /// Records the time of each frame that was not sent whole at once.
    waits: Arc<Histogram>,
    /// Counts the connection while it waits for its client to accept a shared payload.
    backlog: Option<Arc<Backlog>>,
    /// Bytes sent outside of frames.
    bytes: u64,
    /// Bytes of input discarded so far.
    discarded: usize,
    /// The other protocol that the discarded input showed.
    unexpected: Option<UnexpectedInput>,
    /// The limit that the connection exceeds; `None` for nearly all.
    over_limit: Option<OverLimit>,
    /// The client is still sending input that was refused: see [`expect_refused_input`](Self::expect_refused_input).
    expects_refused_input: bool,
}

impl Connection {
    /// Returns a connection owned by the calling thread; only this thread may use it.
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
            unexpected: None,
            over_limit: None,
            expects_refused_input: false,
        }
    }

    /// Sets the limit that the connection exceeds, if any; its writes then time out after [`RESERVE_TIMEOUT`] at most.
    pub(crate) fn over(mut self, limit: Option<OverLimit>) -> Self {
        self.over_limit = limit;
        if limit.is_some() {
            self.write_timeout = self.write_timeout.min(RESERVE_TIMEOUT);
        }
        self
    }

    /// The limit that this connection exceeds; `None` if it exceeds none. A connection above a limit uses the server's
    /// reserve: its service should answer one request within [`RESERVE_TIMEOUT`] and return.
    pub fn over_limit(&self) -> Option<OverLimit> {
        self.over_limit
    }

    /// True if and only if the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.stream().is_tls()
    }

    /// Counts payloads that the client is slow to accept in `backlog`, which may cut the connection to free their memory. A
    /// service that sends a feed's maps should first call this with [`Feed::backlog`](crate::Feed::backlog).
    pub fn count_in(&mut self, backlog: &Arc<Backlog>) {
        self.backlog = Some(Arc::clone(backlog));
    }

    /// The number of this connection; the server counts from 1.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The client's address; an IPv4-mapped IPv6 address is returned as IPv4.
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

    /// Versions that were never sent, because a newer one existed before the client was ready for them.
    pub fn skipped(&self) -> u64 {
        self.sender.sent().skipped
    }

    /// Sends `frame`, in one system call if the kernel's buffer has room, if its `version` is above that of the last frame,
    /// or if the versions are equal and the last frame was started no later than `repeat_before`. Finishes a frame that a
    /// publisher has started first. Each frame has one absolute deadline, counted from its start.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_frame(&mut self, frame: &Frame, version: u64, repeat_before: Option<Instant>) -> Result<(), Error> {
        self.flush()?;
        let status = self.sender.begin(frame, version, repeat_before).map_err(|error| self.broken(error))?;
        self.finish_in_flight(status)
    }

    /// Finishes the frame that is in flight, if there is one, by its own deadline.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn flush(&mut self) -> Result<(), Error> {
        let status = self.sender.flush().map_err(|error| self.broken(error))?;
        self.finish_in_flight(status)
    }

    fn finish_in_flight(&self, status: SendStatus) -> Result<(), Error> {
        let SendStatus::InFlight(started_at) = status else { return Ok(()) };
        let Some((frame, version)) = self.sender.in_flight() else { return Ok(()) };
        // Dropped before the frame.
        let pending = enter_backlog(self.backlog.as_ref(), &self.sender, Payload::new(version, frame.as_bytes()));
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

    /// Performs the TLS handshake with `acceptor`, within `timeout` in all, unless the server stops.
    pub(crate) fn shake_hands(
        &self,
        acceptor: &Acceptor,
        timeout: Duration,
        stop: &Shutdown,
    ) -> Result<(), HandshakeError> {
        let Stream::Tls(session) = self.stream() else { return Ok(()) };
        acceptor.shake_hands(session, timeout, stop)?;
        if self.stream().has_input() {
            // The input came with the end of the handshake: the socket does not report it again.
            self.sender.notifier().notify(WakeReason::Input);
        }
        Ok(())
    }

    /// The frame sender, for publishers.
    pub(crate) fn sender(&self) -> &Arc<ClientSender> {
        &self.sender
    }

    /// Writes all of `bytes` to the kernel by one absolute deadline; progress does not extend it.
    ///
    /// # Errors
    /// `TimedOut` if the client did not accept the bytes in time, `Reset` if it has disconnected, `Cut` at the end of the
    /// drain. The client may have received a part: nothing may be sent after an error.
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
                        *pending =
                            payload.and_then(|payload| enter_backlog(self.backlog.as_ref(), &self.sender, payload));
                    }
                    self.wait_writable(deadline)?;
                }
                Err(error) => return Err(self.broken(error)),
            }
        }
        Ok(())
    }

    /// Lets the client finish sending refused input: the close discards it, for up to 10 s and 64 MiB, as long as the client
    /// pauses for no more than 1 s. A reset would destroy the refusal before the client reads it.
    pub fn expect_refused_input(&mut self) {
        self.expects_refused_input = true;
    }

    /// Reads available input into `buffer`; waits for input without a time limit, until the server stops.
    ///
    /// # Errors
    /// `Reset` if the client reset the connection, `Cut` at the end of the drain.
    pub fn receive(&mut self, buffer: &mut [u8], stop: &Shutdown) -> Result<Received, Error> {
        self.receive_by(buffer, stop, None)
    }

    /// As [`receive`](Self::receive), but waits until `deadline` at most; `None` is no deadline.
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

    /// The other protocol that the client has spoken, as far as its input was discarded.
    pub fn unexpected_input(&self) -> Option<UnexpectedInput> {
        self.unexpected
    }

    /// Discards the client's input. Returns true if and only if the client has shut down its sending side.
    ///
    /// # Errors
    /// `TooMuchInput` above [`DISCARD_LIMIT`] bytes on the wire in all; `Reset` if the client reset the connection.
    // Not inlined: the buffer, in the stack frame of a waiting caller, would cost each idle thread one more page of stack.
    #[inline(never)]
    pub fn discard_input(&mut self) -> Result<bool, Error> {
        let mut sink = [0; 4096];
        loop {
            match self.stream().try_take(&mut sink) {
                Ok(None) => return Ok(true),
                Ok(Some(taken)) => {
                    self.discarded += taken.wire;
                    self.unexpected = self.unexpected.or_else(|| UnexpectedInput::detect(&sink[..taken.data]));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(self.broken(error)),
            }
            if self.discarded > DISCARD_LIMIT {
                return Err(Error::TooMuchInput);
            }
        }
    }

    /// Waits for a notification or until `until`; `None` is no time limit. Returns the reasons, empty if and only if the wait
    /// timed out. Unread input stays pending.
    ///
    /// # Errors
    /// If the system cannot watch another socket.
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

    /// Returns a waker that notifies the connection's thread with `reason`, for a source of updates.
    pub fn waker(&self, reason: WakeReason) -> Waker {
        waker(&self.sender, reason)
    }

    fn stream(&self) -> &Stream {
        self.sender.socket()
    }

    fn wait_writable(&self, deadline: Option<Instant>) -> Result<(), Error> {
        // Checked first: the socket of a client that reads slowly always becomes writable again.
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(Error::TimedOut(self.write_timeout));
        }
        match platform::wait_ready([(self.sender.as_fd(), Readiness::Writable)], deadline) {
            Ok([true]) => Ok(()),
            Ok([false]) => Err(Error::TimedOut(self.write_timeout)),
            Err(error) => Err(Error::System(error)),
        }
    }

    /// Converts a socket's error. After a cut by the server the socket fails as after a reset by the peer; the notifier has
    /// the difference.
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
