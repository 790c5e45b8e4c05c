//! Why there is no map from Redis, and what to do next: report it, connect again, or wait a moment.

use std::io;
use std::time::Duration;

use super::super::encryption::Refusal;
use super::TIMEOUT;
use crate::client;
use crate::display::escape::{escape, escape_start};
use crate::feed;
use crate::stats::health::Failure;

/// Characters of what Redis says that are passed on.
const MAX_DETAIL: usize = 200;

/// Why there is no map from Redis now.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum Error {
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
    /// It has closed the connection after an error reply, as at `maxclients`.
    #[error("Redis has closed the connection: {code}: {detail}")]
    ClosedAfter {
        /// The first word of the reply, escaped: `ERR`, `DENIED`.
        code: String,
        /// The rest of it, escaped and cut.
        detail: String,
    },
    /// It is there and says nothing.
    #[error("Redis does not answer within {TIMEOUT:?}")]
    NoAnswer,
    /// The connection failed.
    #[error("the connection to Redis failed")]
    Connection(#[source] io::Error),
    /// The connection that is subscribed to the announcements failed.
    #[error("the subscription is lost")]
    Subscription(#[source] Box<Error>),
    /// It refuses.
    #[error("Redis says {code}: {detail}{}", hint(code))]
    Server {
        /// The first word of the reply, escaped: `WRONGTYPE`, `NOAUTH`.
        code: String,
        /// The rest of it, escaped and cut.
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
    /// The server does not say whether it is a master.
    #[error("cannot tell whether the server is a master")]
    Role(#[source] Box<Error>),
    /// No sentinel confirms the master.
    #[error("no sentinel has answered for {0:?}, so the master may be another one; check the sentinels")]
    NoSentinel(Duration),
    /// A sentinel does not let mapcast in.
    #[error("the sentinel {sentinel} {}: {code}: {detail}; {}", refusal(*.has_password), remedy(*.has_password))]
    Sentinel {
        /// Its address, escaped.
        sentinel: String,
        /// The first word of its reply, escaped.
        code: String,
        /// The rest of it, escaped and cut.
        detail: String,
        /// Whether a password was sent.
        has_password: bool,
    },
    /// The thread that asks the sentinels cannot be started.
    #[error("no thread for the sentinels")]
    Thread(#[source] io::Error),
    /// Another node of the cluster has the hash by now.
    #[error("the nodes of the cluster name one another for the hash; is a slot being moved, or a node missing?")]
    Moved,
    /// Another server is to be used, or the same one anew.
    #[error("connecting again: {0}")]
    Renew(&'static str),
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
    pub(super) fn from_io(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Closed,
            io::ErrorKind::TimedOut => Self::NoAnswer,
            _ => Self::Connection(error),
        }
    }

    pub(super) fn server(code: &str, detail: Option<&str>) -> Self {
        // Its sentences end in full stops, and something follows here.
        let detail = detail.unwrap_or("no more than that").trim_end_matches('.');
        Self::Server { code: escape_start(code, MAX_DETAIL), detail: escape_start(detail, MAX_DETAIL) }
    }

    pub(super) fn closed_after(code: &str, detail: Option<&str>) -> Self {
        match Self::server(code, detail) {
            Self::Server { code, detail } => Self::ClosedAfter { code, detail },
            error => error,
        }
    }

    /// The same without `password`: a server that does not know `AUTH` quotes what stood behind it.
    pub(super) fn without(self, password: &str) -> Self {
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

    /// The same, with the sentinel's name if it is a refusal of the sentinel at `node`.
    pub(super) fn at_sentinel(self, node: &str, has_password: bool) -> Self {
        match self {
            Self::Server { code, detail } => Self::Sentinel { sentinel: escape(node), code, detail, has_password },
            error => error,
        }
    }

    /// The first word of the reply, if Redis has refused.
    pub(super) fn code(&self) -> Option<&str> {
        match self {
            Self::Server { code, .. } => Some(code),
            Self::Role(error) => error.code(),
            _ => None,
        }
    }

    /// True if and only if Redis forbids the command, or has none of that name: it will go on doing so.
    pub(super) fn is_forbidden(&self) -> bool {
        match self {
            Self::Server { code, detail } => code == "NOPERM" || detail.contains("unknown command"),
            _ => false,
        }
    }

    /// True if and only if it is soon over by itself: another attempt within a second is worth its cost.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::NoMaster | Self::Moved => true,
            error => error
                .code()
                .is_some_and(|code| ["BUSY", "LOADING", "MASTERDOWN", "TRYAGAIN", "CLUSTERDOWN"].contains(&code)),
        }
    }

    /// True if and only if the connections are of no more use after it.
    pub(super) fn ends_session(&self) -> bool {
        match self {
            Self::Missing | Self::FieldName(_) | Self::FieldValue { .. } | Self::Refused(_) => false,
            // Another server may have it, or the password is another one since.
            Self::Server { code, .. } => {
                ["MOVED", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "NOAUTH"].contains(&code.as_str())
            }
            _ => true,
        }
    }

    /// True if and only if connections that have worked may meet it although Redis can be used: it has closed an idle
    /// connection, or the hash has moved. It is a failure only if a new connection fails.
    pub(super) fn asks_for_reconnect(&self) -> bool {
        match self {
            Self::Closed
            | Self::ClosedAfter { .. }
            | Self::Connection(_)
            | Self::NoMaster
            | Self::Moved
            | Self::Renew(_) => true,
            // Redis answers on the other connection. What cannot be read as a reply is a fault that does not go away.
            Self::Subscription(error) => !matches!(**error, Self::Unexpected),
            error => error.code() == Some("NOAUTH"),
        }
    }

    /// What kind of failure this is.
    pub(super) fn kind(&self) -> Failure {
        match self {
            Self::Server { code, .. } | Self::ClosedAfter { code, .. } => match code.as_str() {
                "NOAUTH" | "WRONGPASS" | "NOPERM" | "DENIED" => Failure::Denied,
                "WRONGTYPE" => Failure::Invalid,
                _ => Failure::Unreachable,
            },
            Self::PasswordFile { .. } | Self::Sentinel { .. } => Failure::Denied,
            Self::Tls(refusal) => refusal.kind(),
            Self::TooLarge { .. } | Self::Refused(feed::Error::TooLarge { .. }) => Failure::TooLarge,
            Self::Subscription(error) | Self::Role(error) => error.kind(),
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
        // A source that follows a cluster follows this reply.
        "MOVED" | "ASK" => "; it is a cluster: name it redis+cluster://",
        "NOAUTH" => "; give --redis-password-file",
        "WRONGTYPE" => "; the key must be a hash",
        _ => "",
    }
}

fn refusal(has_password: bool) -> &'static str {
    if has_password { "refuses the password" } else { "refuses" }
}

fn remedy(has_password: bool) -> &'static str {
    if has_password {
        "give the sentinels the user and the password of the master, or none (requirepass, ACL)"
    } else {
        "give the password of the master and the sentinels, --redis-password-file"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(reply: &str) -> Error {
        let (code, detail) = reply.split_once(' ').unwrap_or((reply, ""));
        Error::server(code, Some(detail))
    }

    #[test]
    fn only_a_missing_right_or_command_is_forbidden() {
        assert!(server("NOPERM User ana has no permissions").is_forbidden());
        assert!(server("ERR unknown command 'SUBSCRIBE', with args beginning with:").is_forbidden());
        for reply in ["BUSY Redis is busy", "LOADING Redis is loading", "ERR max number of clients reached"] {
            assert!(!server(reply).is_forbidden(), "{reply}");
        }
    }

    #[test]
    fn what_is_soon_over_is_tried_again_soon() {
        for code in ["BUSY", "LOADING", "MASTERDOWN", "TRYAGAIN", "CLUSTERDOWN"] {
            assert!(server(code).is_temporary(), "{code}");
        }
        for code in ["NOPERM", "WRONGPASS", "WRONGTYPE", "ERR"] {
            assert!(!server(code).is_temporary(), "{code}");
        }
    }

    #[test]
    fn a_lost_subscription_is_an_outage_only_if_it_is_not_redis_that_speaks() {
        let lost = |error| Error::Subscription(Box::new(error)).asks_for_reconnect();
        assert!(lost(Error::NoAnswer) && lost(Error::TooLarge { max: 1 }) && !lost(Error::Unexpected));
        assert!(Error::Closed.asks_for_reconnect() && !Error::NoAnswer.asks_for_reconnect());
    }

    #[test]
    fn a_sentinel_that_refuses_is_named_with_what_to_do() {
        let told =
            |has_password| server("NOAUTH Authentication required.").at_sentinel("h:1", has_password).to_string();
        assert!(
            told(false).starts_with("the sentinel h:1 refuses: NOAUTH: Authentication required; give the password")
        );
        assert!(told(true).starts_with("the sentinel h:1 refuses the password: NOAUTH"));
    }
}
