use super::super::authority::{Authority, replace};
use super::*;

#[test]
fn only_host_names_and_addresses_are_server_names() {
    for name in ["localhost", "mapcast.example", "127.0.0.1", "::1"] {
        assert_eq!(server_name(name).unwrap().to_str(), name);
    }
    for name in ["", "a b", "x\ny", "host:8080"] {
        assert!(matches!(server_name(name), Err(Error::Name(refused)) if refused == name), "{name}");
    }
}

#[test]
fn a_bad_file_is_reported_with_its_name() {
    let authority = Authority::new();
    let files = authority.good("x", &["localhost"]);
    let options = ClientTls { ca: Some(files.key.clone()), ..ClientTls::default() };
    let loaded = Connector::load(&options);
    assert!(matches!(&loaded, Err(Error::NoCertificate(path)) if *path == files.key), "{loaded:?}");
    let identity = Some(Identity { cert: files.cert.clone(), key: files.cert.clone() });
    let loaded = Connector::load(&ClientTls { ca: Some(authority.ca.clone()), identity, ..ClientTls::default() });
    assert!(matches!(&loaded, Err(Error::NoKey(path)) if *path == files.cert), "{loaded:?}");
}

/// Returns the configuration of the next connection.
fn next_config(connector: &Connector) -> Arc<ClientConfig> {
    connector.loaded.lock().refresh().iter().for_each(Notice::log);
    Arc::clone(&connector.loaded.lock().config)
}

#[test]
fn files_are_reread_for_each_connection_and_bad_ones_ignored() {
    let (authority, other) = (Authority::new(), Authority::new());
    let files = authority.good("x", &["localhost"]);
    let identity = Some(Identity { cert: files.cert.clone(), key: files.key.clone() });
    let options = ClientTls { ca: Some(authority.ca.clone()), identity, ..ClientTls::default() };
    let connector = Connector::load(&options).unwrap();
    let first = next_config(&connector);
    assert!(Arc::ptr_eq(&first, &next_config(&connector)), "made again without a change");
    // CAs are replaced while certificate and key do not match.
    replace(&files.key, &authority.issue_until(&["localhost"], 2100).key);
    assert!(Arc::ptr_eq(&first, &next_config(&connector)));
    replace(&authority.ca, &std::fs::read_to_string(&other.ca).unwrap());
    let second = next_config(&connector);
    assert!(!Arc::ptr_eq(&first, &second));
    replace(&authority.ca, "garbage");
    assert!(Arc::ptr_eq(&second, &next_config(&connector)));
    authority.good("x", &["localhost"]);
    assert!(!Arc::ptr_eq(&second, &next_config(&connector)), "a pair that matches again is not used");
}
