//! TLS: every fault of a certificate, in a real handshake, and the error at each end.
//!
//! Without the rows of the table in `src/tls/failure.rs` that no certificate can cause: `Revoked`, because no revocation list is
//! used, and `Unknown`, for errors of later releases of rustls. The server finds `ChainOrder` in its own file: a peer sorts a
//! chain.

use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::thread;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use mapcast::tls::{self, Refusal};
use rcgen::{
    BasicConstraints, CustomExtension, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair, NameConstraints,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::*;
use crate::support::authority::Issued;
use crate::support::program::{Program, clean, run};
use crate::support::{has_command, skip};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Returns an authority with this name.
fn named_authority(name: &str) -> Authority {
    Authority::with(|params| params.distinguished_name.push(DnType::CommonName, name))
}

/// Returns a certificate, followed by those of `by` in its file.
fn followed(issued: Issued, by: &[&Authority]) -> Issued {
    let chain = by.iter().map(|authority| fs::read_to_string(&authority.ca).unwrap());
    Issued { cert: [issued.cert].into_iter().chain(chain).collect(), ..issued }
}

fn der(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

fn pem(der: &[u8]) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", BASE64_STANDARD.encode(der))
}

/// Replaces every `old` in a certificate by `new`.
fn patched(issued: Issued, old: &[u8], new: &[u8]) -> Issued {
    let mut der = der(&issued.cert);
    let places: Vec<_> = (0..=der.len() - old.len()).filter(|at| der[*at..].starts_with(old)).collect();
    assert!(!places.is_empty(), "nothing to patch");
    for at in places {
        der[at..at + old.len()].copy_from_slice(new);
    }
    Issued { cert: pem(&der), ..issued }
}

/// Returns a CA whose certificate is also that of the server, as in most tutorials.
fn self_signed_ca() -> (Authority, Issued) {
    let key = KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let cert = params.self_signed(&key).unwrap().pem();
    let authority = Authority::new();
    replace(&authority.ca, &cert);
    (authority, Issued { cert, key: key.serialize_pem() })
}

/// Returns a certificate signed by one that is not of a CA.
fn issued_by_no_ca() -> (Authority, Issued) {
    let root = named_authority("root");
    let none = root.below(|params| params.is_ca = IsCa::ExplicitNoCa);
    let issued = followed(none.issue(|_| ()), &[&none]);
    (root, issued)
}

/// Returns a certificate below more CAs than the root allows.
fn issued_too_deep() -> (Authority, Issued) {
    let root = Authority::with(|params| {
        params.distinguished_name.push(DnType::CommonName, "root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    let upper = root.below(|params| {
        params.distinguished_name.push(DnType::CommonName, "upper");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    });
    let lower = upper.below(|_| ());
    let issued = followed(lower.issue(|_| ()), &[&lower, &upper]);
    (root, issued)
}

/// Returns a certificate with more intermediate ones than a verifier checks, all invalid.
fn issued_with_many_intermediates() -> (Authority, Issued) {
    let (root, false_root) = (named_authority("root"), named_authority("root"));
    let crowd: Vec<_> = (0..110).map(|_| false_root.below(|_| ())).collect();
    let issued = followed(crowd[0].issue(|_| ()), &crowd.iter().collect::<Vec<_>>());
    (root, issued)
}

/// Returns a certificate for a name outside the name constraints of its CA.
fn issued_outside_the_constraints() -> (Authority, Issued) {
    let limited = Authority::with(|params| {
        let permitted_subtrees = vec![GeneralSubtree::DnsName("example".to_owned())];
        params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: vec![] });
    });
    let issued = limited.issue(|_| ());
    (limited, issued)
}

/// Returns a certificate that declares ecdsa-with-SHA224, with a signature of ecdsa-with-SHA256 (RFC 5758, section 3.2).
fn issued_with_sha224() -> (Authority, Issued) {
    let authority = Authority::new();
    let issued = authority.issue(|_| ());
    let (sha256, sha224) = (b"\x2a\x86\x48\xce\x3d\x04\x03\x02", b"\x2a\x86\x48\xce\x3d\x04\x03\x01");
    (authority, patched(issued, sha256, sha224))
}

/// A row of the table: the certificate of a server, for a client that trusts the CA of `authority`, and the errors.
struct Row {
    authority: Authority,
    issued: Issued,
    /// True if and only if the server logs the fault at startup.
    is_logged: bool,
    /// The error of the client.
    fault: CertificateFault,
    /// The error of the server.
    refusal: Refusal,
}

fn of_server(fault: &CertificateFault) -> HandshakeError {
    HandshakeError::Certificate(End::Server, fault.clone())
}

#[allow(clippy::too_many_lines, reason = "a table")]
fn rows() -> Vec<Row> {
    let row = |(authority, issued), is_logged, fault, refusal| Row { authority, issued, is_logged, fault, refusal };
    let plain = |change: &dyn Fn(&mut rcgen::CertificateParams)| {
        let authority = Authority::new();
        let issued = authority.issue(|params| change(params));
        (authority, issued)
    };
    let (one, other) = (Authority::new(), Authority::new());
    let of_other_key = (one, other.issue(|_| ()));
    let (one, other) = (named_authority("one"), named_authority("other"));
    let of_unknown = (one, other.issue(|_| ()));
    let (expiry, start) = (date_time_ymd(2001, 12, 31), date_time_ymd(2999, 1, 1));
    let (wanted, presented) = ("localhost".to_owned(), "mapcast.example".to_owned());
    vec![
        row(
            plain(&|params| params.not_after = expiry),
            true,
            CertificateFault::Expired(Some(expiry.into())),
            Refusal::Expired,
        ),
        row(
            plain(&|params| params.not_before = start),
            true,
            CertificateFault::NotYetValid(Some(start.into())),
            Refusal::Expired,
        ),
        row(
            plain(&|params| {
                params.subject_alt_names = vec![rcgen::SanType::DnsName("mapcast.example".try_into().unwrap())];
            }),
            false,
            CertificateFault::WrongName { wanted, presented },
            Refusal::BadCertificate,
        ),
        row(plain(&|params| params.subject_alt_names.clear()), true, CertificateFault::NoName, Refusal::BadCertificate),
        row(of_unknown, false, CertificateFault::UnknownIssuer, Refusal::UnknownCa),
        row(of_other_key, false, CertificateFault::BadSignature, Refusal::Signature),
        row(self_signed_ca(), true, CertificateFault::IsCa, Refusal::Unspecified),
        row(issued_by_no_ca(), true, CertificateFault::IssuerNotCa, Refusal::Unspecified),
        row(
            plain(&|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
            true,
            CertificateFault::WrongPurpose,
            Refusal::Unsupported,
        ),
        row(issued_with_sha224(), false, CertificateFault::UnsupportedSignature, Refusal::Signature),
        row(issued_outside_the_constraints(), false, CertificateFault::NameConstraint, Refusal::Unspecified),
        row(issued_too_deep(), false, CertificateFault::ChainTooLong, Refusal::Unspecified),
        row(issued_with_many_intermediates(), false, CertificateFault::ChainTooComplex, Refusal::Unspecified),
    ]
}

/// Fails if a text contains words of the TLS libraries.
#[track_caller]
fn assert_plain_words(text: &str) {
    for word in ["peer certificate", "Other(", "received fatal", "UnknownIssuer", "UsedAs", "webpki", "rustls"] {
        assert!(!text.contains(word), "{word:?} in {text}");
    }
}

#[test]
fn every_server_certificate_fault_is_reported_at_both_ends() {
    for row in rows() {
        let files = row.authority.write("x", &row.issued);
        let server = Program::server(&["--tls-cert", text(&files.cert), "--tls-key", text(&files.key)]);
        let addr = server.addr_with_tls();
        let error = refusal(addr, &client(&row.authority, None));
        let is_fault = matches!(&error, HandshakeError::Certificate(End::Server, fault) if *fault == row.fault);
        assert!(is_fault, "{error:?} is not {:?}", row.fault);
        assert_plain_words(&error.to_string());
        let line = server.wait_log("no TLS handshake");
        let wanted = HandshakeError::CertificateRefused(End::Server, row.refusal).to_string();
        assert!(line.contains(&wanted), "{line}\nis not\n{wanted}\n({error})");
        if matches!(row.fault, CertificateFault::Expired(_)) {
            server.wait_log("the TLS certificate has expired 2001-12-31T00:00:00Z");
        } else if row.is_logged {
            server.wait_log(&format!("x.pem: {}", of_server(&row.fault)));
        }
        assert_plain_words(&server.log().join("\n"));
    }
}

#[test]
fn every_client_certificate_fault_is_reported_at_both_ends() {
    let authority = Authority::new();
    let server_files = authority.good("x", &["localhost"]);
    let (self_ca, self_issued) = self_signed_ca();
    let clients = Authority::new();
    let good = |change: &dyn Fn(&mut rcgen::CertificateParams)| clients.issue(|params| change(params));
    let stranger = named_authority("stranger").issue(|_| ());
    let expiry = date_time_ymd(2001, 12, 31);
    for (ca, issued, refused, fault) in [
        (
            &clients,
            good(&|params| params.not_after = expiry),
            Refusal::Expired,
            CertificateFault::Expired(Some(expiry.into())),
        ),
        (&clients, stranger, Refusal::UnknownCa, CertificateFault::UnknownIssuer),
        (&clients, Authority::new().issue(|_| ()), Refusal::Signature, CertificateFault::BadSignature),
        (
            &clients,
            good(&|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
            Refusal::Unsupported,
            CertificateFault::WrongPurpose,
        ),
        (&self_ca, self_issued, Refusal::Unspecified, CertificateFault::IsCa),
    ] {
        let own = clients.write("own", &issued);
        let tls = ["--tls-cert", text(&server_files.cert), "--tls-key", text(&server_files.key)];
        let server = Program::server(&[&tls[..], &["--tls-client-ca", text(&ca.ca)]].concat());
        let error = refusal(server.addr_with_tls(), &client(&authority, Some(&own)));
        let is_refusal = matches!(&error, HandshakeError::CertificateRefused(End::Client, why) if *why == refused);
        assert!(is_refusal, "{error:?} is not {refused:?}");
        assert_plain_words(&error.to_string());
        let line = server.wait_log("no TLS handshake");
        let wanted = HandshakeError::Certificate(End::Client, fault).to_string();
        assert!(line.contains(&wanted), "{line}\nis not\n{wanted}");
        assert_plain_words(&server.log().join("\n"));
    }
}

/// Starts a server of rustls, for one client, that accepts any certificate as its own.
fn show(chain: Vec<CertificateDer<'static>>, key: &str) -> SocketAddr {
    #[cfg(feature = "tls-aws-lc")]
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(not(feature = "tls-aws-lc"))]
    let provider = rustls::crypto::ring::default_provider();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let key = provider.key_provider.load_private_key(key).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(provider));
    let config = config.with_protocol_versions(rustls::DEFAULT_VERSIONS).unwrap().with_no_client_auth();
    let resolver = SingleCertAndKey::from(CertifiedKey::new(chain, key));
    let config = Arc::new(config.with_cert_resolver(Arc::new(resolver)));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let run = move || {
        let socket = listener.accept().unwrap().0;
        let mut stream = rustls::StreamOwned::new(rustls::ServerConnection::new(config).unwrap(), socket);
        let _ = stream.read(&mut [0]);
    };
    thread::Builder::new().spawn(run).unwrap();
    addr
}

/// Returns the error of a server that does not start with the certificate in `file`.
fn refused(file: &str, fault: CertificateFault) -> String {
    tls::Error::Certificate(file.into(), fault).to_string()
}

#[test]
fn certificates_that_our_server_refuses_are_reported_too() {
    let authority = Authority::new();
    let issued = authority.issue(|_| ());
    let first = patched(authority.issue(|_| ()), b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x00");
    let critical = authority.issue(|params| {
        let mut unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
        unknown.set_criticality(true);
        params.custom_extensions.push(unknown);
    });
    let files = authority.write("critical", &critical);
    let server = Program::server(&["--tls-cert", text(&files.cert), "--tls-key", text(&files.key)]).finish();
    server.assert_exit(2).assert_stderr(&refused("critical.pem", CertificateFault::UnsupportedExtension));
    for (cert, wanted) in [
        (der(&critical.cert), CertificateFault::UnsupportedExtension),
        (b"garbage".to_vec(), CertificateFault::Malformed),
        (der(&first.cert), CertificateFault::OldVersion),
    ] {
        let error = refusal(show(vec![cert.into()], &issued.key), &client(&authority, None));
        assert!(matches!(&error, HandshakeError::Certificate(End::Server, fault) if *fault == wanted), "{error:?}");
        assert_plain_words(&error.to_string());
    }
    // A name that cannot be in a certificate, but that the system resolves.
    let addr = show(vec![der(&issued.cert).into()], &issued.key);
    let connected =
        Client::connect(&format!("127.1:{}", addr.port()), &client(&authority, None), &Shutdown::new().unwrap());
    let Err(Error::Tls(HandshakeError::Certificate(End::Server, fault))) = connected else { panic!("{connected:?}") };
    assert_eq!(fault, CertificateFault::NotAName("127.1".to_owned()));
}

#[test]
fn a_chain_in_the_wrong_order_is_logged_and_served() {
    let root = named_authority("root");
    let upper = root.below(|params| params.distinguished_name.push(DnType::CommonName, "upper"));
    let lower = upper.below(|params| params.distinguished_name.push(DnType::CommonName, "lower"));
    let issued = followed(lower.issue(|_| ()), &[&upper, &lower]);
    let files = root.write("x", &issued);
    let tls = ["--tls-cert", text(&files.cert), "--tls-key", text(&files.key), "--format", "json"];
    let server = Program::server(&tls);
    server.wait_log(&format!("x.pem: {}", of_server(&CertificateFault::ChainOrder)));
    connect(server.addr_with_tls(), &client(&root, None)).unwrap().next_map().unwrap();
}

/// As in tutorials: `openssl req -x509` creates a CA, `openssl x509 -req` without extensions a certificate of version 1.
#[test]
fn certificates_from_tutorials_are_explained_at_startup() {
    if !has_command("openssl") {
        return skip("no openssl");
    }
    let directory = tempfile::tempdir().unwrap();
    let openssl = |args: &str| {
        let mut command = clean("openssl");
        command.current_dir(directory.path()).args(args.split(' '));
        run(command).assert_exit(0);
    };
    openssl("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 30 -subj /CN=localhost");
    openssl("req -newkey rsa:2048 -nodes -keyout v1.key -out v1.csr -subj /CN=localhost");
    openssl("x509 -req -in v1.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -out v1.pem");
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let server = Program::server(&["--tls-cert", &path("ca.pem"), "--tls-key", &path("ca.key")]);
    let is_ca = of_server(&CertificateFault::IsCa).to_string();
    server.wait_log(&format!("ca.pem: {is_ca}"));
    let client = Program::client(&["--tls", "--tls-ca", &path("ca.pem"), &named(server.addr_with_tls())]).finish();
    client.assert_exit(3).assert_stderr(&is_ca);
    assert_plain_words(&client.stderr);
    // OpenSSL 3.4 creates version 3 by default.
    if !der(&fs::read_to_string(path("v1.pem")).unwrap()).windows(5).any(|bytes| bytes == b"\xa0\x03\x02\x01\x02") {
        let server = Program::server(&["--tls-cert", &path("v1.pem"), "--tls-key", &path("v1.key")]).finish();
        server.assert_exit(2).assert_stderr(&refused("v1.pem", CertificateFault::OldVersion));
        assert_plain_words(&server.stderr);
    }
}
