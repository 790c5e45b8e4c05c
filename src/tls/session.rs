//! A TLS session over a non-blocking socket.

use std::io::{self, ErrorKind, IoSlice, Read, Write};

use rustls::Connection;

use super::handshake_limiter::Queue;
use super::read_count::ReadCount;
use crate::sync::Mutex;

/// The most plaintext in one record: 2^14 bytes (RFC 8446, section 5.1). At most one record waits for room in the socket.
const RECORD: usize = 16 * 1024;

/// A TLS session and its non-blocking socket.
///
/// Not `rustls::StreamOwned`: its `write` drops socket errors and `WouldBlock`, and does not return how much was sent.
#[derive(Debug)]
pub(crate) struct Session<S> {
    socket: S,
    /// Guards the session: encrypted records are sent in their order. Held for one step that does not block; a publisher only
    /// tries to lock it.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tls: Connection,
    /// The bytes of the next send that are in the last record already, a part of which waits for room. They count as sent when
    /// the whole record is sent.
    held: usize,
}

/// The state of a handshake after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It is complete.
    Done,
    /// The next step can run at once.
    Again,
    /// It waits for bytes of the peer.
    WaitReadable,
    /// It waits for room in the socket.
    WaitWritable,
    /// No permit was free before the deadline or the shutdown.
    Late,
}

impl<S> Session<S>
where
    for<'socket> &'socket S: Read + Write,
{
    /// Returns the session over `socket`, before its handshake.
    pub(super) fn new(socket: S, tls: impl Into<Connection>) -> Self {
        let mut tls = tls.into();
        tls.set_buffer_limit(Some(RECORD));
        Self { socket, state: Mutex::new(State { tls, held: 0 }) }
    }

    pub(crate) fn socket(&self) -> &S {
        &self.socket
    }

    /// Runs one step of the handshake: sends pending bytes (few at a time, so that the two ends cannot deadlock), or else reads
    /// once and computes, with a permit from `queue` if there is one.
    ///
    /// # Errors
    /// `InvalidData` with the error of rustls if the peer violates the protocol or is rejected, after the alert was sent;
    /// `UnexpectedEof` if the peer has closed; any error of the socket.
    pub(super) fn step(&self, queue: Option<&Queue<'_>>) -> io::Result<Step> {
        if let Some(step) = self.exchange()? {
            return Ok(step);
        }
        let permit = queue.map(Queue::acquire);
        if matches!(permit, Some(None)) {
            return Ok(Step::Late);
        }
        self.state.lock().process(&self.socket)?;
        Ok(Step::Again)
    }

    /// Sends and reads for the handshake. Returns `None` if and only if received bytes must be processed.
    fn exchange(&self) -> io::Result<Option<Step>> {
        let mut state = self.state.lock();
        match state.push(&self.socket) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Some(Step::WaitWritable)),
            pushed => pushed?,
        }
        if !state.tls.is_handshaking() {
            return Ok(Some(Step::Done));
        }
        match state.tls.read_tls(&mut &self.socket) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Some(Step::WaitReadable)),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(Some(Step::Again)),
            Err(error) => Err(error),
        }
    }

    /// True if and only if there is decrypted input, for which the socket need not become readable.
    pub(crate) fn has_input(&self) -> bool {
        let mut state = self.state.lock();
        // This does not consume it.
        state.tls.reader().into_first_chunk().map_or_else(|error| error.kind() != ErrorKind::WouldBlock, |_| true)
    }

    /// Encrypts and sends as many of `bytes` as the socket has room for, and returns how many were sent completely. One more
    /// record may be partly sent: also after `Ok(0)` the next call must begin with the bytes that were not counted.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room and no new record was begun, or the session is being read.
    pub(crate) fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        // If the connection's own thread is reading, it checks for pending frames afterwards.
        let mut state = self.state.try_lock().ok_or(ErrorKind::WouldBlock)?;
        let (mut sent, mut begun) = (0, false);
        loop {
            match state.push(&self.socket) {
                Ok(()) => sent += std::mem::take(&mut state.held),
                Err(error) if error.kind() == ErrorKind::WouldBlock && begun => return Ok(sent),
                Err(error) => return Err(error),
            }
            if sent >= bytes.len() {
                return Ok(sent);
            }
            let end = bytes.len().min(sent + RECORD);
            state.held = state.tls.writer().write(&bytes[sent..end])?;
            if state.held == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
            begun = true;
        }
    }

    /// Reads input, with at most one read of the socket. Returns `None` if and only if the peer has closed its side.
    ///
    /// # Errors
    /// `WouldBlock` if there is no input; `InvalidData` if it violates the TLS protocol.
    pub(crate) fn try_take(&self, into: &mut [u8]) -> io::Result<Option<ReadCount>> {
        let mut state = self.state.lock();
        match state.read(into) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            read => return Ok(read?.map(|data| ReadCount { data, wire: 0 })),
        }
        let wire = state.tls.read_tls(&mut &self.socket)?;
        state.process(&self.socket)?;
        match state.read(into) {
            // A part of a record, or a record without data.
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Some(ReadCount { data: 0, wire })),
            read => Ok(read?.map(|data| ReadCount { data, wire })),
        }
    }

    /// Sends the pending records and `close_notify`. After `WouldBlock`, call it again to continue.
    ///
    /// # Errors
    /// `WouldBlock` if the socket has no room for all of it; any other error of the socket.
    pub(crate) fn try_close(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        // Does nothing the second time.
        state.tls.send_close_notify();
        state.push(&self.socket)
    }
}

impl State {
    /// Sends all pending records.
    fn push(&mut self, mut socket: impl Write) -> io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut SingleWrite(&mut socket)) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Decrypts the received records. Sends the replies, such as an alert or new keys, as far as there is room.
    fn process(&mut self, socket: impl Write) -> io::Result<()> {
        let processed = self.tls.process_new_packets();
        // The next step sends the rest, and gets an error of the socket again.
        let _ = self.push(socket);
        processed.map(drop).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
    }

    /// Returns `None` at the end of the peer's side, with or without `close_notify`: a frame has its length, so a truncated
    /// stream is detected.
    fn read(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        match self.tls.reader().read(into) {
            Ok(0) => Ok(None),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
            read => read.map(Some),
        }
    }
}

/// Writes a single buffer with `write`. rustls calls `write_vectored` for a single record too, and `writev(2)` to a socket
/// costs more than `send(2)` (measured).
struct SingleWrite<W>(W);

impl<W: Write> Write for SingleWrite<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        match buffers {
            [bytes] => self.0.write(bytes),
            _ => self.0.write_vectored(buffers),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests;
