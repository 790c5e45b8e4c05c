//! Resolves `HOST:PORT` to socket addresses.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs};

/// The longest name of an interface in bytes (`IFNAMSIZ` of netdevice(7), less its zero byte).
const MAX_ZONE: usize = 15;

/// Returns the socket addresses of `address`: `HOST:PORT`, `[IPV6]:PORT`, or `[IPV6%ZONE]:PORT`. ZONE is the name or number
/// of a local interface (RFC 4007), required for link-local addresses. Blocks during the name lookup.
///
/// ```
/// let found = mapcast::client::address::resolve("[::1]:8080")?;
/// assert_eq!(found, ["[::1]:8080".parse().unwrap()]);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// The error of the lookup; `NotFound` if this machine has no such interface.
pub fn resolve(address: &str) -> io::Result<Vec<SocketAddr>> {
    let Some(Zoned { host, zone, port }) = split_zone(address) else {
        return Ok(address.to_socket_addrs()?.collect());
    };
    // getaddrinfo(3) resolves the interface's name at each call: a recreated interface has a new number.
    let found = (host, port).to_socket_addrs().map_err(|error| {
        let zone = zone.escape_debug();
        io::Error::new(io::ErrorKind::NotFound, format!("this machine has no interface \"{zone}\": {error}"))
    })?;
    Ok(found.collect())
}

/// True if and only if `address` has the form `[IPV6%ZONE]:PORT`. The interface need not exist.
pub fn has_zone(address: &str) -> bool {
    split_zone(address).is_some()
}

struct Zoned<'a> {
    /// `IPV6%ZONE`
    host: &'a str,
    zone: &'a str,
    port: u16,
}

fn split_zone(address: &str) -> Option<Zoned<'_>> {
    let (host, port) = address.strip_prefix('[')?.rsplit_once("]:")?;
    let (ip, zone) = host.split_once('%')?;
    let is_ip = ip.parse::<Ipv6Addr>().is_ok();
    let is_zone = (1..=MAX_ZONE).contains(&zone.len())
        && !zone.contains(|c: char| "/%[]:".contains(c) || c.is_whitespace() || c.is_control());
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    (is_ip && is_zone && is_port).then_some(Zoned { host, zone, port: port.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_the_name_or_number_of_an_interface() {
        for address in ["[fe80::1%lo]:8080", "[fe80::1%1]:8080"] {
            let found = resolve(address).unwrap();
            let [SocketAddr::V6(found)] = found[..] else { panic!("{found:?}") };
            assert_eq!((*found.ip(), found.port(), found.scope_id()), ("fe80::1".parse().unwrap(), 8080, 1));
        }
        let error = resolve("[fe80::1%nowhere]:8080").unwrap_err();
        assert!(error.kind() == io::ErrorKind::NotFound && error.to_string().contains("\"nowhere\""), "{error}");
    }

    #[test]
    fn an_invalid_zone_is_not_recognized() {
        for address in ["[fe80::1%eth0]:1", "[fe80::1%2]:65535", "[fe80::1%veth.1-a_b]:1"] {
            assert!(has_zone(address), "{address}");
        }
        for address in [
            "[::1]:1",
            "[fe80::1%]:1",
            "[fe80::1%a/b]:1",
            "[fe80::1%a b]:1",
            "[fe80::1%sixteen-letters-]:1",
            "[h%eth0]:1",
            "[10.0.0.1%eth0]:1",
            "fe80::1%eth0",
            "[fe80::1%eth0]",
            "[fe80::1%eth0]:",
            "[fe80::1%eth0]:65536",
            "[fe80::1%eth0]:+1",
            "[fe80::1%a%b]:1",
            "[fe80::1%a]:1]:1",
            "h%eth0:1",
        ] {
            assert!(!has_zone(address), "{address}");
        }
        assert_eq!(resolve("127.0.0.1:1").unwrap(), [SocketAddr::from(([127, 0, 0, 1], 1))]);
    }
}
