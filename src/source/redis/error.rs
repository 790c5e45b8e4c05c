//! Errors of the Redis source, and whether to report them, reconnect, or retry soon.

use std::io;
use std::time::Duration;

use super::limits::TIMEOUT;
use crate::client;
use crate::display::escape::{escape, escape_start};
use crate::feed;
use crate::source::encryption;
use crate::stats::health::Failure;
use crate::tls::HandshakeError;

/// The most characters that are shown of a text from Redis.
const MAX_DETAIL: usize = 200;

/// Why there is no map from Redis.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum Error {
    /// The connection could not be made.
    #[error(transparent)]
    Connect(client::Error),
    /// The TLS handshake failed.
    #[error("no TLS connection")]
    Tls(#[source] HandshakeError),
    /// The Unix socket cannot be connected to.
    #[error("cannot connect to {path}")]
    Socket {
        /// The socket's path, escaped.
        path: String,
        /// The error of the system.
        source: io::Error,
    },
    /// Redis closed the connection.
    #[error("Redis closed the connection")]
    Closed,
    /// Redis closed the connection after an error reply, as at `maxclients`.
    #[error("Redis closed the connection: {code}: {detail}")]
    ClosedAfter {
        /// The first word of the reply, escaped: `ERR`, `DENIED`.
        code: String,
        /// The rest of it, escaped and cut.
        detail: String,
    },
    /// Redis did not answer in time.
    #[error("no answer from Redis within {TIMEOUT:?}")]
    NoAnswer,
    /// The connection failed.
    #[error("the connection to Redis failed")]
    Connection(#[source] io::Error),
    /// The connection with the subscriptions failed.
    #[error("the subscription was lost")]
    Subscription(#[source] Box<Error>),
    /// An error reply.
    #[error("Redis says {code}: {detail}{}", hint(code))]
    Server {
        /// The first word of the reply, escaped: `WRONGTYPE`, `NOAUTH`.
        code: String,
        /// The rest of it, escaped and cut.
        detail: String,
    },
    /// The reply is not RESP2, or not a reply to the command.
    #[error("not a reply of Redis; is another program listening there, or Redis with TLS (rediss://)?")]
    Unexpected,
    /// The reply to HGETALL is not a hash.
    #[error("the reply to HGETALL is not the fields of a hash: {0}; is there a proxy in front of Redis?")]
    Malformed(String),
    /// The hash is larger than any map needs to be. It was not kept in memory.
    #[error("the hash is above the limit of {max} bytes for a reply")]
    TooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// The key does not exist.
    #[error("no such key; if a missing key means an empty map, add &missing=empty to the address")]
    Missing,
    /// A field's name is not UTF-8.
    #[error("a field's name is not UTF-8: {0}")]
    FieldName(String),
    /// A field's value is JSON that a map cannot contain.
    #[error("the field {name}: invalid JSON for a map")]
    FieldValue {
        /// The field, escaped and cut.
        name: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The sentinels know no such master, or it is not a master any more.
    #[error("the sentinels know no such master, or it is not a master any more; check ?master=")]
    NoMaster,
    /// The server does not say whether it is a master.
    #[error("cannot find out whether the server is a master")]
    Role(#[source] Box<Error>),
    /// No sentinel confirms the master.
    #[error("no sentinel has answered for {0:?}, so the master may have changed; check the sentinels")]
    NoSentinel(Duration),
    /// A sentinel refuses access.
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
    /// The thread that asks the sentinels could not be started.
    #[error("cannot start the thread for the sentinels")]
    Thread(#[source] io::Error),
    /// The nodes of the cluster redirect in a circle, or the slot has moved.
    #[error("the nodes of the cluster redirect to each other for the hash; is a slot being moved, or a node missing?")]
    Moved,
    /// The connections must be replaced, for this reason.
    #[error("connecting again: {0}")]
    Renew(&'static str),
    /// The password file cannot be read.
    #[error("the password file {path} cannot be read")]
    PasswordFile {
        /// The file, escaped.
        path: String,
        /// The error of the system.
        source: io::Error,
    },
    /// The map was read and cannot be sent.
    #[error("the map cannot be sent")]
    Refused(#[from] feed::Error),
}

impl From<client::Error> for Error {
    fn from(error: client::Error) -> Self {
        match error {
            client::Error::Tls(error) => Self::Tls(error),
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
        // Redis ends its sentences with a full stop; text may follow here.
        let detail = detail.unwrap_or("no details").trim_end_matches('.');
        Self::Server { code: escape_start(code, MAX_DETAIL), detail: escape_start(detail, MAX_DETAIL) }
    }

    pub(super) fn closed_after(code: &str, detail: Option<&str>) -> Self {
        match Self::server(code, detail) {
            Self::Server { code, detail } => Self::ClosedAfter { code, detail },
            error => error,
        }
    }

    /// Returns the error without `password`: a server that does not know `AUTH` quotes its arguments.
    pub(super) fn without(self, password: &str) -> Self {
        match self {
            Self::Server { code, detail } if !password.is_empty() => {
                // As it was sent, and as it may be escaped and cut.
                let quoted = escape(password);
                let hidden = detail.contains(password) || detail.contains(&quoted) || detail.contains("beginning with");
                let detail = if hidden { "it does not know AUTH with these arguments".to_owned() } else { detail };
                Self::Server { code, detail }
            }
            error => error,
        }
    }

    /// Returns the error reply of the sentinel at `node` with the sentinel's name; any other error as it is.
    pub(super) fn at_sentinel(self, node: &str, has_password: bool) -> Self {
        match self {
            Self::Server { code, detail } => Self::Sentinel { sentinel: escape(node), code, detail, has_password },
            error => error,
        }
    }

    /// The first word of an error reply.
    pub(super) fn code(&self) -> Option<&str> {
        match self {
            Self::Server { code, .. } => Some(code),
            Self::Role(error) => error.code(),
            _ => None,
        }
    }

    /// True if and only if Redis requires a password, and none was sent.
    pub(super) fn lacks_password(&self) -> bool {
        match self {
            Self::Server { code, .. } => code == "NOAUTH",
            Self::Sentinel { has_password, .. } => !has_password,
            Self::Role(error) | Self::Subscription(error) => error.lacks_password(),
            _ => false,
        }
    }

    /// True if and only if Redis forbids the command, or does not have it: a retry will fail too.
    pub(super) fn is_forbidden(&self) -> bool {
        match self {
            Self::Server { code, detail } => code == "NOPERM" || detail.contains("unknown command"),
            _ => false,
        }
    }

    /// True if and only if the error is likely to end by itself within a second: retry soon.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::NoMaster | Self::Moved => true,
            error => error
                .code()
                .is_some_and(|code| ["BUSY", "LOADING", "MASTERDOWN", "TRYAGAIN", "CLUSTERDOWN"].contains(&code)),
        }
    }

    /// True if and only if the connections cannot be used any more.
    pub(super) fn ends_session(&self) -> bool {
        match self {
            Self::Missing | Self::FieldName(_) | Self::FieldValue { .. } | Self::Refused(_) => false,
            // Another server may have the hash, or the password has changed.
            Self::Server { code, .. } => {
                ["MOVED", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "NOAUTH"].contains(&code.as_str())
            }
            _ => true,
        }
    }

    /// True if and only if a connection that worked may get this error although Redis is up: Redis closed an idle
    /// connection, or the hash has moved. It is a failure only if a new connection fails.
    pub(super) fn asks_for_reconnect(&self) -> bool {
        match self {
            Self::Closed
            | Self::ClosedAfter { .. }
            | Self::Connection(_)
            | Self::NoMaster
            | Self::Moved
            | Self::Renew(_) => true,
            // Redis answers on the other connection. A malformed reply is a permanent fault.
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
            Self::Tls(error) => encryption::failure(error),
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

/// Returns the fix, where the text of Redis does not state it.
fn hint(code: &str) -> &'static str {
    match code {
        // A source that follows a cluster follows this reply instead.
        "MOVED" | "ASK" => "; it is a cluster: name it redis+cluster://",
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
        "it requires the password of the master"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;
    use crate::testing::check_texts;

    fn server(reply: &str) -> Error {
        let (code, detail) = reply.split_once(' ').unwrap_or((reply, ""));
        Error::server(code, Some(detail))
    }

    #[test]
    fn only_a_missing_permission_or_command_is_forbidden() {
        assert!(server("NOPERM User ana has no permissions").is_forbidden());
        assert!(server("ERR unknown command 'SUBSCRIBE', with args beginning with:").is_forbidden());
        for reply in ["BUSY Redis is busy", "LOADING Redis is loading", "ERR max number of clients reached"] {
            assert!(!server(reply).is_forbidden(), "{reply}");
        }
    }

    #[test]
    fn busy_and_loading_replies_are_temporary() {
        for code in ["BUSY", "LOADING", "MASTERDOWN", "TRYAGAIN", "CLUSTERDOWN"] {
            assert!(server(code).is_temporary(), "{code}");
        }
        for code in ["NOPERM", "WRONGPASS", "WRONGTYPE", "ERR"] {
            assert!(!server(code).is_temporary(), "{code}");
        }
    }

    #[test]
    fn a_lost_subscription_reconnects_unless_the_peer_is_not_redis() {
        let lost = |error| Error::Subscription(Box::new(error)).asks_for_reconnect();
        assert!(lost(Error::NoAnswer) && lost(Error::TooLarge { max: 1 }) && !lost(Error::Unexpected));
        assert!(Error::Closed.asks_for_reconnect() && !Error::NoAnswer.asks_for_reconnect());
    }

    #[test]
    fn a_refusal_of_a_sentinel_names_it() {
        let error = server("NOAUTH Authentication required.").at_sentinel("h:1", true);
        let Error::Sentinel { sentinel, code, detail, has_password: true } = error else { panic!("{error:?}") };
        assert_eq!((&*sentinel, &*code, &*detail), ("h:1", "NOAUTH", "Authentication required"));
    }

    #[test]
    fn only_a_password_that_was_not_sent_is_lacking() {
        let noauth = || server("NOAUTH Authentication required.");
        assert!(noauth().lacks_password() && noauth().at_sentinel("h:1", false).lacks_password());
        assert!(Error::Role(Box::new(noauth())).lacks_password());
        assert!(Error::Subscription(Box::new(noauth())).lacks_password());
        assert!(!noauth().at_sentinel("h:1", true).lacks_password() && !server("WRONGPASS x").lacks_password());
    }

    #[test]
    fn every_error_has_its_text() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let detail = || "no".to_owned();
        let value = serde_json::from_str::<serde_json::Value>("{").unwrap_err();
        check_texts!(Error {
            Connect(client::Error::TimedOut) => "timed out";
            Socket { path: "/run/redis".into(), source: denied() } => "cannot connect to /run/redis";
            Closed => "Redis closed the connection";
            ClosedAfter { code: "DENIED".into(), detail: detail() } => "Redis closed the connection: DENIED: no";
            NoAnswer => format!("no answer from Redis within {TIMEOUT:?}");
            Connection(denied()) => "the connection to Redis failed";
            Subscription(Box::new(Error::Closed)) => "the subscription was lost";
            Server { code: "NOAUTH".into(), detail: detail() } => "Redis says NOAUTH: no";
            Server { code: "WRONGTYPE".into(), detail: detail() } =>
                "Redis says WRONGTYPE: no; the key must be a hash";
            Server { code: "MOVED".into(), detail: detail() } =>
                "Redis says MOVED: no; it is a cluster: name it redis+cluster://";
            Unexpected =>
                "not a reply of Redis; is another program listening there, or Redis with TLS (rediss://)?";
            Malformed("3 items".into()) =>
                "the reply to HGETALL is not the fields of a hash: 3 items; is there a proxy in front of Redis?";
            TooLarge { max: 100 } => "the hash is above the limit of 100 bytes for a reply";
            Missing => "no such key; if a missing key means an empty map, add &missing=empty to the address";
            FieldName("\\xff".into()) => "a field's name is not UTF-8: \\xff";
            FieldValue { name: "a".into(), source: value } => "the field a: invalid JSON for a map";
            NoMaster => "the sentinels know no such master, or it is not a master any more; check ?master=";
            Role(Box::new(Error::Closed)) => "cannot find out whether the server is a master";
            NoSentinel(Duration::from_secs(30)) =>
                "no sentinel has answered for 30s, so the master may have changed; check the sentinels";
            Sentinel { sentinel: "h:1".into(), code: "NOAUTH".into(), detail: detail(), has_password: false } =>
                "the sentinel h:1 refuses: NOAUTH: no; it requires the password of the master";
            Sentinel { sentinel: "h:1".into(), code: "NOAUTH".into(), detail: detail(), has_password: true } =>
                "the sentinel h:1 refuses the password: NOAUTH: no; give the sentinels the user and the password of \
                 the master, or none (requirepass, ACL)";
            Thread(denied()) => "cannot start the thread for the sentinels";
            Moved =>
                "the nodes of the cluster redirect to each other for the hash; is a slot being moved, or a node missing?";
            Renew("the password has changed") => "connecting again: the password has changed";
            PasswordFile { path: "/run/p".into(), source: denied() } => "the password file /run/p cannot be read";
            Refused(feed::Error::Empty(Format::Json)) => "the map cannot be sent";
        } except Tls);
    }
}
