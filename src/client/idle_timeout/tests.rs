use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A reader with a simulated clock.
struct Reader {
    idle_timeout: IdleTimeout,
    now: Instant,
}

impl Reader {
    /// Connects, with `fixed` as the user's limit.
    fn connect(fixed: Option<Duration>) -> Self {
        let mut reader = Self { idle_timeout: IdleTimeout::new(fixed, true), now: Instant::now() };
        reader.reconnect();
        reader
    }

    fn reconnect(&mut self) {
        self.idle_timeout.start_connection(self.now);
    }

    /// Waits for a frame that arrives after `gap`.
    fn read(&mut self, payload: &str, gap: Duration) {
        let arrival = self.now + gap;
        self.idle_timeout.resume(self.now);
        while let Some(until) = self.idle_timeout.start_wait(self.now, true, None).filter(|until| *until < arrival) {
            self.now = until;
            assert!(self.idle_timeout.end_wait(self.now));
            let error = self.idle_timeout.check(self.now, true);
            assert!(error.is_none(), "{error:?} where a frame arrives after {gap:?}");
        }
        self.now = arrival;
        let is_timely = self.idle_timeout.end_wait(self.now);
        self.idle_timeout.frame_came(payload.as_bytes(), is_timely, self.now);
        self.idle_timeout.pause(self.now);
    }

    fn repeat(&mut self, interval: Duration, times: u32) {
        (0..times).for_each(|_| self.read("map", interval));
    }

    /// Stops the program for `pause` during a wait, and continues it.
    fn pause(&mut self, pause: Duration) -> bool {
        self.idle_timeout.resume(self.now);
        self.idle_timeout.start_wait(self.now, true, None);
        self.now += pause;
        self.idle_timeout.end_wait(self.now)
    }

    /// Waits for a server that has gone silent. Returns how long that took, and the error.
    fn wait_given_up(&mut self, has_received: bool) -> (Duration, Error) {
        let began = self.now;
        self.idle_timeout.resume(self.now);
        loop {
            self.now = self.idle_timeout.start_wait(self.now, has_received, None).unwrap();
            assert!(self.idle_timeout.end_wait(self.now));
            if let Some(error) = self.idle_timeout.check(self.now, has_received) {
                return (self.now - began, error);
            }
        }
    }

    /// As [`wait_given_up`](Self::wait_given_up), and reconnects. Returns the seconds it took.
    fn stale_after(&mut self) -> u64 {
        let (after, error) = self.wait_given_up(true);
        assert!(matches!(error, Error::Stale { after: limit } if limit == after), "{error:?} after {after:?}");
        self.reconnect();
        after.as_secs()
    }

    fn unanswered_after(&mut self) -> u64 {
        let (after, error) = self.wait_given_up(false);
        assert!(matches!(error, Error::NoFirstByte { after: limit } if limit == after), "{error:?} after {after:?}");
        self.reconnect();
        after.as_secs()
    }
}

#[test]
fn three_intervals_of_silence_are_allowed_within_bounds() {
    for (interval, limit) in [(1, 10), (5, 15), (20, 60), (60, 180), (100, 180)] {
        let mut reader = Reader::connect(None);
        reader.read("map", Duration::ZERO);
        reader.repeat(interval * SECOND, 2);
        assert_eq!(reader.stale_after(), limit, "an interval of {interval} s");
    }
}

#[test]
fn before_the_first_repeat_a_minute_is_assumed() {
    let mut reader = Reader::connect(None);
    reader.read("map", Duration::ZERO);
    assert_eq!(reader.stale_after(), 180);
}

#[test]
fn changes_do_not_affect_the_interval() {
    let mut reader = Reader::connect(None);
    reader.read("first", Duration::ZERO);
    reader.read("second", Duration::from_millis(1300));
    // The server's interval is a minute, and the first repeat comes after it.
    reader.read("second", 60 * SECOND);
    assert_eq!(reader.stale_after(), 180);
}

#[test]
fn a_server_that_never_repeats_is_allowed_three_minutes() {
    let mut reader = Reader::connect(None);
    for number in 0..100 {
        reader.read(&number.to_string(), SECOND);
    }
    assert_eq!(reader.stale_after(), 180);
}

#[test]
fn a_pause_during_a_wait_is_not_learned() {
    let mut reader = Reader::connect(None);
    reader.read("map", Duration::ZERO);
    reader.repeat(5 * SECOND, 5);
    for _ in 0..10 {
        assert!(!reader.pause(40 * SECOND));
        // Eight frames have arrived, the first of which ended the wait.
        (0..8).for_each(|_| reader.idle_timeout.frame_came(b"map", false, reader.now));
        reader.idle_timeout.pause(reader.now);
        reader.repeat(5 * SECOND, 1);
    }
    assert_eq!(reader.stale_after(), 15);
}

#[test]
fn a_pause_before_the_first_repeat_is_not_learned() {
    let mut reader = Reader::connect(None);
    reader.read("map", Duration::ZERO);
    reader.pause(40 * SECOND);
    (0..8).for_each(|_| reader.idle_timeout.frame_came(b"map", false, reader.now));
    assert_eq!(reader.stale_after(), 15);
}

#[test]
fn a_pause_during_a_wait_is_not_silence() {
    let mut reader = Reader::connect(None);
    reader.read("map", Duration::ZERO);
    reader.repeat(5 * SECOND, 2);
    assert!(!reader.pause(1000 * SECOND));
    assert!(reader.idle_timeout.check(reader.now, true).is_none());
    // Only the regular part of the interrupted wait counts.
    let (after, error) = reader.wait_given_up(true);
    assert!(matches!(error, Error::Stale { .. }) && (9..=15).contains(&after.as_secs()), "{error:?} after {after:?}");
}

#[test]
fn time_between_two_calls_is_not_silence() {
    let mut reader = Reader::connect(None);
    reader.read("map", Duration::ZERO);
    reader.repeat(5 * SECOND, 2);
    reader.now += 1000 * SECOND;
    assert_eq!(reader.stale_after(), 15);
}

#[test]
fn calls_with_short_deadlines_add_up() {
    let mut reader = Reader::connect(None);
    reader.read("map", Duration::ZERO);
    reader.repeat(5 * SECOND, 2);
    let began = reader.now;
    while reader.idle_timeout.check(reader.now, true).is_none() {
        reader.idle_timeout.resume(reader.now);
        reader.now = reader.idle_timeout.start_wait(reader.now, true, Some(reader.now + SECOND / 10)).unwrap();
        assert!(reader.idle_timeout.end_wait(reader.now));
        reader.idle_timeout.pause(reader.now);
    }
    assert_eq!((reader.now - began).as_secs(), 15);
}

#[test]
fn repeated_hangs_are_noticed_after_the_same_time() {
    let mut reader = Reader::connect(None);
    for _ in 0..10 {
        reader.read("map", Duration::ZERO);
        reader.repeat(5 * SECOND, 2);
        assert_eq!(reader.stale_after(), 15);
    }
}

#[test]
fn a_longer_and_a_shorter_interval_are_learned_later() {
    let mut reader = Reader::connect(None);
    reader.read("map", Duration::ZERO);
    reader.repeat(5 * SECOND, 5);
    assert_eq!(reader.stale_after(), 15);
    // Now the interval is a minute: two connections seem stale.
    for limit in [15, 45] {
        reader.read("map", Duration::ZERO);
        assert_eq!(reader.stale_after(), limit);
    }
    reader.read("map", Duration::ZERO);
    reader.repeat(60 * SECOND, 1);
    assert_eq!(reader.stale_after(), 180);
    reader.read("map", Duration::ZERO);
    reader.repeat(5 * SECOND, 3);
    assert_eq!(reader.stale_after(), 15);
}

#[test]
fn the_limit_grows_to_three_minutes() {
    let mut reader = Reader::connect(None);
    reader.read("map", Duration::ZERO);
    reader.repeat(SECOND, 1);
    assert_eq!(reader.stale_after(), 10);
    let limits = [(); 6].map(|()| {
        reader.read("map", Duration::ZERO);
        reader.stale_after()
    });
    assert_eq!(limits, [10, 30, 90, 180, 180, 180]);
}

#[test]
fn the_users_limit_applies_unchanged() {
    let mut reader = Reader::connect(Some(20 * SECOND));
    for _ in 0..3 {
        reader.read("map", Duration::ZERO);
        reader.repeat(SECOND, 5);
        assert_eq!(reader.stale_after(), 20);
    }
    let mut reader = Reader::connect(Some(SECOND));
    assert_eq!(reader.stale_after(), 1, "before the first byte too");
    let mut reader = Reader::connect(Some(Duration::MAX));
    reader.read("map", 1_000_000 * SECOND);
}

#[test]
fn the_limit_for_the_first_byte_doubles() {
    let mut reader = Reader::connect(None);
    let limits = [(); 6].map(|()| reader.unanswered_after());
    assert_eq!(limits, [15, 30, 60, 120, 180, 180]);
    reader.read("map", Duration::ZERO);
    reader.reconnect();
    assert_eq!(reader.unanswered_after(), 15);
    assert_eq!(reader.stale_after(), 180, "the interval is not doubted");
}

#[test]
fn a_partial_first_frame_has_the_full_limit() {
    let mut reader = Reader::connect(None);
    reader.read("a large map over a slow link", 100 * SECOND);
}

#[test]
fn without_reconnecting_the_first_byte_has_the_full_limit() {
    let mut reader = Reader { idle_timeout: IdleTimeout::new(None, false), now: Instant::now() };
    reader.reconnect();
    let (after, error) = reader.wait_given_up(false);
    assert!(matches!(error, Error::Stale { .. }) && after == 180 * SECOND, "{error:?} after {after:?}");
}
