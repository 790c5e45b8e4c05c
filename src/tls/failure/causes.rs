//! Which error of rustls, and of the certificates' verification below it, is which fault.
//!
//! Its enums may grow with any release. A test compares the names here with those in the sources of the release that is
//! built; what is not named is a fault of its own, and its text is in the log at level debug.

#![allow(
    clippy::match_same_arms,
    reason = "what has no fault of its own is named all the same: a test finds what is not"
)]

use std::io::{self, ErrorKind};

use rustls::{AlertDescription, CertificateError, PeerIncompatible};

use super::{CertificateFault, End, HandshakeError, Incompatibility, LocalFault, Refusal, Violation, printable};
use crate::display::escape::escape;
use crate::tls::system_time;

/// Characters of an error's text in the log at level debug.
const LONGEST_DETAIL: usize = 500;

/// Where a connection is when an error ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Handshake,
    /// With TLS 1.3 a client is here before the server has looked at its certificate.
    Session,
}

/// The end that an error happened to.
#[derive(Debug, Clone, Copy)]
struct Here {
    end: End,
    stage: Stage,
    /// Whether this end has a certificate. A server always has one.
    has_certificate: bool,
}

impl HandshakeError {
    /// Returns what an `error` of the handshake means to a server.
    pub(in crate::tls) fn at_server(error: io::Error) -> Self {
        Here { end: End::Server, stage: Stage::Handshake, has_certificate: true }.meaning(error)
    }

    /// Returns what it means that a connection cannot be begun.
    pub(in crate::tls) fn of_setup(error: rustls::Error) -> Self {
        Self::at_server(io::Error::new(ErrorKind::InvalidData, error))
    }

    /// Returns what an `error` of the handshake means to a client that has a certificate or not.
    pub(in crate::tls) fn at_client(error: io::Error, has_certificate: bool) -> Self {
        Here { end: End::Client, stage: Stage::Handshake, has_certificate }.meaning(error)
    }

    /// Returns what an `error` of an established session means to a server.
    ///
    /// # Errors
    /// `error` itself if it is the network's.
    pub(crate) fn in_server_session(error: io::Error) -> Result<Self, io::Error> {
        Here { end: End::Server, stage: Stage::Session, has_certificate: true }.meaning_in_session(error)
    }

    /// Returns what an `error` of an established session means to a client that has a certificate or not.
    ///
    /// # Errors
    /// `error` itself if it is the network's.
    pub(in crate::tls) fn in_client_session(error: io::Error, has_certificate: bool) -> Result<Self, io::Error> {
        Here { end: End::Client, stage: Stage::Session, has_certificate }.meaning_in_session(error)
    }
}

impl Here {
    fn meaning_in_session(self, error: io::Error) -> Result<HandshakeError, io::Error> {
        if error.kind() == ErrorKind::InvalidData { Ok(self.meaning(error)) } else { Err(error) }
    }

    fn meaning(self, error: io::Error) -> HandshakeError {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(error) => {
                let detail: String = format!("{error:?}").chars().take(LONGEST_DETAIL).collect();
                log::debug!("TLS: {}", escape(&detail));
                self.of(error)
            }
            None if error.kind() == ErrorKind::UnexpectedEof => HandshakeError::Ended,
            // The only one of rustls's that is not of its own type: a message of more bytes than it keeps.
            None if error.kind() == ErrorKind::InvalidData => HandshakeError::Violated(Violation::TooLong),
            None => HandshakeError::Io(error),
        }
    }

    fn of(self, error: &rustls::Error) -> HandshakeError {
        use rustls::Error as E;
        match error {
            E::InvalidMessage(_) if self.stage == Stage::Session => HandshakeError::Violated(Violation::Malformed),
            E::InvalidMessage(_) if self.end == End::Server => HandshakeError::PlainClient,
            E::InvalidMessage(_) => HandshakeError::PlainServer,
            E::NoCertificatesPresented if self.end == End::Server => HandshakeError::NoClientCertificate,
            E::InvalidCertificate(fault) => HandshakeError::Certificate(self.end.other(), fault.into()),
            E::PeerIncompatible(fault) => HandshakeError::Incompatible(fault.into()),
            E::AlertReceived(alert) => self.of_alert(*alert),
            E::InappropriateMessage { .. } | E::InappropriateHandshakeMessage { .. } => {
                HandshakeError::Violated(Violation::Unexpected)
            }
            E::DecryptError => HandshakeError::Violated(Violation::Undecryptable),
            E::PeerSentOversizedRecord => HandshakeError::Violated(Violation::TooLong),
            // A server has to send one.
            E::PeerMisbehaved(_) | E::NoCertificatesPresented => HandshakeError::Violated(Violation::Rule),
            E::FailedToGetCurrentTime => HandshakeError::Local(LocalFault::Clock),
            E::FailedToGetRandomBytes => HandshakeError::Local(LocalFault::Random),
            // Of this end's own calls, of what it does not use (lists of revoked certificates, encrypted hellos, the choice
            // of a protocol), and of the cryptography.
            E::InvalidEncryptedClientHello(_)
            | E::InvalidCertRevocationList(_)
            | E::NoApplicationProtocol
            | E::UnsupportedNameType
            | E::EncryptError
            | E::General(_)
            | E::HandshakeNotComplete
            | E::BadMaxFragmentSize
            | E::InconsistentKeys(_)
            | E::Other(_) => HandshakeError::Local(LocalFault::Unknown),
            _ => HandshakeError::Local(LocalFault::Unknown),
        }
    }

    /// Returns what an alert of the other end means (RFC 8446, section 6; RFC 5246, section 7.2).
    fn of_alert(self, alert: AlertDescription) -> HandshakeError {
        use AlertDescription as A;
        let refused = |why| HandshakeError::CertificateRefused(self.end, why);
        match alert {
            A::CertificateRequired | A::NoCertificate if self.end == End::Client => HandshakeError::CertificateRequired,
            // What servers of TLS 1.2 say instead (RFC 5246, section 7.4.6).
            A::BadCertificate | A::HandshakeFailure if !self.has_certificate => HandshakeError::CertificateRequired,
            A::UnknownCA => refused(Refusal::UnknownCa),
            A::CertificateExpired => refused(Refusal::Expired),
            A::CertificateRevoked => refused(Refusal::Revoked),
            A::BadCertificate => refused(Refusal::BadCertificate),
            A::UnsupportedCertificate => refused(Refusal::Unsupported),
            A::DecryptError => refused(Refusal::Signature),
            A::AccessDenied => refused(Refusal::Denied),
            A::CertificateUnknown
            | A::CertificateUnobtainable
            | A::BadCertificateStatusResponse
            | A::BadCertificateHashValue => refused(Refusal::Unspecified),
            A::ProtocolVersion | A::InappropriateFallback => HandshakeError::Incompatible(Incompatibility::Version),
            A::InsufficientSecurity | A::ExportRestriction => {
                HandshakeError::Incompatible(Incompatibility::CipherSuite)
            }
            A::HandshakeFailure
            | A::NoApplicationProtocol
            | A::MissingExtension
            | A::NoRenegotiation
            | A::EncryptedClientHelloRequired => HandshakeError::Incompatible(Incompatibility::Unspecified),
            A::UnrecognisedName if self.end == End::Client => HandshakeError::UnknownName,
            A::InternalError | A::UserCanceled | A::CloseNotify => HandshakeError::PeerFailed,
            A::UnexpectedMessage
            | A::BadRecordMac
            | A::DecryptionFailed
            | A::RecordOverflow
            | A::DecompressionFailure
            | A::IllegalParameter
            | A::DecodeError
            | A::UnsupportedExtension
            | A::UnknownPSKIdentity
            // Of a server to a client, and the other way round.
            | A::CertificateRequired
            | A::NoCertificate
            | A::UnrecognisedName => HandshakeError::NotUnderstood,
            // One that no RFC of this release knows: `Unknown`.
            _ => HandshakeError::NotUnderstood,
        }
    }
}

impl From<&CertificateError> for CertificateFault {
    fn from(error: &CertificateError) -> Self {
        use CertificateError as C;
        #[allow(deprecated, reason = "of a verifier that does not say more")]
        match error {
            C::ExpiredContext { not_after, .. } => Self::Expired(system_time(*not_after)),
            C::NotValidYetContext { not_before, .. } => Self::NotYetValid(system_time(*not_before)),
            C::Expired => Self::Expired(None),
            C::NotValidYet => Self::NotYetValid(None),
            C::NotValidForNameContext { presented, .. } if presented.is_empty() => Self::NoName,
            C::NotValidForNameContext { expected, presented } => {
                Self::WrongName { wanted: printable(&expected.to_str()), presented: names(presented) }
            }
            C::UnknownIssuer => Self::UnknownIssuer,
            C::BadSignature => Self::BadSignature,
            C::InvalidPurpose | C::InvalidPurposeContext { .. } => Self::WrongPurpose,
            C::Revoked => Self::Revoked,
            C::BadEncoding => Self::Malformed,
            C::UnhandledCriticalExtension => Self::UnsupportedExtension,
            C::UnsupportedSignatureAlgorithm
            | C::UnsupportedSignatureAlgorithmContext { .. }
            | C::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => Self::UnsupportedSignature,
            C::Other(other) => other.0.downcast_ref::<webpki::Error>().map_or(Self::Unknown, Self::from),
            // Of lists of revoked certificates, of a server's proof that it is in none, and of verifiers of others: none
            // is used here. A name without its context cannot come either.
            C::UnknownRevocationStatus
            | C::ExpiredRevocationList
            | C::ExpiredRevocationListContext { .. }
            | C::InvalidOcspResponse
            | C::ApplicationVerificationFailure
            | C::NotValidForName => Self::Unknown,
            _ => Self::Unknown,
        }
    }
}

impl From<&webpki::Error> for CertificateFault {
    fn from(error: &webpki::Error) -> Self {
        use webpki::Error as W;
        #[allow(deprecated, reason = "of a verifier that does not say more")]
        match error {
            W::CertExpired { not_after, .. } => Self::Expired(system_time(*not_after)),
            W::CertNotValidYet { not_before, .. } => Self::NotYetValid(system_time(*not_before)),
            W::InvalidCertValidity => Self::Expired(None),
            W::CertNotValidForName(context) if context.presented.is_empty() => Self::NoName,
            W::CertNotValidForName(context) => {
                Self::WrongName { wanted: printable(&context.expected.to_str()), presented: names(&context.presented) }
            }
            W::UnknownIssuer => Self::UnknownIssuer,
            W::InvalidSignatureForPublicKey => Self::BadSignature,
            W::CaUsedAsEndEntity => Self::IsCa,
            W::EndEntityUsedAsCa => Self::IssuerNotCa,
            W::EmptyEkuExtension | W::RequiredEkuNotFound | W::RequiredEkuNotFoundContext(_) => Self::WrongPurpose,
            W::CertDistrusted | W::CertRevoked => Self::Revoked,
            W::UnsupportedCertVersion => Self::OldVersion,
            W::UnsupportedCriticalExtension => Self::UnsupportedExtension,
            W::UnsupportedSignatureAlgorithm
            | W::UnsupportedSignatureAlgorithmContext(_)
            | W::UnsupportedSignatureAlgorithmForPublicKey
            | W::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => Self::UnsupportedSignature,
            W::NameConstraintViolation => Self::NameConstraint,
            W::PathLenConstraintViolated | W::MaximumPathDepthExceeded => Self::ChainTooLong,
            W::MaximumNameConstraintComparisonsExceeded
            | W::MaximumPathBuildCallsExceeded
            | W::MaximumSignatureChecksExceeded => Self::ChainTooComplex,
            W::BadDer
            | W::BadDerTime
            | W::ExtensionValueInvalid
            | W::InvalidNetworkMaskConstraint
            | W::InvalidSerialNumber
            | W::MalformedDnsIdentifier
            | W::MalformedExtensions
            | W::MalformedNameConstraint
            | W::SignatureAlgorithmMismatch
            | W::TrailingData(_) => Self::Malformed,
            // Of lists of revoked certificates, which are not used here, and of names of other kinds.
            W::CrlExpired { .. }
            | W::InvalidCrlNumber
            | W::InvalidCrlSignatureForPublicKey
            | W::IssuerNotCrlSigner
            | W::UnknownRevocationStatus
            | W::UnsupportedCrlIssuingDistributionPoint
            | W::UnsupportedCrlVersion
            | W::UnsupportedDeltaCrl
            | W::UnsupportedIndirectCrl
            | W::UnsupportedNameType
            | W::UnsupportedRevocationReason
            | W::UnsupportedRevocationReasonsPartitioning
            | W::UnsupportedCrlSignatureAlgorithm
            | W::UnsupportedCrlSignatureAlgorithmContext(_)
            | W::UnsupportedCrlSignatureAlgorithmForPublicKey
            | W::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => Self::Unknown,
            _ => Self::Unknown,
        }
    }
}

impl From<&PeerIncompatible> for Incompatibility {
    fn from(error: &PeerIncompatible) -> Self {
        use PeerIncompatible as P;
        match error {
            P::ServerDoesNotSupportTls12Or13
            | P::ServerTlsVersionIsDisabledByOurConfig
            // It came with TLS 1.2, and is looked for before the version.
            | P::SignatureAlgorithmsExtensionRequired
            | P::SupportedVersionsExtensionRequired
            | P::Tls12NotOffered
            | P::Tls12NotOfferedOrEnabled
            | P::Tls13RequiredForQuic => Self::Version,
            P::NoCipherSuitesInCommon => Self::CipherSuite,
            P::NoKxGroupsInCommon
            | P::NoEcPointFormatsInCommon
            | P::EcPointsExtensionRequired
            | P::KeyShareExtensionRequired
            | P::NamedGroupsExtensionRequired
            | P::UncompressedEcPointsRequired => Self::KeyExchange,
            P::NoSignatureSchemesInCommon | P::NoCertificateRequestSignatureSchemesInCommon => Self::Signature,
            P::ExtendedMasterSecretExtensionRequired
            | P::IncorrectCertificateTypeExtension
            | P::NullCompressionRequired
            | P::ServerRejectedEncryptedClientHello(_)
            | P::ServerSentHelloRetryRequestWithUnknownExtension
            | P::UnsolicitedCertificateTypeExtension => Self::Feature,
            _ => Self::Feature,
        }
    }
}

/// The names of a certificate as people write them; rustls has `DnsName("mapcast.example")`, `IpAddress(127.0.0.1)`.
fn names(presented: &[String]) -> String {
    let bare = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
        inner.trim_matches('"').to_owned()
    };
    printable(&presented.iter().map(bare).collect::<Vec<_>>().join(", "))
}
