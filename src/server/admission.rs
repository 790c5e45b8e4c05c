//! Admission of clients: the accept loop checks each before it starts a thread.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use ipnet::{IpNet, Ipv4Net};

use super::permits::{ConnectionLimits, Permit, Permits, RefusalReason};
use super::{Config, LimitNames, Role};
use crate::display::throttle::{LOG_PERIOD, Throttle, more};
use crate::platform::Wakeup;
use crate::service::counted;
use crate::stats::Stats;

/// Admits clients: checks the allowed networks, then the limit on connections, then the limit of the address.
#[derive(Debug)]
pub(super) struct Admission {
    stats: Arc<Stats>,
    /// Empty: every address may connect.
    allow: Vec<IpNet>,
    limits: ConnectionLimits,
    limit_names: LimitNames,
    /// Determines the log's noun for a connection.
    role: Role,
    permits: Arc<Permits>,
    /// Limits the log lines of each reason.
    throttles: [Throttle; RefusalReason::ALL.len()],
}

impl Admission {
    /// Returns the admission of one server; `wakeup` is notified when a permit is freed.
    pub(super) fn new(config: &Config, stats: &Arc<Stats>, wakeup: Arc<Wakeup>) -> Self {
        Self {
            stats: Arc::clone(stats),
            allow: config.allow.iter().copied().map(canonical).collect(),
            limits: ConnectionLimits {
                max_connections: config.max_connections,
                reserved: config.reserved_connections,
                max_per_source: config.max_connections_per_ip,
            },
            limit_names: config.limit_names,
            role: config.role,
            permits: Arc::new(Permits::new(wakeup)),
            throttles: RefusalReason::ALL.map(|_| Throttle::new(LOG_PERIOD)),
        }
    }

    /// Acquires a permit for a connection from `peer`. An IPv4-mapped address must be given as IPv4.
    ///
    /// # Errors
    /// Why the connection is refused.
    pub(super) fn admit(&self, peer: SocketAddr) -> Result<Permit, RefusalReason> {
        if !self.allow.is_empty() && !self.allow.iter().any(|network| network.contains(&peer.ip())) {
            return Err(RefusalReason::Denied);
        }
        self.permits.take(&self.limits, peer.ip())
    }

    /// Acquires a reserved permit for a connection that was refused for `reason`; see [`Permits::take_reserved`].
    pub(super) fn admit_reserved(&self, peer: SocketAddr, reason: RefusalReason) -> Option<Permit> {
        self.permits.take_reserved(&self.limits, peer.ip(), reason)
    }

    /// The permits of this server.
    pub(super) fn permits(&self) -> &Permits {
        &self.permits
    }

    /// The number of free permits.
    pub(super) fn free(&self) -> u64 {
        self.limits.max_connections.saturating_sub(self.permits.taken())
    }

    /// The maximum number of permits of one address.
    pub(super) fn max_per_source(&self) -> u64 {
        self.limits.max_per_source.unwrap_or(u64::MAX)
    }

    /// When suppressed refusals are due for the log; `None` if there are none.
    pub(super) fn due(&self) -> Option<Instant> {
        self.throttles.iter().filter_map(Throttle::due).min()
    }

    /// Logs the suppressed refusals that are due; at the end of the server, all of them.
    pub(super) fn flush_suppressed(&mut self, is_end: bool) {
        for reason in RefusalReason::ALL {
            if let Some(suppressed) = self.throttles[reason as usize].release(is_end) {
                let others = counted(suppressed, &format!("more {}", self.role.noun()));
                log::warn!("{others} refused: {}", self.explain(reason));
            }
        }
    }

    /// Counts a refusal, and logs it if no other one was logged in the last second.
    pub(super) fn refuse(&mut self, reason: RefusalReason, peer: SocketAddr) {
        self.stats.count(reason.event());
        if let Some(suppressed) = self.throttles[reason as usize].pass() {
            log::warn!("{} {peer} refused: {}{}", self.role.noun(), self.explain(reason), more(suppressed));
        }
    }

    fn explain(&self, reason: RefusalReason) -> String {
        let LimitNames { max_connections, max_connections_per_ip, allow } = self.limit_names;
        match reason {
            RefusalReason::Denied => format!("the address is not in an allowed network ({allow})"),
            RefusalReason::Full => {
                format!("the limit is {} ({max_connections})", counted(self.limits.max_connections, "connection"))
            }
            RefusalReason::PerIp => {
                let limit = self.limits.max_per_source.unwrap_or_default();
                format!("the limit is {} per address ({max_connections_per_ip})", counted(limit, "connection"))
            }
        }
    }
}

/// Returns `network` in the form that addresses are compared with: an IPv4-mapped network (`::ffff:10.0.0.0/104`, RFC 4291,
/// 2.5.5.2) as IPv4.
fn canonical(network: IpNet) -> IpNet {
    let IpAddr::V4(mapped) = network.addr().to_canonical() else { return network };
    let bits = network.prefix_len().checked_sub(if network.addr().is_ipv6() { 96 } else { 0 });
    bits.and_then(|bits| Ipv4Net::new(mapped, bits).ok()).map_or(network, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the admission, and its counters.
    fn admission(config: &Config) -> (Admission, Arc<Stats>) {
        let (stats, wakeup) = (Arc::default(), Arc::new(Wakeup::new().unwrap()));
        (Admission::new(config, &stats, wakeup), stats)
    }

    fn allowing(networks: &[&str]) -> Config {
        Config { allow: networks.iter().map(|network| network.parse().unwrap()).collect(), ..Config::default() }
    }

    fn from(ip: &str) -> SocketAddr {
        SocketAddr::new(ip.parse().unwrap(), 1)
    }

    #[test]
    fn an_empty_list_admits_every_address() {
        let (admission, _) = admission(&Config::default());
        assert!(admission.admit(from("192.0.2.1")).is_ok() && admission.admit(from("2001:db8::1")).is_ok());
    }

    #[test]
    fn a_list_admits_its_networks_only() {
        let (admission, _) = admission(&allowing(&["10.1.2.3/8", "192.0.2.7/32", "2001:db8::/32"]));
        for ip in ["10.0.0.1", "10.255.255.255", "192.0.2.7", "2001:db8:ffff::1"] {
            assert!(admission.admit(from(ip)).is_ok(), "{ip}");
        }
        for ip in ["11.0.0.0", "192.0.2.8", "127.0.0.1", "2001:db9::1", "::1"] {
            assert_eq!(admission.admit(from(ip)).unwrap_err(), RefusalReason::Denied, "{ip}");
        }
    }

    #[test]
    fn an_ipv4_mapped_network_matches_ipv4_addresses() {
        for (network, inside, outside) in [
            ("::ffff:10.0.0.0/104", "10.9.9.9", "11.0.0.1"),
            ("::ffff:10.0.0.1/128", "10.0.0.1", "10.0.0.2"),
            ("0.0.0.0/0", "203.0.113.9", "::1"),
            ("::/0", "2001:db8::1", "203.0.113.9"),
        ] {
            let (admission, _) = admission(&allowing(&[network]));
            assert!(admission.admit(from(inside)).is_ok(), "{inside} in {network}");
            assert!(admission.admit(from(outside)).is_err(), "{outside} in {network}");
        }
    }

    #[test]
    fn refusals_are_counted_by_reason() {
        let (mut admission, stats) = admission(&Config::default());
        for reason in RefusalReason::ALL {
            admission.refuse(reason, from("192.0.2.1"));
        }
        assert_eq!((stats.denied(), stats.refused(), stats.refused_per_ip()), (1, 1, 1));
    }

    #[test]
    fn suppressed_refusals_are_due_for_the_log_within_a_second() {
        let (mut admission, _) = admission(&Config::default());
        admission.refuse(RefusalReason::Full, from("192.0.2.8"));
        assert_eq!(admission.due(), None, "the first one is logged at once");
        admission.refuse(RefusalReason::Full, from("192.0.2.9"));
        assert!(admission.due().is_some_and(|due| due <= Instant::now() + LOG_PERIOD));
    }
}
