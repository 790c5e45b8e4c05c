//! The Host check: it protects against DNS rebinding.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The names and addresses that requests to this listener may name as their host.
///
/// A foreign page can make its own name resolve to this machine (DNS rebinding). The browser then treats this listener as the
/// page's own server and lets the page read every response. It still sends the page's name as Host, so the listener refuses
/// foreign names. An address cannot be rebound: a listener on all addresses accepts any address.
#[derive(Debug)]
pub(crate) struct Hosts {
    addresses: Vec<IpAddr>,
    names: Vec<String>,
}

impl Hosts {
    pub(crate) fn new(listen: &[SocketAddr], names: &[String]) -> Self {
        let mut hosts = Self { addresses: listen.iter().map(SocketAddr::ip).collect(), names: Vec::new() };
        for name in names {
            let name = without_port(name).unwrap_or(name);
            match parse_address(name) {
                Some(address) => hosts.addresses.push(address),
                None => hosts.names.push(normalize(name)),
            }
        }
        hosts
    }

    /// True if and only if `authority`, a name or an address with or without a port, is one of this listener's. The port is
    /// ignored: it differs behind a tunnel, and the protection does not depend on it.
    pub(crate) fn admit(&self, authority: &str) -> bool {
        let Some(host) = without_port(authority) else { return false };
        if let Some(address) = parse_address(host) {
            let matches = |own: &IpAddr| own.is_unspecified() || own.to_canonical() == address;
            // The browser's end of a tunnel (`ssh -L`) is on loopback, whatever address the listener has.
            return address.is_loopback() || self.addresses.iter().any(matches);
        }
        let name = normalize(host);
        // It always means this machine (RFC 6761, section 6.3): a foreign page cannot have it.
        name == "localhost" || self.names.contains(&name)
    }
}

/// Returns `text` if it is a host that requests may name: a name or an address, with or without a port.
///
/// # Errors
/// If `text` is not a host.
pub fn parse_host(text: &str) -> Result<String, HostError> {
    let host = without_port(text).unwrap_or(text);
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let is_name = host.strip_suffix('.').unwrap_or(host).split('.').all(is_label);
    if is_name || parse_address(host).is_some() { Ok(text.to_owned()) } else { Err(HostError(text.to_owned())) }
}

/// The text is not a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{}\" is not a host: write map.example or 192.0.2.7, without http:// and without a path; * is not supported",
    .0.escape_debug()
)]
pub struct HostError(String);

/// True if and only if `text` has the form of a Host header: a name or an address, with or without a port (RFC 9110,
/// section 7.2; RFC 3986, section 3.2.2). It may be empty, which [`Hosts::admit`] refuses.
pub(crate) fn is_authority(text: &str) -> bool {
    let is_name =
        |host: &str| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte));
    without_port(text).is_some_and(|host| is_name(host) || parse_address(host).is_some())
}

/// Returns `name` in lower case without the root's dot: the spelling of both does not matter.
fn normalize(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Parses `127.0.0.1` or `[::1]`.
fn parse_address(host: &str) -> Option<IpAddr> {
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match inner {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(|address| IpAddr::from(address).to_canonical()),
        None => host.parse().ok().map(|address: IpAddr| address.to_canonical()),
    }
}

/// Returns `authority` without its port; `None` if the port is not a number.
fn without_port(authority: &str) -> Option<&str> {
    let end = if authority.starts_with('[') {
        authority.find(']')? + 1
    } else {
        authority.find(':').unwrap_or(authority.len())
    };
    let (host, port) = authority.split_at(end);
    let is_port =
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    is_port.then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(listen: &str, names: &[&str]) -> Hosts {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        Hosts::new(&[listen.parse().unwrap()], &names)
    }

    #[test]
    fn a_listener_admits_its_own_names_and_addresses_only() {
        let hosts = hosts("10.0.0.5:80", &["Map.example:443", "192.0.2.7"]);
        for own in [
            "10.0.0.5",
            "10.0.0.5:8081",
            "localhost",
            "LOCALHOST:1",
            "localhost.",
            "127.0.0.1:80",
            "[::1]:80",
            "map.example",
            "MAP.example.:99",
            "192.0.2.7",
            "[::ffff:10.0.0.5]:80",
        ] {
            assert!(hosts.admit(own), "{own}");
        }
        for foreign in [
            "evil.example",
            "map.example.evil.example",
            "localhost.evil.example",
            "10.0.0.6",
            "",
            ":80",
            "[::1",
            "[::2]:80",
            "localhost:80@evil",
            "127.0.0.1.evil.example",
            "0.0.0.0",
            "localhost:port",
            "::1",
        ] {
            assert!(!hosts.admit(foreign), "{foreign}");
        }
    }

    #[test]
    fn a_host_header_has_the_form_of_the_rfc() {
        for host in ["", "a.example", "A_b~%20,c:80", "localhost:", "10.0.0.1:1", "[::1]", "[::1]:80", ":80"] {
            assert!(is_authority(host), "{host}");
        }
        for other in
            ["a b", "a, b", "a/b", "a@b", "a:b", "a:+1", "a?", "::1", "[::1", "[a]", "[::1]a", "[::1]:x", "ñ", "a\\b"]
        {
            assert!(!is_authority(other), "{other}");
        }
    }

    #[test]
    fn a_configured_host_is_a_name_or_an_address() {
        for host in ["map.example", "MAP.example.:443", "localhost", "a_b-c", "192.0.2.7:80", "[::1]:80", "::1"] {
            assert_eq!(parse_host(host).as_deref(), Ok(host));
        }
        for other in [
            "",
            "*",
            "*.example",
            "http://a",
            "https://a:1",
            "a/b",
            "a b",
            ".",
            "a..b",
            ":80",
            "ñ",
            "a:b",
            "a@b",
            "[a]",
        ] {
            assert_eq!(parse_host(other), Err(HostError(other.to_owned())));
        }
    }

    #[test]
    fn a_listener_on_all_addresses_admits_any_address_but_no_name() {
        for listen in ["0.0.0.0:80", "[::]:80"] {
            let hosts = hosts(listen, &[]);
            assert!(hosts.admit("10.0.0.6:80") && hosts.admit("[fd00::1]:80"));
            assert!(!hosts.admit("evil.example"));
        }
    }

    #[test]
    fn the_error_has_its_text() {
        assert_eq!(
            HostError("\n".to_owned()).to_string(),
            "\"\\n\" is not a host: write map.example or 192.0.2.7, without http:// and without a path; * is not supported"
        );
    }
}
