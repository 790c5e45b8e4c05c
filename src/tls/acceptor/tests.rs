use super::super::authority::{Authority, Files, replace};
use super::*;

fn server_tls(files: &Files) -> ServerTls {
    ServerTls { identity: Identity { cert: files.cert.clone(), key: files.key.clone() }, client_ca: None }
}

fn current(acceptor: &Acceptor) -> Current {
    acceptor.current.read().clone()
}

#[test]
fn the_acceptor_returns_the_expiry_of_its_certificate() {
    let authority = Authority::new();
    for wanted in [2001, 2049, 2051, 2999] {
        let files = authority.write("x", &authority.issue_until(&["localhost"], wanted));
        let acceptor = Acceptor::load(server_tls(&files)).unwrap();
        assert_eq!(date(acceptor.not_after().unwrap()), format!("{wanted}-12-31T00:00:00Z"));
    }
}

#[test]
fn files_that_are_not_a_pair_are_refused_by_name() {
    let authority = Authority::new();
    let (one, other) = (authority.good("one", &["localhost"]), authority.good("other", &["localhost"]));
    let tls = server_tls(&Files { cert: one.cert, key: other.key });
    let loaded = Acceptor::load(tls.clone());
    assert!(matches!(&loaded, Err(Error::Identity(named)) if *named == tls.identity), "{loaded:?}");
}

#[test]
fn client_cas_are_replaced_while_the_certificate_is_invalid() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let files = authority.good("x", &["localhost"]);
    let acceptor = Acceptor::load(ServerTls { client_ca: Some(clients.ca.clone()), ..server_tls(&files) }).unwrap();
    let before = current(&acceptor);
    let look_twice = || {
        acceptor.refresh();
        acceptor.refresh();
    };
    look_twice();
    assert!(Arc::ptr_eq(&before.config, &current(&acceptor).config), "nothing has changed");
    replace(&files.cert, "garbage");
    look_twice();
    assert!(Arc::ptr_eq(&before.config, &current(&acceptor).config));
    replace(&clients.ca, &std::fs::read_to_string(&Authority::new().ca).unwrap());
    look_twice();
    let after = current(&acceptor);
    assert!(!Arc::ptr_eq(&before.config, &after.config), "one who should be shut out is still let in");
    assert_eq!(before.not_after, after.not_after);
}

#[test]
fn expiry_is_logged_daily_from_two_weeks_before() {
    let not_after = SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 20_000);
    let day = Duration::from_hours(24);
    let mut expiry = ExpiryWarnings::new();
    let mut warned = |now| {
        expiry.warn(Some(not_after), now);
        // A suppressed line is counted, a logged one is not.
        [&expiry.soon, &expiry.over].map(|throttle| format!("{throttle:?}").contains("passed: Some"))
    };
    assert_eq!(warned(not_after - 15 * day), [false, false]);
    assert_eq!(warned(not_after - 13 * day), [true, false]);
    assert_eq!(warned(not_after + day), [true, true]);
}

#[test]
fn debug_output_shows_no_private_key() {
    let authority = Authority::new();
    let acceptor = Acceptor::load(server_tls(&authority.good("x", &["localhost"]))).unwrap();
    assert!(format!("{acceptor:?}").ends_with("client_ca: None }, .. }"), "{acceptor:?}");
}
