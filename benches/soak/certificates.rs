//! A CA, and a server certificate that is renewed from time to time.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mapcast::tls::{ClientTls, Connector};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

/// The files, in a temporary directory that is removed on drop.
pub struct Certificates {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
    rotations: AtomicU64,
}

impl Certificates {
    /// Creates a CA and the first certificate, for 127.0.0.1 and localhost.
    pub fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let certificates = Self { issuer, directory: tempfile::tempdir()?, rotations: AtomicU64::new(0) };
        fs::write(certificates.file("ca.pem"), certificates.issuer.pem())?;
        certificates.write()?;
        Ok(certificates)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Replaces the certificate and its key.
    pub fn rotate(&self) -> anyhow::Result<()> {
        self.write()?;
        self.rotations.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    pub fn rotations(&self) -> u64 {
        self.rotations.load(Ordering::Relaxed)
    }

    /// Returns a connector that trusts the server.
    pub fn connector(&self) -> anyhow::Result<Arc<Connector>> {
        let options = ClientTls { ca: Some(self.file("ca.pem")), ..ClientTls::default() };
        Ok(Arc::new(Connector::load(&options)?))
    }

    fn write(&self) -> anyhow::Result<()> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?
            .signed_by(&key, &self.issuer)?;
        for (name, text) in [("key.pem", key.serialize_pem()), ("cert.pem", certificate.pem())] {
            let new = self.file("new");
            fs::write(&new, text)?;
            fs::rename(&new, self.file(name))?;
        }
        Ok(())
    }
}
