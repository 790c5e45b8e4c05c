//! A server followed over as many connections as it takes.

use std::iter;
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use serde::de::DeserializeOwned;

use super::observer::{Connectivity, Observer};
use super::retry::Backoff;
use super::silence::Silence;
use super::stream::{Ending, sooner};
use super::{Client, ClientConfig, Error};
use crate::chain::Chain;
use crate::map::Map;
use crate::shutdown::Shutdown;

/// How a server is followed. Write `FollowConfig { reconnect: false, ..FollowConfig::default() }`.
#[derive(Debug, Clone)]
pub struct FollowConfig {
    /// How each connection is made and read.
    pub client: ClientConfig,
    /// Whether another connection follows the first. Default: true.
    pub reconnect: bool,
    /// How long a connection may say nothing. Default: three times the longest gap between two frames that has been
    /// seen, at least 10 s; three minutes as long as none has been seen.
    pub stale_after: Option<Duration>,
}

impl Default for FollowConfig {
    fn default() -> Self {
        Self { client: ClientConfig::default(), reconnect: true, stale_after: None }
    }
}

/// Follows a server: connects, and connects again when the connection ends, is cut, or says nothing for too long. Waits
/// in between, 1 s doubling to 30 s and all of it left to chance, until a frame has come. Says in the log what it does.
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
    ending: Ending,
    client: Option<Client>,
    /// When to connect again; `None` before the first connection.
    retry_at: Option<Instant>,
    backoff: Backoff,
    silence: Silence,
    observer: Observer,
}

impl Follower {
    /// Returns a follower of the server at `address`, which is `HOST:PORT`. The first call that asks for a map
    /// connects. `shutdown` ends every call.
    pub fn new(address: &str, config: FollowConfig, shutdown: &Shutdown) -> Self {
        Self {
            address: address.to_owned(),
            ending: Ending { shutdown: shutdown.clone(), deadline: None },
            client: None,
            retry_at: None,
            backoff: Backoff::new(),
            silence: Silence::new(config.stale_after),
            observer: Observer::default(),
            config,
        }
    }

    /// Sets the instant at which every later call ends with `TimedOut`, connecting or reading; `None`, which is how it
    /// begins, never comes. After `TimedOut` nothing is lost: set another deadline and repeat the call.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.ending.deadline = deadline;
    }

    /// Has `observe` called whenever the connection comes or goes, by the thread that asks for maps: until it returns,
    /// nothing is read. There is one; the newest is called.
    pub fn on_connectivity(&mut self, observe: impl FnMut(Connectivity) + Send + 'static) {
        self.observer = Observer::new(observe);
    }

    /// Waits for the next map and returns it, from whichever connection. Returns `Ok(None)` if and only if reconnecting
    /// is off and the server closed the connection between two frames.
    ///
    /// # Errors
    /// `Connect` and `Tls` if and only if the first connection fails; what is wrong with a frame or payload that would be wrong
    /// again ([`Error::is_transient`]); with reconnecting off, every end that is not an orderly one; `TimedOut` and
    /// `Stopped`.
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
            let Some(client) = &mut self.client else {
                self.connect()?;
                continue;
            };
            match read_frame(client, &mut self.silence, &self.ending) {
                Ok(Some(payload)) => {
                    self.backoff.reset();
                    if !payload.is_empty() {
                        return Ok(Some(payload));
                    }
                    debug!("an empty frame: nothing has changed");
                }
                // What it says of the first connection's certificate, it would say of the next.
                Err(error @ Error::Tls(_)) if self.retry_at.is_none() => return Err(error),
                Ok(None) if !self.config.reconnect => return Ok(None),
                Ok(None) => self.retry("connection lost: closed by the server", "reconnecting"),
                Err(error) if !self.config.reconnect || !error.is_transient() => return Err(error),
                Err(error @ Error::Stale { .. }) => self.retry(&error.to_string(), "reconnecting"),
                Err(error) => self.retry(&format!("connection lost: {}", Chain(&error)), "reconnecting"),
            }
        }
    }

    /// Connects, when it is time to. The first connection is tried once, the later ones for ever.
    fn connect(&mut self) -> Result<(), Error> {
        if let Some(retry_at) = self.retry_at {
            let wait = Ending { deadline: sooner(Some(retry_at), self.ending.deadline), ..self.ending.clone() };
            wait.pass();
        }
        if self.ending.is_over() {
            return Err(self.ending.reason());
        }
        match Client::connect_by(&self.address, &self.config.client, &self.ending) {
            Ok(client) => {
                info!("connected to {} from {}", client.peer_addr(), client.local_addr());
                self.silence.connection_began();
                self.observer.tell(Connectivity::Connected { peer: client.peer_addr() });
                self.client = Some(client);
                Ok(())
            }
            Err(error) if error.is_transient() && self.retry_at.is_some() => {
                self.retry(&Chain(&error).to_string(), "trying again");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the connection up and settles when the next is tried.
    fn retry(&mut self, reason: &str, what_next: &str) {
        let delay = self.backoff.next_delay();
        warn!("{reason}; {what_next} in {:.1}s", delay.as_secs_f64());
        self.observer.tell(Connectivity::Lost { reason: reason.to_owned(), retry_in: delay });
        self.client = None;
        self.retry_at = Some(Instant::now() + delay);
    }
}

/// Reads one frame, empty ones included, and takes note of how long that took.
fn read_frame(client: &mut Client, silence: &mut Silence, ending: &Ending) -> Result<Option<Vec<u8>>, Error> {
    let after = silence.limit();
    client.set_deadline(ending.within(after).deadline);
    match client.next_frame() {
        Err(Error::TimedOut) if !ending.is_over() => {
            silence.was_too_long();
            Err(Error::Stale { after })
        }
        Ok(Some(payload)) => {
            silence.frame_came(Instant::now());
            Ok(Some(payload))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::TcpListener;

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
        follower.on_connectivity(move |told| {
            if matches!(told, Connectivity::Lost { .. }) {
                shutdown.trigger();
            }
            sender.send(told).unwrap();
        });
        follower.connect().unwrap();
        drop(listener);
        assert!(matches!(follower.next_payload(), Err(Error::Stopped)));
        assert_eq!(news.recv().unwrap(), Connectivity::Connected { peer });
        assert!(
            matches!(news.recv().unwrap(), Connectivity::Lost { reason, .. } if reason.contains("connection lost"))
        );
    }

    #[test]
    fn the_callers_deadline_ends_the_wait_for_the_next_attempt() {
        let mut follower = Follower::new("127.0.0.1:1", FollowConfig::default(), &Shutdown::new().unwrap());
        let retry_at = Instant::now() + Duration::from_secs(10);
        follower.retry_at = Some(retry_at);
        follower.set_deadline(Some(Instant::now() + Duration::from_millis(50)));
        assert!(matches!(follower.next_map(), Err(Error::TimedOut)));
        assert!(Instant::now() < retry_at);
    }
}
