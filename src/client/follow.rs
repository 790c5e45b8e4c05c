//! Follows a server across connections.

use std::iter;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use log::{debug, info, log};
use serde::de::DeserializeOwned;

use super::config::ClientConfig;
use super::connection::Client;
use super::decode::decode;
use super::error::Error;
use super::idle_timeout::IdleTimeout;
use super::observer::{Connectivity, LossCause, LossLog, Observer};
use super::resolver::Resolver;
use super::retry::Backoff;
use super::socket::{Cancellation, sooner};
use crate::display::advice_suffix;
use crate::display::error_chain::ErrorChain;
use crate::format::Format;
use crate::frame::{self, HEADER_LEN};
use crate::map::Map;
use crate::shutdown::Shutdown;

/// How long a connection must last after its first frame to reset the backoff: 5 s, the longest step, so that the reset
/// cannot make a client connect more often.
const PROVEN_AFTER: Duration = Duration::from_secs(5);

/// How a server is followed. Write `FollowConfig { reconnect: false, ..FollowConfig::default() }`.
#[derive(Debug, Clone)]
pub struct FollowConfig {
    /// How each connection is made and read.
    pub client: ClientConfig,
    /// Whether to reconnect. Default: true.
    pub reconnect: bool,
    /// How long a connection may be silent, before its first byte and between two frames. Default: three times the
    /// server's interval as learned from its repeats, 10 s to 3 min; 3 min before the first repeat. Unless `reconnect`
    /// is off, a connection that receives no byte is given up after 15 s, doubling to 3 min until a frame comes.
    pub stale_after: Option<Duration>,
    /// How long the first connection is retried: there is always one attempt, and one at the end. Default: zero;
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

/// Follows a server: connects, and reconnects when the connection closes, fails, or is silent for too long. Logs each
/// connection and each loss; a reason that stays the same is a warning every 30 s, and debug in between.
///
/// Before each reconnection it waits for a random time below a step that doubles from 1 s to 5 s. The step returns to 1 s
/// after a connection that lasted 5 s, the longest step, after its first frame. The first frame alone does not reset it: a
/// server that sends one map and closes would be reconnected to more than once a second for ever. Nor does the second
/// frame: it is due after the server's interval, which may be a minute.
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
    /// The format of the last payload.
    format: Option<Format>,
    /// When `client` received its first frame.
    first_frame: Option<Instant>,
    /// Whether a connection has been made: it received a frame, or ended in another way than by a refusal. Until then,
    /// a refusal is returned to the caller.
    ever_connected: bool,
    /// When the first attempt was made.
    first_attempt: Option<Instant>,
    /// The progress of all connections. A byte on the current one counts only once it is lost or has a frame.
    progress: Progress,
    /// When to reconnect; `None` before the first attempt.
    retry_at: Option<Instant>,
    backoff: Backoff,
    idle_timeout: IdleTimeout,
    loss_log: LossLog,
    observer: Observer,
}

/// The furthest progress of any connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    /// No connection.
    Nothing,
    /// A connection was made.
    Connection,
    /// A byte was received.
    Byte,
    /// A whole frame was received.
    Frame,
}

/// An event of a [`Follower`].
#[derive(Debug)]
#[non_exhaustive]
pub enum FollowEvent {
    /// A connection was made.
    Connected {
        /// The server's address.
        peer: SocketAddr,
        /// The local address.
        local: SocketAddr,
    },
    /// A payload as received: not decoded and never empty.
    Payload(Vec<u8>),
    /// The connection was lost, or an attempt failed.
    Lost {
        /// The cause; `None` if and only if the server closed the connection between two frames.
        reason: Option<Error>,
        /// How long the next call waits before it reconnects.
        retry_in: Duration,
    },
}

impl Follower {
    /// Returns a follower of the server at `address`, which is `HOST:PORT`. The first request for a map connects.
    /// `shutdown` ends every call.
    pub fn new(address: &str, config: FollowConfig, shutdown: &Shutdown) -> Self {
        Self {
            address: address.to_owned(),
            resolver: Resolver::new(),
            cancellation: Cancellation { shutdown: shutdown.clone(), deadline: None },
            client: None,
            format: config.client.format,
            first_frame: None,
            ever_connected: false,
            first_attempt: None,
            progress: Progress::Nothing,
            retry_at: None,
            backoff: Backoff::new(),
            idle_timeout: IdleTimeout::new(config.stale_after, config.reconnect),
            loss_log: LossLog::default(),
            observer: Observer::default(),
            config,
        }
    }

    /// Sets the instant at which every later call ends with `TimedOut`, connecting or reading; the default, `None`,
    /// never comes. After `TimedOut` nothing is lost: set another deadline and repeat the call.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.cancellation.deadline = deadline;
    }

    /// Sets how long the first connection is retried, as [`FollowConfig::wait`] does.
    pub fn set_wait(&mut self, wait: Duration) {
        self.config.wait = wait;
    }

    /// Calls `observe` whenever a connection is made or lost, in the thread that requests maps: nothing is read until
    /// it returns. There is one observer; the newest replaces the others. [`next_event`](Self::next_event) returns
    /// these events instead.
    pub fn on_connectivity(&mut self, observe: impl FnMut(Connectivity) + Send + 'static) {
        self.observer = Observer::new(observe);
    }

    /// True if and only if a connection has been made but none has received a byte: the server has no map yet, or
    /// waits for something, such as a TLS handshake.
    pub fn awaits_first_byte(&self) -> bool {
        self.progress == Progress::Connection && !self.client.as_ref().is_some_and(Client::has_received)
    }

    /// Waits for the next map on any connection and returns it. Returns `Ok(None)` if and only if reconnecting is off
    /// and the server closed the connection between two frames.
    ///
    /// # Errors
    /// `Connect` and `Tls` if and only if the first connection fails for as long as it is retried; errors of a frame
    /// or payload that would only come again (see [`Error::is_transient`]), `NoHeader` among them; with reconnecting
    /// off, every end except an orderly one; `TimedOut` and `Stopped`. Another call after any but the last reconnects,
    /// after a delay.
    pub fn next_map(&mut self) -> Result<Option<Map>, Error> {
        let payload = self.next_payload()?;
        payload.map(|payload| self.decode_map(&payload)).transpose()
    }

    /// As [`next_map`](Self::next_map), for a server that publishes another serde type than a map.
    ///
    /// # Errors
    /// As [`next_map`](Self::next_map).
    pub fn next_typed<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        let payload = self.next_payload()?;
        payload.map(|payload| decode(&payload, self.format, Format::decode)).transpose()
    }

    /// The format of the last payload: the configured one, or the one that the first payload of its connection has shown.
    pub fn format(&self) -> Option<Format> {
        self.format
    }

    /// Decodes the last payload that [`next_payload`](Self::next_payload) or [`next_event`](Self::next_event) returned.
    ///
    /// # Errors
    /// `Format`; `OtherFormat` and `UnknownFormat`.
    pub fn decode_map(&self, payload: &[u8]) -> Result<Map, Error> {
        decode(payload, self.format, Format::decode_map)
    }

    /// Iterates over the maps as [`next_map`](Self::next_map) returns them, until it returns `Ok(None)`. After an
    /// error it yields the result of the next call: leave the loop there.
    pub fn maps(&mut self) -> impl Iterator<Item = Result<Map, Error>> {
        iter::from_fn(|| self.next_map().transpose())
    }

    /// As [`maps`](Self::maps), for a server that publishes another serde type than a map, or to read the map's
    /// entries into the fields of a struct.
    pub fn typed_maps<T: DeserializeOwned>(&mut self) -> impl Iterator<Item = Result<T, Error>> {
        iter::from_fn(|| self.next_typed().transpose())
    }

    /// As [`next_map`](Self::next_map), but returns the payload as received, not decoded and never empty.
    ///
    /// # Errors
    /// As [`next_map`](Self::next_map), without those of the format.
    pub fn next_payload(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            let (reason, retry_in) = match self.next_event()? {
                FollowEvent::Payload(payload) => return Ok(Some(payload)),
                FollowEvent::Connected { peer, local } => {
                    info!("connected to {peer} from {local}");
                    self.observer.notify(Connectivity::Connected { peer });
                    continue;
                }
                FollowEvent::Lost { reason, retry_in } => (reason, retry_in),
            };
            match reason {
                Some(ref error @ (Error::Connect { .. } | Error::Tls(_))) if self.retries_first_connection() => {
                    self.report_lost(Some(error), retry_in);
                }
                None if !self.config.reconnect => return Ok(None),
                Some(error) if !self.config.reconnect || !error.is_transient() => return Err(error),
                // A wrong address or certificate would fail again.
                Some(error @ (Error::Connect { .. } | Error::Tls(_))) if !self.ever_connected => return Err(error),
                reason => self.report_lost(reason.as_ref(), retry_in),
            }
        }
    }

    /// Waits for the next event and returns it. Continues for ever, whatever fails and whether reconnecting is on or
    /// off, and neither logs nor calls the observer: for callers that handle every event themselves.
    ///
    /// # Errors
    /// Only `TimedOut` and `Stopped`.
    pub fn next_event(&mut self) -> Result<FollowEvent, Error> {
        let Some(client) = &mut self.client else {
            return self.connect();
        };
        loop {
            match read_frame(client, &mut self.idle_timeout, &self.cancellation) {
                Ok(Some(payload)) => {
                    self.loss_log.reset();
                    self.first_frame.get_or_insert_with(Instant::now);
                    self.ever_connected = true;
                    self.progress = Progress::Frame;
                    if !payload.is_empty() {
                        self.format = client.format();
                        return Ok(FollowEvent::Payload(payload));
                    }
                    debug!("received an empty frame: the map has not changed");
                }
                Ok(None) => return Ok(self.lost(None)),
                Err(error @ (Error::TimedOut | Error::Stopped)) => return Err(error),
                Err(Error::Frame(frame::Error::Truncated { wanted: HEADER_LEN, .. }))
                    if self.progress < Progress::Frame =>
                {
                    // Only before the first frame: later, the peer is known to be a mapcast server.
                    let bytes = client.header_so_far().to_vec();
                    return Ok(self.lost(Some(Error::NoHeader { bytes })));
                }
                Err(error) => return Ok(self.lost(Some(error))),
            }
        }
    }

    /// Drops the connection, if there is one, as if it were lost. The next call reconnects after the returned delay.
    pub fn give_up(&mut self) -> Duration {
        if self.first_frame.take().is_some_and(|at| at.elapsed() >= PROVEN_AFTER) {
            self.backoff.reset();
        }
        let retry_in = self.backoff.next_delay();
        if self.client.take().is_some_and(|client| client.has_received()) {
            self.progress = self.progress.max(Progress::Byte);
        }
        self.retry_at = Some(Instant::now() + retry_in);
        retry_in
    }

    /// When to stop retrying the first connection; `None` is never.
    fn first_connection_deadline(&self) -> Option<Instant> {
        self.first_attempt.unwrap_or_else(Instant::now).checked_add(self.config.wait)
    }

    /// True if and only if there has been no connection, and the first one is still retried.
    fn retries_first_connection(&self) -> bool {
        !self.ever_connected && self.first_connection_deadline().is_none_or(|until| Instant::now() < until)
    }

    /// Connects when the delay is over.
    fn connect(&mut self) -> Result<FollowEvent, Error> {
        self.first_attempt.get_or_insert_with(Instant::now);
        if let Some(retry_at) = self.retry_at {
            let until_retry = Cancellation {
                deadline: sooner(Some(retry_at), self.cancellation.deadline),
                ..self.cancellation.clone()
            };
            until_retry.wait();
        }
        if self.cancellation.is_over() {
            return Err(self.cancellation.reason());
        }
        match Client::connect_by(&self.address, &self.config.client, &self.resolver, &self.cancellation) {
            Ok(client) => {
                let (peer, local) = (client.peer_addr(), client.local_addr());
                self.idle_timeout.start_connection(Instant::now());
                self.client = Some(client);
                self.progress = self.progress.max(Progress::Connection);
                Ok(FollowEvent::Connected { peer, local })
            }
            Err(error @ (Error::TimedOut | Error::Stopped)) => Err(error),
            Err(error) => Ok(self.lost(Some(error))),
        }
    }

    fn lost(&mut self, reason: Option<Error>) -> FollowEvent {
        let is_refusal = matches!(reason, Some(Error::Connect { .. } | Error::Tls(_)));
        self.ever_connected |= !is_refusal;
        let mut retry_in = self.give_up();
        if self.retries_first_connection()
            && let Some(until) = self.first_connection_deadline()
        {
            retry_in = retry_in.min(until.saturating_duration_since(Instant::now()));
            self.retry_at = Some(Instant::now() + retry_in);
        }
        FollowEvent::Lost { reason, retry_in }
    }

    /// Logs a lost connection, and notifies the observer.
    fn report_lost(&mut self, reason: Option<&Error>, retry_in: Duration) {
        let (advice, cause) = (reason.and_then(self.config.advice), LossCause::of(reason));
        let text = || reason.map_or_else(String::new, |error| ErrorChain(error).to_string());
        let (mut reason, what_next) = match cause {
            LossCause::NotConnected => (text(), "trying again"),
            LossCause::Closed => ("connection lost: closed by the server".to_owned(), "reconnecting"),
            LossCause::Failed => (format!("connection lost: {}", text()), "reconnecting"),
            LossCause::Silent => (text(), "reconnecting"),
        };
        reason += &advice_suffix(advice);
        let level = self.loss_log.level(&reason, Instant::now());
        log!(level, "{reason}; {what_next} in {:.1}s", retry_in.as_secs_f64());
        self.observer.notify(Connectivity::Lost { cause, reason, retry_in });
    }
}

/// Reads one frame, possibly empty, unless the server is silent for too long.
fn read_frame(
    client: &mut Client,
    idle_timeout: &mut IdleTimeout,
    cancellation: &Cancellation,
) -> Result<Option<Vec<u8>>, Error> {
    let mut now = Instant::now();
    idle_timeout.resume(now);
    let result = loop {
        client.set_deadline(idle_timeout.start_wait(now, client.has_received(), cancellation.deadline));
        let result = client.next_frame();
        now = Instant::now();
        let is_punctual = idle_timeout.end_wait(now);
        match result {
            Err(Error::TimedOut) if !cancellation.is_over() => {
                if let Some(error) = idle_timeout.check(now, client.has_received()) {
                    break Err(error);
                }
            }
            Ok(Some(payload)) => {
                idle_timeout.frame_came(&payload, is_punctual && client.had_to_wait(), now);
                break Ok(Some(payload));
            }
            other => break other,
        }
    };
    idle_timeout.pause(now);
    result
}

#[cfg(test)]
mod tests;
