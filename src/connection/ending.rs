//! Closing a connection: gracefully, so that the client receives everything that was sent, or at once by a reset.

use std::io::{ErrorKind, Read};
use std::net::Shutdown as Direction;
use std::time::{Duration, Instant};

use super::{ClientSender, Connection, Error};
use crate::platform::{self, AsFd, Readiness};

/// How long, after the last byte was sent, the input of a client that is still sending is discarded: 1 s. See
/// [`finish`].
const LINGER: Duration = Duration::from_secs(1);

/// The most input that is discarded in that time: 1 MiB.
const LINGER_LIMIT: usize = 1024 * 1024;

/// For how long, and how many bytes, refused input is discarded: 10 s and 64 MiB. See
/// [`Connection::expect_refused_input`].
const REFUSED_LINGER: Duration = Duration::from_secs(10);
const REFUSED_LIMIT: usize = 64 * 1024 * 1024;

/// Closes `connection` gracefully: the client receives everything that was sent, then the end of the stream.
///
/// A close with unread input makes the kernel send RST, which destroys data in transit (measured: 128,512 of 3,910,656
/// bytes arrived). So input is read and discarded first, for up to [`LINGER`] if the client has sent any; the connection
/// of a silent client is closed at once.
///
/// `permit` is what the connection occupies. It is dropped before the client can see the end of the stream, so that a
/// client that reconnects at once finds it free; but after the lingering, if the client may prolong that.
///
/// # Errors
/// Why the frame in flight could not be finished; the connection is then aborted.
pub(crate) fn finish<P>(mut connection: Connection, permit: P) -> Result<(), Error> {
    // From here on, no thread would finish a frame that a publisher starts.
    connection.sender.close();
    if let Err(error) = connection.flush() {
        drop(permit);
        abort(connection);
        return Err(error);
    }
    let permit = if may_linger(&connection) { Some(permit) } else { None };
    send_close_notify(&connection);
    linger(&connection);
    drop(permit);
    Ok(())
}

/// True if the client determines how long the close takes: it sent unexpected or unread input, or it answers the TLS
/// `close_notify`.
fn may_linger(connection: &Connection) -> bool {
    let has_unread = || platform::wait_ready([(connection.sender.as_fd(), Readiness::Readable)], Some(Instant::now()));
    connection.stream().is_tls()
        || connection.discarded > 0
        || connection.expects_refused_input
        || has_unread().is_ok_and(|[ready]| ready)
}

/// Sends TLS's `close_notify`, within [`LINGER`]. A failure is ignored: the end of the TCP stream marks the end too, and no
/// frame is in flight.
fn send_close_notify(connection: &Connection) {
    let deadline = Instant::now().checked_add(LINGER);
    while let Err(error) = connection.stream().try_close() {
        let ready = || platform::wait_ready([(connection.sender.as_fd(), Readiness::Writable)], deadline);
        if error.kind() != ErrorKind::WouldBlock || !ready().is_ok_and(|[ready]| ready) {
            return;
        }
    }
}

/// Shuts down the sending side and discards raw input. Waits for a TLS client's `close_notify`. Never inlined, like
/// [`Connection::discard_input`].
#[inline(never)]
fn linger(connection: &Connection) {
    let mut socket = connection.stream().tcp();
    if socket.shutdown(Direction::Write).is_err() {
        return;
    }
    let (timeout, limit) =
        if connection.expects_refused_input { (REFUSED_LINGER, REFUSED_LIMIT) } else { (LINGER, LINGER_LIMIT) };
    let deadline = Instant::now().checked_add(timeout);
    let (mut sink, mut discarded) = ([0; 4096], connection.discarded);
    while discarded < limit && deadline.is_none_or(|deadline| Instant::now() < deadline) {
        match socket.read(&mut sink) {
            Ok(read) if read > 0 => discarded += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if discarded == 0 && !connection.stream().is_tls() && !connection.expects_refused_input {
                    return;
                }
                // A client that has paused for LINGER has either seen the end of the stream or never will.
                let pause = [Instant::now().checked_add(LINGER), deadline].into_iter().flatten().min();
                let ready = platform::wait_ready([(connection.sender.as_fd(), Readiness::Readable)], pause);
                if !ready.is_ok_and(|[ready]| ready) {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => return,
        }
    }
}

/// Closes the connection of `sender`, which has no thread, without waiting: gracefully if no frame is in flight, otherwise by a
/// reset. See [`finish`]; up to 64 KiB of input are discarded.
pub(crate) fn end_at_once(sender: &ClientSender) {
    sender.close();
    let mut socket = sender.socket().tcp();
    if sender.in_flight().is_some() || socket.shutdown(Direction::Write).is_err() {
        return platform::reset_on_close(socket);
    }
    let mut sink = [0; 4096];
    for _ in 0..16 {
        if !matches!(socket.read(&mut sink), Ok(1..)) {
            return;
        }
    }
}

/// Resets the connection at once; data that the client has not received is lost.
#[allow(clippy::needless_pass_by_value, reason = "the connection ends here")]
pub(crate) fn abort(connection: Connection) {
    connection.sender.close();
    platform::reset_on_close(connection.stream().tcp());
}
