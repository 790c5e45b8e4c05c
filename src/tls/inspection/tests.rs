use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType, date_time_ymd,
};

use super::*;
use crate::tls::time::system_time;

/// Returns a valid certificate, modified by `change`, and the CAs above it, the root last.
fn chain(change: impl FnOnce(&mut CertificateParams)) -> Vec<CertificateDer<'static>> {
    let ca = |name: &str| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        (params, KeyPair::generate().unwrap())
    };
    let ((root, root_key), (middle, middle_key)) = (ca("root"), ca("middle"));
    let root_der = root.self_signed(&root_key).unwrap().der().clone();
    let root = Issuer::new(root, root_key);
    let middle_der = middle.signed_by(&middle_key, &root).unwrap().der().clone();
    let middle = Issuer::new(middle, middle_key);
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    change(&mut params);
    let own = params.signed_by(&KeyPair::generate().unwrap(), &middle).unwrap();
    vec![own.der().clone(), middle_der, root_der]
}

fn server(chain: &[CertificateDer<'_>]) -> Vec<CertificateFault> {
    faults(chain, End::Server)
}

#[test]
fn a_good_certificate_has_no_fault_with_or_without_a_chain() {
    let chain = chain(|_| ());
    for length in 1..=chain.len() {
        assert_eq!(server(&chain[..length]), []);
        assert_eq!(faults(&chain[..length], End::Client), []);
    }
    assert_eq!(server(&[]), []);
}

#[test]
fn each_fault_is_found_before_a_handshake() {
    let is_ca = chain(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert_eq!(server(&is_ca), [CertificateFault::IsCa]);
    assert_eq!(faults(&is_ca, End::Client), [CertificateFault::IsCa]);
    let nameless = chain(|params| params.subject_alt_names.clear());
    assert_eq!(server(&nameless), [CertificateFault::NoName]);
    assert_eq!(faults(&nameless, End::Client), [], "a client is not asked for by name");
    let address = chain(|params| params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())]);
    assert_eq!(server(&address), []);
    let client = chain(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    assert_eq!(server(&client), [CertificateFault::WrongPurpose]);
    assert_eq!(faults(&client, End::Client), []);
    assert_eq!(server(&[b"garbage".to_vec().into()]), [CertificateFault::Malformed]);
}

#[test]
fn a_wrong_validity_period_does_not_hide_other_faults() {
    let day = |year| {
        let time: std::time::SystemTime = date_time_ymd(year, 1, 1).into();
        Some(time)
    };
    let old = chain(|params| {
        (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1));
        params.subject_alt_names.clear();
    });
    assert_eq!(server(&old[..1]), [CertificateFault::Expired(day(2001)), CertificateFault::NoName]);
    let young = chain(|params| {
        (params.not_before, params.not_after) = (date_time_ymd(2900, 1, 1), date_time_ymd(2901, 1, 1));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    assert_eq!(server(&young[..1]), [CertificateFault::NotYetValid(day(2900)), CertificateFault::IsCa]);
    assert_eq!(system_time(UnixTime::since_unix_epoch(Duration::ZERO)), Some(std::time::SystemTime::UNIX_EPOCH));
}

#[test]
fn a_chain_in_the_wrong_order_or_of_another_ca_is_found() {
    let (good, other) = (chain(|_| ()), chain(|_| ()));
    let order = [CertificateFault::ChainOrder];
    assert_eq!(server(&[good[0].clone(), good[2].clone(), good[1].clone()]), order);
    assert_eq!(server(&[good[0].clone(), good[2].clone()]), order, "the middle is missing");
    assert_eq!(server(&[good[0].clone(), other[1].clone()]), order, "of the same name, with another key");
    assert_eq!(server(&[good[0].clone(), good[1].clone(), other[2].clone()]), order);
}

#[test]
fn an_issuer_that_is_not_a_ca_or_has_expired_is_found() {
    let issued_by = |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let issuer_der = params.self_signed(&key).unwrap().der().clone();
        let own = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let own = own.signed_by(&KeyPair::generate().unwrap(), &Issuer::new(params, key)).unwrap();
        vec![own.der().clone(), issuer_der]
    };
    assert_eq!(server(&issued_by(&|_| ())), []);
    assert_eq!(server(&issued_by(&|params| params.is_ca = IsCa::ExplicitNoCa)), [CertificateFault::IssuerNotCa]);
    let old = issued_by(&|params| params.not_after = date_time_ymd(2001, 1, 1));
    assert!(matches!(server(&old)[..], [CertificateFault::Expired(Some(_))]));
}
