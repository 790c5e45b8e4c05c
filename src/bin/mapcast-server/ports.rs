//! The addresses of `--listen` and `--http`, and the formats of the ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, anyhow, bail, ensure};
use mapcast::client::address;
use mapcast::{Format, server};

/// How far an unused port is from one in use, in an example: 10, so that 8080 becomes 8090.
const OTHER_PORT: u16 = 10;

/// The addresses that one format, or a service without one, is served on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ports {
    /// `None`: the format of `--format`.
    pub(crate) format: Option<Format>,
    pub(crate) addrs: Vec<SocketAddr>,
}

impl Ports {
    /// Parses and resolves the values of `--listen`, each `[FORMAT@]ADDR:PORT`. Ports without a prefix have the format
    /// `default`. Each format is in the result once, in the order of the values; equal addresses are one.
    ///
    /// # Errors
    /// If a value is not an address, its format is unknown, or two formats are to have one address.
    pub(crate) fn parse(values: &[String], default: Option<Format>) -> anyhow::Result<Vec<Self>> {
        let mut ports: Vec<Self> = Vec::new();
        for value in values.iter().map(|value| value.trim()) {
            let (format, addr) = match value.split_once('@') {
                Some((format, addr)) => (Some(format.parse().with_context(|| option(value))?), addr),
                None => (default, value),
            };
            for addr in resolve(&option(value), addr)? {
                let is_here = |other: &&Self| addr.port() != 0 && other.addrs.contains(&addr);
                match ports.iter().find(is_here) {
                    Some(other) if other.format == format => continue,
                    Some(_) => bail!("{}: another format has this port; choose another port", option(value)),
                    None => {}
                }
                match ports.iter_mut().find(|ports| ports.format == format) {
                    Some(ports) => ports.addrs.push(addr),
                    None => ports.push(Self { format, addrs: vec![addr] }),
                }
            }
        }
        Ok(ports)
    }

    /// The beginning of a `--listen` option for one of these ports.
    fn option(&self, default: Option<Format>) -> String {
        let format = self.format.filter(|format| Some(*format) != default);
        format.map_or_else(|| "--listen ".to_owned(), |format| format!("--listen {format}@"))
    }

    /// Explains why the server cannot listen on one of these ports.
    pub(crate) fn explain(&self, error: server::Error, default: Option<Format>) -> anyhow::Error {
        explain(error, &self.option(default))
    }
}

fn option(value: &str) -> String {
    format!("--listen {}", value.escape_debug())
}

/// Returns the error with the fix, if the port is in use: `option` with another port.
pub(crate) fn explain(error: server::Error, option: &str) -> anyhow::Error {
    let fix = match &error {
        server::Error::Listen { addr, source } if source.kind() == std::io::ErrorKind::AddrInUse => {
            let port = addr.port().checked_add(OTHER_PORT).unwrap_or(addr.port() - OTHER_PORT);
            format!("; stop the other program or use {option}{}", SocketAddr::new(addr.ip(), port))
        }
        _ => return error.into(),
    };
    anyhow!("{:#}{fix}", anyhow::Error::new(error))
}

/// Returns the addresses of `addr`: `ADDR:PORT`, `PORT` for loopback, or `:PORT` for every address of this machine.
///
/// # Errors
/// If it is none of these, or the name cannot be resolved; `option` names it.
pub(crate) fn resolve(option: &str, addr: &str) -> anyhow::Result<Vec<SocketAddr>> {
    if let Some((scheme, rest)) = addr.split_once("://") {
        let rest = rest.trim_end_matches('/');
        bail!("{option}: an address has no {}://; write {}", scheme.escape_debug(), rest.escape_debug());
    }
    let (host, port) = addr.rsplit_once(':').unwrap_or(("127.0.0.1", addr));
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    ensure!(!is_number || port.parse::<u16>().is_ok(), "{option}: {port} is not a port; the highest is {}", u16::MAX);
    if let Some(port) = port.parse().ok().filter(|_| is_number && (host.is_empty() || !addr.contains(':'))) {
        let ip = if host.is_empty() { every_address() } else { Ipv4Addr::LOCALHOST.into() };
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    ensure!(addr.is_empty() || addr.contains(':'), "{option}: write PORT, :PORT or ADDR:PORT, as {addr}:8080");
    let mut found = address::resolve(addr).with_context(|| {
        format!("{option}: write PORT, :PORT or ADDR:PORT, as 8080, 127.0.0.1:8080, [::]:8080 or [fe80::1%eth0]:8080")
    })?;
    // A name may resolve to the same address twice, once for each socket type.
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The address that stands for all of this machine: `::`, which accepts IPv4 too, where the system has IPv6.
fn every_address() -> IpAddr {
    // The system assigns a port for a moment; nothing listens.
    let has_ipv6 = std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok();
    if has_ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(values: &[&str]) -> anyhow::Result<Vec<(Option<Format>, Vec<String>)>> {
        let values: Vec<String> = values.iter().copied().map(str::to_owned).collect();
        let shown = |ports: Ports| (ports.format, ports.addrs.iter().map(ToString::to_string).collect());
        Ok(Ports::parse(&values, Some(Format::Bincode))?.into_iter().map(shown).collect())
    }

    #[test]
    fn ports_of_one_format_are_together() {
        let addrs = |addrs: &[&str]| addrs.iter().copied().map(str::to_owned).collect();
        assert_eq!(
            parse(&["127.0.0.1:1", "json@127.0.0.1:2", "bincode@127.0.0.1:3", "127.0.0.1:1", "json@4"]).unwrap(),
            [
                (Some(Format::Bincode), addrs(&["127.0.0.1:1", "127.0.0.1:3"])),
                (Some(Format::Json), addrs(&["127.0.0.1:2", "127.0.0.1:4"]))
            ]
        );
        assert_eq!(parse(&["127.0.0.1:0", "127.0.0.1:0"]).unwrap()[0].1.len(), 2);
    }

    #[test]
    fn a_port_has_one_format() {
        let error = parse(&["127.0.0.1:1", "json@127.0.0.1:1"]).unwrap_err().to_string();
        assert_eq!(error, "--listen json@127.0.0.1:1: another format has this port; choose another port");
        let error = format!("{:#}", parse(&["yaml@1"]).unwrap_err());
        assert_eq!(error, "--listen yaml@1: \"yaml\" is not a format; use bincode, json, msgpack, pickle or text");
    }

    #[test]
    fn a_bare_port_is_loopback_and_a_colon_is_every_address() {
        assert_eq!(resolve("-l", "8081").unwrap(), ["127.0.0.1:8081".parse().unwrap()]);
        let [every] = resolve("-l", ":8081").unwrap()[..] else { panic!("one address") };
        assert!(every.ip().is_unspecified() && every.port() == 8081);
        assert_eq!(resolve("-l", "[::1]:8081").unwrap(), ["[::1]:8081".parse().unwrap()]);
        for addr in ["65536", ":65536", "127.0.0.1:65536", "[::1]:99999"] {
            let error = resolve("--listen x", addr).unwrap_err().to_string();
            assert!(
                error.starts_with("--listen x: ") && error.ends_with("is not a port; the highest is 65535"),
                "{error}"
            );
        }
        for addr in ["", ":", "127.0.0.1", "x", "127.0.0.1:"] {
            assert!(resolve("-l", addr).unwrap_err().to_string().contains("write PORT"), "{addr}");
        }
    }

    #[test]
    fn a_port_in_use_has_another_port_in_its_error() {
        let error = |port| server::Error::Listen {
            addr: SocketAddr::from(([127, 0, 0, 1], port)),
            source: std::io::Error::from(std::io::ErrorKind::AddrInUse),
        };
        let ports = Ports { format: Some(Format::Json), addrs: vec![] };
        for (port, default, wanted) in [
            (8080, Some(Format::Json), "or use --listen 127.0.0.1:8090"),
            (8080, None, "or use --listen json@127.0.0.1:8090"),
            (65_535, None, "or use --listen json@127.0.0.1:65525"),
        ] {
            let text = ports.explain(error(port), default).to_string();
            assert!(text.starts_with("cannot listen on 127.0.0.1:") && text.ends_with(wanted), "{text}");
        }
    }
}
