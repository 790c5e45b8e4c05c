//! The end of a connection: in order, so that the client gets all that was sent, or at once.

use std::io::{ErrorKind, Read};
use std::net::Shutdown as Direction;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::{Connection, Error};
use crate::platform::{self, Readiness};

/// How long, after the last byte was sent, a client that has been talking may take to stop: 1 s. See
/// [`Connection::finish`].
const LINGER: Duration = Duration::from_secs(1);

/// How much is read and thrown away in that time: 1 MiB.
const LINGER_LIMIT: usize = 1024 * 1024;

/// How long, and for how many bytes, a client may go on sending what was refused: 10 s and 64 MiB. See
/// [`Connection::expect_refused_input`].
const REFUSED_LINGER: Duration = Duration::from_secs(10);
const REFUSED_LIMIT: usize = 64 * 1024 * 1024;

impl Connection {
    /// Ends the connection in order: the client gets all that was sent, then the end of the stream.
    ///
    /// A close with unread input makes the kernel send RST, which destroys what is still on its way (measured: 128,512
    /// of 3,910,656 bytes arrived). So input is read and thrown away first, and a client that has been talking is given
    /// [`LINGER`] to stop; one that never said anything is closed at once.
    ///
    /// `place` is what the connection occupies. It is dropped before the client can see the end, so that a client that
    /// connects again at once finds it free; but after the lingering, if the client may make that long.
    ///
    /// # Errors
    /// What kept the frame in flight from being finished; the connection is then aborted.
    pub(crate) fn finish<P>(mut self, place: P) -> Result<(), Error> {
        // From here on, what a publisher began would be nobody's to finish.
        self.sender.close();
        if let Err(error) = self.flush() {
            drop(place);
            self.abort();
            return Err(error);
        }
        let place = if self.may_linger() { Some(place) } else { None };
        self.tell_the_end();
        self.linger();
        drop(place);
        Ok(())
    }

    /// True if the client decides how long the end takes: it has sent what was not asked for, has sent more than was read, or
    /// answers the end of TLS with its own.
    fn may_linger(&self) -> bool {
        let has_unread = || platform::wait_ready([(self.sender.as_fd(), Readiness::Readable)], Some(Instant::now()));
        self.stream().is_tls()
            || self.discarded > 0
            || self.expects_refused_input
            || has_unread().is_ok_and(|[ready]| ready)
    }

    /// Lets the client go on sending what was refused: at its end the connection reads and discards it, for up to 10 s and
    /// 64 MiB, as long as the client pauses for no more than 1 s. A reset would destroy the refusal before it is read.
    pub fn expect_refused_input(&mut self) {
        self.expects_refused_input = true;
    }

    /// Tells a client of TLS that nothing follows, if it takes that within [`LINGER`]. The end of the socket's stream says
    /// so too, and no frame is torn by it: one that has stalled is not waited for longer, nor cut.
    fn tell_the_end(&self) {
        let deadline = Instant::now().checked_add(LINGER);
        while let Err(error) = self.stream().try_close() {
            let ready = || platform::wait_ready([(self.sender.as_fd(), Readiness::Writable)], deadline);
            if error.kind() != ErrorKind::WouldBlock || !ready().is_ok_and(|[ready]| ready) {
                return;
            }
        }
    }

    /// Shuts the writing side down and takes what still comes, as it is: nobody wants to know what it says. A client of
    /// TLS answers the end with its own, and is waited for. As [`discard_input`](Self::discard_input), never inlined.
    #[inline(never)]
    fn linger(&self) {
        let mut socket = self.stream().tcp();
        if socket.shutdown(Direction::Write).is_err() {
            return;
        }
        let (timeout, limit) =
            if self.expects_refused_input { (REFUSED_LINGER, REFUSED_LIMIT) } else { (LINGER, LINGER_LIMIT) };
        let deadline = Instant::now().checked_add(timeout);
        let (mut sink, mut discarded) = ([0; 4096], self.discarded);
        while discarded < limit && deadline.is_none_or(|deadline| Instant::now() < deadline) {
            match socket.read(&mut sink) {
                Ok(read) if read > 0 => discarded += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if discarded == 0 && !self.stream().is_tls() && !self.expects_refused_input {
                        return;
                    }
                    // A client that has stopped sending has seen the end, or never will.
                    let pause = [Instant::now().checked_add(LINGER), deadline].into_iter().flatten().min();
                    let ready = platform::wait_ready([(self.sender.as_fd(), Readiness::Readable)], pause);
                    if !ready.is_ok_and(|[ready]| ready) {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// Ends the connection at once; what the client has not taken is gone.
    pub(crate) fn abort(self) {
        self.sender.close();
        platform::reset_on_close(self.stream().tcp());
    }
}
