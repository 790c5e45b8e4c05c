//! The address of the server that a relay follows.

use std::fmt;
use std::net::SocketAddrV6;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::client::address::has_zone;
use crate::client::{ClientConfig, FollowConfig};
use crate::display::escape::escape;
use crate::display::units::{parse_duration, parse_size};
use crate::format::Format;
use crate::source::error::Error;
use crate::source::{encryption, scheme};
use crate::tls::{ClientTls, Connector};

/// The scheme without TLS.
const SCHEME: &str = "tcp://";

/// The scheme with TLS.
const TLS_SCHEME: &str = "tls://";

/// The syntax of an address, for error messages.
const SHAPE: &str =
    "write tcp://HOST:PORT or tls://HOST:PORT, optionally with ?format=json&max_frame=1MiB&stale_after=15s";

/// The server that a [`Relay`](super::Relay) follows: `tcp://HOST:PORT?format=json&max_frame=1MiB&stale_after=15s`, or
/// `tls://` with TLS. Each option may be omitted.
///
/// ```
/// use mapcast::source::Parent;
///
/// let parent: Parent = "tcp://root.example:8080?format=json".parse()?;
/// assert_eq!(parent.to_string(), "tcp://root.example:8080");
/// assert!("tcp://root.example".parse::<Parent>().is_err());
/// # Ok::<(), mapcast::source::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// `HOST:PORT`
    address: String,
    /// The format of its maps. `None`: the first payload of each connection shows it.
    format: Option<Format>,
    /// The largest payload in bytes that the relay accepts; `None`: the limit of this server's own frames.
    max_frame: Option<usize>,
    /// The longest silence before the relay reconnects; `None`: learned from the gaps between frames.
    stale_after: Option<Duration>,
    /// The TLS settings; `None` without TLS.
    tls: Option<ClientTls>,
}

impl Parent {
    /// Returns the parent with these TLS settings, if it uses TLS. Default: the system's root certificates, and the name of
    /// the host.
    #[must_use]
    pub fn with_tls(self, tls: ClientTls) -> Self {
        Self { tls: self.tls.map(|_| tls), ..self }
    }

    /// True if and only if the scheme is `tls://`.
    pub fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// Reads the TLS files, if it uses TLS.
    pub(super) fn connector(&self) -> Result<Option<Arc<Connector>>, Error> {
        encryption::connector(self.tls.as_ref(), &self.to_string())
    }

    /// `HOST:PORT`
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Returns the configuration of the follower; `max_frame` is the default limit in bytes.
    pub(super) fn follow_config(&self, max_frame: usize, tls: Option<Arc<Connector>>) -> FollowConfig {
        let max_frame = self.max_frame.unwrap_or(max_frame);
        let client = ClientConfig { format: self.format, max_frame, tls, ..ClientConfig::default() };
        FollowConfig { client, stale_after: self.stale_after, ..FollowConfig::default() }
    }

    fn set(&mut self, option: &str, text: &str) -> Result<(), String> {
        let (name, value) = option.split_once('=').ok_or_else(|| SHAPE.to_owned())?;
        match name {
            "format" if value == "auto" => self.format = None,
            "format" => self.format = Some(value.parse::<Format>().map_err(|error| error.to_string())?),
            "max_frame" => self.max_frame = Some(parse_size(value).map_err(|error| error.to_string())?),
            "stale_after" => {
                let duration = parse_duration(value).map_err(|error| error.to_string())?;
                if duration.is_zero() {
                    return Err("stale_after must be above 0".to_owned());
                }
                self.stale_after = Some(duration);
            }
            _ => return Err(scheme::no_option(name, text, SHAPE)),
        }
        Ok(())
    }
}

impl FromStr for Parent {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = |problem: String| Error::BadAddress { name: scheme::mask(text), problem };
        // Relays have no users: text before an @ is probably a password.
        let (scheme, rest) =
            scheme::split(text).filter(|(_, rest)| !rest.contains('@')).ok_or_else(|| refused(SHAPE.to_owned()))?;
        let is_encrypted = match scheme.as_str() {
            "tcp" => false,
            "tls" => true,
            _ => return Err(refused(SHAPE.to_owned())),
        };
        let (address, options) = rest.split_once('?').unwrap_or((rest, ""));
        let address = address.strip_suffix('/').unwrap_or(address);
        if !is_host_and_port(address) {
            return Err(refused(SHAPE.to_owned()));
        }
        let address = address.to_owned();
        let tls = is_encrypted.then(|| encryption::by_default(&scheme::mask(text))).transpose()?;
        let mut parent = Self { address, format: None, max_frame: None, stale_after: None, tls };
        for option in options.split('&').filter(|option| !option.is_empty()) {
            parent.set(option, text).map_err(refused)?;
        }
        Ok(parent)
    }
}

/// The address without its options, escaped.
impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_encrypted() { TLS_SCHEME } else { SCHEME };
        write!(f, "{scheme}{}", escape(&self.address))
    }
}

fn is_host_and_port(address: &str) -> bool {
    if address.starts_with('[') {
        return address.parse::<SocketAddrV6>().is_ok() || has_zone(address);
    }
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let is_host =
        !host.is_empty() && !host.contains(|c: char| ":/@".contains(c) || c.is_whitespace() || c.is_control());
    is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_sets_format_frame_limit_and_stale_timeout() {
        let parent: Parent = "tcp://[::1]:8080?format=json&max_frame=2MiB&stale_after=15s".parse().unwrap();
        let config = parent.follow_config(1, None);
        assert_eq!(parent.address(), "[::1]:8080");
        assert_eq!((config.client.format, config.client.max_frame), (Some(Format::Json), 2 << 20));
        assert_eq!(config.stale_after, Some(Duration::from_secs(15)));
    }

    #[test]
    fn an_address_without_options_has_the_defaults_of_a_client() {
        for text in ["tcp://root.example:8080", "tcp://root.example:8080/", "tcp://root.example:8080?format=auto"] {
            let parent: Parent = text.parse().unwrap();
            assert_eq!(parent.address(), "root.example:8080");
            let client = parent.follow_config(7, None).client;
            assert_eq!((client.format, client.max_frame), (None, 7));
            assert_eq!(parent.to_string(), "tcp://root.example:8080");
        }
    }

    #[test]
    fn an_invalid_address_is_refused_with_the_syntax() {
        for text in
            ["tcp://", "tcp://h", "tcp://:1", "tcp://h:0", "tcp://h:x", "tcp://h h:1", "tcp://u@h:1", "tcp://::1:1"]
        {
            let parsed = text.parse::<Parent>();
            assert!(matches!(&parsed, Err(Error::BadAddress { problem, .. }) if problem == SHAPE), "{parsed:?}");
        }
    }

    #[test]
    fn text_before_an_at_sign_is_not_shown() {
        for text in ["tcp://u:secret@h:1", "TCP://u:secret", "tls://u:7?format=secret@h:1", "udp://u:secret@h:1"] {
            let error = text.parse::<Parent>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
        }
    }

    #[test]
    fn an_invalid_option_is_refused_by_name() {
        for (option, wanted) in [
            ("format=yaml", "yaml"),
            ("max_frame=much", "much"),
            ("stale_after=0", "above 0"),
            ("colour=\x1b[31m", "no option colour"),
            ("\x1b[31m=red", "no such option"),
            ("json", "tcp://HOST:PORT"),
        ] {
            let error = format!("tcp://h:1?{option}").parse::<Parent>().unwrap_err().to_string();
            assert!(error.contains(wanted) && !error.contains('\x1b'), "{error}");
        }
    }
}
