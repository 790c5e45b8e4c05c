use std::io::ErrorKind;
use std::path::Path;

use super::super::authority::{Authority, Files, replace};
use super::super::failure::End;
use super::super::files::Identity;
use super::super::parts::{OwnCertificate, TrustedCas};
use super::*;

fn own(files: &Files) -> Kept<OwnCertificate> {
    let files = Identity { cert: files.cert.clone(), key: files.key.clone() };
    Kept::load(OwnCertificate { files, owner: End::Server }).unwrap()
}

/// Applies `check`, and returns the log line.
fn apply<P: Part>(kept: &mut Kept<P>, check: FileCheck<P>) -> Option<String> {
    let mut notices = Vec::new();
    let is_new = kept.take(check, &mut notices);
    assert!(notices.len() <= 1);
    let notice = notices.pop()?;
    assert_eq!(is_new, notice.level == log::Level::Info, "{}", notice.text);
    Some(notice.text)
}

/// As for a connection.
fn take<P: Part>(kept: &mut Kept<P>) -> Option<String> {
    let check = kept.reader(Apply::AtOnce)();
    apply(kept, check)
}

/// As the check once a second.
fn take_settled<P: Part>(kept: &mut Kept<P>) -> Option<String> {
    let check = kept.reader(Apply::WhenStable)();
    apply(kept, check)
}

/// Fails unless a check refuses the files with an error that `is_expected` accepts, and logs it.
fn assert_refused<P: Part>(kept: &mut Kept<P>, is_expected: impl Fn(&Error) -> bool) {
    let check = kept.reader(Apply::AtOnce)();
    let Some(Err(error)) = &check.made else { panic!("not refused") };
    assert!(is_expected(error), "{error:?}");
    let line = format!("{}; {}", ErrorChain(error), P::KEPT);
    assert_eq!(apply(kept, check), Some(line));
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
        assert_refused(&mut kept, |error| matches!(error, Error::Identity(_)));
        assert!(take(&mut kept).is_none(), "reported twice");
        assert!(std::sync::Arc::ptr_eq(&before, &kept.made().certified));
        replace(second.0, second.1);
        is(take(&mut kept), "2060");
    }
}

fn is_unreadable(error: &Error, path: &Path, kind: ErrorKind) -> bool {
    matches!(error, Error::Unreadable(named, source) if named == path && source.kind() == kind)
}

#[test]
fn invalid_files_are_logged_once_and_the_last_good_ones_stay() {
    let authority = Authority::new();
    let files = authority.good("x", &["localhost"]);
    let mut kept = own(&files);
    let before = std::sync::Arc::clone(&kept.made().certified);
    let good = std::fs::read_to_string(&files.cert).unwrap();
    for (content, is_pem) in [("garbage", true), ("-----BEGIN CERTIFICATE-----\n!", false)] {
        replace(&files.cert, content);
        assert_refused(&mut kept, |error| match error {
            Error::NoCertificate(_) => is_pem,
            Error::Pem(..) => !is_pem,
            _ => false,
        });
        assert!(take(&mut kept).is_none() && take(&mut kept).is_none(), "{content}: reported twice");
    }
    std::fs::remove_file(&files.cert).unwrap();
    assert_refused(&mut kept, |error| is_unreadable(error, &files.cert, ErrorKind::NotFound));
    rustix::fs::mknodat(rustix::fs::CWD, &files.cert, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert_refused(&mut kept, |error| is_unreadable(error, &files.cert, ErrorKind::InvalidInput));
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
    assert_refused(&mut kept, |error| matches!(error, Error::NoCertificate(path) if *path == old.ca));
    assert_eq!(subjects(&kept), before);
    replace(&old.ca, &std::fs::read_to_string(&new.ca).unwrap());
    is(take(&mut kept), "ca.pem: 1");
    assert_ne!(subjects(&kept), before);
}
