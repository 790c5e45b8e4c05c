//! The address of a server's HTTP listener.

use std::net::Ipv6Addr;

/// The port of an address without `http://`, as in the examples for `--http` of the server.
const DEFAULT_PORT: u16 = 8081;

/// The address of a server's HTTP listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    /// A name or an address, IPv6 without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// What precedes each path, without a slash at its end; usually empty.
    pub(super) base: String,
}

impl Url {
    /// Returns the value of the header `Host`.
    pub(super) fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// True if and only if the host is this machine by its name or its address.
    pub(super) fn is_loopback(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        self.host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }
}

/// Parses `http://HOST[:PORT][/PATH]`, whose default port is 80, or `HOST[:PORT]`, whose default port is 8081. A port alone
/// is one of this machine.
pub(super) fn parse_url(text: &str) -> Result<Url, String> {
    let refused = || {
        format!("\"{}\" is not an HTTP address; write http://HOST:PORT, HOST:PORT or [::1]:PORT", text.escape_debug())
    };
    if text.starts_with("https://") {
        return Err("https is not supported; use curl for a server with --tls-cert".to_owned());
    }
    let (rest, default_port) = text.strip_prefix("http://").map_or((text, DEFAULT_PORT), |rest| (rest, 80));
    let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    let is_port = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (host, port) = if is_port(authority.strip_prefix(':').unwrap_or(authority)) {
        ("127.0.0.1", authority.trim_start_matches(':').parse().map_err(|_| refused())?)
    } else if authority.parse::<Ipv6Addr>().is_ok() {
        (authority, default_port)
    } else if let Some((host, port)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        (host, port.strip_prefix(':').map_or(Ok(default_port), str::parse).map_err(|_| refused())?)
    } else {
        match authority.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') => (host, port.parse().map_err(|_| refused())?),
            Some(_) => return Err(refused()),
            None => (authority, default_port),
        }
    };
    let is_odd = |character: char| !character.is_ascii_graphic() || "@?#[]/\\\"".contains(character);
    let is_odd_path = |character: char| !character.is_ascii_graphic() || "?#\"".contains(character);
    if host.is_empty() || host.contains(is_odd) || path.contains(is_odd_path) {
        return Err(refused());
    }
    Ok(Url { host: host.to_owned(), port, base: path.trim_end_matches('/').to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_and_without_a_scheme_are_parsed() {
        for (text, host, port, base) in [
            ("http://127.0.0.1:8081", "127.0.0.1", 8081, ""),
            ("http://127.0.0.1:8081/", "127.0.0.1", 8081, ""),
            ("http://flags.example", "flags.example", 80, ""),
            ("http://flags.example/mapcast/", "flags.example", 80, "/mapcast"),
            ("localhost", "localhost", 8081, ""),
            ("localhost:1", "localhost", 1, ""),
            ("8082", "127.0.0.1", 8082, ""),
            (":8082", "127.0.0.1", 8082, ""),
            ("::1", "::1", 8081, ""),
            ("[::1]:1", "::1", 1, ""),
            ("http://[::1]", "::1", 80, ""),
        ] {
            let wanted = Url { host: host.to_owned(), port, base: base.to_owned() };
            assert_eq!(parse_url(text), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn an_invalid_url_is_rejected_with_an_example() {
        for text in
            ["", "http://", ":", "65536", "h:x", "h:65536", "a b", "http://u@h", "h:1?x", "1:2:3", "[::1", "ftp://h"]
        {
            assert!(parse_url(text).is_err_and(|error| error.contains("HOST:PORT")), "{text}");
        }
        assert!(parse_url("https://h").unwrap_err().contains("https is not supported"));
    }

    #[test]
    fn an_ipv6_address_has_brackets_in_the_host() {
        assert_eq!(parse_url("::1").unwrap().authority(), "[::1]:8081");
        assert!(parse_url("::1").unwrap().is_loopback() && !parse_url("h").unwrap().is_loopback());
    }
}
