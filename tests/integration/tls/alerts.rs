//! TLS: every fault of a peer except certificates, with the bytes that cause it, and its error.
//!
//! Without the rows of `LocalFault` in the table in `src/tls/failure.rs`: a peer cannot cause them.

use std::net::TcpListener;
use std::process::Stdio;
use std::thread;

use mapcast::tls::{Incompatibility, Refusal, Violation};

use super::*;
use crate::support::program::{Program, clean};
use crate::support::{has_command, skip};

/// Returns a TLS record: content type 21 is an alert, 22 a handshake message, 23 data (RFC 8446, section 5.1).
fn record(content: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&[content, 3, 3][..], &length, body].concat()
}

/// Returns a fatal alert.
fn alert(code: u8) -> Vec<u8> {
    record(21, &[2, code])
}

/// Returns a handshake message (RFC 8446, section 4).
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    record(22, &[&[kind], &length[1..], body].concat())
}

/// Returns a `ServerHello` without extensions (RFC 5246, section 7.4.1.3).
fn server_hello(version: [u8; 2], cipher_suite: [u8; 2]) -> Vec<u8> {
    message(2, &[&version[..], &[7; 32], &[0], &cipher_suite, &[0]].concat())
}

/// Returns a `ClientHello` with one cipher suite, one compression method, and optionally the signature schemes of TLS 1.2 (RFC
/// 5246, sections 7.4.1.2 and 7.4.1.4.1).
fn client_hello(version: [u8; 2], compression: u8, with_schemes: bool) -> Vec<u8> {
    let schemes: &[u8] = if with_schemes { &[0, 8, 0, 13, 0, 4, 0, 2, 4, 3] } else { &[] };
    message(1, &[&version[..], &[7; 32], &[0, 0, 2, 0xc0, 0x2b, 1, compression], schemes].concat())
}

/// Returns the error of a client whose server answers the hello with `bytes`.
fn client_error(bytes: Vec<u8>, config: &ClientConfig) -> HandshakeError {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let run = move || {
        let mut socket = listener.accept().unwrap().0;
        let read = socket.read(&mut [0; 16_384]).unwrap();
        assert!(read > 0);
        socket.write_all(&bytes).unwrap();
        // Until the client closes: a reset would destroy unread data.
        let _ = socket.read_to_end(&mut Vec::new());
    };
    let server = thread::Builder::new().spawn(run).unwrap();
    let error = refusal(addr, config);
    server.join().unwrap();
    assert_plain_words(&error.to_string());
    error
}

/// Returns the log line of a server about a client that sends `bytes`.
fn server_error(files: &Files, bytes: &[u8]) -> String {
    let server = start(files);
    let mut socket = TcpStream::connect(server.addr_with_tls()).unwrap();
    socket.write_all(bytes).unwrap();
    let line = server.wait_log("no TLS handshake");
    assert_plain_words(&server.log().join("\n"));
    line
}

fn start(files: &Files) -> Program {
    let (cert, key) = (files.cert.to_str().unwrap(), files.key.to_str().unwrap());
    Program::server(&["--tls-cert", cert, "--tls-key", key])
}

#[track_caller]
fn assert_plain_words(text: &str) {
    for word in ["peer ", "received ", "fatal", "Alert", "Incompatible", "Misbehaved", "rustls"] {
        assert!(!text.contains(word), "{word:?} in {text}");
    }
}

/// Codes of alerts, and the errors of a client with a certificate and of a server that receive them (RFC 8446, section 6; RFC
/// 5246, section 7.2).
fn alerts() -> Vec<(&'static [u8], HandshakeError, HandshakeError)> {
    let refused: [(&[u8], Refusal); 8] = [
        (&[48], Refusal::UnknownCa),
        (&[45], Refusal::Expired),
        (&[44], Refusal::Revoked),
        (&[42], Refusal::BadCertificate),
        (&[43], Refusal::Unsupported),
        (&[51], Refusal::Signature),
        (&[49], Refusal::Denied),
        (&[46, 111, 113, 114], Refusal::Unspecified),
    ];
    let incompatible: [(&[u8], Incompatibility); 3] = [
        (&[70, 86], Incompatibility::Version),
        (&[60, 71], Incompatibility::CipherSuite),
        (&[40, 109, 120, 121], Incompatibility::Unspecified),
    ];
    let refused = refused.map(|(codes, why)| {
        let error = |owner| HandshakeError::CertificateRefused(owner, why);
        (codes, error(End::Client), error(End::Server))
    });
    let incompatible = incompatible.map(|(codes, what)| {
        let error = || HandshakeError::Incompatible(what);
        (codes, error(), error())
    });
    let others = [
        (&[80][..], HandshakeError::PeerFailed, HandshakeError::PeerFailed),
        (&[10, 20, 21, 22, 30, 47, 50, 110, 115, 200], HandshakeError::NotUnderstood, HandshakeError::NotUnderstood),
        (&[116, 41], HandshakeError::CertificateRequired, HandshakeError::NotUnderstood),
    ];
    refused.into_iter().chain(incompatible).chain(others).collect()
}

#[test]
fn a_client_reports_every_alert_in_plain_words() {
    let authority = Authority::new();
    let config = client(&authority, Some(&authority.good("own", &["ana"])));
    let rows = alerts().into_iter().map(|(codes, client, _)| (codes, client));
    let unknown_name = (&[112_u8][..], HandshakeError::UnknownName);
    for (codes, wanted) in rows.chain([unknown_name]) {
        for code in codes {
            // Each error has a text of its own.
            assert_eq!(client_error(alert(*code), &config).to_string(), wanted.to_string(), "{code}");
        }
    }
    for code in [40, 42, 116] {
        let error = client_error(alert(code), &client(&authority, None));
        assert!(matches!(error, HandshakeError::CertificateRequired), "{code}: {error:?}");
    }
}

#[test]
fn a_server_reports_every_alert_in_plain_words() {
    let authority = Authority::new();
    let files = authority.good("x", &["localhost"]);
    for (codes, _, wanted) in alerts() {
        let line = server_error(&files, &alert(codes[0]));
        assert!(line.contains(&wanted.to_string()), "{}: {line}\nis not\n{wanted}", codes[0]);
    }
}

#[test]
fn a_protocol_violation_is_reported_in_plain_words() {
    let authority = Authority::new();
    let config = client(&authority, None);
    let tls_1_0 = [3, 1];
    for (bytes, wanted) in [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), HandshakeError::PlainServer),
        (message(1, &client_hello([3, 3], 0, true)[9..]), HandshakeError::Violated(Violation::Unexpected)),
        (server_hello(tls_1_0, [0xc0, 0x2b]), HandshakeError::Incompatible(Incompatibility::Version)),
        // TLS_RSA_WITH_RC4_128_SHA, which was not offered.
        (server_hello([3, 3], [0, 5]), HandshakeError::Violated(Violation::Rule)),
    ] {
        assert_eq!(client_error(bytes, &config).to_string(), wanted.to_string());
    }
    let files = authority.good("x", &["localhost"]);
    // The longest message that a header can announce, in records of four bytes.
    let endless = b"\x16\x03\x01\x00\x04\x01\x00\xff\xff".repeat(20_000);
    for (bytes, wanted) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), HandshakeError::PlainClient),
        (message(14, &[]), HandshakeError::Violated(Violation::Unexpected)),
        (client_hello(tls_1_0, 0, false), HandshakeError::Incompatible(Incompatibility::Version)),
        (client_hello([3, 3], 1, true), HandshakeError::Incompatible(Incompatibility::Feature)),
        (endless, HandshakeError::Violated(Violation::TooLong)),
    ] {
        let line = server_error(&files, &bytes);
        assert!(line.contains(&wanted.to_string()), "{line}\nis not\n{wanted}");
    }
}

#[test]
fn a_violation_after_the_handshake_is_reported_in_plain_words() {
    let authority = Authority::new();
    let files = authority.good("x", &["localhost"]);
    let server = start(&files);
    for (bytes, violation) in [(record(23, &[7; 40]), Violation::Undecryptable), (vec![0xff; 40], Violation::Malformed)]
    {
        let mut client = raw_client(&authority, server.addr_with_tls());
        client.read_exact(&mut [0; 10]).unwrap();
        client.sock.write_all(&bytes).unwrap();
        let line = server.wait_log(&HandshakeError::Violated(violation).to_string());
        assert_plain_words(&line);
    }
}

#[test]
fn a_handshake_without_common_parameters_names_them() {
    if !has_command("openssl") {
        return skip("no openssl");
    }
    let authority = Authority::new();
    let files = authority.good("x", &["localhost"]);
    for (args, wanted) in [
        ("-groups P-521", Incompatibility::KeyExchange),
        ("-tls1_3 -ciphersuites TLS_AES_128_CCM_SHA256", Incompatibility::CipherSuite),
        ("-tls1_3 -sigalgs rsa_pss_rsae_sha256", Incompatibility::Signature),
    ] {
        let server = start(&files);
        let mut command = clean("openssl");
        command.args(["s_client", "-connect", &server.addr_with_tls().to_string()]).args(args.split(' '));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut client = command.spawn().unwrap();
        let line = server.wait_log("no TLS handshake");
        client.wait().unwrap();
        let wanted = HandshakeError::Incompatible(wanted).to_string();
        assert!(line.contains(&wanted), "{args}: {line}\nis not\n{wanted}");
        assert_plain_words(&line);
    }
}
