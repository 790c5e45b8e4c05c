//! TLS: accepted and refused certificates.

use super::*;

/// Returns the error of a client that trusts the CA, for a server certificate for `names` that expires in `year`.
fn refusal_of(names: &[&str], year: i32) -> HandshakeError {
    let authority = Authority::new();
    let files = authority.write("x", &authority.issue_until(names, year));
    let running = MapServer::with(HOUR, server(&files)).running;
    let error = refusal(running.addr, &client(&authority, None));
    eventually("the failure is counted", || running.stats().failed_handshakes() == 1);
    error
}

#[test]
fn a_client_with_a_certificate_is_accepted() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let config = mutual_server(&authority.good("x", &["localhost"]), &clients);
    let server = MapServer::with(HOUR, config);
    let ana = clients.good("ana", &["ana"]);
    let mut client = connect(server.running.addr, &client(&authority, Some(&ana))).unwrap();
    assert_eq!(client.next_map().unwrap(), Some(numbered(0)));
}

#[test]
fn a_client_without_a_certificate_gets_that_reason() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let config = mutual_server(&authority.good("x", &["localhost"]), &clients);
    let server = MapServer::with(HOUR, config);
    let error = refusal(server.running.addr, &client(&authority, None));
    assert!(matches!(error, HandshakeError::CertificateRequired), "{error}");
    eventually("the failure is counted", || server.running.stats().failed_handshakes() == 1);
}

#[test]
fn an_expired_or_foreign_client_certificate_is_refused() {
    let (authority, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let config = mutual_server(&authority.good("x", &["localhost"]), &clients);
    let server = MapServer::with(HOUR, config);
    let expired = clients.write("old", &clients.issue_until(&["ana"], 2001));
    for files in [others.good("eve", &["eve"]), expired] {
        let error = refusal(server.running.addr, &client(&authority, Some(&files)));
        assert!(matches!(error, HandshakeError::CertificateRefused(End::Client, _)), "{error:?}");
    }
    eventually("the failures are counted", || server.running.stats().failed_handshakes() == 2);
}

#[test]
fn a_server_of_an_unknown_ca_is_refused() {
    let authority = Authority::new();
    let other = Authority::with(|params| params.distinguished_name.push(rcgen::DnType::CommonName, "others"));
    let running = MapServer::with(HOUR, server(&authority.good("x", &["localhost"]))).running;
    let error = refusal(running.addr, &client(&other, None));
    assert!(matches!(error, HandshakeError::Certificate(End::Server, CertificateFault::UnknownIssuer)), "{error:?}");
    eventually("the failure is counted", || running.stats().failed_handshakes() == 1);
}

#[test]
fn a_certificate_for_another_name_is_refused_with_that_name() {
    let error = refusal_of(&["mapcast.example"], 2100);
    let (wanted, presented) = ("localhost".to_owned(), "mapcast.example".to_owned());
    let fault = CertificateFault::WrongName { wanted, presented };
    assert!(matches!(&error, HandshakeError::Certificate(End::Server, found) if *found == fault), "{error:?}");
}

#[test]
fn an_expired_certificate_is_refused_with_its_date() {
    let error = refusal_of(&["localhost"], 2001);
    assert!(matches!(&error, HandshakeError::Certificate(End::Server, CertificateFault::Expired(_))), "{error:?}");
    assert!(error.to_string().contains("2001-12-31T00:00:00Z"), "{error}");
}

#[test]
fn a_configured_name_overrides_the_host_name() {
    let authority = Authority::new();
    let running = MapServer::with(HOUR, server(&authority.good("x", &["mapcast.example"]))).running;
    let name = Some("mapcast.example".to_owned());
    let options = ClientTls { ca: Some(authority.ca.clone()), name, identity: None };
    let config = ClientConfig { tls: Some(Arc::new(Connector::load(&options).unwrap())), ..client(&authority, None) };
    assert_eq!(connect(running.addr, &config).unwrap().next_map().unwrap(), Some(numbered(0)));
}

#[test]
fn no_session_is_resumed() {
    use rustls::HandshakeKind::{Full, FullWithHelloRetryRequest};
    let authority = Authority::new();
    let server = MapServer::with(HOUR, server(&authority.good("x", &["localhost"])));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = raw_config(&authority, &[version]);
        for round in 0..3 {
            let mut client = raw_client_with(Arc::clone(&config), server.running.addr);
            // A session ticket would arrive with the first data at the latest.
            client.read_exact(&mut [0; 10]).unwrap();
            let kind = client.conn.handshake_kind();
            assert!(matches!(kind, Some(Full | FullWithHelloRetryRequest)), "{version:?}, {round}: {kind:?}");
            assert_eq!(client.conn.tls13_tickets_received(), 0);
        }
    }
}
