//! What is wrong when there is no TLS connection, and what to do about it.
//!
//! The wording is here, one row a fault. Which error of rustls is which fault is in `causes`. No text of rustls reaches a
//! user: it names Rust types, and says neither whose certificate it is about nor what helps.

mod causes;

use std::fmt;
use std::io;
use std::time::{Duration, SystemTime};

use crate::display::escape::escape;
use crate::display::units::format_duration;

/// Characters of a text that a peer can choose.
const LONGEST_TEXT: usize = 64;

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The one that connects.
    Client,
    /// The one that listens.
    Server,
}

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
    /// What came from the client is not TLS.
    #[error("the client speaks no TLS (mapcast-client wants --tls, a browser https://)")]
    PlainClient,
    /// What came from the server is not TLS.
    #[error("the server speaks no TLS there; leave --tls out")]
    PlainServer,
    /// The server asks for a certificate, and the client has none. The server's view.
    #[error(
        "the client has no certificate, and --tls-client-ca requires one; pass --tls-cert and --tls-key to the client"
    )]
    NoClientCertificate,
    /// The same, in the client's view.
    #[error("the server requires a certificate of this client; use --tls-cert FILE and --tls-key FILE")]
    CertificateRequired,
    /// This end does not accept the certificate of the other end, which is the one named.
    #[error("the {}'s certificate {}; {}", .0, .1.what(*.0), .1.advice(*.0))]
    Certificate(End, CertificateFault),
    /// The other end does not accept the certificate of this end, which is the one named.
    #[error("the {} does not accept the {}'s certificate: {}; {}", .0.other(), .0, .1.what(), .1.advice(*.0))]
    CertificateRefused(End, Refusal),
    /// The two ends have nothing in common that TLS needs.
    #[error("{}; {}", .0.what(), .0.advice())]
    Incompatible(Incompatibility),
    /// The server does not know the name that it was asked for.
    #[error("the server has no certificate for the name that it was asked for; use --tls-name NAME")]
    UnknownName,
    /// The other end gave up for a reason of its own.
    #[error("the other end failed and says no more than that; look into its log")]
    PeerFailed,
    /// The other end says that this end broke a rule of TLS.
    #[error("the other end did not understand what this end sent; {UPDATE}")]
    NotUnderstood,
    /// The other end broke a rule of TLS, or something between the two changed what it sent.
    #[error("the other end {}; {UPDATE}", .0.what())]
    Violated(Violation),
    /// TLS does not work on this machine.
    #[error("{}", .0.what())]
    Local(LocalFault),
}

/// The advice where both ends disagree about TLS itself.
const UPDATE: &str = "if no device between the two changes what is sent, update the older one of the two";

/// What is wrong with a certificate of the other end, or with one of this end before anyone has seen it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateFault {
    /// It, or one that it was issued with, was valid until then.
    Expired(Option<SystemTime>),
    /// It, or one that it was issued with, is valid from then on.
    NotYetValid(Option<SystemTime>),
    /// It is for other names.
    WrongName {
        /// The name that the client asked for.
        wanted: String,
        /// The names in the certificate, at least one.
        presented: String,
    },
    /// It has no subject alternative name.
    NoName,
    /// No trusted CA has signed it, or an intermediate certificate is missing.
    UnknownIssuer,
    /// The signature is not that of the trusted CA with the issuer's name.
    BadSignature,
    /// It is a CA's own certificate.
    IsCa,
    /// The certificate that it was signed with is not a CA's.
    IssuerNotCa,
    /// Its extended key usage does not include this use.
    WrongPurpose,
    /// It has been revoked.
    Revoked,
    /// It is not well-formed.
    Malformed,
    /// It is of an X.509 version before 3.
    OldVersion,
    /// It has a critical extension that is not known here.
    UnsupportedExtension,
    /// Its signature, or its CA's key, is of an algorithm that is not supported.
    UnsupportedSignature,
    /// Its names are outside of those that its CA is limited to.
    NameConstraint,
    /// There are more CAs between it and the root than one of them, or this end, allows.
    ChainTooLong,
    /// The chain takes too much work to check.
    ChainTooComplex,
    /// The certificates after the first in its file are not those that issued it, in order.
    ChainOrder,
    /// What the client connects to is not a name that a certificate could be for.
    NotAName(String),
    /// A reason that this version does not know.
    Unknown,
}

/// Why the other end does not accept a certificate, as far as its alert says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It does not know the CA.
    UnknownCa,
    /// It is outside of the time for which it is valid.
    Expired,
    /// It has been revoked.
    Revoked,
    /// It is for another name, or not well-formed.
    BadCertificate,
    /// It is of a kind, or for a use, that is not accepted.
    Unsupported,
    /// A signature is wrong, or of an algorithm that is not accepted.
    Signature,
    /// It is good, and not allowed in.
    Denied,
    /// Another reason, or none.
    Unspecified,
}

/// What the two ends do not have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Incompatibility {
    /// A version of TLS.
    Version,
    /// A cipher suite.
    CipherSuite,
    /// A group for the key exchange.
    KeyExchange,
    /// A signature scheme for the key of the certificate.
    Signature,
    /// Something that the other end does not name.
    Unspecified,
    /// A feature that this end requires.
    Feature,
}

/// How the other end broke the rules of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// A message is not well-formed.
    Malformed,
    /// A message is not the one that is due.
    Unexpected,
    /// A record cannot be decrypted.
    Undecryptable,
    /// A record or message is longer than allowed.
    TooLong,
    /// What it sent is well-formed, and not allowed.
    Rule,
}

/// Why TLS does not work on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LocalFault {
    /// There is no time to hold certificates against.
    Clock,
    /// The system gives no random numbers.
    Random,
    /// A reason that this version does not know.
    Unknown,
}

impl End {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
        })
    }
}

impl HandshakeError {
    /// True if and only if one end does not want the other, or cannot understand it: the next handshake will be no better
    /// before somebody has changed something.
    pub(crate) fn is_refusal(&self) -> bool {
        !matches!(self, Self::TimedOut(_) | Self::Stopping | Self::Ended | Self::Io(_))
    }
}

impl CertificateFault {
    /// Returns what is wrong, behind "the certificate" of `owner`.
    pub(super) fn what(&self, owner: End) -> String {
        match self {
            Self::Expired(at) => format!("has expired{}", time(*at)),
            Self::NotYetValid(at) => format!("is not valid before{}", time(*at)),
            Self::WrongName { wanted, presented } => format!("is for {presented}, not for {wanted}"),
            Self::NoName => "has no subject alternative name, and the common name does not count".to_owned(),
            Self::UnknownIssuer if owner == End::Server => "is signed by a CA that is not trusted here".to_owned(),
            Self::UnknownIssuer => "is signed by a CA that is not in --tls-client-ca".to_owned(),
            Self::BadSignature => "has a signature that its CA's key has not made".to_owned(),
            Self::IsCa => format!("is a CA certificate, which cannot be a {owner}'s own (openssl req -x509 makes one)"),
            Self::IssuerNotCa => "is signed with a certificate that is not a CA's".to_owned(),
            Self::WrongPurpose => format!("is not for use by a {owner} (extendedKeyUsage)"),
            Self::Revoked => "has been revoked".to_owned(),
            Self::Malformed => "is not a well-formed X.509 certificate".to_owned(),
            Self::OldVersion => "is of X.509 version 1, without extensions (openssl x509 -req makes one)".to_owned(),
            Self::UnsupportedExtension => "has a critical extension that is not supported here".to_owned(),
            Self::UnsupportedSignature => {
                "is signed with an algorithm that is not supported here (SHA-1, for example)".to_owned()
            }
            Self::NameConstraint => "is for a name that its CA is not allowed to certify".to_owned(),
            Self::ChainTooLong => "has more intermediate CAs than allowed (pathlen, or 6)".to_owned(),
            Self::ChainTooComplex => "has a chain that takes too long to check".to_owned(),
            Self::ChainOrder => "is not followed by the certificates that issued it, in order".to_owned(),
            Self::NotAName(host) => format!("cannot be for \"{host}\", which is neither a host name nor an IP address"),
            Self::Unknown => "is refused for a reason that this version does not know".to_owned(),
        }
    }

    /// Returns what to do about it.
    pub(super) fn advice(&self, owner: End) -> String {
        match self {
            Self::Expired(_) => "renew it, or set the clock of this machine".to_owned(),
            Self::NotYetValid(_) => "set the clock of this machine, or issue another one".to_owned(),
            Self::WrongName { wanted, presented } if presented.contains([',', ' ', '*']) => {
                format!("use --tls-name, or issue one for {wanted}")
            }
            Self::WrongName { presented, .. } => format!("use --tls-name {presented}"),
            Self::NoName => "issue one with subjectAltName=DNS:NAME or IP:ADDRESS".to_owned(),
            Self::UnknownIssuer | Self::BadSignature if owner == End::Server => {
                "pass the certificate of its CA with --tls-ca FILE".to_owned()
            }
            Self::UnknownIssuer => "add that CA there if the client may connect".to_owned(),
            Self::BadSignature => "put the present certificate of its CA into the file of --tls-client-ca".to_owned(),
            Self::IsCa => format!(
                "use it as the CA alone, and issue one for the {owner}: openssl x509 -req -in {owner}.csr -CA CA.pem \
                 -CAkey CA.key -extfile EXTENSIONS -out {owner}.pem (docs/operating.md, TLS)"
            ),
            Self::IssuerNotCa => "issue it with a CA, whose certificate has basicConstraints=CA:TRUE".to_owned(),
            Self::WrongPurpose => format!("issue one with extendedKeyUsage={owner}Auth"),
            Self::Revoked | Self::Malformed => "issue another one".to_owned(),
            Self::OldVersion => "issue one with -extfile EXTENSIONS (docs/operating.md, TLS)".to_owned(),
            Self::UnsupportedExtension => "issue one without it".to_owned(),
            Self::UnsupportedSignature => "issue one with ECDSA P-256 or RSA-2048 and SHA-256, the CA's too".to_owned(),
            Self::NameConstraint => "issue it with another CA".to_owned(),
            Self::ChainTooLong => "issue it with a CA nearer to the root".to_owned(),
            Self::ChainTooComplex => "leave only the needed certificates in its file".to_owned(),
            Self::ChainOrder => "put the issuer's certificate after it, then the issuer's issuer's".to_owned(),
            Self::NotAName(_) => "use --tls-name NAME".to_owned(),
            Self::Unknown => UNKNOWN.to_owned(),
        }
    }
}

/// The advice where this version knows none.
const UNKNOWN: &str = "the log names it at level debug (-v)";

impl Refusal {
    fn what(self) -> &'static str {
        match self {
            Self::UnknownCa => "it does not trust the CA",
            Self::Expired => "it has expired, or is not valid yet, by the clock there",
            Self::Revoked => "it has been revoked",
            Self::BadCertificate => "it is for another name, or not well-formed",
            Self::Unsupported => "it is not for this use, or of a kind that is not supported there",
            Self::Signature => "a signature is wrong, or its algorithm not supported there",
            Self::Denied => "it is not allowed in",
            Self::Unspecified => "it does not say why",
        }
    }

    fn advice(self, owner: End) -> &'static str {
        match (self, owner) {
            (Self::UnknownCa, End::Server) => "give that client the CA's certificate (mapcast-client: --tls-ca FILE)",
            (Self::UnknownCa, End::Client) => {
                "use a certificate of a CA that the server takes, or add this one's CA to the server's client CAs"
            }
            (Self::Expired, _) => "renew it, or set the clock there",
            (Self::Revoked, _) => "issue another one",
            (Self::BadCertificate, End::Server) => "issue one for the name that clients connect to",
            (Self::Unsupported, End::Server) => "issue one with extendedKeyUsage=serverAuth and a P-256 or RSA key",
            (Self::BadCertificate | Self::Unsupported, End::Client) => {
                "issue one with extendedKeyUsage=clientAuth and a P-256 or RSA key"
            }
            (Self::Signature, _) => "issue it again with the CA's present key and SHA-256",
            (Self::Denied, _) => "use a certificate that the other end allows",
            (Self::Unspecified, _) => "look into the log there; a CA's own certificate, for example, is not accepted",
        }
    }
}

impl Incompatibility {
    fn what(self) -> &'static str {
        match self {
            Self::Version => "the two ends have no version of TLS in common; this one speaks TLS 1.2 and 1.3",
            Self::CipherSuite => "the two ends have no cipher suite in common",
            Self::KeyExchange => "the two ends have no group for the key exchange in common",
            Self::Signature => "the two ends have no signature scheme in common for the key of the certificate",
            Self::Unspecified => "the other end finds that the two have nothing in common that TLS needs",
            Self::Feature => "the other end lacks a feature of TLS that this one requires",
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::CipherSuite => "allow ECDHE with AES-GCM or ChaCha20-Poly1305 at the other end",
            Self::KeyExchange => "allow X25519, P-256 or P-384 at the other end",
            Self::Signature => "use a certificate with an ECDSA P-256 or RSA-2048 key",
            Self::Version | Self::Unspecified | Self::Feature => "update the other end, or allow TLS 1.2 and 1.3 there",
        }
    }
}

impl Violation {
    fn what(self) -> &'static str {
        match self {
            Self::Malformed => "sent a TLS message that is not well-formed",
            Self::Unexpected => "sent another TLS message than the one that is due",
            Self::Undecryptable => "sent a TLS record that cannot be decrypted",
            Self::TooLong => "sent a TLS message that is longer than allowed",
            Self::Rule => "broke a rule of TLS",
        }
    }
}

impl LocalFault {
    fn what(self) -> String {
        match self {
            Self::Clock => "this machine's clock is before 1970; set it".to_owned(),
            Self::Random => "the system gives no random numbers; does the sandbox allow getrandom(2)?".to_owned(),
            Self::Unknown => {
                format!("TLS fails on this machine for a reason that this version does not know; {UNKNOWN}")
            }
        }
    }
}

fn time(time: Option<SystemTime>) -> String {
    time.map_or_else(String::new, |time| format!(" {}", super::date(time)))
}

/// Returns a text that a peer may have chosen, escaped and cut.
pub(super) fn printable(text: &str) -> String {
    let cut: String = text.chars().take(LONGEST_TEXT).collect();
    escape(&cut)
}

#[cfg(test)]
mod tests;
