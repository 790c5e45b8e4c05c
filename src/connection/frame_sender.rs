//! The sending side of a connection: its own thread sends, and publishers do where the socket accepts data at once.

use std::io::{self, ErrorKind};
use std::ops::AddAssign;

use crate::frame::Frame;
use crate::sync::{Instant, Mutex, MutexGuard};

/// A non-blocking socket.
pub(crate) trait Socket {
    /// Sends as many of `bytes` as fit and returns how many were sent. After `Ok`, even `Ok(0)`, the next call must begin with
    /// the unsent bytes: some of them may be encrypted already.
    ///
    /// # Errors
    /// `WouldBlock` if no byte fits and none was encrypted.
    fn try_send(&self, bytes: &[u8]) -> io::Result<usize>;
}

/// Notifies the thread that owns the connection.
pub(crate) trait Notify {
    /// Notifies the owner that a frame is left for it to send.
    fn notify_pending(&self);
}

/// Sends frames over one connection, for the connection's own thread (the owner) and for publishers.
///
/// A publisher sends a frame itself where the socket accepts it at once, because waking the owner costs more than the send
/// (11 us against 10 us, measured). The owner finishes a frame that was not sent whole, then sends the newest. One lock
/// keeps frames from interleaving; the version check keeps an older map from following a newer one.
#[derive(Debug)]
pub(crate) struct FrameSender<S, O> {
    socket: S,
    owner: O,
    /// When it was created. Stored here at no cost: an allocation of 152 bytes, with both counts, fits a chunk that each
    /// thread's start leaves free in the heap (glibc); one of 136 did not, and took 144 more (measured).
    since: Instant,
    /// Guards the order of frames. Held for one non-blocking send, or for a publisher's batch of them (some 0.4 ms); a
    /// publisher never blocks on it.
    state: Mutex<SendState>,
}

#[derive(Debug, Default)]
struct SendState {
    /// The version of the last frame that was started; 0 before the first.
    version: u64,
    /// When that frame was started; `None` before the first.
    started_at: Option<Instant>,
    /// The frame in flight, and how many of its bytes have been written.
    in_flight: Option<(Frame, usize)>,
    /// No further frame is started.
    closed: bool,
    /// The last frame has the same version as the one before it.
    is_repeat: bool,
    /// Repeats sent whole. 32 bits fit here at no cost; at one repeat per second they last 136 years.
    repeats: u32,
    frames: u64,
    bytes: u64,
    skipped: u64,
}

/// Counts of the frames sent over a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SendCounts {
    /// Frames sent whole.
    pub(crate) frames: u64,
    /// Bytes of frames.
    pub(crate) bytes: u64,
    /// Versions that were never started, because a newer one existed before the client was ready for them.
    pub(crate) skipped: u64,
    /// Frames that were the first of their connection.
    pub(crate) firsts: u64,
    /// Frames with the same version as the one before.
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

/// The reply to a publisher's [`offer`](FrameSender::offer).
pub(crate) enum Offer<'sender, S, O> {
    /// The publisher sends the frame.
    Accepted(AcceptedFrame<'sender, S, O>),
    /// There is nothing to send for the publisher. When the last frame was started; `None` if the owner was notified, which
    /// sends the rest.
    Settled(Option<Instant>),
}

/// A frame that a publisher is about to send. Until it is recorded or dropped, no other thread sends over the connection.
pub(crate) struct AcceptedFrame<'sender, S, O> {
    sender: &'sender FrameSender<S, O>,
    version: u64,
    state: MutexGuard<'sender, SendState>,
}

impl<'sender, S: Socket, O: Notify> AcceptedFrame<'sender, S, O> {
    pub(crate) fn socket(&self) -> &'sender S {
        &self.sender.socket
    }

    /// Records the result of the only send, and notifies the owner of what is left to send. `now` may be slightly stale:
    /// reading the clock costs 3 % of a send.
    ///
    /// Returns `now` if the frame was sent whole; `None` if the rest was deferred to the owner.
    pub(crate) fn record(mut self, frame: &Frame, sent: &io::Result<usize>, now: Instant) -> Option<Instant> {
        // On an error, the owner finds out whether the socket is full or broken.
        if let Ok(sent) = *sent {
            self.state.begin(frame, self.version, sent, now);
            if self.state.in_flight.is_none() {
                return Some(now);
            }
        }
        drop(self.state);
        self.sender.defer_to_owner()
    }
}

/// The state after a send by the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendStatus {
    /// No frame is in flight.
    Idle,
    /// A frame is in flight, started at this time, and the socket is full.
    InFlight(Instant),
}

impl<S: Socket, O: Notify> FrameSender<S, O> {
    /// Returns the sender of `socket`; no frame has been sent.
    pub(crate) fn new(socket: S, owner: O) -> Self {
        Self { socket, owner, since: Instant::now(), state: Mutex::new(SendState::default()) }
    }

    /// Offers a frame of `version` for a publisher, without blocking. It may be sent if it is newer than the last one, or if its
    /// version is the same and the last one was started no later than `repeat_before`. Notifies the owner of a frame that
    /// waits for another one.
    pub(crate) fn offer(&self, version: u64, repeat_before: Option<Instant>) -> Offer<'_, S, O> {
        let Some(state) = self.state.try_lock() else {
            // The owner is sending, perhaps an older frame, and may have read the newest map already.
            return Offer::Settled(self.defer_to_owner());
        };
        if !state.should_send(version, repeat_before) {
            return Offer::Settled(state.started_at);
        }
        if state.in_flight.is_some() {
            // The owner finishes that frame and then reads the newest map. Without the notification, an owner that has read
            // it already would wait until its next check (a model found this).
            drop(state);
            return Offer::Settled(self.defer_to_owner());
        }
        Offer::Accepted(AcceptedFrame { sender: self, version, state })
    }

    /// Offers `frame` and sends it at once, if it is accepted.
    ///
    /// Returns when the last frame was started, if nothing is left to send; `None` if the rest was deferred to the owner.
    #[cfg(test)]
    pub(crate) fn try_send_frame(
        &self,
        frame: &Frame,
        version: u64,
        repeat_before: Option<Instant>,
        now: Instant,
    ) -> Option<Instant> {
        match self.offer(version, repeat_before) {
            Offer::Settled(started_at) => started_at,
            Offer::Accepted(accepted) => {
                let sent = accepted.socket().try_send(frame.as_bytes());
                accepted.record(frame, &sent, now)
            }
        }
    }

    /// Notifies the owner, which sends the rest.
    fn defer_to_owner(&self) -> Option<Instant> {
        self.owner.notify_pending();
        None
    }

    /// Starts `frame` for the owner, if it is newer than the last one, or if its version is the same and the last one was
    /// started no later than `repeat_before`. If a frame is in flight already, resumes that one instead.
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

    /// Resumes the frame in flight for the owner.
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

    /// When it was created, which is when the connection was accepted.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// Starts no further frame: no thread would finish it. A frame in flight stays.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    /// The version of the last frame that was started, and when; `None` before the first.
    pub(crate) fn last(&self) -> Option<(u64, Instant)> {
        let state = self.lock();
        state.started_at.map(|started_at| (state.version, started_at))
    }

    /// The counts, and when the frame in flight was started (`None` if there is none), read under one lock.
    pub(crate) fn progress(&self) -> (SendCounts, Option<Instant>) {
        let state = self.lock();
        (state.sent(), state.started_at.filter(|_| state.in_flight.is_some()))
    }

    /// The frame in flight and its version; `None` if there is none.
    pub(crate) fn in_flight(&self) -> Option<(Frame, u64)> {
        let state = self.lock();
        state.in_flight.as_ref().map(|(frame, _)| (frame.clone(), state.version))
    }

    /// The counts.
    pub(crate) fn sent(&self) -> SendCounts {
        self.lock().sent()
    }

    fn resume(&self, state: &mut SendState) -> io::Result<SendStatus> {
        while let Some((frame, written)) = &state.in_flight {
            match self.socket.try_send(&frame.as_bytes()[*written..]) {
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
        self.state.lock()
    }
}

impl SendState {
    /// True if and only if a frame of `version` should be started when none is in flight.
    fn should_send(&self, version: u64, repeat_before: Option<Instant>) -> bool {
        let is_due =
            || self.started_at.is_none_or(|started_at| repeat_before.is_some_and(|before| started_at <= before));
        !self.closed && (version > self.version || (version == self.version && is_due()))
    }

    /// Records the start of a frame of which `sent` bytes are written. A frame that was sent whole, as most are, is not
    /// cloned: its reference count would be the one word of memory that all publishers write to.
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

    /// Records `sent` more bytes of the frame in flight.
    fn advance(&mut self, sent: usize) {
        self.bytes += sent as u64;
        if let Some((frame, written)) = &mut self.in_flight {
            *written += sent;
            if *written == frame.as_bytes().len() {
                self.in_flight = None;
                self.count_frame();
            }
        }
    }

    /// Counts the last frame, which has been sent whole.
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

    /// A socket that accepts `room` bytes and keeps them.
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
    fn a_frame_that_does_not_fit_is_finished_by_the_owner() {
        let (pipe, notifications) = (Pipe::default(), Notifications::default());
        pipe.room.set(5);
        let sender = FrameSender::new(&pipe, &notifications);
        sender.try_send_frame(&frame("one"), 1, None, Instant::now());
        assert_eq!((notifications.0.get(), sender.sent()), (1, sent(0, 5, 0)));
        // No other frame starts before the frame in flight is whole.
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
    fn a_publisher_sends_a_due_repeat_and_gets_the_last_start() {
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
        // Four bytes fit: the rest is deferred to the owner.
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
    fn a_closed_sender_finishes_its_frame_and_starts_no_other() {
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
