//! Why a source has no map.

use std::io;

use super::syntax::Fault;
use crate::display::escape::escape;
use crate::feed;
use crate::state;
use crate::stats::health::Failure;
use crate::tls;

/// Why a source has no map to give. The text is one line, and safe to print: paths and contents are escaped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Text that names no source, as far as it may be shown: of what may be an address, no more than the scheme.
    #[error(
        "{}: name a .json or .toml file, - for standard input, tcp://HOST:PORT or tls://HOST:PORT for another \
         mapcast server, or redis://HOST/DB?key=NAME or rediss://",
        escape(.0)
    )]
    Unknown(String),
    /// Text that begins as a source's address does and goes on wrong.
    #[error("{name}: {problem}")]
    BadAddress {
        /// The address as far as it may be shown: escaped, without a password.
        name: String,
        /// What is wrong with it, and what it should be.
        problem: String,
    },
    /// A source that this program was built without.
    #[error("{name}: built without {feature}; build it with `--features {feature}`")]
    NotBuilt {
        /// The address, escaped, without a password.
        name: String,
        /// The feature that is missing.
        feature: &'static str,
    },
    /// TLS to a source cannot be begun with the files that were named.
    #[error("{name}")]
    Tls {
        /// The source, escaped, without a password.
        name: String,
        /// What is wrong with them.
        source: Box<tls::Error>,
    },
    /// A source across a network has no map to give now.
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
    /// The system does not let the source be read.
    #[error("{name}: cannot be read")]
    Unreadable {
        /// The source, escaped.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// The text is longer than that of any map needs to be. It was not kept in memory.
    #[error("{name}: above the limit of {max} bytes for a source")]
    TooLong {
        /// The path or the line, escaped.
        name: String,
        /// The limit in bytes.
        max: u64,
    },
    /// Every reading of the file was overtaken by a writer.
    #[error("{name}: written to all the time; write a new file and rename it over this one")]
    Unsettled {
        /// The path, escaped.
        name: String,
    },
    /// The text is no map.
    #[error("{name}: cannot be read as {whole}")]
    Invalid {
        /// The source, escaped.
        name: String,
        /// What the text should be: `a JSON object`.
        whole: &'static str,
        /// What is wrong with it, and where.
        source: Fault,
    },
    /// The last good map cannot be taken up again, or will not be kept.
    #[error(transparent)]
    State(#[from] state::Error),
    /// The map was read and cannot be sent.
    #[error("{name}: the map cannot be sent")]
    Refused {
        /// The source or the line of it, escaped.
        name: String,
        /// What the feed says.
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
