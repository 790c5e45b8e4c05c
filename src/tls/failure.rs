//! Why a handshake has failed, and what is to be done about it.

use std::io::{self, ErrorKind};
use std::time::{Duration, SystemTime};

use rustls::{AlertDescription, CertificateError, PeerIncompatible};

use super::system_time;
use crate::escape::escape;
use crate::units::format_duration;

/// Characters of a text that a peer can choose.
const LONGEST_TEXT: usize = 64;

/// Why there is no TLS connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The deadline has passed; progress does not extend it.
    #[error("not done within {}", format_duration(*.0))]
    TimedOut(Duration),
    /// The stop came first.
    #[error("the server stops")]
    Stopping,
    /// The other end closed in the middle of it.
    #[error("the other end closed in the middle of it")]
    Ended,
    /// The other end, or the network, broke it off.
    #[error("broken off")]
    Io(#[source] io::Error),
    /// What came from the client is no TLS.
    #[error("the client speaks no TLS (mapcast-client wants --tls, a browser https://)")]
    PlainClient,
    /// What came from the server is no TLS.
    #[error("the server speaks no TLS there: leave --tls out")]
    PlainServer,
    /// The other end does not know TLS 1.2, or has no cipher suite in common with this one.
    #[error("the other end offers nothing that is spoken here, TLS 1.2 and 1.3 ({0})")]
    Incompatible(String),
    /// The server wants to know who its clients are.
    #[error(
        "the client has no certificate, and --tls-client-ca wants one (mapcast-client wants --tls-cert and --tls-key)"
    )]
    NoClientCertificate,
    /// The client's certificate is not good.
    #[error("the client's certificate is refused: {0}")]
    ClientCertificate(String),
    /// The server's certificate names others.
    #[error("the certificate is for {presented}, not {wanted}: use --tls-name{}", name_advice(presented))]
    WrongName {
        /// Whom the client asked for.
        wanted: String,
        /// The names in the certificate.
        presented: String,
    },
    /// The server's certificate is too old.
    #[error("the server's certificate has expired{}: renew it there, or set this machine's clock", at(*.0))]
    Expired(Option<SystemTime>),
    /// The server's certificate is too young.
    #[error("the server's certificate is not valid before{}: set this machine's clock", at(*.0))]
    NotYetValid(Option<SystemTime>),
    /// The server's certificate is signed by nobody that is trusted.
    #[error("the server's certificate is signed by nobody that is trusted here: name its CA, --tls-ca FILE")]
    UnknownIssuer,
    /// The server's certificate is not good for another reason.
    #[error("the server's certificate is refused: {0}")]
    ServerCertificate(String),
    /// The server wants a certificate.
    #[error("the server wants a certificate of this client: use --tls-cert FILE and --tls-key FILE")]
    CertificateRequired,
    /// The other end has said no.
    #[error("refused by the other end ({0})")]
    Refused(String),
    /// The other end broke a rule of TLS.
    #[error("TLS failed: {0}")]
    Protocol(String),
}

fn at(time: Option<SystemTime>) -> String {
    time.map_or_else(String::new, |time| format!(" {}", humantime::format_rfc3339_seconds(time)))
}

/// The name to use, where there is only one.
fn name_advice(presented: &str) -> String {
    if presented.contains([',', ' ', '*']) { String::new() } else { format!(" {presented}") }
}

impl HandshakeError {
    /// True if and only if one end does not want the other, or cannot understand it: the next handshake will be no better
    /// before somebody has changed something.
    pub(crate) fn is_refusal(&self) -> bool {
        !matches!(self, Self::TimedOut(_) | Self::Stopping | Self::Ended | Self::Io(_))
    }

    /// Returns what `error` means to a server.
    pub(super) fn at_server(error: io::Error) -> Self {
        Self::unpack(error, |error| match error {
            rustls::Error::InvalidMessage(_) => Self::PlainClient,
            rustls::Error::NoCertificatesPresented => Self::NoClientCertificate,
            rustls::Error::InvalidCertificate(fault) => Self::ClientCertificate(reason(fault)),
            error => Self::of_either(error),
        })
    }

    /// Returns what `error` means to a client that asked for `wanted` and has a certificate or not.
    pub(super) fn at_client(error: io::Error, wanted: &str, has_certificate: bool) -> Self {
        use AlertDescription::{BadCertificate, CertificateRequired, HandshakeFailure};
        Self::unpack(error, |error| match error {
            rustls::Error::InvalidMessage(_) => Self::PlainServer,
            rustls::Error::InvalidCertificate(fault) => Self::of_server_certificate(fault, wanted),
            rustls::Error::AlertReceived(CertificateRequired) => Self::CertificateRequired,
            // What servers of TLS 1.2 say instead (RFC 5246, section 7.4.6).
            rustls::Error::AlertReceived(BadCertificate | HandshakeFailure) if !has_certificate => {
                Self::CertificateRequired
            }
            error => Self::of_either(error),
        })
    }

    fn unpack(error: io::Error, meaning: impl FnOnce(&rustls::Error) -> Self) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(error) => meaning(error),
            None if error.kind() == ErrorKind::UnexpectedEof => Self::Ended,
            // A message of more bytes than rustls keeps: it says so in words of its own.
            None if error.kind() == ErrorKind::InvalidData => Self::Protocol(printable(&error.to_string())),
            None => Self::Io(error),
        }
    }

    fn of_either(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::PeerIncompatible(fault) => Self::Incompatible(incompatibility(fault)),
            rustls::Error::AlertReceived(alert) => Self::Refused(printable(&format!("alert {alert:?}"))),
            error => Self::Protocol(printable(&error.to_string())),
        }
    }

    fn of_server_certificate(fault: &CertificateError, wanted: &str) -> Self {
        match fault {
            CertificateError::NotValidForNameContext { presented, .. } => {
                Self::WrongName { wanted: printable(wanted), presented: names(presented) }
            }
            CertificateError::ExpiredContext { not_after, .. } => Self::Expired(system_time(*not_after)),
            CertificateError::NotValidYetContext { not_before, .. } => Self::NotYetValid(system_time(*not_before)),
            // A CA that was made anew under its old name makes the second of these.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownIssuer,
            fault => Self::ServerCertificate(reason(fault)),
        }
    }
}

/// The names of a certificate as people write them; rustls has `DnsName("mapcast.example")`, `IpAddress(127.0.0.1)`.
fn names(presented: &[String]) -> String {
    if presented.is_empty() {
        return "nobody".to_owned();
    }
    let bare = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
        inner.trim_matches('"').to_owned()
    };
    printable(&presented.iter().map(bare).collect::<Vec<_>>().join(", "))
}

fn reason(fault: &CertificateError) -> String {
    printable(&match fault {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "signed by nobody that is trusted here".to_owned()
        }
        CertificateError::ExpiredContext { not_after, .. } => format!("expired{}", at(system_time(*not_after))),
        CertificateError::InvalidPurposeContext { .. } => "issued for another purpose".to_owned(),
        fault => rustls::Error::InvalidCertificate(fault.clone()).to_string(),
    })
}

fn incompatibility(fault: &PeerIncompatible) -> String {
    printable(&format!("{fault:?}"))
}

/// Returns a text that a peer may have chosen, escaped and cut.
fn printable(text: &str) -> String {
    let cut: String = text.chars().take(LONGEST_TEXT).collect();
    escape(&cut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::InvalidMessage;
    use rustls::pki_types::ServerName;

    fn packed(error: rustls::Error) -> io::Error {
        io::Error::new(ErrorKind::InvalidData, error)
    }

    fn at_client(error: rustls::Error) -> String {
        HandshakeError::at_client(packed(error), "localhost", false).to_string()
    }

    fn wrong_name(presented: &[&str]) -> String {
        at_client(rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("localhost").unwrap(),
            presented: presented.iter().map(|name| (*name).to_owned()).collect(),
        }))
    }

    #[test]
    fn a_wrong_name_is_told_with_the_right_one() {
        assert_eq!(
            wrong_name(&["DnsName(\"mapcast.example\")"]),
            "the certificate is for mapcast.example, not localhost: use --tls-name mapcast.example"
        );
        assert!(
            wrong_name(&["DnsName(\"*.example\")", "IpAddress(10.0.0.1)"]).contains("for *.example, 10.0.0.1, not")
        );
        assert!(wrong_name(&[]).contains("is for nobody, not localhost"));
    }

    #[test]
    fn what_a_certificate_says_is_escaped_and_cut() {
        let text = wrong_name(&[&format!("DnsName(\"\x1b[2J{}\")", "x".repeat(1000))]);
        assert!(text.contains("for \\u{1b}[2Jxxx") && text.len() < 250, "{text}");
    }

    #[test]
    fn whose_fault_it_is_depends_on_who_says_it() {
        let no_tls = || packed(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType));
        assert!(matches!(HandshakeError::at_server(no_tls()), HandshakeError::PlainClient));
        assert!(matches!(HandshakeError::at_client(no_tls(), "x", false), HandshakeError::PlainServer));
        let refused = || packed(rustls::Error::AlertReceived(AlertDescription::HandshakeFailure));
        assert!(matches!(HandshakeError::at_client(refused(), "x", false), HandshakeError::CertificateRequired));
        assert!(matches!(HandshakeError::at_client(refused(), "x", true), HandshakeError::Refused(_)));
        let ended = || ErrorKind::UnexpectedEof.into();
        assert!(matches!(HandshakeError::at_server(ended()), HandshakeError::Ended));
    }
}
