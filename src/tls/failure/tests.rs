use std::io::ErrorKind;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, InvalidMessage};

use super::*;
use crate::testing::check_texts;

fn packed(error: rustls::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

fn wrong_name(presented: &[&str]) -> CertificateFault {
    let error = rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext {
        expected: ServerName::try_from("localhost").unwrap(),
        presented: presented.iter().map(|name| (*name).to_owned()).collect(),
    });
    match causes::at_client(packed(error), false) {
        HandshakeError::Certificate(End::Server, fault) => fault,
        error => panic!("{error:?}"),
    }
}

fn is_for(presented: &str) -> CertificateFault {
    CertificateFault::WrongName { wanted: "localhost".to_owned(), presented: presented.to_owned() }
}

#[test]
fn a_wrong_name_is_reported_with_the_right_one() {
    assert_eq!(wrong_name(&["DnsName(\"mapcast.example\")"]), is_for("mapcast.example"));
    let several = wrong_name(&["DnsName(\"*.example\")", "IpAddress(10.0.0.1)"]);
    assert_eq!(several, is_for("*.example, 10.0.0.1"));
    assert_eq!(wrong_name(&[]), CertificateFault::NoName);
}

#[test]
fn names_of_a_certificate_are_escaped_and_cut() {
    let fault = wrong_name(&[&format!("DnsName(\"\x1b[2J{}\")", "x".repeat(1000))]);
    assert_eq!(fault, is_for(&format!("\\u{{1b}}[2J{}", "x".repeat(LONGEST_TEXT - 4))));
}

#[test]
fn the_same_error_means_different_faults_at_each_end() {
    let no_tls = || packed(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType));
    assert!(matches!(causes::at_server(no_tls()), HandshakeError::PlainClient));
    assert!(matches!(causes::at_client(no_tls(), false), HandshakeError::PlainServer));
    let later = causes::in_server_session(no_tls()).unwrap();
    assert!(matches!(later, HandshakeError::Violated(Violation::Malformed)), "after a handshake the peer speaks TLS");
    let refused = || packed(rustls::Error::AlertReceived(AlertDescription::HandshakeFailure));
    assert!(matches!(causes::at_client(refused(), false), HandshakeError::CertificateRequired));
    assert!(matches!(causes::at_client(refused(), true), HandshakeError::Incompatible(_)));
    let ended = || ErrorKind::UnexpectedEof.into();
    assert!(matches!(causes::at_server(ended()), HandshakeError::Ended));
    assert!(causes::in_server_session(ErrorKind::ConnectionReset.into()).is_err(), "the socket's error");
}

/// Words of the messages and type names of rustls.
const WORDS_OF_RUSTLS: [&str; 6] = ["rustls", "webpki", "peer", "Error", "::", "invalid peer certificate"];

/// True if and only if the fix is a setting of this end: the programs name its option.
fn is_fixed_by_a_setting(error: &HandshakeError) -> bool {
    use CertificateFault::{BadSignature, NotAName, UnknownIssuer, WrongName};
    matches!(
        error,
        HandshakeError::UnknownName
            | HandshakeError::Certificate(_, WrongName { .. } | NotAName(_))
            | HandshakeError::Certificate(End::Server, UnknownIssuer | BadSignature)
    )
}

#[test]
fn every_fault_has_a_message_of_its_own_with_a_fix() {
    let certificate = [
        CertificateFault::Expired(Some(SystemTime::UNIX_EPOCH)),
        CertificateFault::NotYetValid(None),
        CertificateFault::WrongName { wanted: "a".to_owned(), presented: "b".to_owned() },
        CertificateFault::NoName,
        CertificateFault::UnknownIssuer,
        CertificateFault::BadSignature,
        CertificateFault::IsCa,
        CertificateFault::IssuerNotCa,
        CertificateFault::WrongPurpose,
        CertificateFault::Revoked,
        CertificateFault::Malformed,
        CertificateFault::OldVersion,
        CertificateFault::UnsupportedExtension,
        CertificateFault::UnsupportedSignature,
        CertificateFault::NameConstraint,
        CertificateFault::ChainTooLong,
        CertificateFault::ChainTooComplex,
        CertificateFault::ChainOrder,
        CertificateFault::NotAName("a b".to_owned()),
        CertificateFault::Unknown,
    ];
    let refusals = [
        Refusal::UnknownCa,
        Refusal::Expired,
        Refusal::Revoked,
        Refusal::BadCertificate,
        Refusal::Unsupported,
        Refusal::Signature,
        Refusal::Denied,
        Refusal::Unspecified,
    ];
    let mut errors = vec![HandshakeError::UnknownName, HandshakeError::PeerFailed, HandshakeError::NotUnderstood];
    for end in [End::Client, End::Server] {
        errors.extend(certificate.iter().map(|fault| HandshakeError::Certificate(end, fault.clone())));
        errors.extend(refusals.map(|why| HandshakeError::CertificateRefused(end, why)));
    }
    let in_common = [
        Incompatibility::Version,
        Incompatibility::CipherSuite,
        Incompatibility::KeyExchange,
        Incompatibility::Signature,
        Incompatibility::Unspecified,
        Incompatibility::Feature,
    ];
    errors.extend(in_common.map(HandshakeError::Incompatible));
    let violations =
        [Violation::Malformed, Violation::Unexpected, Violation::Undecryptable, Violation::TooLong, Violation::Rule];
    errors.extend(violations.map(HandshakeError::Violated));
    errors.extend([LocalFault::Clock, LocalFault::Random, LocalFault::Unknown].map(HandshakeError::Local));
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    for (error, text) in errors.iter().zip(&texts) {
        let (fault, fix) = text.split_once("; ").unwrap_or((text, ""));
        assert_eq!(fix.is_empty(), is_fixed_by_a_setting(error), "{text}");
        assert!(!fault.is_empty() && !text.contains("--"), "{text}");
        assert!(!WORDS_OF_RUSTLS.iter().any(|word| text.contains(word)), "{text}");
    }
    for (at, text) in texts.iter().enumerate() {
        assert!(!texts[..at].contains(text), "two faults have the same message: {text}");
    }
}

#[test]
fn every_error_has_its_text() {
    check_texts!(HandshakeError {
        TimedOut(Duration::from_secs(10)) => "timed out after 10s";
        Stopping => "the server is shutting down";
        Ended => "the other end closed the connection during the handshake";
        Io(ErrorKind::ConnectionReset.into()) => "the connection failed";
        PlainClient => "the client does not speak TLS; connect with TLS (a browser: https://)";
        PlainServer => "the server does not speak TLS";
        NoClientCertificate =>
            "the client has no certificate, and the server requires one; give the client a certificate and its key";
        CertificateRequired => "the server requires a client certificate";
        Certificate(End::Server, is_for("mapcast.example")) =>
            "the server's certificate is for mapcast.example, not for localhost";
        Certificate(End::Client, CertificateFault::Revoked) =>
            "the client's certificate has been revoked; issue a new one";
        CertificateRefused(End::Client, Refusal::Expired) =>
            "the server does not accept the client's certificate: it has expired, or is not valid yet, by the clock there; \
             renew it, or set the clock there";
        Incompatible(Incompatibility::CipherSuite) =>
            "no common cipher suite; allow ECDHE with AES-GCM or ChaCha20-Poly1305 at the other end";
        UnknownName => "the server has no certificate for the requested name";
        PeerFailed => "the other end failed without a reason; see its log";
        NotUnderstood =>
            "the other end rejected a message of this end as invalid; unless a device in between alters the traffic, \
             update the older end";
        Violated(Violation::Rule) =>
            "the other end violated the TLS protocol; unless a device in between alters the traffic, update the older end";
        Local(LocalFault::Clock) => "the clock of this machine is before 1970; set it";
    });
}
