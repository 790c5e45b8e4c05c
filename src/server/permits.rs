//! Permits for connections: limits in total and per address, and the guard that frees a permit.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use super::slots::Class;
use crate::connection::OverLimit;
use crate::platform::Wakeup;
use crate::stats::Counter;
use crate::sync::Mutex;

/// The part of an IPv6 address that identifies a source: its first 64 bits. Each link has 64 bits to choose addresses from
/// (RFC 4291, 2.5.4), so a single machine can use as many addresses as it likes (RFC 8981).
const SOURCE_BITS_V6: u128 = u128::MAX << 64;

/// The numbers of permits.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConnectionLimits {
    pub(super) max_connections: u64,
    /// Permits on top of `max_connections`, for connections above a limit.
    pub(super) reserved: u64,
    /// Maximum per source address; `None` is no such limit.
    pub(super) max_per_source: Option<u64>,
}

/// Why a connection is refused a permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RefusalReason {
    /// Its address is in no allowed network.
    Denied,
    /// All permits are in use.
    Full,
    /// Its address has the maximum number of permits.
    PerIp,
}

impl RefusalReason {
    pub(super) const ALL: [Self; 3] = [Self::Denied, Self::Full, Self::PerIp];

    /// The counter of this reason.
    pub(super) fn event(self) -> Counter {
        match self {
            Self::Denied => Counter::Denied,
            Self::Full => Counter::Refused,
            Self::PerIp => Counter::RefusedPerIp,
        }
    }
}

/// One connection's permit; freed on drop.
#[derive(Debug)]
pub(super) struct Permit {
    permits: Arc<Permits>,
    /// The source that it counts for; `None` without a limit per source. Boxed, because every client has this field and few
    /// servers use it.
    source: Option<Box<IpAddr>>,
    /// The limit that the connection exceeds, if the permit is reserved.
    over_limit: Option<OverLimit>,
}

impl Permit {
    /// The limit that the connection exceeds; `None` if it exceeds none.
    pub(super) fn over_limit(&self) -> Option<OverLimit> {
        self.over_limit
    }

    /// The class of the thread slot that the connection takes.
    pub(super) fn class(&self) -> Class {
        if self.over_limit.is_some() { Class::Reserved } else { Class::Ordinary }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.permits.free(self);
    }
}

/// Counts the permits in use.
#[derive(Debug)]
pub(super) struct Permits {
    /// Guards the counts only. Held for one lookup or change.
    counts: Mutex<Counts>,
    /// Notified when a permit is freed.
    wakeup: Arc<Wakeup>,
}

#[derive(Debug, Default)]
struct Counts {
    taken: u64,
    reserved: u64,
    /// Ordinary permits by source; a source without any is removed.
    per_source: HashMap<IpAddr, u64>,
    /// Reserved permits by source.
    reserved_per_source: HashMap<IpAddr, u64>,
    /// The sources of ordinary permits freed since [`Permits::take_freed`], if there is a limit per source. Never more than
    /// there are permits: the accept loop empties it before it acquires a permit again.
    freed: Vec<IpAddr>,
    /// When an ordinary permit was last freed.
    last_freed: Option<Instant>,
}

impl Permits {
    pub(super) fn new(wakeup: Arc<Wakeup>) -> Self {
        Self { counts: Mutex::default(), wakeup }
    }

    /// The number of ordinary permits in use.
    pub(super) fn taken(&self) -> u64 {
        self.counts.lock().taken
    }

    /// Returns the sources of ordinary permits freed since the last call; empty without a limit per source.
    pub(super) fn take_freed(&self) -> Vec<IpAddr> {
        std::mem::take(&mut self.counts.lock().freed)
    }

    /// When an ordinary permit was last freed; `None` before the first.
    pub(super) fn last_freed(&self) -> Option<Instant> {
        self.counts.lock().last_freed
    }

    /// Acquires a permit for `ip`.
    ///
    /// # Errors
    /// Which limit is reached.
    pub(super) fn take(self: &Arc<Self>, limits: &ConnectionLimits, ip: IpAddr) -> Result<Permit, RefusalReason> {
        let mut counts = self.counts.lock();
        if counts.taken >= limits.max_connections {
            return Err(RefusalReason::Full);
        }
        let source = limits.max_per_source.map(|_| source_of(ip));
        if let (Some(source), Some(limit)) = (source, limits.max_per_source) {
            increment(&mut counts.per_source, source, limit).ok_or(RefusalReason::PerIp)?;
        }
        counts.taken += 1;
        Ok(Permit { permits: Arc::clone(self), source: source.map(Box::new), over_limit: None })
    }

    /// Acquires a reserved permit for a connection that was refused for `reason`, if one is free and `ip` has less than a
    /// quarter of them.
    pub(super) fn take_reserved(
        self: &Arc<Self>,
        limits: &ConnectionLimits,
        ip: IpAddr,
        reason: RefusalReason,
    ) -> Option<Permit> {
        let over_limit = match reason {
            RefusalReason::Denied => return None,
            RefusalReason::Full => OverLimit::Connections,
            RefusalReason::PerIp => OverLimit::PerAddress,
        };
        let mut counts = self.counts.lock();
        if counts.reserved >= limits.reserved {
            return None;
        }
        let source = source_of(ip);
        increment(&mut counts.reserved_per_source, source, limits.reserved.div_ceil(4))?;
        counts.reserved += 1;
        Some(Permit { permits: Arc::clone(self), source: Some(Box::new(source)), over_limit: Some(over_limit) })
    }

    fn free(&self, permit: &Permit) {
        let mut counts = self.counts.lock();
        let Counts { taken, reserved, per_source, reserved_per_source, .. } = &mut *counts;
        let (count, sources) =
            if permit.over_limit.is_some() { (reserved, reserved_per_source) } else { (taken, per_source) };
        *count -= 1;
        if let Some(source) = &permit.source {
            decrement(sources, **source);
        }
        if permit.over_limit.is_none() {
            counts.freed.extend(permit.source.as_deref());
            counts.last_freed = Some(Instant::now());
            drop(counts);
            self.wakeup.notify();
        }
    }
}

/// Increments the count of `source`. Returns `None`, and changes nothing, if it is at `limit` already.
fn increment(counts: &mut HashMap<IpAddr, u64>, source: IpAddr, limit: u64) -> Option<()> {
    let count = counts.get(&source).copied().unwrap_or(0);
    (count < limit).then(|| counts.insert(source, count + 1)).map(|_| ())
}

/// Decrements the count of `source`.
fn decrement(counts: &mut HashMap<IpAddr, u64>, source: IpAddr) {
    match counts.get_mut(&source) {
        Some(count) if *count > 1 => *count -= 1,
        _ => {
            counts.remove(&source);
        }
    }
}

/// Returns the source of an address: an IPv4 address itself, or the first 64 bits of an IPv6 address.
pub(super) fn source_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & SOURCE_BITS_V6).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits() -> Arc<Permits> {
        Arc::new(Permits::new(Arc::new(Wakeup::new().unwrap())))
    }

    fn limits(max_connections: u64, max_per_source: Option<u64>) -> ConnectionLimits {
        ConnectionLimits { max_connections, reserved: 4, max_per_source }
    }

    fn ip(ip: &str) -> IpAddr {
        ip.parse().unwrap()
    }

    #[test]
    fn an_address_can_reuse_a_freed_permit_at_once() {
        let (permits, limits) = (permits(), limits(10, Some(2)));
        let take = |address| permits.take(&limits, ip(address));
        let (first, second) = (take("192.0.2.1").unwrap(), take("192.0.2.1").unwrap());
        assert_eq!(take("192.0.2.1").unwrap_err(), RefusalReason::PerIp);
        let other = take("192.0.2.2").unwrap();
        drop(first);
        let third = take("192.0.2.1").unwrap();
        assert_eq!(take("192.0.2.1").unwrap_err(), RefusalReason::PerIp);
        drop(other);
        let counts = permits.counts.lock();
        assert_eq!(
            (counts.per_source.len(), counts.taken, &counts.freed[..]),
            (1, 2, &[ip("192.0.2.1"), ip("192.0.2.2")][..]),
            "a source without a permit is kept"
        );
        drop(counts);
        drop([second, third]);
    }

    #[test]
    fn sixty_four_bits_of_ipv6_are_one_source() {
        let (permits, limits) = (permits(), limits(10, Some(1)));
        let _place = permits.take(&limits, ip("2001:db8:0:1::1")).unwrap();
        assert!(permits.take(&limits, ip("2001:db8:0:1:ffff::2")).is_err());
        assert!(permits.take(&limits, ip("2001:db8:0:2::1")).is_ok());
    }

    #[test]
    fn a_refusal_of_a_full_server_does_not_count_for_the_address() {
        let (permits, limits) = (permits(), limits(1, Some(1)));
        let only = permits.take(&limits, ip("192.0.2.2")).unwrap();
        assert_eq!(permits.take(&limits, ip("192.0.2.1")).unwrap_err(), RefusalReason::Full);
        drop(only);
        assert!(permits.take(&limits, ip("192.0.2.1")).is_ok());
    }

    #[test]
    fn an_address_has_a_quarter_of_the_reserved_permits() {
        let (permits, limits) = (permits(), ConnectionLimits { reserved: 8, ..limits(1, None) });
        let take = |address: &str| permits.take_reserved(&limits, ip(address), RefusalReason::Full);
        let mut held: Vec<_> = (0..8).map(|number| take(&format!("192.0.2.{}", number / 2)).unwrap()).collect();
        assert!(take("192.0.2.9").is_none(), "all are taken");
        drop(held.pop());
        assert!(take("192.0.2.0").is_none(), "the address has a quarter");
        let ninth = take("192.0.2.9").unwrap();
        assert_eq!((ninth.over_limit(), permits.taken()), (Some(OverLimit::Connections), 0));
        let denied = permits.take_reserved(&limits, ip("192.0.2.10"), RefusalReason::Denied);
        assert!(denied.is_none());
    }
}
