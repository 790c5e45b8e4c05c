//! The cryptography of TLS: ring, or aws-lc with the feature `tls-aws-lc`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;

use super::time::system_time;

/// Returns the provider of the cryptography. Not the default of the process: a program with several providers need not
/// choose one for this library.
#[cfg(feature = "tls-aws-lc")]
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[cfg(not(feature = "tls-aws-lc"))]
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Returns when a certificate expires; `None` if it cannot be read, or never expires.
///
/// Verifies it at the end of time: the error names the date. Nothing else here parses a certificate.
pub(super) fn not_after(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    use rustls::CertificateError::ExpiredContext;
    let certificate = ParsedCertificate::try_from(certificate).ok()?;
    let end_of_time = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
    let algorithms = provider().signature_verification_algorithms.all;
    match verify_server_cert_signed_by_trust_anchor(&certificate, &RootCertStore::empty(), &[], end_of_time, algorithms)
    {
        Err(rustls::Error::InvalidCertificate(ExpiredContext { not_after, .. })) => system_time(not_after),
        _ => None,
    }
}
