use super::super::authority::Authority;
use super::*;
use crate::chain::Chain;

#[test]
fn names_and_addresses_are_names_and_others_are_refused() {
    for name in ["localhost", "mapcast.example", "127.0.0.1", "::1"] {
        assert_eq!(server_name(name).unwrap().to_str(), name);
    }
    for name in ["", "a b", "x\ny", "host:8080"] {
        let error = server_name(name).unwrap_err().to_string();
        assert!(error.contains("--tls-name") && !error.contains('\n'), "{error}");
    }
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_name() {
    let authority = Authority::new();
    let files = authority.good("x", &["localhost"]);
    let options = ClientTls { ca: Some(files.key.clone()), ..ClientTls::default() };
    let error = Connector::load(&options).unwrap_err();
    assert!(Chain(&error).to_string().contains("x.key: holds no certificate"), "{error}");
    let identity = Some(Identity { cert: files.cert.clone(), key: files.cert });
    let error = Connector::load(&ClientTls { ca: Some(authority.ca.clone()), identity, ..ClientTls::default() });
    assert!(error.unwrap_err().to_string().contains("x.pem: holds no private key"));
}
