//! A hash in Redis or Valkey: the shared state of many servers, which others write.
//!
//! The hash is read when a change is announced and once a period anyway. Writers announce on the channel `mapcast:NAME`;
//! the server itself does on `__keyspace@DB__:NAME`, where `notify-keyspace-events` has `Kh` and `Kg`; writers who can do
//! neither count up the number in `NAME:revision`, which is looked at once a second where it exists.

mod address;
mod connection;
mod hash;
#[doc(hidden)]
pub mod memory;
mod scan;
mod session;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::encryption::{self, Refusal};
use super::report::Notice;
use super::upstream::Upstream;
use super::{Sink, Source};
use crate::client::{self, Backoff, Resolver};
use crate::escape::{escape, escape_start};
use crate::feed;
use crate::health::Failure;
use crate::secret::warn_if_public;
use crate::shutdown::Shutdown;
use crate::tls::Connector;
use session::{Session, Way, Woken};

pub use address::{Address, Password};

/// How long Redis may be silent when it is asked something, or is connected to: 2 s, as its other clients wait.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How much longer than the largest frame a reply may be: room for what the protocol puts around each field, and for
/// values that take less room in the frame.
const MAX_REPLY_FRAMES: usize = 4;

/// The least limit for a reply, however small the frames: 1 MiB.
const MIN_MAX_REPLY: usize = 1024 * 1024;

/// Characters of what Redis says that are passed on.
const MAX_DETAIL: usize = 200;

/// Why there is no map from Redis now.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// It cannot be connected to.
    #[error(transparent)]
    Connect(client::Error),
    /// Only one side speaks TLS, or one does not want the other.
    #[error(transparent)]
    Tls(#[from] Refusal),
    /// Its socket cannot be connected to.
    #[error("cannot connect to {path}")]
    Socket {
        /// The socket, escaped.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// It has closed the connection.
    #[error("Redis has closed the connection")]
    Closed,
    /// It is there and says nothing.
    #[error("Redis does not answer within {TIMEOUT:?}")]
    NoAnswer,
    /// The connection failed.
    #[error("the connection to Redis failed")]
    Connection(#[source] io::Error),
    /// It refuses.
    #[error("Redis says {code}: {detail}{}", hint(code))]
    Server {
        /// Its word for it, escaped: `WRONGTYPE`, `NOAUTH`.
        code: String,
        /// Its text, escaped and cut.
        detail: String,
    },
    /// What it says is not of its protocol, or nothing that was asked for.
    #[error("what came is no answer of Redis; is it Redis that listens there, and without TLS (rediss://)?")]
    Unexpected,
    /// What it says to HGETALL is no hash.
    #[error("the reply to HGETALL is not the fields of a hash: {0}; is there a proxy before Redis?")]
    Malformed(String),
    /// The hash is larger than any map needs to be. It was not kept in memory.
    #[error("the hash is above the limit of {max} bytes for a reply; raise --max-frame if this is meant")]
    TooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// There is no such key.
    #[error("there is no such key; if that is to be an empty map, add &missing=empty to the address")]
    Missing,
    /// A field's name is no UTF-8.
    #[error("a field's name is no text: {0}")]
    FieldName(String),
    /// A field's value is JSON that no map holds.
    #[error("the field {name}: its JSON cannot be taken")]
    FieldValue {
        /// The field, escaped and cut.
        name: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The sentinels know no such master, or it is none any more.
    #[error("the sentinels know no master of that name that is one; check ?master=")]
    NoMaster,
    /// The password is not to be had.
    #[error("the password file {path} cannot be read")]
    PasswordFile {
        /// The file, escaped.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// The map was read and cannot be sent.
    #[error("the map cannot be sent")]
    Refused(#[from] feed::Error),
}

impl From<client::Error> for Error {
    fn from(error: client::Error) -> Self {
        match error {
            client::Error::Tls(error) => Self::Tls(error.into()),
            error => Self::Connect(error),
        }
    }
}

impl Error {
    fn from_io(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Closed,
            io::ErrorKind::TimedOut => Self::NoAnswer,
            _ => Self::Connection(error),
        }
    }

    fn server(code: &str, detail: Option<&str>) -> Self {
        let detail = detail.unwrap_or("no more than that");
        Self::Server { code: escape_start(code, MAX_DETAIL), detail: escape_start(detail, MAX_DETAIL) }
    }

    /// The same without `password`: a server that does not know `AUTH` quotes what stood behind it.
    fn without(self, password: &str) -> Self {
        match self {
            Self::Server { code, detail } if !password.is_empty() => {
                // As it was sent, and as it may have been escaped and cut.
                let quoted = escape(password);
                let hidden = detail.contains(password) || detail.contains(&quoted) || detail.contains("beginning with");
                let detail = if hidden { "it does not know AUTH as it was sent".to_owned() } else { detail };
                Self::Server { code, detail }
            }
            error => error,
        }
    }

    /// True if and only if the connections are of no more use after it.
    fn ends_session(&self) -> bool {
        // Another server has it, or the password is another one since.
        let wants_another = |code: &str| ["MOVED", "LOADING", "MASTERDOWN", "NOAUTH"].contains(&code);
        match self {
            Self::Missing | Self::FieldName(_) | Self::FieldValue { .. } | Self::Refused(_) => false,
            Self::Server { code, .. } => wants_another(code),
            _ => true,
        }
    }

    /// What kind of failure this is.
    fn kind(&self) -> Failure {
        match self {
            Self::Server { code, .. } if ["NOAUTH", "WRONGPASS", "NOPERM"].contains(&code.as_str()) => Failure::Denied,
            Self::Server { code, .. } if code == "WRONGTYPE" => Failure::Invalid,
            Self::PasswordFile { .. } => Failure::Denied,
            Self::Tls(refusal) => refusal.kind(),
            Self::TooLarge { .. } | Self::Refused(feed::Error::TooLarge { .. }) => Failure::TooLarge,
            Self::Unexpected
            | Self::Malformed(_)
            | Self::Missing
            | Self::FieldName(_)
            | Self::FieldValue { .. }
            | Self::Refused(_) => Failure::Invalid,
            _ => Failure::Unreachable,
        }
    }
}

/// What to do about it, where the server's own words do not say.
fn hint(code: &str) -> &'static str {
    match code {
        "MOVED" => "; it is a cluster: name it redis+cluster://",
        "NOAUTH" => "; give --redis-password-file",
        "WRONGTYPE" => "; the key must be a hash",
        _ => "",
    }
}

/// Follows a hash in Redis or Valkey.
///
/// The last good map stays while Redis is away, silent or wrong; a key that is not there counts as wrong, because a
/// deletion, an expiry, an eviction and a server that has lost its data all look alike, and none of them should empty a
/// fleet unasked.
#[derive(Debug)]
pub struct Redis {
    address: Address,
    /// Encrypts the connections, if they are to be; read when it is loaded.
    tls: Option<Arc<Connector>>,
    /// Outlives the connections, so that a look-up that hangs is not begun again.
    resolver: Arc<Resolver>,
    upstream: Upstream,
}

impl Redis {
    /// Returns the source that follows the hash at `address`. Connects to nobody yet.
    pub fn new(address: Address) -> Self {
        let upstream = Upstream::new(address.to_string());
        Self { address, tls: None, resolver: Arc::new(Resolver::new()), upstream }
    }

    /// Reads the hash over and over, from one pair of connections, until they are of no more use or the program stops.
    fn follow_session(&mut self, sink: &Sink, stop: &Shutdown, backoff: &mut Backoff) -> Result<(), Error> {
        let max = MIN_MAX_REPLY.max(MAX_REPLY_FRAMES.saturating_mul(sink.feed().max_frame()));
        let (address, tls) = (self.address.clone(), self.tls.clone());
        let resolver = Arc::clone(&self.resolver);
        let way = Way { address: &address, tls: tls.as_ref(), max, resolver: &resolver, stop };
        let mut session = Session::open(way)?;
        loop {
            match session.fetch().and_then(|map| Ok(sink.publish(map)?)) {
                Ok(published) => {
                    backoff.reset();
                    self.upstream.up(published).iter().for_each(Notice::log);
                }
                Err(error) if error.ends_session() => return Err(error),
                Err(error) => self.fail(error, sink),
            }
            if session.wait_change()? == Woken::Stop {
                return Ok(());
            }
        }
    }

    fn fail(&mut self, error: Error, sink: &Sink) {
        let (name, kind) = (self.upstream.name().to_owned(), error.kind());
        let error = super::Error::Upstream { name, kind, source: error.into() };
        self.upstream.down(&error, sink).iter().for_each(Notice::log);
    }
}

impl Source for Redis {
    /// Reads the files of TLS, and no map: Redis may be away, and the clients need not wait for it to come back.
    fn load(&mut self, _sink: &Sink, _stop: &Shutdown) -> Result<(), super::Error> {
        if let Some(Password::File(path)) = &self.address.password {
            warn_if_public(path, "the password");
        }
        self.tls = encryption::connector(self.address.tls.as_ref(), self.upstream.name())?;
        Ok(())
    }

    fn follow(&mut self, sink: &Sink, stop: &Shutdown) {
        let mut backoff = Backoff::new();
        while !stop.is_triggered() {
            if let Err(error) = self.follow_session(sink, stop, &mut backoff)
                && !stop.is_triggered()
            {
                self.fail(error, sink);
                stop.wait(backoff.next_delay());
            }
        }
    }
}
