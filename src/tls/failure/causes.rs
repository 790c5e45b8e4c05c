//! Maps the errors of rustls and webpki to faults.
//!
//! Their enums may grow with any release. A test compares the names here with those in the sources of the release that is
//! built. An error without a name here becomes `Unknown`, or the nearest fault; its text is in the log at level debug.

#![allow(
    clippy::match_same_arms,
    reason = "each error is named, also one without a fault of its own: a test finds the names that are missing"
)]

use std::io::{self, ErrorKind};

use rustls::{AlertDescription, CertificateError, PeerIncompatible};

use super::{CertificateFault, End, HandshakeError, Incompatibility, LocalFault, Refusal, Violation, printable};
use crate::display::escape::escape;
use crate::tls::time::system_time;

/// The most characters of an error's text in the log at level debug.
const LONGEST_DETAIL: usize = 500;

/// The stage of a connection at which an error ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Handshake,
    /// With TLS 1.3 a client reaches this stage before the server has verified its certificate.
    Session,
}

/// The end that got an error, and when.
#[derive(Debug, Clone, Copy)]
struct Context {
    end: End,
    stage: Stage,
    /// Whether this end has a certificate. A server always has one.
    has_certificate: bool,
}

/// Returns the error for a server whose handshake failed with `error`.
pub(in crate::tls) fn at_server(error: io::Error) -> HandshakeError {
    Context { end: End::Server, stage: Stage::Handshake, has_certificate: true }.classify(error)
}

/// Returns the error for a session that rustls could not create.
pub(in crate::tls) fn of_setup(error: rustls::Error) -> HandshakeError {
    at_server(io::Error::new(ErrorKind::InvalidData, error))
}

/// Returns the error for a client whose handshake failed with `error`.
pub(in crate::tls) fn at_client(error: io::Error, has_certificate: bool) -> HandshakeError {
    Context { end: End::Client, stage: Stage::Handshake, has_certificate }.classify(error)
}

/// Returns the error for a server whose established session failed with `error`.
///
/// # Errors
/// `error` itself if the socket failed and not TLS.
pub(crate) fn in_server_session(error: io::Error) -> Result<HandshakeError, io::Error> {
    Context { end: End::Server, stage: Stage::Session, has_certificate: true }.classify_in_session(error)
}

/// Returns the error for a client whose established session failed with `error`.
///
/// # Errors
/// `error` itself if the socket failed and not TLS.
pub(in crate::tls) fn in_client_session(error: io::Error, has_certificate: bool) -> Result<HandshakeError, io::Error> {
    Context { end: End::Client, stage: Stage::Session, has_certificate }.classify_in_session(error)
}

impl Context {
    fn classify_in_session(self, error: io::Error) -> Result<HandshakeError, io::Error> {
        if error.kind() == ErrorKind::InvalidData { Ok(self.classify(error)) } else { Err(error) }
    }

    fn classify(self, error: io::Error) -> HandshakeError {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(error) => {
                let detail: String = format!("{error:?}").chars().take(LONGEST_DETAIL).collect();
                log::debug!("TLS: {}", escape(&detail));
                self.of(error)
            }
            None if error.kind() == ErrorKind::UnexpectedEof => HandshakeError::Ended,
            // The only error of rustls that is not a `rustls::Error`: a message with more bytes than it buffers.
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
            E::InvalidCertificate(fault) => HandshakeError::Certificate(self.end.other(), certificate_fault(fault)),
            E::PeerIncompatible(fault) => HandshakeError::Incompatible(incompatibility(fault)),
            E::AlertReceived(alert) => self.of_alert(*alert),
            E::InappropriateMessage { .. } | E::InappropriateHandshakeMessage { .. } => {
                HandshakeError::Violated(Violation::Unexpected)
            }
            E::DecryptError => HandshakeError::Violated(Violation::Undecryptable),
            E::PeerSentOversizedRecord => HandshakeError::Violated(Violation::TooLong),
            // A server must send a certificate.
            E::PeerMisbehaved(_) | E::NoCertificatesPresented => HandshakeError::Violated(Violation::Rule),
            E::FailedToGetCurrentTime => HandshakeError::Local(LocalFault::Clock),
            E::FailedToGetRandomBytes => HandshakeError::Local(LocalFault::Random),
            // Errors of this end's calls, of features that it does not use (revocation lists, encrypted hellos, ALPN), and of
            // the cryptography.
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

    /// Returns the error for an alert of the other end (RFC 8446, section 6; RFC 5246, section 7.2).
    fn of_alert(self, alert: AlertDescription) -> HandshakeError {
        use AlertDescription as A;
        let refused = |why| HandshakeError::CertificateRefused(self.end, why);
        match alert {
            A::CertificateRequired | A::NoCertificate if self.end == End::Client => HandshakeError::CertificateRequired,
            // The alerts of TLS 1.2 servers instead (RFC 5246, section 7.4.6).
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
            // Alerts that only a client, or only a server, can receive.
            | A::CertificateRequired
            | A::NoCertificate
            | A::UnrecognisedName => HandshakeError::NotUnderstood,
            // An alert that no RFC of this release knows: `Unknown`.
            _ => HandshakeError::NotUnderstood,
        }
    }
}

/// Returns the fault that rustls reports as `error`.
pub(in crate::tls) fn certificate_fault(error: &CertificateError) -> CertificateFault {
    use CertificateError as C;
    use CertificateFault as F;
    #[allow(deprecated, reason = "a verifier may report an error without its context")]
    match error {
        C::ExpiredContext { not_after, .. } => F::Expired(system_time(*not_after)),
        C::NotValidYetContext { not_before, .. } => F::NotYetValid(system_time(*not_before)),
        C::Expired => F::Expired(None),
        C::NotValidYet => F::NotYetValid(None),
        C::NotValidForNameContext { presented, .. } if presented.is_empty() => F::NoName,
        C::NotValidForNameContext { expected, presented } => {
            F::WrongName { wanted: printable(&expected.to_str()), presented: names(presented) }
        }
        C::UnknownIssuer => F::UnknownIssuer,
        C::BadSignature => F::BadSignature,
        C::InvalidPurpose | C::InvalidPurposeContext { .. } => F::WrongPurpose,
        C::Revoked => F::Revoked,
        C::BadEncoding => F::Malformed,
        C::UnhandledCriticalExtension => F::UnsupportedExtension,
        C::UnsupportedSignatureAlgorithm
        | C::UnsupportedSignatureAlgorithmContext { .. }
        | C::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => F::UnsupportedSignature,
        C::Other(other) => other.0.downcast_ref::<webpki::Error>().map_or(F::Unknown, webpki_fault),
        // Errors of revocation lists, of OCSP and of other verifiers, which are not used here. A name without its
        // context cannot occur either.
        C::UnknownRevocationStatus
        | C::ExpiredRevocationList
        | C::ExpiredRevocationListContext { .. }
        | C::InvalidOcspResponse
        | C::ApplicationVerificationFailure
        | C::NotValidForName => F::Unknown,
        _ => F::Unknown,
    }
}

/// Returns the fault that webpki reports as `error`.
pub(in crate::tls) fn webpki_fault(error: &webpki::Error) -> CertificateFault {
    use CertificateFault as F;
    use webpki::Error as W;
    #[allow(deprecated, reason = "a verifier may report an error without its context")]
    match error {
        W::CertExpired { not_after, .. } => F::Expired(system_time(*not_after)),
        W::CertNotValidYet { not_before, .. } => F::NotYetValid(system_time(*not_before)),
        W::InvalidCertValidity => F::Expired(None),
        W::CertNotValidForName(context) if context.presented.is_empty() => F::NoName,
        W::CertNotValidForName(context) => {
            F::WrongName { wanted: printable(&context.expected.to_str()), presented: names(&context.presented) }
        }
        W::UnknownIssuer => F::UnknownIssuer,
        W::InvalidSignatureForPublicKey => F::BadSignature,
        W::CaUsedAsEndEntity => F::IsCa,
        W::EndEntityUsedAsCa => F::IssuerNotCa,
        W::EmptyEkuExtension | W::RequiredEkuNotFound | W::RequiredEkuNotFoundContext(_) => F::WrongPurpose,
        W::CertDistrusted | W::CertRevoked => F::Revoked,
        W::UnsupportedCertVersion => F::OldVersion,
        W::UnsupportedCriticalExtension => F::UnsupportedExtension,
        W::UnsupportedSignatureAlgorithm
        | W::UnsupportedSignatureAlgorithmContext(_)
        | W::UnsupportedSignatureAlgorithmForPublicKey
        | W::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => F::UnsupportedSignature,
        W::NameConstraintViolation => F::NameConstraint,
        W::PathLenConstraintViolated | W::MaximumPathDepthExceeded => F::ChainTooLong,
        W::MaximumNameConstraintComparisonsExceeded
        | W::MaximumPathBuildCallsExceeded
        | W::MaximumSignatureChecksExceeded => F::ChainTooComplex,
        W::BadDer
        | W::BadDerTime
        | W::ExtensionValueInvalid
        | W::InvalidNetworkMaskConstraint
        | W::InvalidSerialNumber
        | W::MalformedDnsIdentifier
        | W::MalformedExtensions
        | W::MalformedNameConstraint
        | W::SignatureAlgorithmMismatch
        | W::TrailingData(_) => F::Malformed,
        // Errors of revocation lists, which are not used here, and of names of other types.
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
        | W::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => F::Unknown,
        _ => F::Unknown,
    }
}

/// Returns the incompatibility that rustls reports as `error`.
fn incompatibility(error: &PeerIncompatible) -> Incompatibility {
    use PeerIncompatible as P;
    match error {
        P::ServerDoesNotSupportTls12Or13
        | P::ServerTlsVersionIsDisabledByOurConfig
        // An extension of TLS 1.2, which rustls requires before it checks the version.
        | P::SignatureAlgorithmsExtensionRequired
        | P::SupportedVersionsExtensionRequired
        | P::Tls12NotOffered
        | P::Tls12NotOfferedOrEnabled
        | P::Tls13RequiredForQuic => Incompatibility::Version,
        P::NoCipherSuitesInCommon => Incompatibility::CipherSuite,
        P::NoKxGroupsInCommon
        | P::NoEcPointFormatsInCommon
        | P::EcPointsExtensionRequired
        | P::KeyShareExtensionRequired
        | P::NamedGroupsExtensionRequired
        | P::UncompressedEcPointsRequired => Incompatibility::KeyExchange,
        P::NoSignatureSchemesInCommon | P::NoCertificateRequestSignatureSchemesInCommon => Incompatibility::Signature,
        P::ExtendedMasterSecretExtensionRequired
        | P::IncorrectCertificateTypeExtension
        | P::NullCompressionRequired
        | P::ServerRejectedEncryptedClientHello(_)
        | P::ServerSentHelloRetryRequestWithUnknownExtension
        | P::UnsolicitedCertificateTypeExtension => Incompatibility::Feature,
        _ => Incompatibility::Feature,
    }
}

/// Returns the names of a certificate as people write them; rustls has `DnsName("mapcast.example")`, `IpAddress(127.0.0.1)`.
fn names(presented: &[String]) -> String {
    let bare = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
        inner.trim_matches('"').to_owned()
    };
    printable(&presented.iter().map(bare).collect::<Vec<_>>().join(", "))
}
