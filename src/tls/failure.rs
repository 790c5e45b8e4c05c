//! TLS errors: what failed, at which end, and how to fix it.
//!
//! One message per fault; `causes` maps the errors of rustls to faults. No text of rustls reaches a user: it names Rust
//! types, and says neither whose certificate it is about nor how to fix it. Where the fix is a setting of this end, the
//! error states the fact alone, and the program adds its option.

pub(super) mod causes;

use std::fmt;
use std::io;
use std::time::{Duration, SystemTime};

use crate::display::escape::escape;
use crate::display::units::format_duration;
use crate::tls::time::date;

/// The most characters that are shown of a text that a peer can choose.
const LONGEST_TEXT: usize = 64;

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The end that connects.
    Client,
    /// The end that listens.
    Server,
}

/// Why a TLS connection could not be made, or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The handshake was not complete at its deadline; progress does not extend it.
    #[error("timed out after {}", format_duration(*.0))]
    TimedOut(Duration),
    /// The server was asked to shut down.
    #[error("the server is shutting down")]
    Stopping,
    /// The other end closed the connection during the handshake.
    #[error("the other end closed the connection during the handshake")]
    Ended,
    /// The socket failed.
    #[error("the connection failed")]
    Io(#[source] io::Error),
    /// The client sent something other than TLS.
    #[error("the client does not speak TLS; connect with TLS (a browser: https://)")]
    PlainClient,
    /// The server sent something other than TLS.
    #[error("the server does not speak TLS")]
    PlainServer,
    /// The server requires a client certificate, and the client sent none. Seen by the server.
    #[error("the client has no certificate, and the server requires one; give the client a certificate and its key")]
    NoClientCertificate,
    /// The server requires a client certificate, and the client has none. Seen by the client.
    #[error("the server requires a client certificate")]
    CertificateRequired,
    /// This end rejects the certificate of the named end, the other one.
    #[error("the {}'s certificate {}", .0, .1.message(*.0))]
    Certificate(End, CertificateFault),
    /// The other end rejects the certificate of the named end, this one.
    #[error("the {} does not accept the {}'s certificate: {}; {}", .0.other(), .0, .1.what(), .1.advice(*.0))]
    CertificateRefused(End, Refusal),
    /// The two ends have no common version, cipher suite or other parameter of TLS.
    #[error("{}; {}", .0.what(), .0.advice())]
    Incompatible(Incompatibility),
    /// The server has no certificate for the name in the client's hello.
    #[error("the server has no certificate for the requested name")]
    UnknownName,
    /// The other end failed, and its alert gives no reason.
    #[error("the other end failed without a reason; see its log")]
    PeerFailed,
    /// The other end reports that this end violated the TLS protocol.
    #[error("the other end rejected a message of this end as invalid; {UPDATE}")]
    NotUnderstood,
    /// The other end violated the TLS protocol, or a device in between changed what it sent.
    #[error("the other end {}; {UPDATE}", .0.what())]
    Violated(Violation),
    /// TLS does not work on this machine.
    #[error("{}", .0.what())]
    Local(LocalFault),
}

/// The advice where the two ends disagree about TLS itself.
const UPDATE: &str = "unless a device in between alters the traffic, update the older end";

/// What is wrong with a certificate: that of the other end, or the own one when it is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateFault {
    /// It, or a certificate of its chain, expired at this time.
    Expired(Option<SystemTime>),
    /// It, or a certificate of its chain, becomes valid at this time.
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
    /// Its CA is not trusted, or an intermediate certificate is missing.
    UnknownIssuer,
    /// A trusted CA has the issuer's name, and its key did not make the signature.
    BadSignature,
    /// It is a CA certificate.
    IsCa,
    /// Its issuer's certificate is not a CA certificate.
    IssuerNotCa,
    /// Its extended key usage does not include this end's role.
    WrongPurpose,
    /// It has been revoked.
    Revoked,
    /// It is not well-formed.
    Malformed,
    /// Its X.509 version is older than 3.
    OldVersion,
    /// It has a critical extension that this end does not support.
    UnsupportedExtension,
    /// The algorithm of its signature, or of its CA's key, is not supported.
    UnsupportedSignature,
    /// Its names are outside of the name constraints of its CA.
    NameConstraint,
    /// The chain has more intermediate CAs than one of them, or this end, allows.
    ChainTooLong,
    /// The chain takes too much work to verify.
    ChainTooComplex,
    /// The certificates after the first in its file are not its issuers, in order.
    ChainOrder,
    /// The host that the client connects to is not a name that a certificate can be for.
    NotAName(String),
    /// A reason that this version does not know.
    Unknown,
}

/// Why the other end does not accept a certificate, according to its alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Its CA is not trusted.
    UnknownCa,
    /// It has expired, or is not valid yet.
    Expired,
    /// It has been revoked.
    Revoked,
    /// It is for another name, or not well-formed.
    BadCertificate,
    /// Its type or its purpose is not accepted.
    Unsupported,
    /// A signature is wrong, or its algorithm is not accepted.
    Signature,
    /// It is valid, and access is denied.
    Denied,
    /// Another reason, or none.
    Unspecified,
}

/// The parameter of TLS that the two ends do not have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Incompatibility {
    /// The TLS version.
    Version,
    /// The cipher suite.
    CipherSuite,
    /// The key exchange group.
    KeyExchange,
    /// The signature scheme for the key of the certificate.
    Signature,
    /// The other end does not say which.
    Unspecified,
    /// A feature that this end requires.
    Feature,
}

/// How the other end violated the TLS protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// A message is not well-formed.
    Malformed,
    /// A message is out of sequence.
    Unexpected,
    /// A record cannot be decrypted.
    Undecryptable,
    /// A record or message is longer than allowed.
    TooLong,
    /// A message is well-formed, and not allowed.
    Rule,
}

/// Why TLS does not work on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LocalFault {
    /// The system clock is before 1970.
    Clock,
    /// The system provides no random numbers.
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
    /// True if and only if one end rejects the other, or cannot understand it: a retry fails until a setting or a
    /// certificate has changed.
    pub(crate) fn is_refusal(&self) -> bool {
        !matches!(self, Self::TimedOut(_) | Self::Stopping | Self::Ended | Self::Io(_))
    }
}

impl CertificateFault {
    /// Returns the message that follows "the certificate" of `owner`: the fault, and the fix unless it is a setting of
    /// this end.
    pub(super) fn message(&self, owner: End) -> String {
        match self.advice(owner) {
            Some(advice) => format!("{}; {advice}", self.what(owner)),
            None => self.what(owner),
        }
    }

    fn what(&self, owner: End) -> String {
        match self {
            Self::Expired(at) => format!("has expired{}", time(*at)),
            Self::NotYetValid(at) => format!("is not valid before{}", time(*at)),
            Self::WrongName { wanted, presented } => format!("is for {presented}, not for {wanted}"),
            Self::NoName => "has no subject alternative name, and the common name does not count".to_owned(),
            Self::UnknownIssuer if owner == End::Server => "is signed by an untrusted CA".to_owned(),
            Self::UnknownIssuer => "is signed by a CA that is not among the server's client CAs".to_owned(),
            Self::BadSignature => "has a signature that does not match the key of its CA".to_owned(),
            Self::IsCa => {
                format!("is a CA certificate, which a {owner} cannot use as its own (openssl req -x509 makes one)")
            }
            Self::IssuerNotCa => "is issued by a certificate that is not a CA certificate".to_owned(),
            Self::WrongPurpose => format!("is not for use by a {owner} (extendedKeyUsage)"),
            Self::Revoked => "has been revoked".to_owned(),
            Self::Malformed => "is not a well-formed X.509 certificate".to_owned(),
            Self::OldVersion => "has X.509 version 1, without extensions (openssl x509 -req makes one)".to_owned(),
            Self::UnsupportedExtension => "has an unsupported critical extension".to_owned(),
            Self::UnsupportedSignature => "is signed with an unsupported algorithm (SHA-1, for example)".to_owned(),
            Self::NameConstraint => "is for a name that its CA is not allowed to certify".to_owned(),
            Self::ChainTooLong => "has more intermediate CAs than allowed (pathlen, or 6)".to_owned(),
            Self::ChainTooComplex => "has a chain that takes too long to verify".to_owned(),
            Self::ChainOrder => "is not followed by the certificates of its issuers, in order".to_owned(),
            Self::NotAName(host) => format!("cannot be for \"{host}\", which is neither a host name nor an IP address"),
            Self::Unknown => "is rejected for a reason that this version does not know".to_owned(),
        }
    }

    /// Returns the fix; `None` if it is a setting of this end, for which the program knows the option.
    fn advice(&self, owner: End) -> Option<String> {
        Some(match self {
            Self::WrongName { .. } | Self::NotAName(_) => return None,
            Self::UnknownIssuer | Self::BadSignature if owner == End::Server => return None,
            Self::Expired(_) => "renew it, or set the clock of this machine".to_owned(),
            Self::NotYetValid(_) => "set the clock of this machine, or issue a new one".to_owned(),
            Self::NoName => "issue one with subjectAltName=DNS:NAME or IP:ADDRESS".to_owned(),
            Self::UnknownIssuer => "add its CA to them if the client may connect".to_owned(),
            Self::BadSignature => "replace the certificate of its CA among the server's client CAs".to_owned(),
            Self::IsCa => format!(
                "use it as the CA only, and issue one for the {owner}: openssl x509 -req -in {owner}.csr -CA CA.pem \
                 -CAkey CA.key -extfile EXTENSIONS -out {owner}.pem (docs/tls.md)"
            ),
            Self::IssuerNotCa => "issue it with a CA, whose certificate has basicConstraints=CA:TRUE".to_owned(),
            Self::WrongPurpose => format!("issue one with extendedKeyUsage={owner}Auth"),
            Self::Revoked | Self::Malformed => "issue a new one".to_owned(),
            Self::OldVersion => "issue one with -extfile EXTENSIONS (docs/tls.md)".to_owned(),
            Self::UnsupportedExtension => "issue one without it".to_owned(),
            Self::UnsupportedSignature => "issue it and its CA with ECDSA P-256 or RSA-2048 and SHA-256".to_owned(),
            Self::NameConstraint => "issue it with another CA".to_owned(),
            Self::ChainTooLong => "issue it with a CA nearer to the root".to_owned(),
            Self::ChainTooComplex => "remove the certificates from its file that are not needed".to_owned(),
            Self::ChainOrder => "put the issuer's certificate after it, then that of the issuer's issuer".to_owned(),
            Self::Unknown => UNKNOWN.to_owned(),
        })
    }
}

/// The advice on a fault that this version does not know.
const UNKNOWN: &str = "the log names it at level debug";

impl Refusal {
    fn what(self) -> &'static str {
        match self {
            Self::UnknownCa => "its CA is not trusted",
            Self::Expired => "it has expired, or is not valid yet, by the clock there",
            Self::Revoked => "it has been revoked",
            Self::BadCertificate => "it is for another name, or not well-formed",
            Self::Unsupported => "its purpose or its type is not supported there",
            Self::Signature => "a signature is wrong, or its algorithm is not supported there",
            Self::Denied => "access denied",
            Self::Unspecified => "no reason given",
        }
    }

    fn advice(self, owner: End) -> &'static str {
        match (self, owner) {
            (Self::UnknownCa, End::Server) => "give that client the certificate of the CA",
            (Self::UnknownCa, End::Client) => {
                "use a certificate of one of the server's client CAs, or add the CA of this one to them"
            }
            (Self::Expired, _) => "renew it, or set the clock there",
            (Self::Revoked, _) => "issue a new one",
            (Self::BadCertificate, End::Server) => "issue one for the name that clients connect to",
            (Self::Unsupported, End::Server) => "issue one with extendedKeyUsage=serverAuth and a P-256 or RSA key",
            (Self::BadCertificate | Self::Unsupported, End::Client) => {
                "issue one with extendedKeyUsage=clientAuth and a P-256 or RSA key"
            }
            (Self::Signature, _) => "issue it again with the current key of the CA and SHA-256",
            (Self::Denied, _) => "use a certificate that the other end allows",
            (Self::Unspecified, _) => "see the log there; a CA certificate, for example, is not accepted",
        }
    }
}

impl Incompatibility {
    fn what(self) -> &'static str {
        match self {
            Self::Version => "no common TLS version: this end speaks TLS 1.2 and 1.3",
            Self::CipherSuite => "no common cipher suite",
            Self::KeyExchange => "no common key exchange group",
            Self::Signature => "no common signature scheme for the key of the certificate",
            Self::Unspecified => "the other end found no common TLS parameters",
            Self::Feature => "the other end lacks a TLS feature that this end requires",
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
            Self::Malformed => "sent a malformed TLS message",
            Self::Unexpected => "sent a TLS message out of sequence",
            Self::Undecryptable => "sent a TLS record that cannot be decrypted",
            Self::TooLong => "sent a TLS message that is longer than allowed",
            Self::Rule => "violated the TLS protocol",
        }
    }
}

impl LocalFault {
    fn what(self) -> String {
        match self {
            Self::Clock => "the clock of this machine is before 1970; set it".to_owned(),
            Self::Random => "the system provides no random numbers; does the sandbox allow getrandom(2)?".to_owned(),
            Self::Unknown => format!("TLS failed for a reason that this version does not know; {UNKNOWN}"),
        }
    }
}

fn time(time: Option<SystemTime>) -> String {
    time.map_or_else(String::new, |time| format!(" {}", date(time)))
}

/// Returns `text`, which a peer may have chosen, escaped and cut.
pub(super) fn printable(text: &str) -> String {
    let cut: String = text.chars().take(LONGEST_TEXT).collect();
    escape(&cut)
}

#[cfg(test)]
mod tests;
