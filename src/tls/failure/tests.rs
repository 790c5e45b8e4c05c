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
#[allow(clippy::too_many_lines, reason = "a table")]
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
        UnknownName => "the server has no certificate for the requested name";
        PeerFailed => "the other end failed without a reason; see its log";
        NotUnderstood =>
            "the other end rejected a message of this end as invalid; unless a device in between alters the traffic, \
             update the older end";
        Certificate(End::Client, CertificateFault::UnknownIssuer) =>
            "the client's certificate is signed by a CA that is not among the server's client CAs; add its CA to \
             them if the client may connect";
        Certificate(End::Client, CertificateFault::BadSignature) =>
            "the client's certificate has a signature that does not match the key of its CA; replace the certificate \
             of its CA among the server's client CAs";
        Certificate(End::Client, CertificateFault::IsCa) =>
            "the client's certificate is a CA certificate, which a client cannot use as its own (openssl req -x509 \
             makes one); use it as the CA only, and issue one for the client: openssl x509 -req -in client.csr -CA \
             CA.pem -CAkey CA.key -extfile EXTENSIONS -out client.pem (docs/tls.md)";
        Certificate(End::Client, CertificateFault::WrongPurpose) =>
            "the client's certificate is not for use by a client (extendedKeyUsage); issue one with \
             extendedKeyUsage=clientAuth";
        CertificateRefused(End::Client, Refusal::UnknownCa) =>
            "the server does not accept the client's certificate: its CA is not trusted; use a certificate of one of \
             the server's client CAs, or add the CA of this one to them";
        CertificateRefused(End::Client, Refusal::BadCertificate) =>
            "the server does not accept the client's certificate: it is for another name, or not well-formed; issue \
             one with extendedKeyUsage=clientAuth and a P-256 or RSA key";
        CertificateRefused(End::Client, Refusal::Unsupported) =>
            "the server does not accept the client's certificate: its purpose or its type is not supported there; \
             issue one with extendedKeyUsage=clientAuth and a P-256 or RSA key";
        Certificate(End::Server, CertificateFault::Expired(Some(SystemTime::UNIX_EPOCH))) =>
            "the server's certificate has expired 1970-01-01T00:00:00Z; renew it, or set the clock of this machine";
        Certificate(End::Server, CertificateFault::NotYetValid(Some(SystemTime::UNIX_EPOCH))) =>
            "the server's certificate is not valid before 1970-01-01T00:00:00Z; set the clock of this machine, or \
             issue a new one";
        Certificate(End::Server, is_for("mapcast.example")) =>
            "the server's certificate is for mapcast.example, not for localhost";
        Certificate(End::Server, CertificateFault::NoName) =>
            "the server's certificate has no subject alternative name, and the common name does not count; issue one \
             with subjectAltName=DNS:NAME or IP:ADDRESS";
        Certificate(End::Server, CertificateFault::UnknownIssuer) =>
            "the server's certificate is signed by an untrusted CA";
        Certificate(End::Server, CertificateFault::BadSignature) =>
            "the server's certificate has a signature that does not match the key of its CA";
        Certificate(End::Server, CertificateFault::IsCa) =>
            "the server's certificate is a CA certificate, which a server cannot use as its own (openssl req -x509 \
             makes one); use it as the CA only, and issue one for the server: openssl x509 -req -in server.csr -CA \
             CA.pem -CAkey CA.key -extfile EXTENSIONS -out server.pem (docs/tls.md)";
        Certificate(End::Server, CertificateFault::IssuerNotCa) =>
            "the server's certificate is issued by a certificate that is not a CA certificate; issue it with a CA, \
             whose certificate has basicConstraints=CA:TRUE";
        Certificate(End::Server, CertificateFault::WrongPurpose) =>
            "the server's certificate is not for use by a server (extendedKeyUsage); issue one with \
             extendedKeyUsage=serverAuth";
        Certificate(End::Server, CertificateFault::Revoked) =>
            "the server's certificate has been revoked; issue a new one";
        Certificate(End::Server, CertificateFault::Malformed) =>
            "the server's certificate is not a well-formed X.509 certificate; issue a new one";
        Certificate(End::Server, CertificateFault::OldVersion) =>
            "the server's certificate has X.509 version 1, without extensions (openssl x509 -req makes one); issue \
             one with -extfile EXTENSIONS (docs/tls.md)";
        Certificate(End::Server, CertificateFault::UnsupportedExtension) =>
            "the server's certificate has an unsupported critical extension; issue one without it";
        Certificate(End::Server, CertificateFault::UnsupportedSignature) =>
            "the server's certificate is signed with an unsupported algorithm (SHA-1, for example); issue it and its \
             CA with ECDSA P-256 or RSA-2048 and SHA-256";
        Certificate(End::Server, CertificateFault::NameConstraint) =>
            "the server's certificate is for a name that its CA is not allowed to certify; issue it with another CA";
        Certificate(End::Server, CertificateFault::ChainTooLong) =>
            "the server's certificate has more intermediate CAs than allowed (pathlen, or 6); issue it with a CA \
             nearer to the root";
        Certificate(End::Server, CertificateFault::ChainTooComplex) =>
            "the server's certificate has a chain that takes too long to verify; remove the certificates from its \
             file that are not needed";
        Certificate(End::Server, CertificateFault::ChainOrder) =>
            "the server's certificate is not followed by the certificates of its issuers, in order; put the issuer's \
             certificate after it, then that of the issuer's issuer";
        Certificate(End::Server, CertificateFault::NotAName("a b".to_owned())) =>
            "the server's certificate cannot be for \"a b\", which is neither a host name nor an IP address";
        Certificate(End::Server, CertificateFault::Unknown) =>
            "the server's certificate is rejected for a reason that this version does not know; the log names it at \
             level debug";
        CertificateRefused(End::Server, Refusal::UnknownCa) =>
            "the client does not accept the server's certificate: its CA is not trusted; give that client the \
             certificate of the CA";
        CertificateRefused(End::Server, Refusal::Expired) =>
            "the client does not accept the server's certificate: it has expired, or is not valid yet, by the clock \
             there; renew it, or set the clock there";
        CertificateRefused(End::Server, Refusal::Revoked) =>
            "the client does not accept the server's certificate: it has been revoked; issue a new one";
        CertificateRefused(End::Server, Refusal::BadCertificate) =>
            "the client does not accept the server's certificate: it is for another name, or not well-formed; issue \
             one for the name that clients connect to";
        CertificateRefused(End::Server, Refusal::Unsupported) =>
            "the client does not accept the server's certificate: its purpose or its type is not supported there; \
             issue one with extendedKeyUsage=serverAuth and a P-256 or RSA key";
        CertificateRefused(End::Server, Refusal::Signature) =>
            "the client does not accept the server's certificate: a signature is wrong, or its algorithm is not \
             supported there; issue it again with the current key of the CA and SHA-256";
        CertificateRefused(End::Server, Refusal::Denied) =>
            "the client does not accept the server's certificate: access denied; use a certificate that the other \
             end allows";
        CertificateRefused(End::Server, Refusal::Unspecified) =>
            "the client does not accept the server's certificate: no reason given; see the log there; a CA \
             certificate, for example, is not accepted";
        Incompatible(Incompatibility::Version) =>
            "no common TLS version: this end speaks TLS 1.2 and 1.3; update the other end, or allow TLS 1.2 and 1.3 \
             there";
        Incompatible(Incompatibility::CipherSuite) =>
            "no common cipher suite; allow ECDHE with AES-GCM or ChaCha20-Poly1305 at the other end";
        Incompatible(Incompatibility::KeyExchange) =>
            "no common key exchange group; allow X25519, P-256 or P-384 at the other end";
        Incompatible(Incompatibility::Signature) =>
            "no common signature scheme for the key of the certificate; use a certificate with an ECDSA P-256 or \
             RSA-2048 key";
        Incompatible(Incompatibility::Unspecified) =>
            "the other end found no common TLS parameters; update the other end, or allow TLS 1.2 and 1.3 there";
        Incompatible(Incompatibility::Feature) =>
            "the other end lacks a TLS feature that this end requires; update the other end, or allow TLS 1.2 and \
             1.3 there";
        Violated(Violation::Malformed) =>
            "the other end sent a malformed TLS message; unless a device in between alters the traffic, update the \
             older end";
        Violated(Violation::Unexpected) =>
            "the other end sent a TLS message out of sequence; unless a device in between alters the traffic, update \
             the older end";
        Violated(Violation::Undecryptable) =>
            "the other end sent a TLS record that cannot be decrypted; unless a device in between alters the \
             traffic, update the older end";
        Violated(Violation::TooLong) =>
            "the other end sent a TLS message that is longer than allowed; unless a device in between alters the \
             traffic, update the older end";
        Violated(Violation::Rule) =>
            "the other end violated the TLS protocol; unless a device in between alters the traffic, update the \
             older end";
        Local(LocalFault::Clock) => "the clock of this machine is before 1970; set it";
        Local(LocalFault::Random) => "the system provides no random numbers; does the sandbox allow getrandom(2)?";
        Local(LocalFault::Unknown) =>
            "TLS failed for a reason that this version does not know; the log names it at level debug";
    });
}
