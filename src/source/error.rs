//! Why a source has no map.

use std::io;

use super::syntax::SyntaxError;
use crate::display::escape::escape;
use crate::feed;
use crate::state;
use crate::stats::health::Failure;
use crate::tls;

/// Why a source has no map. The text is one line and safe to print: paths and contents are escaped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text does not name a source. Contains the part that may be shown: only the scheme if it may be an address.
    #[error(
        "{}: name a .json or .toml file, - for standard input, tcp://HOST:PORT or tls://HOST:PORT for another \
         mapcast server, or redis://HOST/DB?key=NAME or rediss://",
        escape(.0)
    )]
    Unknown(String),
    /// The address of a source is invalid.
    #[error("{name}: {problem}")]
    BadAddress {
        /// The part of the address that may be shown: escaped, without a password.
        name: String,
        /// The problem and the fix.
        problem: String,
    },
    /// The program was built without this source.
    #[error("{name}: built without the feature {feature}; build it with that feature")]
    NotBuilt {
        /// The address, escaped, without a password.
        name: String,
        /// The feature that is missing.
        feature: &'static str,
    },
    /// The TLS files for a source are invalid.
    #[error("{name}")]
    Tls {
        /// The source, escaped, without a password.
        name: String,
        /// What is wrong with them.
        source: Box<tls::Error>,
    },
    /// A source across a network has no map now.
    #[error("{name}")]
    Upstream {
        /// The source, escaped, without a password.
        name: String,
        /// What kind of failure it is.
        kind: Failure,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Redis, or a sentinel, requires a password, and none was sent.
    #[error("{name}")]
    NoPassword {
        /// The source, escaped.
        name: String,
        /// The error reply.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The source cannot be read.
    #[error("{name}: cannot be read")]
    Unreadable {
        /// The source, escaped.
        name: String,
        /// The error of the system.
        source: io::Error,
    },
    /// The text is longer than any map needs. It was not kept in memory.
    #[error("{name}: above the limit of {max} bytes for a source")]
    TooLong {
        /// The path or the line, escaped.
        name: String,
        /// The limit in bytes.
        max: u64,
    },
    /// The file changed during every attempt to read it.
    #[error("{name}: changes during every read; write a new file and rename it over this one")]
    Unsettled {
        /// The path, escaped.
        name: String,
    },
    /// The text is not a map.
    #[error("{name}: cannot be read as {whole}")]
    Invalid {
        /// The source, escaped.
        name: String,
        /// What the text should be: `a JSON object`.
        whole: &'static str,
        /// What is wrong with it, and where.
        source: SyntaxError,
    },
    /// The last good map cannot be loaded, or new maps cannot be kept.
    #[error(transparent)]
    State(#[from] state::Error),
    /// The map was read and cannot be sent.
    #[error("{name}: the map cannot be sent")]
    Refused {
        /// The source or the line of it, escaped.
        name: String,
        /// The error of the feed.
        source: feed::Error,
    },
}

impl Error {
    /// What kind of failure this is.
    pub fn kind(&self) -> Failure {
        match self {
            Self::Unreadable { .. } | Self::Unsettled { .. } => Failure::Unreachable,
            Self::Upstream { kind, .. } => *kind,
            Self::NoPassword { .. } => Failure::Denied,
            Self::TooLong { .. } | Self::Refused { source: feed::Error::TooLarge { .. }, .. } => Failure::TooLarge,
            Self::Unknown(_)
            | Self::BadAddress { .. }
            | Self::NotBuilt { .. }
            | Self::Tls { .. }
            | Self::State(_)
            | Self::Invalid { .. }
            | Self::Refused { .. } => Failure::Invalid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;
    use crate::source::syntax::SyntaxError;
    use crate::testing::check_texts;

    #[test]
    fn every_error_has_its_text() {
        let name = || "x.json".to_owned();
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let syntax = SyntaxError::at(b"\n    x", 5, "missing value");
        check_texts!(Error {
            Unknown("\x1b.yaml".to_owned()) =>
                "\\u{1b}.yaml: name a .json or .toml file, - for standard input, tcp://HOST:PORT or tls://HOST:PORT for \
                 another mapcast server, or redis://HOST/DB?key=NAME or rediss://";
            BadAddress { name: "tcp://h".to_owned(), problem: "no port".to_owned() } => "tcp://h: no port";
            NotBuilt { name: "redis://...".to_owned(), feature: "redis" } =>
                "redis://...: built without the feature redis; build it with that feature";
            Upstream { name: name(), kind: Failure::Invalid, source: denied().into() } => "x.json";
            NoPassword { name: name(), source: denied().into() } => "x.json";
            Unreadable { name: name(), source: denied() } => "x.json: cannot be read";
            TooLong { name: name(), max: 20 } => "x.json: above the limit of 20 bytes for a source";
            Unsettled { name: name() } =>
                "x.json: changes during every read; write a new file and rename it over this one";
            Invalid { name: name(), whole: "a JSON object", source: syntax } => "x.json: cannot be read as a JSON object";
            State(state::Error::TooLong { name: name(), max: 20 }) => "x.json: the state is above the limit of 20 bytes";
            Refused { name: name(), source: feed::Error::Empty(Format::Json) } => "x.json: the map cannot be sent";
        } except Tls);
    }
}
