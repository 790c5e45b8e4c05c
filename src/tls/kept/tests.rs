use super::super::authority::{Authority, Files, replace};
use super::super::failure::End;
use super::super::files::Identity;
use super::super::parts::{OwnCertificate, TrustedCas};
use super::*;

fn own(files: &Files) -> Kept<OwnCertificate> {
    let files = Identity { cert: files.cert.clone(), key: files.key.clone() };
    Kept::load(OwnCertificate { files, owner: End::Server }).unwrap()
}

/// Checks once, and returns the log lines.
fn check<P: Part>(kept: &mut Kept<P>, apply: Apply) -> Option<String> {
    let (checked, mut notices) = (kept.reader(apply)(), Vec::new());
    let is_new = kept.take(checked, &mut notices);
    assert!(notices.len() <= 1);
    let notice = notices.pop()?;
    assert_eq!(is_new, notice.level == log::Level::Info, "{}", notice.text);
    Some(notice.text)
}

/// As for a connection.
fn take<P: Part>(kept: &mut Kept<P>) -> Option<String> {
    check(kept, Apply::AtOnce)
}

/// As the check once a second.
fn take_settled<P: Part>(kept: &mut Kept<P>) -> Option<String> {
    check(kept, Apply::WhenStable)
}

#[allow(clippy::needless_pass_by_value, reason = "the callers have no other use for it")]
fn is(notice: Option<String>, wanted: &str) {
    let notice = notice.unwrap_or_default();
    assert!(notice.contains(wanted), "\"{notice}\" is not {wanted}");
}

#[test]
fn a_replaced_certificate_is_used_after_two_equal_reads() {
    let authority = Authority::new();
    let files = authority.write("x", &authority.issue_until(&["localhost"], 2050));
    let mut kept = own(&files);
    assert!(take_settled(&mut kept).is_none());
    let new = authority.issue_until(&["localhost"], 2060);
    replace(&files.cert, &new.cert);
    // The key is still the old one, as between two renames.
    assert!(take_settled(&mut kept).is_none());
    replace(&files.key, &new.key);
    assert!(take_settled(&mut kept).is_none());
    is(take_settled(&mut kept), "x.pem, valid until 2060-12-31T00:00:00Z");
    assert!(take_settled(&mut kept).is_none());
}

#[test]
fn a_half_replaced_pair_is_not_used_until_both_files_match() {
    let authority = Authority::new();
    let files = authority.good("x", &["localhost"]);
    let new = authority.issue_until(&["localhost"], 2060);
    for (first, second) in
        [((&files.cert, &new.cert), (&files.key, &new.key)), ((&files.key, &new.key), (&files.cert, &new.cert))]
    {
        authority.good("x", &["localhost"]);
        let mut kept = own(&files);
        let before = std::sync::Arc::clone(&kept.made().certified);
        replace(first.0, first.1);
        is(take(&mut kept), "certificate and key do not match");
        assert!(take(&mut kept).is_none(), "reported twice");
        assert!(std::sync::Arc::ptr_eq(&before, &kept.made().certified));
        replace(second.0, second.1);
        is(take(&mut kept), "2060");
    }
}

#[test]
fn invalid_files_are_logged_once_and_the_last_good_ones_stay() {
    let authority = Authority::new();
    let files = authority.good("x", &["localhost"]);
    let mut kept = own(&files);
    let before = std::sync::Arc::clone(&kept.made().certified);
    let good = std::fs::read_to_string(&files.cert).unwrap();
    for (fault, wanted) in [("garbage", "contains no certificate"), ("-----BEGIN CERTIFICATE-----\n!", "not valid PEM")]
    {
        replace(&files.cert, fault);
        is(take(&mut kept), wanted);
        assert!(take(&mut kept).is_none() && take(&mut kept).is_none(), "{fault}: reported twice");
    }
    std::fs::remove_file(&files.cert).unwrap();
    is(take(&mut kept), "x.pem: cannot be read: ");
    rustix::fs::mknodat(rustix::fs::CWD, &files.cert, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    is(take(&mut kept), "it is a FIFO");
    assert!(take(&mut kept).is_none());
    assert!(std::sync::Arc::ptr_eq(&before, &kept.made().certified));
    replace(&files.cert, &good);
    is(take(&mut kept), "x.pem, valid until");
    assert!(take(&mut kept).is_none());
}

#[test]
fn cas_are_replaced_and_kept_like_certificates() {
    let (old, new) = (Authority::new(), Authority::new());
    let mut kept = Kept::load(TrustedCas { file: Some(old.ca.clone()) }).unwrap();
    let subjects = |kept: &Kept<TrustedCas>| kept.made().roots.clone();
    let before = subjects(&kept);
    replace(&old.ca, "");
    is(take(&mut kept), "contains no certificate; write PEM, with -----BEGIN CERTIFICATE-----; the old CAs stay");
    assert_eq!(subjects(&kept), before);
    replace(&old.ca, &std::fs::read_to_string(&new.ca).unwrap());
    is(take(&mut kept), "ca.pem: 1");
    assert_ne!(subjects(&kept), before);
}
