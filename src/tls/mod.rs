//! TLS: certificates from files, the server's and the client's side of a handshake, and the pump between a session and
//! a socket that never waits. rustls does the cryptography, with aws-lc or ring.

mod acceptor;
#[cfg(test)]
#[path = "../../tests/integration/support/authority.rs"]
mod authority;
mod connector;
mod failure;
mod file_reader;
mod files;
mod handshake_limiter;
mod inspection;
mod kept;
mod parts;
mod read_count;
mod session;
#[doc(hidden)]
pub mod testing;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;

pub use acceptor::{Acceptor, ServerTls};
pub use connector::{ClientTls, Connector};
pub use failure::{CertificateFault, End, HandshakeError, Incompatibility, LocalFault, Refusal, Violation};
pub use files::{Error, Identity};
pub(crate) use read_count::ReadCount;
pub(crate) use session::Session;

/// The deadline for a whole handshake unless told otherwise: 10 s. It takes two round trips and some milliseconds.
pub const DEFAULT_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Not the process's default provider: a program that has several need not choose one for us.
#[cfg(feature = "tls")]
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[cfg(not(feature = "tls"))]
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Returns when a certificate runs out; `None` if it cannot be read, or never does.
///
/// Asked of the verification itself, which names the date to whoever comes too late: nothing else here takes a
/// certificate apart.
fn not_after(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
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

fn system_time(time: UnixTime) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs()))
}

fn date(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}
