//! Who may connect, decided before a thread is spent on it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ipnet::{IpNet, Ipv4Net};

use super::{Config, Role};
use crate::connection::OverLimit;
use crate::service::counted;
use crate::stats::{Event, Stats};
use crate::throttle::{LOG_PERIOD, Throttle, more};

/// The part of an IPv6 address that counts as one source: its first 64 bits. A site gives each of its links 64 bits to
/// choose addresses from (RFC 4291, 2.5.4), so a single machine has as many whole addresses as it likes (RFC 8981).
const SOURCE_BITS_V6: u128 = u128::MAX << 64;

/// Asks each client for its place: first the list of who may connect at all, then how many its source has, then how many
/// there are.
#[derive(Debug)]
pub(super) struct Admission {
    stats: Arc<Stats>,
    /// Empty: everyone.
    allow: Vec<IpNet>,
    max_connections: u64,
    /// How those who come are called.
    role: Role,
    /// `None`: as many as there are places.
    max_per_source: Option<u64>,
    sources: Arc<Sources>,
    /// Places above the limits.
    reserved: u64,
    /// Who has them.
    reserve: Arc<Sources>,
    /// What was logged of each reason.
    complaints: [Throttle; Reason::ALL.len()],
}

/// Why somebody may not connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// Their address is not on the list.
    Denied,
    /// There are as many as there may be.
    Full,
    /// Their source has as many as one may have.
    Crowd,
}

impl Reason {
    const ALL: [Self; 3] = [Self::Denied, Self::Full, Self::Crowd];

    fn event(self) -> Event {
        match self {
            Self::Denied => Event::Denied,
            Self::Full => Event::Refused,
            Self::Crowd => Event::RefusedPerIp,
        }
    }
}

impl Admission {
    pub(super) fn new(config: &Config, stats: &Arc<Stats>) -> Self {
        Self {
            stats: Arc::clone(stats),
            allow: config.allow.iter().copied().map(canonical).collect(),
            max_connections: config.max_connections,
            role: config.role,
            max_per_source: config.max_connections_per_ip,
            sources: Arc::default(),
            reserved: config.reserved_connections,
            reserve: Arc::default(),
            complaints: Reason::ALL.map(|_| Throttle::new(LOG_PERIOD)),
        }
    }

    /// Returns the client's place if and only if it may connect; otherwise it is counted, and logged once a second. An
    /// IPv4 address that came as IPv6 must be IPv4 here.
    pub(super) fn admit(&mut self, peer: SocketAddr) -> Option<Place> {
        if !self.allow.is_empty() && !self.allow.iter().any(|network| network.contains(&peer.ip())) {
            self.refuse(Reason::Denied, peer);
            return None;
        }
        if self.stats.active().saturating_sub(self.reserve.total()) >= self.max_connections {
            return self.admit_over(OverLimit::Connections, Reason::Full, peer);
        }
        let Some(limit) = self.max_per_source else { return Some(Place { taken: None, over_limit: None }) };
        match Place::take(&self.sources, peer, limit, None) {
            None => self.admit_over(OverLimit::PerAddress, Reason::Crowd, peer),
            place => place,
        }
    }

    /// Returns a place of the reserve for a client that exceeds `limit`, if one is left.
    fn admit_over(&mut self, limit: OverLimit, reason: Reason, peer: SocketAddr) -> Option<Place> {
        let per_source = self.reserved.div_ceil(4);
        let place = (self.reserve.total() < self.reserved)
            .then(|| Place::take(&self.reserve, peer, per_source, Some(limit)))
            .flatten();
        if place.is_none() {
            self.refuse(reason, peer);
        }
        place
    }

    /// When refusals that were not logged should be, if no other one comes; `None` if all were.
    pub(super) fn due(&self) -> Option<Instant> {
        self.complaints.iter().filter_map(Throttle::due).min()
    }

    /// Logs the refusals that are due.
    pub(super) fn settle(&mut self) {
        for reason in Reason::ALL {
            if let Some(held) = self.complaints[reason as usize].release() {
                let others = counted(held, &format!("more {}", self.role.noun()));
                log::warn!("{others} refused: {}", self.explain(reason));
            }
        }
    }

    fn refuse(&mut self, reason: Reason, peer: SocketAddr) {
        self.stats.count(reason.event());
        if let Some(held) = self.complaints[reason as usize].pass() {
            log::warn!("{} {peer} refused: {}{}", self.role.noun(), self.explain(reason), more(held));
        }
    }

    fn explain(&self, reason: Reason) -> String {
        let limit = |limit: u64, of: &str, option: &str| format!("{limit} connections are the limit{of} ({option})");
        match reason {
            Reason::Denied => "the address is not on the list (--allow)".to_owned(),
            Reason::Full => limit(self.max_connections, "", self.role.limit_option()),
            Reason::Crowd => {
                limit(self.max_per_source.unwrap_or_default(), " for one address", "--max-connections-per-ip")
            }
        }
    }
}

/// A client's place among those of its source, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    /// `None` where sources are not counted. Boxed, because each client has it, and few servers count.
    taken: Option<Box<(Arc<Sources>, IpAddr)>>,
    /// The limit that the client exceeds, if its place is of the reserve.
    over_limit: Option<OverLimit>,
}

impl Place {
    /// Takes one of the `limit` places that the peer's source has in `sources`; `None` if none is left.
    fn take(sources: &Arc<Sources>, peer: SocketAddr, limit: u64, over_limit: Option<OverLimit>) -> Option<Self> {
        let source = source_of(peer.ip());
        let taken = sources.take(source, limit).then(|| Box::new((Arc::clone(sources), source)));
        taken.map(|taken| Self { taken: Some(taken), over_limit })
    }

    /// The limit that the client exceeds; `None` if it exceeds none.
    pub(super) fn over_limit(&self) -> Option<OverLimit> {
        self.over_limit
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(taken) = self.taken.take() {
            taken.0.leave(taken.1);
        }
    }
}

/// How many connections each source has; one that has none is not kept.
#[derive(Debug, Default)]
struct Sources {
    /// Guards the counts alone. Held for one look-up or change.
    counts: Mutex<HashMap<IpAddr, u64>>,
}

impl Sources {
    /// Takes one of the source's `limit` places. Returns true if and only if one was free.
    fn take(&self, source: IpAddr, limit: u64) -> bool {
        let mut counts = self.lock();
        let taken = counts.get(&source).copied().unwrap_or(0);
        if taken < limit {
            counts.insert(source, taken + 1);
        }
        taken < limit
    }

    /// The places of all sources that are taken.
    fn total(&self) -> u64 {
        self.lock().values().sum()
    }

    fn leave(&self, source: IpAddr) {
        let mut counts = self.lock();
        match counts.get_mut(&source) {
            Some(taken) if *taken > 1 => *taken -= 1,
            _ => {
                counts.remove(&source);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, u64>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns what is counted as one source: an IPv4 address, or the first 64 bits of an IPv6 address.
fn source_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & SOURCE_BITS_V6).into(),
    }
}

/// Returns the network as addresses are compared with it: IPv4 that is written as IPv6 (`::ffff:10.0.0.0/104`, RFC 4291,
/// 2.5.5.2) is IPv4.
fn canonical(network: IpNet) -> IpNet {
    let IpAddr::V4(mapped) = network.addr().to_canonical() else { return network };
    let bits = network.prefix_len().checked_sub(if network.addr().is_ipv6() { 96 } else { 0 });
    bits.and_then(|bits| Ipv4Net::new(mapped, bits).ok()).map_or(network, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what decides, and its counters.
    fn admission(config: &Config) -> (Admission, Arc<Stats>) {
        let stats = Arc::default();
        (Admission::new(config, &stats), stats)
    }

    fn allowing(networks: &[&str]) -> Config {
        Config { allow: networks.iter().map(|network| network.parse().unwrap()).collect(), ..Config::default() }
    }

    fn from(ip: &str) -> SocketAddr {
        SocketAddr::new(ip.parse().unwrap(), 1)
    }

    #[test]
    fn an_empty_list_lets_everyone_in() {
        let (mut admission, stats) = admission(&Config::default());
        assert!(admission.admit(from("192.0.2.1")).is_some() && admission.admit(from("2001:db8::1")).is_some());
        assert_eq!(stats.denied(), 0);
    }

    #[test]
    fn a_list_lets_its_networks_in_and_counts_the_others() {
        let (mut admission, stats) = admission(&allowing(&["10.1.2.3/8", "192.0.2.7/32", "2001:db8::/32"]));
        for ip in ["10.0.0.1", "10.255.255.255", "192.0.2.7", "2001:db8:ffff::1"] {
            assert!(admission.admit(from(ip)).is_some(), "{ip}");
        }
        for ip in ["11.0.0.0", "192.0.2.8", "127.0.0.1", "2001:db9::1", "::1"] {
            assert!(admission.admit(from(ip)).is_none(), "{ip}");
        }
        assert_eq!((stats.denied(), stats.refused(), stats.refused_per_ip()), (5, 0, 0));
    }

    #[test]
    fn ipv4_written_as_ipv6_is_ipv4() {
        for (network, inside, outside) in [
            ("::ffff:10.0.0.0/104", "10.9.9.9", "11.0.0.1"),
            ("::ffff:10.0.0.1/128", "10.0.0.1", "10.0.0.2"),
            ("0.0.0.0/0", "203.0.113.9", "::1"),
            ("::/0", "2001:db8::1", "203.0.113.9"),
        ] {
            let (mut admission, _) = admission(&allowing(&[network]));
            assert!(admission.admit(from(inside)).is_some(), "{inside} in {network}");
            assert!(admission.admit(from(outside)).is_none(), "{outside} in {network}");
        }
    }

    #[test]
    fn a_source_has_its_places_and_one_is_free_at_once_when_it_is_left() {
        let (mut admission, stats) = admission(&Config { max_connections_per_ip: Some(2), ..Config::default() });
        let first = admission.admit(from("192.0.2.1")).unwrap();
        let _second = admission.admit(from("192.0.2.1")).unwrap();
        assert!(admission.admit(from("192.0.2.1")).is_none());
        let other = admission.admit(from("192.0.2.2")).unwrap();
        assert_eq!(stats.refused_per_ip(), 1);
        drop(first);
        let _third = admission.admit(from("192.0.2.1")).unwrap();
        assert!(admission.admit(from("192.0.2.1")).is_none());
        drop(other);
        assert_eq!(admission.sources.lock().len(), 1, "a source without a connection is kept");
    }

    #[test]
    fn the_last_refusals_of_a_burst_are_due_to_be_told() {
        let (mut admission, _) = admission(&allowing(&["192.0.2.7/32"]));
        assert!(admission.admit(from("192.0.2.8")).is_none());
        assert_eq!(admission.due(), None, "the first one is told at once");
        assert!(admission.admit(from("192.0.2.9")).is_none());
        assert!(admission.due().is_some_and(|due| due <= Instant::now() + LOG_PERIOD));
    }

    #[test]
    fn sixty_four_bits_of_ipv6_are_one_source() {
        let (mut admission, _) = admission(&Config { max_connections_per_ip: Some(1), ..Config::default() });
        let _place = admission.admit(from("2001:db8:0:1::1")).unwrap();
        assert!(admission.admit(from("2001:db8:0:1:ffff::2")).is_none());
        assert!(admission.admit(from("2001:db8:0:2::1")).is_some());
    }

    #[test]
    fn above_a_limit_the_reserve_has_places_and_no_source_has_more_than_a_quarter() {
        let config = Config { max_connections: 1, reserved_connections: 8, ..Config::default() };
        let (mut admission, stats) = admission(&config);
        let inside = (admission.admit(from("192.0.2.1")).unwrap(), stats.connect());
        let mut over = |ip: &str| {
            let place = admission.admit(from(ip))?;
            assert_eq!(place.over_limit(), Some(OverLimit::Connections), "{ip}");
            Some((place, stats.connect()))
        };
        let mut reserved: Vec<_> = (0..8).map(|n| over(&format!("192.0.2.{}", n / 2)).unwrap()).collect();
        assert!(over("192.0.2.9").is_none(), "the reserve is used up");
        drop(reserved.pop());
        assert!(over("192.0.2.0").is_none(), "its source has a quarter");
        assert!(over("192.0.2.9").is_some());
        assert_eq!(stats.refused(), 2);
        drop((reserved, inside));
        assert_eq!(admission.admit(from("192.0.2.1")).unwrap().over_limit(), None);
    }

    #[test]
    fn those_on_the_reserve_take_no_place_of_the_others() {
        let config = Config {
            max_connections_per_ip: Some(1),
            max_connections: 2,
            reserved_connections: 4,
            ..Config::default()
        };
        let (mut admission, stats) = admission(&config);
        let _first = (admission.admit(from("192.0.2.1")).unwrap(), stats.connect());
        let over = (admission.admit(from("192.0.2.1")).unwrap(), stats.connect());
        assert_eq!(over.0.over_limit(), Some(OverLimit::PerAddress));
        let second = admission.admit(from("192.0.2.2")).unwrap();
        assert_eq!((second.over_limit(), stats.refused_per_ip()), (None, 0));
    }

    #[test]
    fn a_refusal_for_lack_of_places_takes_none_of_its_source() {
        let config = Config { max_connections: 1, max_connections_per_ip: Some(1), ..Config::default() };
        let (mut admission, stats) = admission(&config);
        let active = stats.connect();
        assert!(admission.admit(from("192.0.2.1")).is_none());
        assert_eq!((stats.refused(), stats.refused_per_ip()), (1, 0));
        drop(active);
        assert!(admission.admit(from("192.0.2.1")).is_some());
    }
}
