//! TLS: every fault of a peer except certificates, with the bytes that cause it, and its message.
//!
//! Without the rows of `LocalFault` in the table in `src/tls/failure.rs`: a peer cannot cause them.

use std::net::TcpListener;
use std::process::Stdio;
use std::thread;

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
fn client_error(bytes: Vec<u8>, config: &ClientConfig) -> String {
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
    let said = refusal(addr, config).to_string();
    server.join().unwrap();
    said
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

/// Codes of alerts, and the messages of a client with a certificate and of a server that receive them (RFC 8446, section 6;
/// RFC 5246, section 7.2).
const ALERTS: [(&[u8], &str, &str); 14] = [
    (
        &[48],
        "the server does not accept the client's certificate: its CA is not trusted; use a",
        "its CA is not trusted; give",
    ),
    (&[45], "it has expired, or is not valid yet, by the clock there; renew it", "it has expired, or is not valid yet"),
    (&[44], "it has been revoked; issue a new one", "it has been revoked; issue a new one"),
    (
        &[42],
        "it is for another name, or not well-formed; issue one with extendedKeyUsage=clientAuth",
        "issue one for the name",
    ),
    (&[43], "its purpose or its type is not supported", "extendedKeyUsage=serverAuth"),
    (&[51], "a signature is wrong, or its algorithm is not supported", "a signature is wrong"),
    (&[49], "access denied; use a certificate that the other end allows", "access denied"),
    (&[46, 111, 113, 114], "no reason given; see the log there", "no reason given; see"),
    (&[70, 86], "no common TLS version: this end speaks TLS 1.2 and 1.3; update", "no common TLS version"),
    (&[60, 71], "no common cipher suite; allow", "no common cipher suite; allow"),
    (&[40, 109, 120, 121], "the other end found no common TLS parameters; update", "no common TLS parameters"),
    (&[80], "the other end failed without a reason; see its log", "the other end failed without a reason"),
    (
        &[10, 20, 21, 22, 30, 47, 50, 110, 115, 200],
        "the other end rejected a message of this end as invalid; unless a device",
        "the other end rejected a message of this end as invalid; unless a device",
    ),
    (&[116, 41], "the server requires a client certificate", "the other end rejected a message"),
];

#[test]
fn a_client_reports_every_alert_in_plain_words() {
    let authority = Authority::new();
    let config = client(&authority, Some(&authority.good("own", &["ana"])));
    let rows = ALERTS.iter().map(|(codes, client, _)| (*codes, *client));
    let unknown_name = (&[112_u8][..], "no certificate for the requested name");
    for (codes, wanted) in rows.chain([unknown_name]) {
        for code in codes {
            let said = client_error(alert(*code), &config);
            assert!(said.contains(wanted), "{code}: {said}\nis not\n{wanted}");
            assert_plain_words(&said);
        }
    }
    for code in [40, 42, 116] {
        let said = client_error(alert(code), &client(&authority, None));
        assert!(said.contains("the server requires a client certificate"), "{code}: {said}");
    }
}

#[test]
fn a_server_reports_every_alert_in_plain_words() {
    let authority = Authority::new();
    let files = authority.good("x", &["localhost"]);
    for (codes, _, wanted) in ALERTS {
        let line = server_error(&files, &alert(codes[0]));
        assert!(line.contains(wanted), "{}: {line}\nis not\n{wanted}", codes[0]);
    }
}

#[test]
fn a_protocol_violation_is_reported_in_plain_words() {
    let authority = Authority::new();
    let config = client(&authority, None);
    let tls_1_0 = [3, 1];
    for (bytes, wanted) in [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "the server does not speak TLS"),
        (message(1, &client_hello([3, 3], 0, true)[9..]), "sent a TLS message out of sequence; unless a device"),
        (server_hello(tls_1_0, [0xc0, 0x2b]), "no common TLS version"),
        // TLS_RSA_WITH_RC4_128_SHA, which was not offered.
        (server_hello([3, 3], [0, 5]), "the other end violated the TLS protocol; unless a device"),
    ] {
        let said = client_error(bytes, &config);
        assert!(said.contains(wanted), "{said}\nis not\n{wanted}");
        assert_plain_words(&said);
    }
    let files = authority.good("x", &["localhost"]);
    // The longest message that a header can announce, in records of four bytes.
    let endless = b"\x16\x03\x01\x00\x04\x01\x00\xff\xff".repeat(20_000);
    for (bytes, wanted) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "the client does not speak TLS; connect with TLS"),
        (message(14, &[]), "sent a TLS message out of sequence"),
        (
            client_hello(tls_1_0, 0, false),
            "no common TLS version: this end speaks TLS 1.2 and 1.3; update the other end",
        ),
        (
            client_hello([3, 3], 1, true),
            "the other end lacks a TLS feature that this end requires; update the other end",
        ),
        (endless, "sent a TLS message that is longer than allowed"),
    ] {
        let line = server_error(&files, &bytes);
        assert!(line.contains(wanted), "{line}\nis not\n{wanted}");
    }
}

#[test]
fn a_violation_after_the_handshake_is_reported_in_plain_words() {
    let authority = Authority::new();
    let files = authority.good("x", &["localhost"]);
    let server = start(&files);
    for (bytes, wanted) in [
        (record(23, &[7; 40]), "sent a TLS record that cannot be decrypted; unless a device"),
        (vec![0xff; 40], "sent a malformed TLS message; unless a device"),
    ] {
        let mut client = raw_client(&authority, server.addr_with_tls());
        client.read_exact(&mut [0; 10]).unwrap();
        client.sock.write_all(&bytes).unwrap();
        let line = server.wait_log(&format!("TLS protocol violation: the other end {wanted}"));
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
        ("-groups P-521", "no common key exchange group; allow X25519, P-256 or P-384"),
        ("-tls1_3 -ciphersuites TLS_AES_128_CCM_SHA256", "no common cipher suite; allow ECDHE with AES-GCM"),
        ("-tls1_3 -sigalgs rsa_pss_rsae_sha256", "no common signature scheme for the key of the certificate; use"),
    ] {
        let server = start(&files);
        let mut command = clean("openssl");
        command.args(["s_client", "-connect", &server.addr_with_tls().to_string()]).args(args.split(' '));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut client = command.spawn().unwrap();
        let line = server.wait_log("no TLS handshake");
        client.wait().unwrap();
        assert!(line.contains(wanted), "{args}: {line}\nis not\n{wanted}");
        assert_plain_words(&line);
    }
}
