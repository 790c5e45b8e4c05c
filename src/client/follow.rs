//! A server followed over as many connections as it takes.

use std::iter;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use log::{debug, info, log};
use serde::de::DeserializeOwned;

use super::idle_timeout::IdleTimeout;
use super::observer::{Connectivity, Losses, Observer};
use super::resolver::Resolver;
use super::retry::Backoff;
use super::stream::{Cancellation, sooner};
use super::{Client, ClientConfig, Error};
use crate::display::error_chain::ErrorChain;
use crate::frame::{self, HEADER_LEN};
use crate::map::Map;
use crate::shutdown::Shutdown;

/// How a server is followed. Write `FollowConfig { reconnect: false, ..FollowConfig::default() }`.
#[derive(Debug, Clone)]
pub struct FollowConfig {
    /// How each connection is made and read.
    pub client: ClientConfig,
    /// Whether another connection follows the first. Default: true.
    pub reconnect: bool,
    /// How long a connection may be silent, before its first byte and between two frames. Default: three times the server's
    /// interval as learned from its repeats, 10 s to 3 min; 3 min before the first repeat. A connection that brings no byte is
    /// given up after 15 s, doubling to 3 min until a frame comes, unless `reconnect` is off.
    pub stale_after: Option<Duration>,
    /// How long attempts at the first connection go on: at least one is made, and one at the end. Default: zero;
    /// [`Duration::MAX`] is for ever.
    pub wait: Duration,
    /// Returns the fix for an error, such as an option of the program. It is appended to the error in the log and in
    /// [`Connectivity::Lost`]. Default: no advice.
    pub advice: fn(&Error) -> Option<String>,
}

impl Default for FollowConfig {
    fn default() -> Self {
        let (client, wait) = (ClientConfig::default(), Duration::ZERO);
        Self { client, reconnect: true, stale_after: None, wait, advice: |_| None }
    }
}

/// Follows a server: connects, and connects again when the connection ends, is cut, or is silent for too long. Waits in
/// between for a random time below a step that doubles from 1 s to 5 s, until a frame has come. Logs what it does; a reason
/// that stays the same is a warning every 30 s, and debug in between.
///
/// ```no_run
/// use mapcast::Shutdown;
/// use mapcast::client::{FollowConfig, Follower};
///
/// let shutdown = Shutdown::new()?;
/// let mut follower = Follower::new("127.0.0.1:8080", FollowConfig::default(), &shutdown);
/// for map in follower.maps() {
///     println!("{:?}", map?);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Follower {
    address: String,
    config: FollowConfig,
    resolver: Resolver,
    cancellation: Cancellation,
    client: Option<Client>,
    /// Whether a connection has stood: it gave a frame, or ended otherwise than by being refused. Before that, whatever
    /// refuses one is the caller's to mend.
    ever_connected: bool,
    /// When the first attempt at a connection was made.
    first_attempt: Option<Instant>,
    /// How far the connections have come; what has been read of the present one counts when it is a frame, or gone.
    reached: Reached,
    /// When to connect again; `None` before the first attempt.
    retry_at: Option<Instant>,
    backoff: Backoff,
    silence: IdleTimeout,
    losses: Losses,
    observer: Observer,
}

/// The furthest that any connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reached {
    /// There has been none.
    Nothing,
    /// It was made.
    Connection,
    /// A byte has come.
    Byte,
    /// A whole frame has come.
    Frame,
}

/// What a [`Follower`] meets on its way.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// There is a connection.
    Connected {
        /// The server's address.
        peer: SocketAddr,
        /// This end's address.
        local: SocketAddr,
    },
    /// What was published, as it came: undecoded and never empty.
    Payload(Vec<u8>),
    /// There is no connection any more, or none could be made.
    Lost {
        /// Why; `None` if and only if the server closed it between two frames.
        reason: Option<Error>,
        /// How long the next call will wait before it connects again.
        retry_in: Duration,
    },
}

impl Follower {
    /// Returns a follower of the server at `address`, which is `HOST:PORT`. The first call that asks for a map
    /// connects. `shutdown` ends every call.
    pub fn new(address: &str, config: FollowConfig, shutdown: &Shutdown) -> Self {
        Self {
            address: address.to_owned(),
            resolver: Resolver::new(),
            cancellation: Cancellation { shutdown: shutdown.clone(), deadline: None },
            client: None,
            ever_connected: false,
            first_attempt: None,
            reached: Reached::Nothing,
            retry_at: None,
            backoff: Backoff::new(),
            silence: IdleTimeout::new(config.stale_after, config.reconnect),
            losses: Losses::default(),
            observer: Observer::default(),
            config,
        }
    }

    /// Sets the instant at which every later call ends with `TimedOut`, connecting or reading; `None`, which is how it
    /// begins, never comes. After `TimedOut` nothing is lost: set another deadline and repeat the call.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.cancellation.deadline = deadline;
    }

    /// Sets how long attempts at the first connection go on from the first one, as [`FollowConfig::wait`] does.
    pub fn set_wait(&mut self, wait: Duration) {
        self.config.wait = wait;
    }

    /// Has `observe` called whenever the connection comes or goes, by the thread that asks for maps: until it returns,
    /// nothing is read. There is one; the newest is called. Who asks for [`next_event`](Self::next_event) is told by that.
    pub fn on_connectivity(&mut self, observe: impl FnMut(Connectivity) + Send + 'static) {
        self.observer = Observer::new(observe);
    }

    /// True if and only if a connection has been made, and not one byte has come over any: the server has no map yet, or
    /// waits for something else, such as the beginning of TLS.
    pub fn is_unanswered(&self) -> bool {
        self.reached == Reached::Connection && !self.client.as_ref().is_some_and(Client::has_heard)
    }

    /// Waits for the next map and returns it, from whichever connection. Returns `Ok(None)` if and only if reconnecting
    /// is off and the server closed the connection between two frames.
    ///
    /// # Errors
    /// `Connect` and `Tls` if and only if it is the first connection that fails, for as long as it is waited for; what is wrong with a frame or payload that
    /// would be wrong again ([`Error::is_transient`]), `NoHeader` among it; with reconnecting off, every end that is not an
    /// orderly one; `TimedOut` and `Stopped`. Another call after any but the last connects again, after a pause.
    pub fn next_map(&mut self) -> Result<Option<Map>, Error> {
        let payload = self.next_payload()?;
        Ok(payload.map(|payload| self.config.client.format.decode_map(&payload)).transpose()?)
    }

    /// As [`next_map`](Self::next_map), for a server that publishes another serde type than a map.
    ///
    /// # Errors
    /// As [`next_map`](Self::next_map).
    pub fn next_typed<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        let payload = self.next_payload()?;
        Ok(payload.map(|payload| self.config.client.format.decode(&payload)).transpose()?)
    }

    /// Iterates over the maps as [`next_map`](Self::next_map) returns them, until it returns `Ok(None)`. After an error it
    /// goes on with whatever the next call would say: leave the loop there.
    pub fn maps(&mut self) -> impl Iterator<Item = Result<Map, Error>> {
        iter::from_fn(|| self.next_map().transpose())
    }

    /// As [`maps`](Self::maps), for a server that publishes another serde type than a map, or for a program that wants the
    /// map's entries as the fields of a struct.
    pub fn typed_maps<T: DeserializeOwned>(&mut self) -> impl Iterator<Item = Result<T, Error>> {
        iter::from_fn(|| self.next_typed().transpose())
    }

    /// As [`next_map`](Self::next_map), but returns the payload as it came, undecoded and never empty.
    ///
    /// # Errors
    /// As [`next_map`](Self::next_map), without `Format`.
    pub fn next_payload(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            let (reason, retry_in) = match self.next_event()? {
                Event::Payload(payload) => return Ok(Some(payload)),
                Event::Connected { peer, local } => {
                    info!("connected to {peer} from {local}");
                    self.observer.tell(Connectivity::Connected { peer });
                    continue;
                }
                Event::Lost { reason, retry_in } => (reason, retry_in),
            };
            match reason {
                Some(ref error @ (Error::Connect { .. } | Error::Tls(_))) if self.waits() => {
                    self.tell_lost(Some(error), retry_in);
                }
                None if !self.config.reconnect => return Ok(None),
                Some(error) if !self.config.reconnect || !error.is_transient() => return Err(error),
                // What is said of the first connection's address or certificate would be said of the next.
                Some(error @ (Error::Connect { .. } | Error::Tls(_))) if !self.ever_connected => return Err(error),
                reason => self.tell_lost(reason.as_ref(), retry_in),
            }
        }
    }

    /// Waits for what happens next and returns it. Goes on for ever, whatever goes wrong and whether reconnecting is on or
    /// off, and says nothing in the log nor to the observer: for a caller who has all of that in his own hands.
    ///
    /// # Errors
    /// `TimedOut` and `Stopped`, and no other.
    pub fn next_event(&mut self) -> Result<Event, Error> {
        let Some(client) = &mut self.client else {
            return self.connect();
        };
        loop {
            match read_frame(client, &mut self.silence, &self.cancellation) {
                Ok(Some(payload)) => {
                    self.backoff.reset();
                    self.losses.end();
                    self.ever_connected = true;
                    self.reached = Reached::Frame;
                    if !payload.is_empty() {
                        return Ok(Event::Payload(payload));
                    }
                    debug!("an empty frame: nothing has changed");
                }
                Ok(None) => return Ok(self.lost(None)),
                Err(error @ (Error::TimedOut | Error::Stopped)) => return Err(error),
                Err(Error::Frame(frame::Error::Truncated { wanted: HEADER_LEN, .. }))
                    if self.reached < Reached::Frame =>
                {
                    // Only before a frame: a server that is cut later is one of ours.
                    let bytes = client.header_so_far().to_vec();
                    return Ok(self.lost(Some(Error::NoHeader { bytes })));
                }
                Err(error) => return Ok(self.lost(Some(error))),
            }
        }
    }

    /// Gives up the connection, if there is one, as if it were lost. The next call connects again, after the pause that
    /// is returned.
    pub fn give_up(&mut self) -> Duration {
        let retry_in = self.backoff.next_delay();
        if self.client.take().is_some_and(|client| client.has_heard()) {
            self.reached = self.reached.max(Reached::Byte);
        }
        self.retry_at = Some(Instant::now() + retry_in);
        retry_in
    }

    /// When the first connection is no longer waited for; `None` is never.
    fn waits_until(&self) -> Option<Instant> {
        self.first_attempt.unwrap_or_else(Instant::now).checked_add(self.config.wait)
    }

    /// True if and only if there has been no connection, and more attempts are to be made at the first.
    fn waits(&self) -> bool {
        !self.ever_connected && self.waits_until().is_none_or(|until| Instant::now() < until)
    }

    /// Connects, when it is time to.
    fn connect(&mut self) -> Result<Event, Error> {
        self.first_attempt.get_or_insert_with(Instant::now);
        if let Some(retry_at) = self.retry_at {
            let wait = Cancellation {
                deadline: sooner(Some(retry_at), self.cancellation.deadline),
                ..self.cancellation.clone()
            };
            wait.pass();
        }
        if self.cancellation.is_over() {
            return Err(self.cancellation.reason());
        }
        match Client::connect_by(&self.address, &self.config.client, &self.resolver, &self.cancellation) {
            Ok(client) => {
                let (peer, local) = (client.peer_addr(), client.local_addr());
                self.silence.connection_began(Instant::now());
                self.client = Some(client);
                self.reached = self.reached.max(Reached::Connection);
                Ok(Event::Connected { peer, local })
            }
            Err(error @ (Error::TimedOut | Error::Stopped)) => Err(error),
            Err(error) => Ok(self.lost(Some(error))),
        }
    }

    fn lost(&mut self, reason: Option<Error>) -> Event {
        let is_refusal = matches!(reason, Some(Error::Connect { .. } | Error::Tls(_)));
        self.ever_connected |= !is_refusal;
        let mut retry_in = self.give_up();
        if self.waits()
            && let Some(until) = self.waits_until()
        {
            retry_in = retry_in.min(until.saturating_duration_since(Instant::now()));
            self.retry_at = Some(Instant::now() + retry_in);
        }
        Event::Lost { reason, retry_in }
    }

    /// Says in the log, and to the observer, that there is no connection, and will be another.
    fn tell_lost(&mut self, reason: Option<&Error>, retry_in: Duration) {
        let advice = reason.and_then(self.config.advice);
        let (mut reason, what_next) = match reason {
            None => ("connection lost: closed by the server".to_owned(), "reconnecting"),
            Some(error @ (Error::Connect { .. } | Error::Tls(_))) => (ErrorChain(error).to_string(), "trying again"),
            Some(error @ (Error::Stale { .. } | Error::Unanswered { .. })) => (error.to_string(), "reconnecting"),
            Some(error) => (format!("connection lost: {}", ErrorChain(error)), "reconnecting"),
        };
        if let Some(advice) = advice {
            reason = format!("{reason}; {advice}");
        }
        let level = self.losses.level(&reason, Instant::now());
        log!(level, "{reason}; {what_next} in {:.1}s", retry_in.as_secs_f64());
        self.observer.tell(Connectivity::Lost { reason, retry_in });
    }
}

/// Reads one frame, empty ones included, unless the server is silent for too long.
fn read_frame(
    client: &mut Client,
    silence: &mut IdleTimeout,
    cancellation: &Cancellation,
) -> Result<Option<Vec<u8>>, Error> {
    let mut now = Instant::now();
    silence.enter(now);
    let result = loop {
        client.set_deadline(silence.start_wait(now, client.has_heard(), cancellation.deadline));
        let result = client.next_frame();
        now = Instant::now();
        let is_punctual = silence.end_wait(now);
        match result {
            Err(Error::TimedOut) if !cancellation.is_over() => {
                if let Some(error) = silence.judge(now, client.has_heard()) {
                    break Err(error);
                }
            }
            Ok(Some(payload)) => {
                silence.frame_came(&payload, is_punctual && client.has_waited(), now);
                break Ok(Some(payload));
            }
            other => break other,
        }
    };
    silence.leave(now);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    #[test]
    fn a_frame_makes_the_next_wait_short_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut follower = Follower::new(&address, FollowConfig::default(), &Shutdown::new().unwrap());
        follower.backoff.next_delay();
        assert_ne!(follower.backoff, Backoff::new());
        follower.connect().unwrap();
        listener.accept().unwrap().0.write_all(b"4         Hola").unwrap();
        follower.next_payload().unwrap();
        assert_eq!(follower.backoff, Backoff::new());
    }

    #[test]
    fn the_observer_is_told_of_a_connection_and_of_its_loss() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = listener.local_addr().unwrap();
        let shutdown = Shutdown::new().unwrap();
        let mut follower = Follower::new(&peer.to_string(), FollowConfig::default(), &shutdown);
        let (sender, news) = std::sync::mpsc::channel();
        let mut listener = Some(listener);
        follower.on_connectivity(move |told| {
            // With it goes the connection, which it has not accepted.
            drop(listener.take());
            if matches!(told, Connectivity::Lost { .. }) {
                shutdown.trigger();
            }
            sender.send(told).unwrap();
        });
        assert!(matches!(follower.next_payload(), Err(Error::Stopped)));
        assert_eq!(news.recv().unwrap(), Connectivity::Connected { peer });
        assert!(
            matches!(news.recv().unwrap(), Connectivity::Lost { reason, .. } if reason.contains("connection lost"))
        );
    }

    #[test]
    fn a_name_that_no_server_answers_for_holds_nobody_up_and_takes_one_thread() {
        let begun = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&begun);
        let lookup = move |_: &str| {
            counted.fetch_add(1, Ordering::SeqCst);
            loop {
                thread::park();
            }
        };
        let client = ClientConfig { connect_timeout: Duration::from_millis(5), ..ClientConfig::default() };
        let shutdown = Shutdown::new().unwrap();
        let mut follower = Follower::new("h:1", FollowConfig { client, ..FollowConfig::default() }, &shutdown);
        follower.resolver = Resolver::with(lookup);
        for _ in 0..10 {
            let event = follower.next_event().unwrap();
            assert!(matches!(event, Event::Lost { reason: Some(Error::Connect { .. }), .. }), "{event:?}");
            follower.retry_at = None;
        }
        // The thread may not have come to it yet.
        while begun.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        assert_eq!(begun.load(Ordering::SeqCst), 1);
        follower.config.client.connect_timeout = Duration::from_hours(1);
        follower.set_deadline(Some(Instant::now() + Duration::from_millis(20)));
        assert!(matches!(follower.next_event(), Err(Error::TimedOut)));
        follower.set_deadline(None);
        thread::scope(|scope| {
            let waiting = scope.spawn(move || follower.next_event());
            shutdown.trigger();
            assert!(matches!(waiting.join().unwrap(), Err(Error::Stopped)));
        });
    }

    #[test]
    fn the_callers_deadline_ends_the_wait_for_the_next_attempt() {
        let mut follower = Follower::new("127.0.0.1:1", FollowConfig::default(), &Shutdown::new().unwrap());
        let retry_at = Instant::now() + Duration::from_hours(1);
        follower.retry_at = Some(retry_at);
        follower.set_deadline(Some(Instant::now() + Duration::from_millis(50)));
        assert!(matches!(follower.next_map(), Err(Error::TimedOut)));
        assert!(Instant::now() < retry_at);
    }
}
