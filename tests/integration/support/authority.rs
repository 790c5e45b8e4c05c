//! A certificate authority for tests, and the files that it issues.
#![allow(dead_code, clippy::unwrap_used, unreachable_pub, reason = "the unit tests and the benches have a part of it")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

/// A CA, and a temporary directory for its files.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: tempfile::TempDir,
    /// The file of its own certificate.
    pub ca: PathBuf,
}

/// A certificate and its key, as text.
pub struct Issued {
    pub cert: String,
    pub key: String,
}

/// The files of a certificate and its key.
#[derive(Debug, Clone)]
pub struct Files {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new() -> Self {
        Self::with(|_| ())
    }

    /// Returns a CA whose certificate is modified by `change`.
    pub fn with(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (params, key) = Self::params(change);
        let cert = params.self_signed(&key).unwrap();
        Self::keep(&cert.pem(), params, key)
    }

    /// Returns an intermediate CA with a certificate from this one.
    pub fn below(&self, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (params, key) = Self::params(change);
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Self::keep(&cert.pem(), params, key)
    }

    fn params(change: impl FnOnce(&mut CertificateParams)) -> (CertificateParams, KeyPair) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "tests");
        change(&mut params);
        (params, KeyPair::generate().unwrap())
    }

    fn keep(cert: &str, params: CertificateParams, key: KeyPair) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ca = directory.path().join("ca.pem");
        fs::write(&ca, cert).unwrap();
        Self { issuer: Issuer::new(params, key), directory, ca }
    }

    /// Issues a valid certificate for `localhost`, modified by `change`.
    pub fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        Issued { cert: params.signed_by(&key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }

    /// Issues a certificate for `names` that expires at the end of `year`.
    pub fn issue_until(&self, names: &[&str], year: i32) -> Issued {
        self.issue_with(names, year, &KeyPair::generate().unwrap())
    }

    /// As [`issue_until`](Self::issue_until), for a key of another kind.
    pub fn issue_with(&self, names: &[&str], year: i32, key: &KeyPair) -> Issued {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(year, 12, 31));
        let cert = params.signed_by(key, &self.issuer).unwrap().pem();
        Issued { cert, key: key.serialize_pem() }
    }

    /// Returns the paths of the files called `name`.
    pub fn files(&self, name: &str) -> Files {
        let path = |extension: &str| self.directory.path().join(format!("{name}.{extension}"));
        Files { cert: path("pem"), key: path("key") }
    }

    /// Writes the files, each by a rename.
    pub fn write(&self, name: &str, issued: &Issued) -> Files {
        let files = self.files(name);
        for (path, text) in [(&files.cert, &issued.cert), (&files.key, &issued.key)] {
            replace(path, text);
        }
        files
    }

    /// Returns the files of a certificate for `names` with a long validity.
    pub fn good(&self, name: &str, names: &[&str]) -> Files {
        self.write(name, &self.issue_until(names, 2100))
    }
}

/// Replaces a file atomically by one with mode 600.
pub fn replace(path: &std::path::Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(new, path).unwrap();
}
