//! A client's address in a compact form.

use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

/// A client's address in 16 bytes instead of 32: every connection stores it twice, and nearly all are IPv4.
#[derive(Debug, Clone)]
pub(super) enum Peer {
    V4(SocketAddrV4),
    V6(Box<SocketAddrV6>),
}

impl Peer {
    /// Returns the address as a [`SocketAddr`].
    pub(super) fn addr(&self) -> SocketAddr {
        match self {
            Self::V4(addr) => SocketAddr::V4(*addr),
            Self::V6(addr) => SocketAddr::V6(**addr),
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(addr: SocketAddr) -> Self {
        match addr {
            SocketAddr::V4(addr) => Self::V4(addr),
            SocketAddr::V6(addr) => Self::V6(Box::new(addr)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_conversion_and_takes_half_the_memory() {
        for addr in ["192.0.2.7:1", "[2001:db8::1]:65535", "[fe80::1%7]:2"] {
            let addr: SocketAddr = addr.parse().unwrap();
            assert_eq!(Peer::from(addr).addr(), addr);
        }
        assert!(2 * size_of::<Peer>() <= size_of::<SocketAddr>());
    }
}
