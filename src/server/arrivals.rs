//! Accepted connections without a thread: those that are unchecked, and those that wait for a permit.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::admission::Admission;
use super::permits::{Permit, RefusalReason, source_of};
use crate::service::Service;

/// The longest wait of a connection while other connections keep ending and there is no reserve, in multiples of
/// [`Config::admission_timeout`](super::Config::admission_timeout): 5.
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

/// A FIFO queue of accepted connections without a thread.
///
/// A connection that gets no permit waits for one: the server may not have noticed yet that another client has
/// disconnected. So when all clients of a full server reconnect at once, none is refused. The queue is bounded in number
/// and time; one address may have as many waiting connections as it may have permits.
#[derive(Debug)]
pub(super) struct Arrivals {
    /// Connections that have not tried to get a permit yet.
    new: VecDeque<Arrival>,
    /// Connections that wait for a permit, each with the reason, by number in the order of arrival.
    waiting: BTreeMap<u64, (Arrival, RefusalReason)>,
    /// The number of the next connection in `waiting`.
    waited: u64,
    /// The numbers in `waiting` by source; a source without any is removed.
    by_source: HashMap<IpAddr, BTreeSet<u64>>,
    /// The numbers in `waiting` that may get a permit now. A connection whose address has no permit left becomes one again
    /// when its address frees a permit: so a freed permit costs one or two tries, however many connections wait.
    candidates: BTreeSet<u64>,
    max_waiting: usize,
    admission_timeout: Duration,
    /// The longest wait of a connection while other connections keep ending.
    longest_wait: Duration,
}

impl Arrivals {
    /// Returns an empty queue. With a reserve, a connection waits no longer than `admission_timeout`: a health check then gets
    /// its answer from the reserve even while other connections keep ending.
    pub(super) fn new(max_waiting: usize, admission_timeout: Duration, has_reserve: bool) -> Self {
        let (new, waiting, by_source, candidates) = Default::default();
        let longest_wait = admission_timeout.saturating_mul(if has_reserve { 1 } else { MAX_TIMEOUTS });
        Self { new, waiting, waited: 0, by_source, candidates, max_waiting, admission_timeout, longest_wait }
    }

    pub(super) fn push(&mut self, arrival: Arrival) {
        self.new.push_back(arrival);
    }

    /// True if and only if the queue is empty.
    pub(super) fn is_empty(&self) -> bool {
        self.new.is_empty() && self.waiting.is_empty()
    }

    /// True if and only if the queue may hold no more connections while that many permits are `free`.
    pub(super) fn is_full(&self, free: u64) -> bool {
        (self.new.len() + self.waiting.len()) as u64 >= free.saturating_add(self.max_waiting as u64)
    }

    /// Removes and returns the next connection that gets a permit, with the permit. A connection without one starts to wait, or
    /// is moved to `refused` if it may not.
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

    /// Makes the oldest waiting connection of `source` a candidate.
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

    /// When the oldest waiting connection times out; `None` if none waits.
    pub(super) fn deadline(&self, admission: &Admission) -> Option<Instant> {
        let since = self.waiting.first_key_value()?.1.0.since;
        let last_freed = admission.permits().last_freed().map_or(since, |freed| freed.max(since));
        let quiet = last_freed.checked_add(self.admission_timeout)?;
        Some(quiet.min(since.checked_add(self.longest_wait)?))
    }

    /// Removes and returns the oldest waiting connection if it has timed out.
    pub(super) fn expire(&mut self, admission: &Admission) -> Option<(Arrival, RefusalReason)> {
        self.deadline(admission).filter(|deadline| *deadline <= Instant::now())?;
        let oldest = *self.waiting.first_key_value()?.0;
        self.take(oldest)
    }

    /// Removes and returns the oldest unchecked connection if it was accepted no later than `before`.
    pub(super) fn take_new(&mut self, before: Instant) -> Option<Arrival> {
        if self.new.front()?.since <= before { self.new.pop_front() } else { None }
    }

    /// Removes and returns a waiting connection. If it was a candidate, the next one of its source becomes one.
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

    /// Removes and returns all connections.
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

        /// Returns the address and the permit of the next connection.
        fn next(&mut self) -> Option<(String, Permit)> {
            let next = self.queue.next(&self.admission, &mut self.refused);
            next.map(|(arrival, permit)| (arrival.peer.ip().to_string(), permit))
        }
    }

    fn limited(max_connections: u64, per_ip: Option<u64>) -> Config {
        Config { max_connections, max_connections_per_ip: per_ip, ..Config::default() }
    }

    #[test]
    fn the_oldest_waiting_connection_gets_a_freed_permit() {
        let mut server = Server::new(&limited(1, None), 10, LONG);
        server.arrive(["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
        let (_, permit) = server.next().unwrap();
        assert!(server.next().is_none() && server.refused.is_empty());
        drop(permit);
        server.arrive(["192.0.2.4"]);
        assert_eq!(server.next().unwrap().0, "192.0.2.2");
    }

    #[test]
    fn an_address_at_its_limit_does_not_block_others() {
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
    fn a_freed_permit_of_an_address_is_offered_to_that_address_only() {
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
        // On a full server, each address may be the next.
        let mut server = Server::new(&limited(2, Some(1)), 100, LONG);
        server.arrive(["192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.3", "192.0.2.1"]);
        let (_, first) = server.next().unwrap();
        let (_, second) = server.next().unwrap();
        assert!(server.next().is_none());
        drop(second);
        assert_eq!(server.next().unwrap().0, "192.0.2.3", "the first address already has its permit");
        drop(first);
        assert_eq!(server.next().unwrap().0, "192.0.2.1");
    }

    #[test]
    fn connections_above_max_waiting_stay_queued_or_are_refused() {
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
    fn a_wait_times_out_when_no_other_connection_ends() {
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
    fn a_wait_is_extended_when_connections_end_without_a_reserve() {
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
    fn a_denied_address_does_not_wait() {
        let allow = vec!["192.0.2.0/24".parse().unwrap()];
        let mut server = Server::new(&Config { allow, ..Config::default() }, 10, LONG);
        server.arrive(["198.51.100.1"]);
        assert!(server.next().is_none());
        assert_eq!(server.refused[0].1, RefusalReason::Denied);
    }
}
