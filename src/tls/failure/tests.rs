use std::io::ErrorKind;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, InvalidMessage};

use super::*;

fn packed(error: rustls::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

fn wrong_name(presented: &[&str]) -> String {
    let error = rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext {
        expected: ServerName::try_from("localhost").unwrap(),
        presented: presented.iter().map(|name| (*name).to_owned()).collect(),
    });
    causes::at_client(packed(error), false).to_string()
}

#[test]
fn a_wrong_name_is_reported_with_the_right_one() {
    assert_eq!(
        wrong_name(&["DnsName(\"mapcast.example\")"]),
        "the server's certificate is for mapcast.example, not for localhost"
    );
    assert!(
        wrong_name(&["DnsName(\"*.example\")", "IpAddress(10.0.0.1)"]).contains("for *.example, 10.0.0.1, not for")
    );
    assert!(wrong_name(&[]).contains("no subject alternative name"));
}

#[test]
fn names_of_a_certificate_are_escaped_and_cut() {
    let text = wrong_name(&[&format!("DnsName(\"\x1b[2J{}\")", "x".repeat(1000))]);
    assert!(text.contains("for \\u{1b}[2Jxxx") && text.len() < 250, "{text}");
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
