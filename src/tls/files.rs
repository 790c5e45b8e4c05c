//! Reads certificates and keys from PEM files.

use std::env;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::failure::causes::certificate_fault;
use super::failure::{CertificateFault, End};
use crate::display::escape::escape;
use crate::files;
use crate::files::permissions::{is_public, warn_public};

/// The longest file that is read: 1 MiB. The bundle of a system's root certificates has about 250 KB.
const LONGEST: u64 = 1024 * 1024;

/// The longest file of `SSL_CERT_FILE`: 16 MiB.
const LONGEST_ROOTS: u64 = 16 * LONGEST;

/// The files of a certificate chain and of its private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// PEM: this end's certificate first, then the intermediate certificates.
    pub cert: PathBuf,
    /// PEM: the private key, PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: PathBuf,
}

/// Why a TLS configuration cannot be made from its files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error("{}: cannot be read", name(.0))]
    Unreadable(PathBuf, #[source] io::Error),
    /// The file is longer than any key or certificate.
    #[error("{}: longer than {} bytes; is it a PEM file?", name(.0), .1)]
    TooLong(PathBuf, u64),
    /// The file is not valid PEM.
    #[error("{}: not valid PEM: {}", name(.0), .1)]
    Pem(PathBuf, &'static str),
    /// The file has no certificate.
    #[error("{}: contains no certificate; write PEM, with -----BEGIN CERTIFICATE-----", name(.0))]
    NoCertificate(PathBuf),
    /// The file has no private key.
    #[error("{}: contains no private key; write PEM, with -----BEGIN PRIVATE KEY-----", name(.0))]
    NoKey(PathBuf),
    /// The key is encrypted.
    #[error("{}: the key is encrypted; decrypt it: openssl pkey -in FILE -out NEW", name(.0))]
    EncryptedKey(PathBuf),
    /// The type of the key is not supported.
    #[error("{}: unsupported key type; use P-256, P-384, Ed25519, or RSA-2048 to RSA-8192", name(.0))]
    UnsupportedKey(PathBuf),
    /// The first certificate is not usable.
    #[error("{}: the certificate {}", name(.0), .1.message(End::Server))]
    Certificate(PathBuf, CertificateFault),
    /// The key does not belong to the first certificate.
    #[error(
        "{} and {}: certificate and key do not match; name the key of the first certificate in the file", name(&.0.cert),
        name(&.0.key)
    )]
    Identity(Identity),
    /// A certificate in the file cannot be used as a CA.
    #[error("{}: contains a certificate that cannot be read as a CA certificate", name(.0))]
    Ca(PathBuf),
    /// No file of CAs is named, and the system has none.
    #[error("the system has no root certificates; install ca-certificates, or name a file of CAs")]
    NoRoots,
    /// The name is neither a host name nor an IP address.
    #[error("\"{}\" is not a name that a certificate can be for: write a host name or an IP address", escape(.0))]
    Name(String),
    /// rustls does not accept the configuration.
    #[error("TLS cannot be set up; the log says why at level debug")]
    Setup,
    /// The files were not read within the limit.
    #[error("cannot read the TLS files within {} s (does their file system hang?)", .0.as_secs())]
    Late(Duration),
    /// The thread that reads the files could not be started.
    #[error("cannot start a thread that reads the TLS files")]
    NoThread(#[source] io::Error),
}

impl Error {
    /// Returns the error for a configuration that rustls does not accept.
    pub(super) fn setup(error: &dyn fmt::Debug) -> Self {
        log::debug!("TLS: {error:?}");
        Self::Setup
    }
}

/// The content of a key file, and whether others may read it.
#[derive(Hash)]
pub(super) struct KeyContent {
    content: Vec<u8>,
    is_public: bool,
}

/// Returns `path` as messages show it.
pub(super) fn name(path: &Path) -> String {
    escape(&path.to_string_lossy())
}

/// Returns the content of the file at `path`.
///
/// # Errors
/// `TooLong` above 1 MiB, `Unreadable`.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    read_up_to(path, LONGEST)
}

fn read_up_to(path: &Path, longest: u64) -> Result<Vec<u8>, Error> {
    let unreadable = |source| Error::Unreadable(path.to_owned(), source);
    let content = files::read(path, longest + 1).map_err(unreadable)?;
    if content.len() as u64 > longest {
        return Err(Error::TooLong(path.to_owned(), longest));
    }
    Ok(content)
}

/// As [`read`], for a private key.
pub(super) fn read_key(path: &Path) -> Result<KeyContent, Error> {
    Ok(KeyContent { content: read(path)?, is_public: is_public(path) })
}

/// Returns the certificates in `content`, at least one. `path` is for the error.
pub(super) fn certificates(path: &Path, content: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(content).collect();
    let found = found.map_err(|error| pem_error(path, &error))?;
    if found.is_empty() {
        return Err(Error::NoCertificate(path.to_owned()));
    }
    Ok(found)
}

/// Returns the first private key in `content`. Logs a warning if others may read its file, `path`.
pub(super) fn key(path: &Path, content: &KeyContent) -> Result<PrivateKeyDer<'static>, Error> {
    let KeyContent { content, is_public } = content;
    if *is_public {
        warn_public(path, "the key");
    }
    PrivateKeyDer::from_pem_slice(content).map_err(|error| match error {
        _ if is_encrypted(content) => Error::EncryptedKey(path.to_owned()),
        pem::Error::NoItemsFound => Error::NoKey(path.to_owned()),
        error => pem_error(path, &error),
    })
}

/// True if and only if `content` has an encrypted key, in PKCS #8 or in OpenSSL's older form (RFC 1421, section 4.6.1.1).
fn is_encrypted(content: &[u8]) -> bool {
    let has = |label: &[u8]| content.windows(label.len()).any(|window| window == label);
    has(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || has(b"Proc-Type: 4,ENCRYPTED")
}

fn pem_error(path: &Path, error: &pem::Error) -> Error {
    let fault = match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no line -----END ...-----; is the file truncated?",
        pem::Error::IllegalSectionStart { .. } => "a line that begins with -----BEGIN does not end with -----",
        pem::Error::Base64Decode(_) => "the text between -----BEGIN and -----END is not Base64",
        _ => "it cannot be parsed",
    };
    Error::Pem(path.to_owned(), fault)
}

/// Returns the error for a certificate and key that rustls does not accept.
pub(super) fn pair_error(identity: &Identity, error: &rustls::Error) -> Error {
    log::debug!("TLS: {}", escape(&format!("{error:?}")));
    match error {
        rustls::Error::InconsistentKeys(_) => Error::Identity(identity.clone()),
        rustls::Error::InvalidCertificate(fault) => Error::Certificate(identity.cert.clone(), certificate_fault(fault)),
        // The cryptography reports an unusable key as a text.
        _ => Error::UnsupportedKey(identity.key.clone()),
    }
}

/// Returns the trust store of `certificates`. `path` is for the error.
pub(super) fn roots(path: &Path, certificates: &[CertificateDer<'_>]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate.clone()).map_err(|error| {
            log::debug!("TLS: {}", escape(&format!("{error:?}")));
            Error::Ca(path.to_owned())
        })?;
    }
    Ok(roots)
}

/// Returns the root certificates of the system, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR` if one is set. Skips the
/// files of a directory that cannot be read, as other programs do.
pub(super) fn system_roots() -> Result<Vec<CertificateDer<'static>>, Error> {
    let file = env::var_os("SSL_CERT_FILE").filter(|name| !name.is_empty()).map(PathBuf::from);
    let mut found = Vec::new();
    if let Some(path) = &file {
        found.extend(certificates(path, &read_up_to(path, LONGEST_ROOTS)?)?);
    }
    let directories = env::var_os("SSL_CERT_DIR").unwrap_or_default();
    let mut directories = env::split_paths(&directories).filter(|path| !path.as_os_str().is_empty()).peekable();
    let loaded = if file.is_none() && directories.peek().is_none() {
        vec![rustls_native_certs::load_native_certs()]
    } else {
        directories.map(|path| rustls_native_certs::load_certs_from_paths(None, Some(&path))).collect()
    };
    for loaded in loaded {
        for error in &loaded.errors {
            log::debug!("the system's root certificates: {error}");
        }
        found.extend(loaded.certs);
    }
    if found.is_empty() { Err(Error::NoRoots) } else { Ok(found) }
}

/// Returns the trust store of those of `certificates` that can be parsed.
pub(super) fn readable_roots(certificates: &[CertificateDer<'_>]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(certificates.iter().cloned());
    if taken == 0 { Err(Error::NoRoots) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::check_texts;

    fn private(content: &[u8]) -> KeyContent {
        KeyContent { content: content.to_vec(), is_public: false }
    }

    #[test]
    fn errors_name_the_file_and_the_fault() {
        let path = Path::new("x\n.pem");
        assert!(matches!(certificates(path, b""), Err(Error::NoCertificate(named)) if named == path));
        assert!(matches!(key(path, &private(b"garbage")), Err(Error::NoKey(_))));
        for (broken, wanted) in [
            (&b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"[..], "is not Base64"),
            (b"-----BEGIN CERTIFICATE-----\nSG9sYQ==\n", "has no line -----END"),
            (b"-----BEGIN CERTIFICATE\n", "does not end with -----"),
        ] {
            let read = certificates(path, broken);
            assert!(matches!(&read, Err(Error::Pem(_, fault)) if fault.contains(wanted)), "{read:?}");
        }
        let no_ca = certificates(path, b"-----BEGIN CERTIFICATE-----\nSG9sYQ==\n-----END CERTIFICATE-----\n").unwrap();
        assert!(matches!(roots(path, &no_ca), Err(Error::Ca(_))));
    }

    #[test]
    fn an_encrypted_key_is_reported_as_encrypted() {
        for content in [
            &b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nSG9sYQ==\n-----END ENCRYPTED PRIVATE KEY-----\n"[..],
            b"-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nSG9sYQ==\n-----END EC PRIVATE KEY-----\n",
        ] {
            assert!(matches!(key(Path::new("k"), &private(content)), Err(Error::EncryptedKey(_))));
        }
    }

    #[test]
    fn a_file_above_the_limit_is_not_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(LONGEST + 1).unwrap();
        assert!(matches!(read(file.path()), Err(Error::TooLong(..))));
        for (path, kind) in [("/dev/zero", io::ErrorKind::InvalidInput), ("/nowhere/x", io::ErrorKind::NotFound)] {
            let read = read(Path::new(path));
            assert!(matches!(&read, Err(Error::Unreadable(_, error)) if error.kind() == kind), "{read:?}");
        }
    }

    #[test]
    fn every_error_has_its_text() {
        let path = || PathBuf::from("\n.pem");
        let identity = Identity { cert: path(), key: "x.key".into() };
        let denied = || io::ErrorKind::PermissionDenied.into();
        check_texts!(Error {
            Unreadable(path(), denied()) => "\\n.pem: cannot be read";
            TooLong(path(), 100) => "\\n.pem: longer than 100 bytes; is it a PEM file?";
            Pem(path(), "it has no end") => "\\n.pem: not valid PEM: it has no end";
            NoCertificate(path()) => "\\n.pem: contains no certificate; write PEM, with -----BEGIN CERTIFICATE-----";
            NoKey(path()) => "\\n.pem: contains no private key; write PEM, with -----BEGIN PRIVATE KEY-----";
            EncryptedKey(path()) =>
                "\\n.pem: the key is encrypted; decrypt it: openssl pkey -in FILE -out NEW";
            UnsupportedKey(path()) =>
                "\\n.pem: unsupported key type; use P-256, P-384, Ed25519, or RSA-2048 to RSA-8192";
            Certificate(path(), CertificateFault::Revoked) =>
                "\\n.pem: the certificate has been revoked; issue a new one";
            Identity(identity) =>
                "\\n.pem and x.key: certificate and key do not match; name the key of the first certificate in the file";
            Ca(path()) => "\\n.pem: contains a certificate that cannot be read as a CA certificate";
            NoRoots => "the system has no root certificates; install ca-certificates, or name a file of CAs";
            Name("\n".to_owned()) =>
                "\"\\n\" is not a name that a certificate can be for: write a host name or an IP address";
            Setup => "TLS cannot be set up; the log says why at level debug";
            Late(Duration::from_secs(2)) => "cannot read the TLS files within 2 s (does their file system hang?)";
            NoThread(denied()) => "cannot start a thread that reads the TLS files";
        });
    }
}
