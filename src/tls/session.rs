//! The pump: a TLS session over a socket that never waits.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use rustls::Connection;

use super::handshake_limiter::Queue;
use super::read_count::ReadCount;

/// Plaintext in one record, at most: 2^14 bytes (RFC 8446, section 5.1). No more than one record waits for room in the
/// socket, whatever is sent.
const RECORD: usize = 16 * 1024;

/// A TLS session and its socket, which must not block.
///
/// Not `rustls::StreamOwned`: its `write` throws socket errors and `WouldBlock` away, and tells nobody what has gone out.
#[derive(Debug)]
pub(crate) struct Session<S> {
    socket: S,
    /// Guards the session: what is encrypted goes out in that order. Held for one step that does not wait; a publisher
    /// only tries it.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tls: Connection,
    /// Bytes at the head of what will be sent next that are in the last record already, of which a part still waits for
    /// room. They count as sent when all of it has gone.
    held: usize,
}

/// How far a handshake has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// To its end.
    Done,
    /// The next step can be taken at once.
    Again,
    /// It wants the peer's bytes.
    WaitReadable,
    /// It wants room for its own.
    WaitWritable,
    /// No permit came by the deadline, or before the stop.
    Late,
}

impl<S> Session<S>
where
    for<'socket> &'socket S: Read + Write,
{
    /// Returns the session over `socket`, with the handshake before it.
    pub(super) fn new(socket: S, tls: impl Into<Connection>) -> Self {
        let mut tls = tls.into();
        tls.set_buffer_limit(Some(RECORD));
        Self { socket, state: Mutex::new(State { tls, held: 0 }) }
    }

    pub(crate) fn socket(&self) -> &S {
        &self.socket
    }

    /// Takes one step of the handshake: sends what is to be sent (the two sides never have more than some bytes for each
    /// other at once, so nobody waits in a circle), or else reads once and computes, under a permit if there is a `queue`
    /// for them.
    ///
    /// # Errors
    /// `InvalidData` with rustls's error if the peer breaks the rules or is refused, after the alert that tells it so;
    /// `UnexpectedEof` if it has left; whatever the socket says.
    pub(super) fn step(&self, queue: Option<&Queue<'_>>) -> io::Result<Step> {
        if let Some(step) = self.exchange()? {
            return Ok(step);
        }
        let permit = queue.map(Queue::take);
        if matches!(permit, Some(None)) {
            return Ok(Step::Late);
        }
        self.lock().process(&self.socket)?;
        Ok(Step::Again)
    }

    /// Sends and reads for the handshake. Returns `None` if and only if there is something to compute.
    fn exchange(&self) -> io::Result<Option<Step>> {
        let mut state = self.lock();
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

    /// True if and only if there is something to take that the socket does not tell of: it came with the bytes before it.
    pub(crate) fn has_input(&self) -> bool {
        let mut state = self.lock();
        // A look: it takes nothing.
        state.tls.reader().into_first_chunk().map_or_else(|error| error.kind() != ErrorKind::WouldBlock, |_| true)
    }

    /// Encrypts and sends as many of `bytes` as the socket has room for, and returns how many have gone, all the way. One
    /// record more may be held beside them: `Ok(0)` too means that it has begun, and whatever is sent next must begin with
    /// the bytes that have not been counted.
    ///
    /// # Errors
    /// `WouldBlock` if there is room for none and nothing has begun that had not before, or the session is being read.
    pub(crate) fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Its own thread reads. It will look for what there is to send when it has.
            Err(TryLockError::WouldBlock) => return Err(ErrorKind::WouldBlock.into()),
        };
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

    /// Takes what has come, with one read of the socket at most. Returns `None` if and only if the peer has ended its side.
    ///
    /// # Errors
    /// `WouldBlock` if there is nothing, in the socket or out of it; `InvalidData` if it breaks TLS's rules.
    pub(crate) fn try_take(&self, into: &mut [u8]) -> io::Result<Option<ReadCount>> {
        let mut state = self.lock();
        match state.read(into) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            read => return Ok(read?.map(|data| ReadCount { data, wire: 0 })),
        }
        let wire = state.tls.read_tls(&mut &self.socket)?;
        state.process(&self.socket)?;
        match state.read(into) {
            // A part of a record, or one without data.
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Some(ReadCount { data: 0, wire })),
            read => Ok(read?.map(|data| ReadCount { data, wire })),
        }
    }

    /// Sends what is left, and that nothing follows: `close_notify`. Repeated after `WouldBlock`, it goes on.
    ///
    /// # Errors
    /// `WouldBlock` if the socket has no room for all of it; whatever it says otherwise.
    pub(crate) fn try_close(&self) -> io::Result<()> {
        let mut state = self.lock();
        // The second time it does nothing.
        state.tls.send_close_notify();
        state.push(&self.socket)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Sends the records that are waiting, all of them.
    fn push(&mut self, mut socket: impl Write) -> io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut socket) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Decrypts what was read. Sends what that asks for, an alert or new keys, as far as there is room.
    fn process(&mut self, socket: impl Write) -> io::Result<()> {
        let processed = self.tls.process_new_packets();
        // The next step sends the rest, and finds out what is wrong with the socket.
        let _ = self.push(socket);
        processed.map(drop).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
    }

    /// Returns `None` at the end of the peer's side. With or without `close_notify`: a frame has its own length, so that
    /// nobody is taken in by a stream that was cut.
    fn read(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        match self.tls.reader().read(into) {
            Ok(0) => Ok(None),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
            read => read.map(Some),
        }
    }
}

#[cfg(test)]
mod tests;
