//! The queue of connections above a limit that wait for a reserved permit.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::Config;
use super::arrivals::Arrival;
use super::permits::{Permit, RefusalReason, source_of};
use crate::connection::RESERVE_TIMEOUT;
use crate::service::FirstRequest;

/// How long a connection waits for a reserved permit after its wait for an ordinary one: 10 s, five times as long as a peer
/// may hold one.
const MAX_WAIT: Duration = RESERVE_TIMEOUT.saturating_mul(5);

/// How often the queue checks what its connections have sent: every 50 ms, while it is not empty.
const RECHECK_PERIOD: Duration = Duration::from_millis(50);

/// Maximum number of waiting connections per reserved permit: 4.
const WAITING_PER_PLACE: u64 = 4;

/// How many bytes of a request are read: 16 KiB, the largest head of an HTTP request.
const PEEK_LEN: usize = 16 * 1024;

/// The queue of connections above a limit.
///
/// A connection gets a reserved permit when its first request is complete; health checks go first. So a silent or slow peer
/// takes no permit. The queue is bounded, and one address has a quarter of it at most. In a full queue, the oldest
/// connection of the least urgent kind is rejected for a more urgent one, or for a newer one if its own request is
/// incomplete. A connection whose peer has disconnected is removed at the next check.
#[derive(Debug)]
pub(super) struct Reserve {
    /// Oldest first.
    waiting: VecDeque<Waiting>,
    capacity: usize,
    /// Maximum number of connections of one address.
    share: usize,
    /// The longest wait, counted from the accept.
    longest_wait: Duration,
    /// With TLS the request cannot be read: a connection that has sent any byte gets a permit, for its handshake.
    is_encrypted: bool,
    checked_at: Instant,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Waiting {
    arrival: Arrival,
    /// The limit that it exceeds.
    reason: RefusalReason,
    first: FirstRequest,
}

impl Waiting {
    fn source(&self) -> IpAddr {
        source_of(self.arrival.peer.ip())
    }
}

impl Reserve {
    /// Returns the empty queue of a server. Without reserved permits its capacity is 0.
    pub(super) fn new(config: &Config) -> Self {
        let wanted = config.reserved_connections.saturating_mul(WAITING_PER_PLACE);
        let capacity = usize::try_from(wanted).unwrap_or(usize::MAX).min(config.max_waiting);
        let buffer = if capacity == 0 { Vec::new() } else { vec![0; PEEK_LEN] };
        Self {
            waiting: VecDeque::new(),
            capacity,
            share: capacity.div_ceil(4),
            longest_wait: config.admission_timeout.saturating_add(MAX_WAIT),
            is_encrypted: config.tls.is_some(),
            checked_at: Instant::now(),
            buffer,
        }
    }

    /// True if and only if the queue is empty.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// True if and only if a connection has a complete request.
    pub(super) fn has_request(&self) -> bool {
        self.waiting.iter().any(|waiting| waiting.first != FirstRequest::Incomplete)
    }

    /// Adds a connection that was refused for `reason`. Returns the connection that must be rejected for it: another one, or
    /// itself; `None` if the queue has room.
    pub(super) fn push(&mut self, arrival: Arrival, reason: RefusalReason) -> Option<(Arrival, RefusalReason)> {
        if self.capacity == 0 {
            return Some((arrival, reason));
        }
        let Some(first) = self.first_request(&arrival) else { return Some((arrival, reason)) };
        let new = Waiting { arrival, reason, first };
        let source = new.source();
        let is_share_used = self.waiting.iter().filter(|waiting| waiting.source() == source).count() >= self.share;
        let mut displaced = None;
        if is_share_used || self.waiting.len() >= self.capacity {
            let candidates = self.waiting.iter().enumerate().filter(|(_, it)| !is_share_used || it.source() == source);
            let least = candidates.min_by_key(|(_, waiting)| (waiting.first, waiting.arrival.since));
            let is_silent = |it: &Waiting| it.first == FirstRequest::Incomplete;
            // A connection that has waited for an ordinary permit may be older than those in the queue.
            let gives_way = |it: &Waiting| it.first < first || is_silent(it) && it.arrival.since <= new.arrival.since;
            match least.filter(|(_, waiting)| gives_way(waiting)).map(|(index, _)| index) {
                Some(index) => displaced = self.waiting.remove(index),
                None => return Some((new.arrival, reason)),
            }
        }
        if self.waiting.is_empty() {
            self.checked_at = Instant::now();
        }
        self.waiting.push_back(new);
        displaced.map(|waiting| (waiting.arrival, waiting.reason))
    }

    /// When [`recheck`](Self::recheck) is due; `None` while the queue is empty.
    pub(super) fn next_check(&self) -> Option<Instant> {
        if self.waiting.is_empty() { None } else { self.checked_at.checked_add(RECHECK_PERIOD) }
    }

    /// Checks what the connections have sent, if a check is due. Removes and returns those whose peers have disconnected or
    /// whose wait has timed out.
    pub(super) fn recheck(&mut self) -> Vec<(Arrival, RefusalReason)> {
        let now = Instant::now();
        if self.next_check().is_none_or(|due| due > now) {
            return Vec::new();
        }
        self.checked_at = now;
        let mut over = Vec::new();
        for _ in 0..self.waiting.len() {
            let Some(waiting) = self.waiting.pop_front() else { break };
            let has_time = now.saturating_duration_since(waiting.arrival.since) < self.longest_wait;
            match self.first_request(&waiting.arrival).filter(|_| has_time) {
                Some(first) => self.waiting.push_back(Waiting { first, ..waiting }),
                None => over.push((waiting.arrival, waiting.reason)),
            }
        }
        over
    }

    /// Removes and returns the most urgent connection with a complete request for which `admit` returns a permit.
    pub(super) fn take(
        &mut self,
        admit: impl Fn(SocketAddr, RefusalReason) -> Option<Permit>,
    ) -> Option<(Arrival, RefusalReason, Permit)> {
        for wanted in [FirstRequest::HealthCheck, FirstRequest::Whole] {
            for index in 0..self.waiting.len() {
                let Waiting { arrival, reason, first } = &self.waiting[index];
                if *first == wanted
                    && let Some(permit) = admit(arrival.peer, *reason)
                {
                    return self.waiting.remove(index).map(|taken| (taken.arrival, taken.reason, permit));
                }
            }
        }
        None
    }

    /// Removes and returns all connections.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Arrival> + '_ {
        self.waiting.drain(..).map(|waiting| waiting.arrival)
    }

    /// Returns the state of the connection's first request; `None` if its peer has disconnected.
    fn first_request(&mut self, arrival: &Arrival) -> Option<FirstRequest> {
        // Input from before a reset stays readable, so the error is checked first.
        if !matches!(arrival.socket.take_error(), Ok(None)) {
            return None;
        }
        match arrival.socket.peek(&mut self.buffer) {
            Ok(0) => None,
            Ok(_) if self.is_encrypted => Some(FirstRequest::Whole),
            Ok(read) => {
                let received = &self.buffer[..read];
                // A service that panics will panic again on the connection's own thread, which ends that connection only.
                let judged = catch_unwind(AssertUnwindSafe(|| arrival.service.first_request(received)));
                Some(judged.unwrap_or(FirstRequest::Whole))
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                Some(FirstRequest::Incomplete)
            }
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{Connection, Error};
    use crate::service::{CloseReason, Service};
    use crate::shutdown::Shutdown;
    use socket2::SockRef;
    use std::cell::RefCell;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;
    use std::thread;

    /// A service whose requests are one letter: `h` is a health check, `p` makes it panic, `.` is incomplete.
    #[derive(Debug)]
    struct Letters;

    impl Service for Letters {
        fn serve(&self, _connection: &mut Connection, _stop: &Shutdown) -> Result<CloseReason, Error> {
            Ok(CloseReason::Done)
        }

        fn first_request(&self, received: &[u8]) -> FirstRequest {
            match received {
                b"." => FirstRequest::Incomplete,
                b"h" => FirstRequest::HealthCheck,
                b"p" => panic!("injected panic"),
                _ => FirstRequest::Whole,
            }
        }

        fn describe(&self) -> String {
            "letters".to_owned()
        }
    }

    struct Queue {
        reserve: Reserve,
        listener: TcpListener,
        peers: Vec<TcpStream>,
    }

    impl Queue {
        fn new(capacity: usize) -> Self {
            let config = Config { reserved_connections: 100, max_waiting: capacity, ..Config::default() };
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            Self { reserve: Reserve::new(&config), listener, peers: Vec::new() }
        }

        /// Adds a connection from `ip` whose peer has sent `text`. Its port is its number, counted from 1. Returns the number of
        /// the connection that is rejected for it.
        fn push(&mut self, ip: &str, text: &str) -> Option<u16> {
            let mut peer = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
            let (socket, _) = self.listener.accept().unwrap();
            peer.write_all(text.as_bytes()).unwrap();
            if !text.is_empty() {
                socket.peek(&mut [0]).unwrap();
            }
            socket.set_nonblocking(true).unwrap();
            self.peers.push(peer);
            let peer = SocketAddr::new(ip.parse().unwrap(), u16::try_from(self.peers.len()).unwrap());
            let arrival = Arrival { peer, socket, service: Arc::new(Letters), since: Instant::now() };
            self.reserve.push(arrival, RefusalReason::Full).map(|(arrival, _)| arrival.peer.port())
        }

        /// Checks now. Returns the numbers of the rejected connections.
        fn recheck(&mut self) -> Vec<u16> {
            self.reserve.checked_at = Instant::now().checked_sub(RECHECK_PERIOD).unwrap();
            self.reserve.recheck().iter().map(|(arrival, _)| arrival.peer.port()).collect()
        }

        /// Returns the numbers of the connections that are offered a permit, in order. None takes it.
        fn offered(&mut self) -> Vec<u16> {
            let offered = RefCell::new(Vec::new());
            let refuse = |peer: SocketAddr, _| {
                offered.borrow_mut().push(peer.port());
                None
            };
            assert!(self.reserve.take(refuse).is_none());
            offered.into_inner()
        }
    }

    #[test]
    fn a_silent_connection_gets_no_permit_a_health_check_the_first() {
        let mut queue = Queue::new(100);
        assert!(!queue.reserve.has_request() && queue.reserve.next_check().is_none());
        for text in ["", ".", "r", "h", "s", "h"] {
            assert_eq!(queue.push("192.0.2.1", text), None);
        }
        assert_eq!(queue.offered(), [4, 6, 3, 5]);
        assert!(queue.reserve.has_request() && queue.reserve.next_check().is_some());
    }

    #[test]
    fn a_late_request_is_found_by_a_later_check() {
        let mut queue = Queue::new(100);
        queue.push("192.0.2.1", "");
        assert!(queue.offered().is_empty() && queue.recheck().is_empty());
        (&queue.peers[0]).write_all(b"h").unwrap();
        while queue.offered().is_empty() {
            assert!(queue.recheck().is_empty());
            thread::yield_now();
        }
    }

    #[test]
    fn a_full_queue_rejects_the_oldest_of_the_least_urgent() {
        let mut queue = Queue::new(4);
        for (text, ip, rejected) in [
            ("", "192.0.2.1", None),
            ("r", "192.0.2.2", None),
            ("", "192.0.2.3", None),
            ("h", "192.0.2.4", None),
            ("", "192.0.2.5", Some(1)),
            ("r", "192.0.2.6", Some(3)),
            ("h", "192.0.2.7", Some(5)),
            ("h", "192.0.2.8", Some(2)),
            ("", "192.0.2.9", Some(9)),
            ("r", "192.0.2.10", Some(10)),
            ("h", "192.0.2.11", Some(6)),
            ("h", "192.0.2.12", Some(12)),
        ] {
            assert_eq!(queue.push(ip, text), rejected, "{ip}");
        }
        assert_eq!(queue.offered(), [4, 7, 8, 11]);
    }

    #[test]
    fn an_older_silent_connection_does_not_displace_a_newer_one() {
        let mut queue = Queue::new(1);
        assert_eq!(queue.push("192.0.2.1", ""), None);
        queue.reserve.waiting[0].arrival.since += Duration::from_mins(1);
        assert_eq!(queue.push("192.0.2.2", ""), Some(2));
        assert_eq!(queue.push("192.0.2.3", "r"), Some(1));
    }

    #[test]
    fn an_address_has_a_quarter_of_the_queue() {
        let mut queue = Queue::new(8);
        for (text, ip, rejected) in [
            ("r", "192.0.2.1", None),
            ("r", "192.0.2.1", None),
            ("r", "192.0.2.1", Some(3)),
            ("", "192.0.2.1", Some(4)),
            ("h", "192.0.2.1", Some(1)),
            ("", "192.0.2.2", None),
        ] {
            assert_eq!(queue.push(ip, text), rejected, "{text} {ip}");
        }
    }

    #[test]
    fn a_connection_whose_peer_has_disconnected_is_removed() {
        let mut queue = Queue::new(100);
        for text in ["", "", "h", "h"] {
            queue.push("192.0.2.1", text);
        }
        // One peer resets after its request; one closes gracefully without a request.
        SockRef::from(&queue.peers[2]).set_linger(Some(Duration::ZERO)).unwrap();
        drop((queue.peers.remove(2), queue.peers.remove(0)));
        let mut given_up = Vec::new();
        while given_up.len() < 2 {
            given_up.extend(queue.recheck());
            thread::yield_now();
        }
        given_up.sort_unstable();
        assert_eq!((given_up, queue.offered()), (vec![1, 3], vec![4]));
    }

    #[test]
    fn a_connection_whose_wait_has_timed_out_is_removed() {
        let mut queue = Queue::new(100);
        queue.push("192.0.2.1", "");
        queue.push("192.0.2.1", "h");
        assert!(queue.recheck().is_empty());
        for waiting in &mut queue.reserve.waiting {
            waiting.arrival.since = Instant::now().checked_sub(queue.reserve.longest_wait).unwrap();
        }
        assert_eq!(queue.recheck(), [1, 2]);
        assert!(queue.reserve.is_empty());
    }

    #[test]
    fn any_byte_is_a_request_with_tls_or_a_panicking_service() {
        let mut queue = Queue::new(100);
        queue.push("192.0.2.1", "p");
        assert_eq!(queue.offered(), [1]);
        queue.reserve.is_encrypted = true;
        queue.push("192.0.2.1", "");
        queue.push("192.0.2.1", ".");
        assert_eq!(queue.offered(), [1, 3]);
    }

    #[test]
    fn a_server_without_a_reserve_queues_no_connection() {
        let mut queue = Queue::new(100);
        queue.reserve = Reserve::new(&Config::default());
        assert_eq!(queue.push("192.0.2.1", "h"), Some(1));
    }
}
