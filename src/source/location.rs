//! The location of a source, as text.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{Error, File, Lines, Parent, Relay, Source, scheme};
#[cfg(feature = "redis")]
use super::{Redis, RedisAddress};
use crate::display::escape::escape;
use crate::tls::ClientTls;

/// The location of a source, parsed from its text. Parsing does not open the source.
///
/// ```
/// use mapcast::source::Location;
///
/// assert_eq!("-".parse::<Location>()?, Location::StandardInput);
/// assert_eq!("flags.json".parse::<Location>()?, Location::Json("flags.json".into()));
/// assert!("flags.yaml".parse::<Location>().is_err());
/// # Ok::<(), mapcast::source::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Location {
    /// `FILE.json`: one JSON object, re-read when the file changes.
    Json(PathBuf),
    /// `FILE.toml`: the same in TOML.
    Toml(PathBuf),
    /// `-`: one JSON object a line, each line the new map.
    StandardInput,
    /// `tcp://HOST:PORT`, or `tls://`: another mapcast server.
    Relay(Parent),
    /// `redis://HOST/DB?key=NAME`, or `rediss://`: a hash in Redis or Valkey.
    #[cfg(feature = "redis")]
    Redis(Box<RedisAddress>),
}

impl Location {
    /// True if and only if the source uses TLS.
    pub fn is_encrypted(&self) -> bool {
        match self {
            Self::Relay(parent) => parent.is_encrypted(),
            #[cfg(feature = "redis")]
            Self::Redis(address) => address.is_encrypted(),
            Self::Json(_) | Self::Toml(_) | Self::StandardInput => false,
        }
    }

    /// Returns the location with these TLS settings, if it uses TLS. Default: the system's root certificates, and the name of the
    /// host.
    #[must_use]
    pub fn with_tls(self, tls: ClientTls) -> Self {
        match self {
            Self::Relay(parent) => Self::Relay(parent.with_tls(tls)),
            #[cfg(feature = "redis")]
            Self::Redis(address) => Self::Redis(Box::new(address.with_tls(tls))),
            other => other,
        }
    }

    /// Returns the source at this location.
    ///
    /// # Errors
    /// `Unreadable` if the system has no descriptor left for standard input. A file is opened by [`load`](Source::load).
    pub fn open(&self) -> Result<Box<dyn Source>, Error> {
        Ok(match self {
            Self::Json(path) => Box::new(File::json(path)),
            Self::Toml(path) => Box::new(File::toml(path)),
            Self::StandardInput => Box::new(Lines::standard_input()?),
            Self::Relay(parent) => Box::new(Relay::new(parent.clone())),
            #[cfg(feature = "redis")]
            Self::Redis(address) => Box::new(Redis::new(RedisAddress::clone(address))),
        })
    }
}

impl FromStr for Location {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text == "-" {
            return Ok(Self::StandardInput);
        }
        if scheme::is_address(text) {
            return from_address(text);
        }
        let is = |wanted: &str| Path::new(text).extension().is_some_and(|found| found.eq_ignore_ascii_case(wanted));
        if is("json") {
            return Ok(Self::Json(text.into()));
        }
        if is("toml") {
            return Ok(Self::Toml(text.into()));
        }
        Err(Error::Unknown(scheme::mask_unknown(text)))
    }
}

/// Parses the address `text`.
fn from_address(text: &str) -> Result<Location, Error> {
    let scheme = text.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let is_redis = ["redis", "valkey"].iter().any(|name| scheme.starts_with(name));
    match scheme.as_str() {
        "tcp" | "tls" => Ok(Location::Relay(text.parse()?)),
        #[cfg(feature = "redis")]
        _ if is_redis => Ok(Location::Redis(Box::new(text.parse()?))),
        #[cfg(not(feature = "redis"))]
        _ if is_redis => Err(Error::NotBuilt { name: scheme::mask(text), feature: "redis" }),
        _ => Err(Error::Unknown(scheme::mask(text))),
    }
}

/// Displays the location without passwords and options, escaped.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(path) | Self::Toml(path) => f.write_str(&escape(&path.to_string_lossy())),
            Self::StandardInput => f.write_str("-"),
            Self::Relay(parent) => parent.fmt(f),
            #[cfg(feature = "redis")]
            Self::Redis(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_extension_sets_the_syntax() {
        for (text, wanted) in [
            ("flags.json", Location::Json("flags.json".into())),
            ("/etc/a.b/FLAGS.JSON", Location::Json("/etc/a.b/FLAGS.JSON".into())),
            ("flags.json.toml", Location::Toml("flags.json.toml".into())),
            ("C:/flags.json", Location::Json("C:/flags.json".into())),
            (r"C:\flags.toml", Location::Toml(r"C:\flags.toml".into())),
            ("-", Location::StandardInput),
        ] {
            assert_eq!(text.parse::<Location>().unwrap(), wanted);
            assert_eq!(wanted.to_string(), text);
        }
    }

    #[test]
    fn the_scheme_sets_the_network_source() {
        let relay = "tcp://root.example:8080?format=json".parse::<Location>().unwrap();
        assert!(matches!(&relay, Location::Relay(_)) && relay.to_string() == "tcp://root.example:8080");
    }

    #[cfg(feature = "tls")]
    #[test]
    fn tls_is_part_of_the_scheme() {
        for (text, is_encrypted) in [("tcp://h:1", false), ("tls://h:1", true), ("flags.json", false)] {
            let location = text.parse::<Location>().unwrap();
            assert_eq!((location.is_encrypted(), location.to_string().as_str()), (is_encrypted, text));
            let location = location.with_tls(ClientTls { name: Some("x".to_owned()), ..ClientTls::default() });
            assert_eq!(location.is_encrypted(), is_encrypted);
        }
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn tls_needs_the_feature() {
        let parsed = "tls://root.example:8080".parse::<Location>();
        assert!(matches!(parsed, Err(Error::NotBuilt { feature: "tls", .. })), "{parsed:?}");
    }

    #[cfg(feature = "redis")]
    #[test]
    fn a_redis_address_is_displayed_without_its_password() {
        let hash = "redis://ana:secret@h/1?key=k".parse::<Location>().unwrap();
        assert_eq!(hash.to_string(), "redis://h:6379/1?key=k");
    }

    #[cfg(not(feature = "redis"))]
    #[test]
    fn redis_needs_the_feature() {
        let error = "redis://ana:secret@h/1?key=k".parse::<Location>().unwrap_err();
        assert!(matches!(error, Error::NotBuilt { feature: "redis", .. }), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
    }

    #[test]
    fn the_scheme_is_case_insensitive() {
        assert_eq!("TCP://H:1".parse::<Location>().unwrap().to_string(), "tcp://H:1");
        #[cfg(feature = "redis")]
        assert_eq!("Redis://:hunter2@h/1?key=K".parse::<Location>().unwrap().to_string(), "redis://h:6379/1?key=K");
    }

    #[test]
    fn an_invalid_address_shows_no_password() {
        for text in [
            "REDIS://:hunter2/0?key=k",
            "reddis://:hunter2@db/0?key=k",
            "reddis:/:hunter2@db/0?key=flags.json",
            "redis:/:hunter2@db/0?key=k",
            "redis:/:hunter2@db/0?key=flags.json",
            "redis::hunter2@db/0?key=k",
            "redis://:hunter2/0?key=k",
            "redis+foo://:hunter2@db/0?key=k",
            "redis:hunter2@db://0?key=k",
            "redis://:7?hunter2@db/0?key=k",
            "redis://ana:7?hunter@db/0?key=k",
            "tcp://user:hunter2@host:1",
            "tcp://user:hunter2",
            "tcp://user:7?hunter2@host:1",
            "tls:/user:hunter2@host:1",
            "http://user:hunter2@host:1",
            "user:hunter2@host:1",
            ":hunter2@db",
        ] {
            let error = text.parse::<Location>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter"), "{text}: {error}");
        }
    }

    #[test]
    fn an_unknown_source_is_refused_with_the_part_that_may_be_shown() {
        for (text, wanted) in [
            ("", ""),
            ("--", "--"),
            ("flags", "flags"),
            ("/etc/flags.yaml", "/etc/flags.yaml"),
            (".json", ".json"),
            ("http://h/flags.json", "http://..."),
            ("\x1b[2J\n", "\x1b[2J\n"),
        ] {
            let parsed = text.parse::<Location>();
            assert!(matches!(&parsed, Err(Error::Unknown(shown)) if shown == wanted), "{text}: {parsed:?}");
        }
    }
}
