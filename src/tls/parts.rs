//! The reloadable parts of a TLS configuration: a certificate with its key, and the trusted CAs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;

use super::failure::End;
use super::files::{self, Error, Identity, KeyContent};
use super::inspection;
use super::kept::Part;
use super::provider::{not_after, provider};
use super::time::date;

/// This end's own certificate and key, which are valid only together.
#[derive(Debug, Clone)]
pub(super) struct OwnCertificate {
    pub(super) files: Identity,
    /// The end that presents it.
    pub(super) owner: End,
}

/// The content of its files.
#[derive(Hash)]
pub(super) struct OwnContent {
    cert: Vec<u8>,
    key: KeyContent,
}

/// A certificate with its matching key.
pub(super) struct Own {
    pub(super) certified: Arc<CertifiedKey>,
    /// When the certificate expires; `None` if it does not say.
    pub(super) not_after: Option<SystemTime>,
}

impl Part for OwnCertificate {
    type Content = OwnContent;
    type Made = Own;
    const KEPT: &'static str = "the old certificate stays";

    fn read(&self) -> Result<OwnContent, Error> {
        Ok(OwnContent { cert: files::read(&self.files.cert)?, key: files::read_key(&self.files.key)? })
    }

    fn make(&self, content: &OwnContent) -> Result<Own, Error> {
        let chain = files::certificates(&self.files.cert, &content.cert)?;
        let key = files::key(&self.files.key, &content.key)?;
        let not_after = chain.first().and_then(not_after);
        let certified = CertifiedKey::from_der(chain, key, &provider());
        let certified = certified.map_err(|error| files::pair_error(&self.files, &error))?;
        for fault in inspection::faults(&certified.cert, self.owner) {
            let (name, owner) = (files::name(&self.files.cert), self.owner);
            log::warn!("{name}: the {owner}'s certificate {}", fault.message(owner));
        }
        Ok(Own { certified: Arc::new(certified), not_after })
    }

    fn describe(&self, made: &Own) -> String {
        let until = made.not_after.map_or_else(String::new, |not_after| format!(", valid until {}", date(not_after)));
        format!("TLS certificate {}{until}", files::name(&self.files.cert))
    }
}

/// The CAs whose certificates this end accepts.
#[derive(Debug, Clone)]
pub(super) struct TrustedCas {
    /// `None`: the CAs of the system, or of `SSL_CERT_FILE` and `SSL_CERT_DIR`.
    pub(super) file: Option<PathBuf>,
}

impl Part for TrustedCas {
    type Content = Vec<CertificateDer<'static>>;
    type Made = Arc<RootCertStore>;
    const KEPT: &'static str = "the old CAs stay";

    fn read(&self) -> Result<Self::Content, Error> {
        match &self.file {
            Some(path) => files::certificates(path, &files::read(path)?),
            None => files::system_roots(),
        }
    }

    fn make(&self, content: &Self::Content) -> Result<Self::Made, Error> {
        Ok(Arc::new(match &self.file {
            Some(path) => files::roots(path, content)?,
            None => files::readable_roots(content)?,
        }))
    }

    fn describe(&self, made: &Self::Made) -> String {
        match &self.file {
            Some(path) => format!("TLS CAs {}: {}", files::name(path), made.len()),
            None => format!("TLS CAs of the system: {}", made.len()),
        }
    }
}
