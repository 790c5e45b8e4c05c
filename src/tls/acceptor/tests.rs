use super::super::authority::{Authority, Files, replace};
use super::*;

fn server_tls(files: &Files) -> ServerTls {
    ServerTls { identity: Identity { cert: files.cert.clone(), key: files.key.clone() }, client_ca: None }
}

fn config(acceptor: &Acceptor) -> Arc<ServerConfig> {
    Arc::clone(&acceptor.current.read().unwrap().config)
}

fn year(acceptor: &Acceptor) -> String {
    date(acceptor.not_after().unwrap()).split('-').next().unwrap().to_owned()
}

fn text(error: &Error) -> String {
    Chain(error).to_string()
}

#[test]
fn it_knows_when_its_certificate_runs_out() {
    let authority = Authority::new();
    for wanted in [2001, 2049, 2051, 2999] {
        let files = authority.write("x", &authority.issue_until(&["localhost"], wanted));
        let acceptor = Acceptor::load(server_tls(&files)).unwrap();
        assert_eq!(date(acceptor.not_after().unwrap()), format!("{wanted}-12-31T00:00:00Z"));
    }
}

#[test]
fn files_that_are_no_pair_are_refused_with_their_names() {
    let authority = Authority::new();
    let (one, other) = (authority.good("one", &["localhost"]), authority.good("other", &["localhost"]));
    let error = Acceptor::load(server_tls(&Files { cert: one.cert, key: other.key })).unwrap_err();
    assert!(text(&error).contains("one.pem and ") && text(&error).contains("no certificate and its key"), "{error}");
}

#[test]
fn a_certificate_that_is_replaced_is_taken_once_it_is_the_same_in_two_looks() {
    let authority = Authority::new();
    let files = authority.write("x", &authority.issue_until(&["localhost"], 2050));
    let acceptor = Acceptor::load(server_tls(&files)).unwrap();
    let mut watch = Watch::new(&acceptor);
    assert!(watch.look().is_none());
    let new = authority.issue_until(&["localhost"], 2060);
    replace(&files.cert, &new.cert);
    // The key is still the old one: between two renames there is a moment that is nobody's fault.
    assert!(watch.look().is_none());
    replace(&files.key, &new.key);
    assert!(watch.look().is_none());
    assert!(matches!(watch.look(), Some(Ok(()))));
    assert_eq!(year(&acceptor), "2060");
    assert!(watch.look().is_none());
}

#[test]
fn bad_files_keep_the_old_ones_and_are_told_once() {
    let authority = Authority::new();
    let files = authority.good("x", &["localhost"]);
    let acceptor = Acceptor::load(server_tls(&files)).unwrap();
    let (mut watch, before) = (Watch::new(&acceptor), config(&acceptor));
    let good = std::fs::read_to_string(&files.cert).unwrap();
    for (fault, wanted) in [("garbage", "holds no certificate"), ("-----BEGIN CERTIFICATE-----\n!", "no sound PEM")] {
        replace(&files.cert, fault);
        assert!(watch.look().is_none());
        let Some(Err(error)) = watch.look() else { panic!("{fault}: not told") };
        assert!(text(&error).contains(wanted), "{error}");
        assert!(watch.look().is_none() && watch.look().is_none(), "{fault}: told twice");
    }
    std::fs::remove_file(&files.cert).unwrap();
    assert!(watch.look().is_none());
    assert!(matches!(watch.look(), Some(Err(Error::Unreadable(..)))));
    assert!(watch.look().is_none());
    assert!(Arc::ptr_eq(&before, &config(&acceptor)));
    replace(&files.cert, &good);
    assert!(watch.look().is_none());
    assert!(matches!(watch.look(), Some(Ok(()))));
}

#[test]
fn the_end_is_warned_of_two_weeks_before_and_once_a_day() {
    let authority = Authority::new();
    let files = authority.write("x", &authority.issue_until(&["localhost"], 2050));
    let acceptor = Acceptor::load(server_tls(&files)).unwrap();
    let not_after = acceptor.not_after().unwrap();
    let day = Duration::from_hours(24);
    let mut watch = Watch::new(&acceptor);
    let mut warned = |now| {
        watch.warn_of_the_end(now);
        // One that is held back counts; one that passes does not.
        watch.warnings.each_ref().map(|throttle| format!("{throttle:?}").contains("passed: Some"))
    };
    assert_eq!(warned(not_after - 15 * day), [false, false]);
    assert_eq!(warned(not_after - 13 * day), [true, false]);
    assert_eq!(warned(not_after + day), [true, true]);
}

#[test]
fn keys_are_not_shown() {
    let authority = Authority::new();
    let acceptor = Acceptor::load(server_tls(&authority.good("x", &["localhost"]))).unwrap();
    assert!(format!("{acceptor:?}").ends_with("client_ca: None }, .. }"), "{acceptor:?}");
}
