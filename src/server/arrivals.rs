//! Accepted connections that have no thread yet: those that have not been checked_at at, and those that wait for a permit.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::admission::Admission;
use super::permits::{Permit, RefusalReason, source_of};
use crate::service::Service;

/// How many times [`Config::admission_timeout`](super::Config::admission_timeout) a connection waits at most, while other
/// connections keep ending and there is no reserve.
const MAX_TIMEOUTS: u32 = 5;

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
/// A connection that finds no permit waits for one: the server may not have noticed yet that another client has left. So
/// when all clients of a full server reconnect at once, none is refused. The wait is bounded in number and in time; one
/// address may have as many connections waiting as it may have permits.
#[derive(Debug)]
pub(super) struct Arrivals {
    /// Not checked_at at yet.
    new: VecDeque<Arrival>,
    /// Those that found no permit, and why, by the order in which they came.
    waiting: BTreeMap<u64, (Arrival, RefusalReason)>,
    /// How many have started to wait.
    waited: u64,
    /// Those of `waiting`, by source; one that has none is not kept.
    by_source: HashMap<IpAddr, BTreeSet<u64>>,
    /// Those of `waiting` that may find a permit now. One whose address has no permit left is one of them again when its address
    /// has freed a permit: so a freed permit costs one try or two, however many connections wait.
    candidates: BTreeSet<u64>,
    max_waiting: usize,
    admission_timeout: Duration,
    /// How long a connection waits at most, while other connections keep ending.
    longest_wait: Duration,
}

impl Arrivals {
    /// Returns an empty queue. Where there is a `reserve`, a connection waits for no longer than `admission_timeout`: a health
    /// check has its answer from the reserve then, though other connections keep ending.
    pub(super) fn new(max_waiting: usize, admission_timeout: Duration, has_reserve: bool) -> Self {
        let (new, waiting, by_source, candidates) = Default::default();
        let longest_wait = admission_timeout.saturating_mul(if has_reserve { 1 } else { MAX_TIMEOUTS });
        Self { new, waiting, waited: 0, by_source, candidates, max_waiting, admission_timeout, longest_wait }
    }

    pub(super) fn push(&mut self, arrival: Arrival) {
        self.new.push_back(arrival);
    }

    /// True if and only if no connection is held.
    pub(super) fn is_empty(&self) -> bool {
        self.new.is_empty() && self.waiting.is_empty()
    }

    /// True if and only if no more connections may be held, with so many permits that are `free`.
    pub(super) fn is_full(&self, free: u64) -> bool {
        (self.new.len() + self.waiting.len()) as u64 >= free.saturating_add(self.max_waiting as u64)
    }

    /// Takes the next connection that finds a permit, with that permit. One that finds none begins to wait, or is put into
    /// `refused` if it may not.
    pub(super) fn next(
        &mut self,
        admission: &Admission,
        refused: &mut Vec<(Arrival, RefusalReason)>,
    ) -> Option<(Arrival, Permit)> {
        let admitted = self.next_waiting(admission);
        if admitted.is_some() {
            return admitted;
        }
        while let Some(arrival) = self.new.pop_front() {
            match admission.admit(arrival.peer) {
                Ok(permit) => return Some((arrival, permit)),
                Err(reason) if self.may_wait(&arrival, reason, admission) => self.wait(arrival, reason),
                Err(reason) => refused.push((arrival, reason)),
            }
        }
        None
    }

    fn next_waiting(&mut self, admission: &Admission) -> Option<(Arrival, Permit)> {
        for source in admission.permits().take_freed() {
            self.reconsider(source);
        }
        while let Some(&number) = self.candidates.first() {
            let admitted = self.waiting.get(&number).map(|(arrival, _)| admission.admit(arrival.peer));
            match admitted {
                Some(Ok(permit)) => return self.take(number).map(|(arrival, _)| (arrival, permit)),
                Some(Err(RefusalReason::Full)) => return None,
                Some(Err(_)) | None => self.candidates.remove(&number),
            };
        }
        None
    }

    /// Makes the oldest connection of `source` that waits a candidate.
    fn reconsider(&mut self, source: IpAddr) {
        self.candidates.extend(self.by_source.get(&source).and_then(BTreeSet::first));
    }

    fn wait(&mut self, arrival: Arrival, reason: RefusalReason) {
        let number = self.waited;
        self.waited += 1;
        self.by_source.entry(source_of(arrival.peer.ip())).or_default().insert(number);
        if reason == RefusalReason::Full {
            self.candidates.insert(number);
        }
        self.waiting.insert(number, (arrival, reason));
    }

    fn may_wait(&self, arrival: &Arrival, reason: RefusalReason, admission: &Admission) -> bool {
        let has_room = match reason {
            RefusalReason::Denied => false,
            RefusalReason::Full => true,
            RefusalReason::PerIp => {
                let waiting = self.by_source.get(&source_of(arrival.peer.ip())).map_or(0, BTreeSet::len);
                (waiting as u64) < admission.max_per_source()
            }
        };
        has_room && !self.admission_timeout.is_zero() && self.waiting.len() < self.max_waiting
    }

    /// When the oldest connection that waits has waited long enough; `None` if none waits.
    pub(super) fn deadline(&self, admission: &Admission) -> Option<Instant> {
        let since = self.waiting.first_key_value()?.1.0.since;
        let last_freed = admission.permits().last_freed().map_or(since, |freed| freed.max(since));
        let quiet = last_freed.checked_add(self.admission_timeout)?;
        Some(quiet.min(since.checked_add(self.longest_wait)?))
    }

    /// Takes the oldest connection that waits, if it has waited long enough.
    pub(super) fn expire(&mut self, admission: &Admission) -> Option<(Arrival, RefusalReason)> {
        self.deadline(admission).filter(|deadline| *deadline <= Instant::now())?;
        let oldest = *self.waiting.first_key_value()?.0;
        self.take(oldest)
    }

    /// Takes the oldest connection that has not been checked_at at, if it was accepted no later than `before`.
    pub(super) fn take_new(&mut self, before: Instant) -> Option<Arrival> {
        if self.new.front()?.since <= before { self.new.pop_front() } else { None }
    }

    /// Takes a connection out of those that wait. If it was a candidate, the next one of its source is one.
    fn take(&mut self, number: u64) -> Option<(Arrival, RefusalReason)> {
        let (arrival, reason) = self.waiting.remove(&number)?;
        let source = source_of(arrival.peer.ip());
        if let Entry::Occupied(mut numbers) = self.by_source.entry(source) {
            numbers.get_mut().remove(&number);
            if numbers.get().is_empty() {
                numbers.remove();
            }
        }
        if self.candidates.remove(&number) {
            self.reconsider(source);
        }
        Some((arrival, reason))
    }

    /// Takes all connections.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Arrival> + '_ {
        (self.by_source, self.candidates) = Default::default();
        self.new.drain(..).chain(std::mem::take(&mut self.waiting).into_values().map(|(arrival, _)| arrival))
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
        refused: Vec<(Arrival, RefusalReason)>,
    }

    impl Server {
        fn new(config: &Config, max_waiting: usize, admission_timeout: Duration) -> Self {
            let wakeup = Arc::new(Wakeup::new().unwrap());
            Self {
                admission: Admission::new(config, &Arc::default(), wakeup),
                queue: Arrivals::new(max_waiting, admission_timeout, config.reserved_connections > 0),
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

        /// The address and the permit of the next connection.
        fn next(&mut self) -> Option<(String, Permit)> {
            let next = self.queue.next(&self.admission, &mut self.refused);
            next.map(|(arrival, permit)| (arrival.peer.ip().to_string(), permit))
        }
    }

    fn limited(max_connections: u64, per_ip: Option<u64>) -> Config {
        Config { max_connections, max_connections_per_ip: per_ip, ..Config::default() }
    }

    #[test]
    fn the_oldest_that_waits_gets_the_place_that_is_freed() {
        let mut server = Server::new(&limited(1, None), 10, LONG);
        server.arrive(["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
        let (_, permit) = server.next().unwrap();
        assert!(server.next().is_none() && server.refused.is_empty());
        drop(permit);
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
        assert_eq!(server.refused.len(), 1, "an address has more waiting than it may have permits");
        drop(first);
        assert_eq!(server.next().unwrap().0, "192.0.2.1");
        assert!(server.queue.by_source.is_empty());
    }

    #[test]
    fn a_freed_place_of_one_address_is_offered_to_that_address_alone() {
        let mut server = Server::new(&limited(10, Some(1)), 100, LONG);
        let addresses: Vec<String> = (1..=9).map(|number| format!("192.0.2.{number}")).collect();
        let mut permits = Vec::new();
        for ip in addresses.iter().chain(&addresses) {
            server.arrive([ip.as_str()]);
            permits.extend(server.next().map(|(_, permit)| permit));
        }
        assert_eq!((permits.len(), server.queue.waiting.len(), server.queue.candidates.len()), (9, 9, 0));
        drop(permits.remove(6));
        assert_eq!(server.next().unwrap().0, "192.0.2.7");
        assert!(server.queue.candidates.is_empty() && server.next().is_none());
        // Where the server is full, each may be the next.
        let mut server = Server::new(&limited(2, Some(1)), 100, LONG);
        server.arrive(["192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.3", "192.0.2.1"]);
        let (_, first) = server.next().unwrap();
        let (_, second) = server.next().unwrap();
        assert!(server.next().is_none());
        drop(second);
        assert_eq!(server.next().unwrap().0, "192.0.2.3", "the first address has its permit");
        drop(first);
        assert_eq!(server.next().unwrap().0, "192.0.2.1");
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
        assert_eq!(server.refused[0].1, RefusalReason::Full);
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
        assert_eq!(server.queue.expire(&server.admission).unwrap().1, RefusalReason::Full);
        assert!(server.queue.is_empty() && server.queue.by_source.is_empty());
    }

    #[test]
    fn a_wait_is_extended_when_connections_end_unless_there_is_a_reserve() {
        for (reserved_connections, timeouts) in [(0, MAX_TIMEOUTS), (4, 1)] {
            let config = Config { reserved_connections, ..limited(2, None) };
            let mut server = Server::new(&config, 10, LONG);
            server.arrive(["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"]);
            let (_first, second) = (server.next().unwrap(), server.next().unwrap());
            assert!(server.next().is_none());
            drop(second);
            let _third = server.next().unwrap();
            let since = server.queue.waiting.first_key_value().unwrap().1.0.since;
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
        assert_eq!(server.refused[0].1, RefusalReason::Denied);
    }
}
