//! The server's address on the command line.
#![allow(clippy::doc_markdown, reason = "comments on options are help texts, without backticks")]

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};

use clap::Args;
use mapcast::client::address::has_zone;

/// The default port of `mapcast-server`.
const DEFAULT_PORT: u16 = 8080;

/// The address of the server.
#[derive(Debug, Args)]
pub(crate) struct AddressArgs {
    /// The server; the default port is 8080, and PORT alone is one of this machine
    #[arg(
        value_name = "ADDR:PORT",
        env = "MAPCAST_ADDRESS",
        default_value = "127.0.0.1:8080",
        value_parser = parse_address
    )]
    pub(crate) address: String,
}

/// The address of the server, for commands whose arguments are keys.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// The server; the default port is 8080
    #[arg(
        short = 's',
        long = "server",
        value_name = "ADDR:PORT",
        env = "MAPCAST_ADDRESS",
        default_value = "127.0.0.1:8080",
        value_parser = parse_address
    )]
    pub(crate) address: String,
}

/// Warns of a key that is probably meant to be the server, which `option` names.
pub(crate) fn warn_of_address(key: &str, option: &str) {
    if is_address(key) {
        log::warn!("{key} is taken for a key; to name the server use {option} {key}");
    }
}

/// True if `word` is more probably an address than a key: a host with a port, or a port of a server.
pub(crate) fn is_address(word: &str) -> bool {
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port >= FIRST_PORT);
    let has_port = || word.rsplit_once(':').is_some_and(|(_, port)| is_port(port));
    word == "localhost"
        || word.parse::<SocketAddr>().is_ok()
        || word.starts_with("http://")
        || is_port(word)
        || has_port()
}

/// The first port of programs that users start.
const FIRST_PORT: u16 = 1024;

/// Parses an address with or without a port, IPv6 with or without brackets; a port alone is one of this machine, and
/// `tcp://` may precede it all. Returns `HOST:PORT`.
fn parse_address(text: &str) -> Result<String, String> {
    let refused =
        || format!("\"{}\" is not an address; write HOST, HOST:PORT, PORT or [::1]:PORT", text.escape_debug());
    let text = text.strip_prefix("tcp://").unwrap_or(text);
    if let Some((scheme, rest)) = text.split_once("://") {
        let address = rest.trim_end_matches('/').escape_debug();
        let tls = if ["tls", "https"].contains(&scheme) { ", with --tls" } else { "" };
        return Err(format!(
            "the map has no URL; write HOST:PORT without {}://, as {address}{tls}",
            scheme.escape_debug()
        ));
    }
    let is_number = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.rsplit_once(':').map_or(text, |(_, port)| port);
    // The digits that end an IPv6 address are not a port.
    let has_port = is_number(port) && text.parse::<Ipv6Addr>().is_err();
    if has_port && port.parse::<u16>().is_err() {
        return Err(format!("{port} is not a port; the highest is {}", u16::MAX));
    }
    if has_port && (text == port || text == format!(":{port}")) {
        return Ok(format!("127.0.0.1:{port}"));
    }
    if let Ok(bare) = text.parse::<Ipv6Addr>() {
        return Ok(format!("[{bare}]:{DEFAULT_PORT}"));
    }
    let zoned = [text.to_owned(), format!("{text}:{DEFAULT_PORT}"), format!("[{text}]:{DEFAULT_PORT}")];
    if let Some(zoned) = zoned.into_iter().find(|address| has_zone(address)) {
        return Ok(zoned);
    }
    if text.starts_with('[') {
        let with_port = if text.ends_with(']') { format!("{text}:{DEFAULT_PORT}") } else { text.to_owned() };
        return with_port.parse::<SocketAddrV6>().map(|address| address.to_string()).map_err(|_| refused());
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse::<u16>().map_err(|_| refused())?),
        None => (text, DEFAULT_PORT),
    };
    if host.is_empty() || host.contains(|c: char| c == ':' || c == '/' || c.is_whitespace()) {
        return Err(refused());
    }
    Ok(format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_without_port_or_brackets_are_parsed() {
        for (text, wanted) in [
            ("8081", "127.0.0.1:8081"),
            (":8081", "127.0.0.1:8081"),
            ("tcp://h", "h:8080"),
            ("tcp://[::1]:1", "[::1]:1"),
            ("::8081", "[::8081]:8080"),
            ("localhost", "localhost:8080"),
            ("localhost:1", "localhost:1"),
            ("10.0.0.1", "10.0.0.1:8080"),
            ("::1", "[::1]:8080"),
            ("[::1]", "[::1]:8080"),
            ("[::1]:1", "[::1]:1"),
            ("[fe80::1%2]:1", "[fe80::1%2]:1"),
            ("[fe80::1%eth0]:1", "[fe80::1%eth0]:1"),
            ("[fe80::1%eth0]", "[fe80::1%eth0]:8080"),
            ("fe80::1%eth0", "[fe80::1%eth0]:8080"),
        ] {
            assert_eq!(parse_address(text).as_deref(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn an_invalid_address_is_rejected_with_an_example() {
        for text in [
            "",
            ":",
            "tcp://",
            "h:",
            "h:x",
            "h h",
            "http://h:1",
            "h:1/",
            "[::1",
            "[h]:1",
            "1:2:3",
            "[fe80::1%]:1",
            "h%eth0:x",
        ] {
            assert!(parse_address(text).is_err_and(|error| error.contains("HOST:PORT")), "{text}");
        }
    }

    #[test]
    fn a_key_that_looks_like_an_address_is_noticed() {
        for (word, wanted) in [
            ("127.0.0.1:8080", true),
            ("h:8081", true),
            (":8081", true),
            ("8081", true),
            ("localhost", true),
            ("http://h/", true),
            ("limit", false),
            ("4", false),
            ("a:b", false),
            ("user:7", false),
        ] {
            assert_eq!(is_address(word), wanted, "{word}");
        }
    }

    #[test]
    fn a_port_above_65535_is_named() {
        for text in ["65536", ":65536", "h:65536", "[::1]:65536", "tcp://10.0.0.1:65536"] {
            assert_eq!(parse_address(text), Err("65536 is not a port; the highest is 65535".to_owned()), "{text}");
        }
    }
}
