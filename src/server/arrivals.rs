//! Accepted connections that have no thread yet: those that have not been looked at, and those that wait for a place.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::admission::Admission;
use super::places::{Place, Reason, decrement, source_of};
use crate::service::Service;

/// How many times [`Config::place_timeout`](super::Config::place_timeout) a connection waits at most, while other
/// connections keep ending and there is no reserve.
const MOST_TIMEOUTS: u32 = 5;

/// An accepted connection.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) peer: SocketAddr,
    pub(super) socket: TcpStream,
    pub(super) service: Arc<dyn Service>,
    /// When it was accepted.
    pub(super) since: Instant,
}

/// Accepted connections without a thread, first come, first served.
///
/// A connection that finds no place waits for one: the server may not have noticed yet that another client has left. So
/// when all clients of a full server reconnect at once, none is refused. The wait is bounded in number and in time; one
/// address may have as many connections waiting as it may have places.
#[derive(Debug)]
pub(super) struct Arrivals {
    /// Not looked at yet.
    new: VecDeque<Arrival>,
    /// Those that found no place, and why. The first one is the oldest.
    waiting: VecDeque<(Arrival, Reason)>,
    /// How many of `waiting` each source has; one that has none is not kept.
    waiting_per_source: HashMap<IpAddr, u64>,
    max_waiting: usize,
    place_timeout: Duration,
    /// How long a connection waits at most, while other connections keep ending.
    longest_wait: Duration,
    /// How many places had been freed when all that wait were last tried.
    freed_seen: u64,
}

impl Arrivals {
    /// Returns an empty queue. Where there is a `reserve`, a connection waits for no longer than `place_timeout`: a health
    /// check has its answer from the reserve then, though other connections keep ending.
    pub(super) fn new(max_waiting: usize, place_timeout: Duration, has_reserve: bool) -> Self {
        let (new, waiting, waiting_per_source) = Default::default();
        let longest_wait = place_timeout.saturating_mul(if has_reserve { 1 } else { MOST_TIMEOUTS });
        Self { new, waiting, waiting_per_source, max_waiting, place_timeout, longest_wait, freed_seen: 0 }
    }

    pub(super) fn push(&mut self, arrival: Arrival) {
        self.new.push_back(arrival);
    }

    /// True if and only if no connection is held.
    pub(super) fn is_empty(&self) -> bool {
        self.new.is_empty() && self.waiting.is_empty()
    }

    /// True if and only if no more connections may be held, with so many places that are `free`.
    pub(super) fn is_full(&self, free: u64) -> bool {
        (self.new.len() + self.waiting.len()) as u64 >= free.saturating_add(self.max_waiting as u64)
    }

    /// Takes the next connection that finds a place, with that place. One that finds none begins to wait, or is put into
    /// `refused` if it may not.
    pub(super) fn next(
        &mut self,
        admission: &Admission,
        refused: &mut Vec<(Arrival, Reason)>,
    ) -> Option<(Arrival, Place)> {
        let freed = admission.places().freed();
        if freed != self.freed_seen {
            let admitted = self.next_waiting(admission);
            if admitted.is_some() {
                return admitted;
            }
            self.freed_seen = freed;
        }
        while let Some(arrival) = self.new.pop_front() {
            match admission.admit(arrival.peer) {
                Ok(place) => return Some((arrival, place)),
                Err(reason) if self.may_wait(&arrival, reason, admission) => {
                    *self.waiting_per_source.entry(source_of(arrival.peer.ip())).or_default() += 1;
                    self.waiting.push_back((arrival, reason));
                }
                Err(reason) => refused.push((arrival, reason)),
            }
        }
        None
    }

    fn next_waiting(&mut self, admission: &Admission) -> Option<(Arrival, Place)> {
        for number in 0..self.waiting.len() {
            match admission.admit(self.waiting[number].0.peer) {
                Ok(place) => return self.take(number).map(|(arrival, _)| (arrival, place)),
                Err(Reason::Full) => return None,
                Err(_) => {}
            }
        }
        None
    }

    fn may_wait(&self, arrival: &Arrival, reason: Reason, admission: &Admission) -> bool {
        let has_room = match reason {
            Reason::Denied => false,
            Reason::Full => true,
            Reason::Crowd => {
                let waiting = self.waiting_per_source.get(&source_of(arrival.peer.ip()));
                waiting.copied().unwrap_or(0) < admission.max_per_source()
            }
        };
        has_room && !self.place_timeout.is_zero() && self.waiting.len() < self.max_waiting
    }

    /// When the oldest connection that waits has waited long enough; `None` if none waits.
    pub(super) fn deadline(&self, admission: &Admission) -> Option<Instant> {
        let since = self.waiting.front()?.0.since;
        let last_freed = admission.places().last_freed().map_or(since, |freed| freed.max(since));
        let quiet = last_freed.checked_add(self.place_timeout)?;
        Some(quiet.min(since.checked_add(self.longest_wait)?))
    }

    /// Takes the oldest connection that waits, if it has waited long enough.
    pub(super) fn expire(&mut self, admission: &Admission) -> Option<(Arrival, Reason)> {
        self.deadline(admission).filter(|deadline| *deadline <= Instant::now())?;
        self.take(0)
    }

    /// Takes a connection out of those that wait.
    fn take(&mut self, number: usize) -> Option<(Arrival, Reason)> {
        let (arrival, reason) = self.waiting.remove(number)?;
        decrement(&mut self.waiting_per_source, source_of(arrival.peer.ip()));
        Some((arrival, reason))
    }

    /// Takes all connections.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Arrival> + '_ {
        self.new.drain(..).chain(self.waiting.drain(..).map(|(arrival, _)| arrival))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::Wakeup;
    use crate::server::Config;
    use crate::service::Greet;
    use std::net::TcpListener;

    const LONG: Duration = Duration::from_hours(1);

    struct Server {
        admission: Admission,
        queue: Arrivals,
        listener: TcpListener,
        refused: Vec<(Arrival, Reason)>,
    }

    impl Server {
        fn new(config: &Config, max_waiting: usize, place_timeout: Duration) -> Self {
            let wakeup = Arc::new(Wakeup::new().unwrap());
            Self {
                admission: Admission::new(config, &Arc::default(), wakeup),
                queue: Arrivals::new(max_waiting, place_timeout, config.reserved_connections > 0),
                listener: TcpListener::bind("127.0.0.1:0").unwrap(),
                refused: Vec::new(),
            }
        }

        fn arrive<const N: usize>(&mut self, ips: [&str; N]) {
            for ip in ips {
                self.arrive_from(ip);
            }
        }

        fn arrive_from(&mut self, ip: &str) {
            let socket = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
            let (peer, since) = (SocketAddr::new(ip.parse().unwrap(), 1), Instant::now());
            self.queue.push(Arrival { peer, socket, service: Arc::new(Greet::new("")), since });
        }

        /// The address and the place of the next connection.
        fn next(&mut self) -> Option<(String, Place)> {
            let next = self.queue.next(&self.admission, &mut self.refused);
            next.map(|(arrival, place)| (arrival.peer.ip().to_string(), place))
        }
    }

    fn limited(max_connections: u64, per_ip: Option<u64>) -> Config {
        Config { max_connections, max_connections_per_ip: per_ip, ..Config::default() }
    }

    #[test]
    fn the_oldest_that_waits_gets_the_place_that_is_freed() {
        let mut server = Server::new(&limited(1, None), 10, LONG);
        server.arrive(["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
        let (_, place) = server.next().unwrap();
        assert!(server.next().is_none() && server.refused.is_empty());
        drop(place);
        server.arrive(["192.0.2.4"]);
        assert_eq!(server.next().unwrap().0, "192.0.2.2");
    }

    #[test]
    fn an_address_at_its_limit_lets_others_pass() {
        let mut server = Server::new(&limited(10, Some(1)), 10, LONG);
        server.arrive(["192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"]);
        let (_, first) = server.next().unwrap();
        let (ip, _other) = server.next().unwrap();
        assert_eq!(ip, "192.0.2.2");
        assert_eq!(server.refused.len(), 1, "an address has more waiting than it may have places");
        drop(first);
        assert_eq!(server.next().unwrap().0, "192.0.2.1");
        assert!(server.queue.waiting_per_source.is_empty());
    }

    #[test]
    fn more_than_may_wait_are_left_to_the_listeners_or_refused() {
        let mut server = Server::new(&limited(1, None), 1, LONG);
        server.arrive(["192.0.2.1", "192.0.2.2"]);
        assert!(server.queue.is_full(server.admission.free()));
        let _place = server.next().unwrap();
        assert!(server.next().is_none() && server.queue.is_full(server.admission.free()));
        server.arrive(["192.0.2.3"]);
        assert!(server.next().is_none());
        assert_eq!(server.refused[0].1, Reason::Full);
    }

    #[test]
    fn a_wait_ends_when_no_connection_has_ended_for_the_timeout() {
        let mut server = Server::new(&limited(1, None), 10, Duration::from_millis(1));
        server.arrive(["192.0.2.1", "192.0.2.2"]);
        let _place = server.next().unwrap();
        assert!(server.next().is_none());
        let deadline = server.queue.deadline(&server.admission).unwrap();
        while Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert_eq!(server.queue.expire(&server.admission).unwrap().1, Reason::Full);
        assert!(server.queue.is_empty() && server.queue.waiting_per_source.is_empty());
    }

    #[test]
    fn a_wait_is_extended_when_connections_end_unless_there_is_a_reserve() {
        for (reserved_connections, timeouts) in [(0, MOST_TIMEOUTS), (4, 1)] {
            let config = Config { reserved_connections, ..limited(2, None) };
            let mut server = Server::new(&config, 10, LONG);
            server.arrive(["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"]);
            let (_first, second) = (server.next().unwrap(), server.next().unwrap());
            assert!(server.next().is_none());
            drop(second);
            let _third = server.next().unwrap();
            let since = server.queue.waiting[0].0.since;
            let deadline = server.queue.deadline(&server.admission).unwrap();
            assert_eq!(deadline > since + LONG, timeouts > 1, "{timeouts}");
            assert!(deadline <= since + LONG * timeouts);
        }
    }

    #[test]
    fn an_address_that_is_denied_does_not_wait() {
        let allow = vec!["192.0.2.0/24".parse().unwrap()];
        let mut server = Server::new(&Config { allow, ..Config::default() }, 10, LONG);
        server.arrive(["198.51.100.1"]);
        assert!(server.next().is_none());
        assert_eq!(server.refused[0].1, Reason::Denied);
    }
}
