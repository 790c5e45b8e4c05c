//! The writing side of a connection: its own thread writes, and so may a publisher, if nobody has to wait for it.

use std::io::{self, ErrorKind};
use std::ops::AddAssign;

use crate::frame::Frame;
use crate::sync::{Instant, Mutex, MutexGuard, PoisonError, TryLockError};

/// What takes bytes as long as it has room, and never waits for room.
pub(crate) trait Socket {
    /// Takes as many of `bytes` as there is room for, and returns how many have gone. After `Ok`, even of none, whatever
    /// is sent next must begin with the bytes that have not: some of them may be encrypted already.
    ///
    /// # Errors
    /// `WouldBlock` if there is room for none, and none were started.
    fn try_send(&self, bytes: &[u8]) -> io::Result<usize>;
}

/// How the thread that owns the connection is told to look after it.
pub(crate) trait Notify {
    /// There is something to send that was not sent from here.
    fn notify_pending(&self);
}

/// Sends frames over one connection, for two: the connection's own thread, and whoever publishes.
///
/// A publisher sends changes and repeats itself wherever nobody has to wait for it, because waking a thread costs more
/// than the send (11 us against 10 us, measured). Whatever does not go out whole is the thread's: it finishes the frame in
/// flight, and then goes to the newest. Under one lock, frames never interleave; by their versions, they never go back.
#[derive(Debug)]
pub(crate) struct FrameSender<S, O> {
    socket: S,
    owner: O,
    /// When it was made. Kept here, where it costs nothing: 152 bytes with both counts are a piece that each thread's start
    /// leaves free in the heap (glibc), 136 were not, and took 144 more (measured).
    since: Instant,
    /// Guards the order of what is sent. Held for one send that does not wait; a publisher only ever tries it.
    state: Mutex<SendState>,
}

#[derive(Debug, Default)]
struct SendState {
    /// The version of the last frame that was started; 0 before the first.
    version: u64,
    /// When that was; `None` before the first.
    started_at: Option<Instant>,
    /// What is left of it: the frame, and how many of its bytes have gone.
    in_flight: Option<(Frame, usize)>,
    /// Nothing is started any more.
    closed: bool,
    /// The last frame that was started is the same as the one before it.
    is_repeat: bool,
    /// Frames like that, which went whole. 32 bits have room here at no cost; one a second fills them in 136 years.
    repeats: u32,
    frames: u64,
    bytes: u64,
    skipped: u64,
}

/// What has gone over a connection, in frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SendCounts {
    /// Frames that went whole.
    pub(crate) frames: u64,
    /// Bytes of frames.
    pub(crate) bytes: u64,
    /// Versions that were never started, because a newer one was there before the client was ready for them.
    pub(crate) skipped: u64,
    /// Frames that were the first of their connection.
    pub(crate) firsts: u64,
    /// Frames that were the same as the one before.
    pub(crate) repeats: u64,
}

impl AddAssign for SendCounts {
    fn add_assign(&mut self, other: Self) {
        self.frames += other.frames;
        self.bytes += other.bytes;
        self.skipped += other.skipped;
        self.firsts += other.firsts;
        self.repeats += other.repeats;
    }
}

/// What is left to do after a step of the owner's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendStatus {
    /// No frame is in flight.
    Idle,
    /// One is, started then, and the socket has no room for more of it.
    InFlight(Instant),
}

impl<S: Socket, O: Notify> FrameSender<S, O> {
    /// Returns the sender of `socket`, with nothing sent.
    pub(crate) fn new(socket: S, owner: O) -> Self {
        Self { socket, owner, since: Instant::now(), state: Mutex::new(SendState::default()) }
    }

    /// Sends `frame` at once, for a publisher, if it is newer than the last one, or if it is the same and that one was
    /// started no later than `repeat_before`; and if nobody has to wait for it. Notifies the owner if that leaves something to do. Never waits for
    /// anybody. `now` may be a little old: asking for it costs 3 % of a send.
    ///
    /// Returns when the last frame was started, if nothing is left to do; `None` if it is the owner's now.
    pub(crate) fn try_send_frame(
        &self,
        frame: &Frame,
        version: u64,
        repeat_before: Option<Instant>,
        now: Instant,
    ) -> Option<Instant> {
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Its own thread is sending. That may be an older frame, and it may have looked for the newest already.
            Err(TryLockError::WouldBlock) => return self.defer_to_owner(),
        };
        if !state.should_send(version, repeat_before) {
            return state.started_at;
        }
        if state.in_flight.is_some() {
            // That frame is the thread's, which looks for the newest when it is done. The notification is for the thread that
            // has looked already, and would wait without it until it looks again (a model found this).
            drop(state);
            return self.defer_to_owner();
        }
        // No room, or a broken socket: the thread will find out which.
        let sent = self.socket.try_send(frame.as_bytes());
        if let Ok(sent) = sent {
            state.begin(frame, version, sent, now);
        }
        let is_whole = sent.is_ok() && state.in_flight.is_none();
        drop(state);
        if is_whole { Some(now) } else { self.defer_to_owner() }
    }

    /// Leaves what there is to do to the owner.
    fn defer_to_owner(&self) -> Option<Instant> {
        self.owner.notify_pending();
        None
    }

    /// Begins `frame`, for the owner, if it is newer than the last one, or if it is the same and that one was started no
    /// later than `repeat_before`. Returns what is left; a frame already in flight is gone on with instead.
    ///
    /// # Errors
    /// What the socket failed with.
    pub(crate) fn begin(&self, frame: &Frame, version: u64, repeat_before: Option<Instant>) -> io::Result<SendStatus> {
        let mut state = self.lock();
        if state.in_flight.is_some() {
            return self.resume(&mut state);
        }
        if !state.should_send(version, repeat_before) {
            return Ok(SendStatus::Idle);
        }
        state.begin(frame, version, 0, Instant::now());
        self.resume(&mut state)
    }

    /// Goes on with the frame in flight, for the owner. Returns what is left of it.
    ///
    /// # Errors
    /// What the socket failed with.
    pub(crate) fn flush(&self) -> io::Result<SendStatus> {
        self.resume(&mut self.lock())
    }

    pub(crate) fn socket(&self) -> &S {
        &self.socket
    }

    pub(crate) fn owner(&self) -> &O {
        &self.owner
    }

    /// When it was made: since then there has been a connection.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// Has nothing started any more: what a publisher began now would be nobody's to finish. A frame in flight stays.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    /// The version of the last frame that was started, and when; `None` before the first.
    pub(crate) fn last(&self) -> Option<(u64, Instant)> {
        let state = self.lock();
        state.started_at.map(|started_at| (state.version, started_at))
    }

    /// What has gone over it, and when the frame in flight was started, `None` if none is; by one look.
    pub(crate) fn progress(&self) -> (SendCounts, Option<Instant>) {
        let state = self.lock();
        (state.sent(), state.started_at.filter(|_| state.in_flight.is_some()))
    }

    /// The frame in flight and its version; `None` if there is none.
    pub(crate) fn in_flight(&self) -> Option<(Frame, u64)> {
        let state = self.lock();
        state.in_flight.as_ref().map(|(frame, _)| (frame.clone(), state.version))
    }

    /// What has gone over it.
    pub(crate) fn sent(&self) -> SendCounts {
        self.lock().sent()
    }

    fn resume(&self, state: &mut SendState) -> io::Result<SendStatus> {
        while let Some((frame, gone)) = &state.in_flight {
            match self.socket.try_send(&frame.as_bytes()[*gone..]) {
                Ok(sent) => state.advance(sent),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(state.started_at.map_or(SendStatus::Idle, SendStatus::InFlight));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(SendStatus::Idle)
    }

    fn lock(&self) -> MutexGuard<'_, SendState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SendState {
    /// True if and only if a frame of `version` is to be started_at when none is in flight.
    fn should_send(&self, version: u64, repeat_before: Option<Instant>) -> bool {
        let is_due =
            || self.started_at.is_none_or(|started_at| repeat_before.is_some_and(|before| started_at <= before));
        !self.closed && (version > self.version || (version == self.version && is_due()))
    }

    /// Takes note of a frame of which `sent` bytes have gone. Most have gone whole: those are not even counted as shared,
    /// which would be the one word in memory that all publishers write to.
    fn begin(&mut self, frame: &Frame, version: u64, sent: usize, now: Instant) {
        if self.started_at.is_some() {
            self.skipped += version.saturating_sub(self.version + 1);
        }
        self.is_repeat = self.started_at.is_some() && version == self.version;
        (self.version, self.started_at) = (version, Some(now));
        self.bytes += sent as u64;
        if sent == frame.as_bytes().len() {
            self.count_frame();
        } else {
            self.in_flight = Some((frame.clone(), sent));
        }
    }

    /// Takes note of `sent` more bytes of the frame in flight.
    fn advance(&mut self, sent: usize) {
        self.bytes += sent as u64;
        if let Some((frame, gone)) = &mut self.in_flight {
            *gone += sent;
            if *gone == frame.as_bytes().len() {
                self.in_flight = None;
                self.count_frame();
            }
        }
    }

    /// Counts the last frame that was started, which has gone whole.
    fn count_frame(&mut self) {
        self.frames += 1;
        self.repeats = self.repeats.wrapping_add(u32::from(self.is_repeat));
    }

    fn sent(&self) -> SendCounts {
        let Self { frames, bytes, skipped, .. } = *self;
        SendCounts { frames, bytes, skipped, firsts: frames.min(1), repeats: self.repeats.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};

    const NANOSECOND: std::time::Duration = std::time::Duration::from_nanos(1);

    /// Has room for so many bytes, and keeps what it took.
    #[derive(Default)]
    struct Pipe {
        room: Cell<usize>,
        taken: RefCell<Vec<u8>>,
    }

    impl Socket for &Pipe {
        fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
            let sent = bytes.len().min(self.room.get());
            if sent == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.room.set(self.room.get() - sent);
            self.taken.borrow_mut().extend_from_slice(&bytes[..sent]);
            Ok(sent)
        }
    }

    #[derive(Default)]
    struct Notifications(Cell<usize>);

    impl Notify for &Notifications {
        fn notify_pending(&self) {
            self.0.set(self.0.get() + 1);
        }
    }

    fn frame(text: &str) -> Frame {
        Frame::new(text.as_bytes(), 100).unwrap()
    }

    fn sent(frames: u64, bytes: u64, skipped: u64) -> SendCounts {
        SendCounts { frames, bytes, skipped, firsts: frames.min(1), repeats: 0 }
    }

    fn taken(pipe: &Pipe) -> String {
        String::from_utf8(pipe.taken.take()).unwrap()
    }

    #[test]
    fn a_change_that_fits_is_sent_without_a_notification() {
        let (pipe, notifications) = (Pipe::default(), Notifications::default());
        pipe.room.set(100);
        let sender = FrameSender::new(&pipe, &notifications);
        sender.try_send_frame(&frame("one"), 1, None, Instant::now());
        assert_eq!((taken(&pipe).as_str(), notifications.0.get(), sender.sent()), ("3         one", 0, sent(1, 13, 0)));
    }

    #[test]
    fn what_does_not_fit_is_left_to_the_owner_who_then_takes_the_newest() {
        let (pipe, notifications) = (Pipe::default(), Notifications::default());
        pipe.room.set(5);
        let sender = FrameSender::new(&pipe, &notifications);
        sender.try_send_frame(&frame("one"), 1, None, Instant::now());
        assert_eq!((notifications.0.get(), sender.sent()), (1, sent(0, 5, 0)));
        // The frame in flight is not followed by anything before it is whole.
        sender.try_send_frame(&frame("two"), 2, None, Instant::now());
        pipe.room.set(4);
        assert!(matches!(sender.begin(&frame("three"), 3, None).unwrap(), SendStatus::InFlight(_)));
        pipe.room.set(100);
        assert_eq!(sender.flush().unwrap(), SendStatus::Idle);
        assert_eq!(sender.begin(&frame("three"), 3, None).unwrap(), SendStatus::Idle);
        assert_eq!(taken(&pipe), "3         one5         three");
        assert_eq!(sender.sent(), sent(2, 28, 1), "the second change was skipped");
        assert_eq!(notifications.0.get(), 2, "one for what did not fit, one for the change during it");
    }

    #[test]
    fn a_full_socket_notifies_its_owner() {
        let (pipe, notifications) = (Pipe::default(), Notifications::default());
        let sender = FrameSender::new(&pipe, &notifications);
        sender.try_send_frame(&frame("one"), 1, None, Instant::now());
        assert_eq!((notifications.0.get(), sender.last()), (1, None));
    }

    #[test]
    fn an_older_map_never_follows_a_newer_one() {
        let (pipe, notifications) = (Pipe::default(), Notifications::default());
        pipe.room.set(100);
        let sender = FrameSender::new(&pipe, &notifications);
        sender.try_send_frame(&frame("two"), 2, None, Instant::now());
        sender.try_send_frame(&frame("one"), 1, None, Instant::now());
        assert_eq!(sender.begin(&frame("two"), 2, None).unwrap(), SendStatus::Idle);
        assert_eq!(taken(&pipe), "3         two");
    }

    #[test]
    fn a_frame_is_repeated_once_it_is_due() {
        let (pipe, notifications) = (Pipe::default(), Notifications::default());
        pipe.room.set(100);
        let sender = FrameSender::new(&pipe, &notifications);
        sender.begin(&frame("one"), 1, None).unwrap();
        let (_, started_at) = sender.last().unwrap();
        sender.begin(&frame("one"), 1, started_at.checked_sub(NANOSECOND)).unwrap();
        assert_eq!(sender.sent().frames, 1);
        sender.begin(&frame("one"), 1, Some(started_at)).unwrap();
        sender.begin(&frame("two"), 2, None).unwrap();
        let SendCounts { frames, firsts, repeats, .. } = sender.sent();
        assert_eq!((frames, firsts, repeats), (3, 1, 1));
    }

    #[test]
    fn a_publisher_repeats_what_is_due_and_says_when_the_last_frame_was_begun() {
        let (pipe, notifications) = (Pipe::default(), Notifications::default());
        pipe.room.set(30);
        let sender = FrameSender::new(&pipe, &notifications);
        let started_at = Instant::now();
        let early = started_at.checked_sub(NANOSECOND);
        let later = started_at + NANOSECOND;
        assert_eq!(sender.try_send_frame(&frame("one"), 1, None, started_at), Some(started_at));
        assert_eq!(sender.try_send_frame(&frame("one"), 1, early, later), Some(started_at), "not due yet");
        assert_eq!(sender.try_send_frame(&frame("one"), 1, Some(started_at), later), Some(later));
        assert_eq!((taken(&pipe).as_str(), notifications.0.get()), ("3         one3         one", 0));
        // There is room for four bytes more: the rest is the owner's.
        assert_eq!((sender.try_send_frame(&frame("one"), 1, Some(later), later), notifications.0.get()), (None, 1));
        assert_eq!(
            (sender.try_send_frame(&frame("one"), 1, Some(later), later), notifications.0.get()),
            (None, 2),
            "due, in flight"
        );
    }

    #[test]
    fn an_older_map_is_not_repeated_after_a_newer_one() {
        let (pipe, notifications) = (Pipe::default(), Notifications::default());
        pipe.room.set(100);
        let sender = FrameSender::new(&pipe, &notifications);
        let started_at = Instant::now();
        sender.try_send_frame(&frame("two"), 2, None, started_at);
        sender.try_send_frame(&frame("one"), 1, Some(started_at), started_at);
        assert_eq!(sender.begin(&frame("one"), 1, Some(started_at)).unwrap(), SendStatus::Idle);
        assert_eq!(taken(&pipe), "3         two");
    }

    #[test]
    fn a_closed_sender_begins_nothing_and_finishes_what_it_has() {
        let (pipe, notifications) = (Pipe::default(), Notifications::default());
        pipe.room.set(5);
        let sender = FrameSender::new(&pipe, &notifications);
        sender.try_send_frame(&frame("one"), 1, None, Instant::now());
        sender.close();
        pipe.room.set(100);
        assert_eq!(sender.flush().unwrap(), SendStatus::Idle);
        sender.try_send_frame(&frame("two"), 2, None, Instant::now());
        sender.begin(&frame("two"), 2, None).unwrap();
        assert_eq!(taken(&pipe), "3         one");
    }
}
