//! The certificate of TLS servers, and the configuration of clients that trust it.

use std::sync::{Arc, Mutex, PoisonError, Weak};

#[cfg(feature = "tls-aws-lc")]
use rustls::crypto::aws_lc_rs::default_provider;
#[cfg(not(feature = "tls-aws-lc"))]
use rustls::crypto::ring::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::authority::{Authority, Files};

/// Returns the authority of this run, with the files of its servers. The files are removed with the last reference, in `main`.
pub fn authority() -> Arc<(Authority, Files)> {
    static AUTHORITY: Mutex<Weak<(Authority, Files)>> = Mutex::new(Weak::new());
    let mut authority = AUTHORITY.lock().unwrap_or_else(PoisonError::into_inner);
    authority.upgrade().unwrap_or_else(|| {
        let new = Authority::new();
        let files = new.good("server", &["localhost"]);
        let new = Arc::new((new, files));
        *authority = Arc::downgrade(&new);
        new
    })
}

/// Returns the TLS options of `mapcast-server`.
pub fn arguments() -> Vec<String> {
    let files = authority().1.clone();
    let name = |path: &std::path::Path| path.to_string_lossy().into_owned();
    vec!["--tls-cert".to_owned(), name(&files.cert), "--tls-key".to_owned(), name(&files.key)]
}

/// Returns the TLS configuration of its clients.
pub fn client() -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&authority().0.ca)?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let config = config.with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config))
}
