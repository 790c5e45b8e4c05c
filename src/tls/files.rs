//! Certificates and keys from PEM files.

use std::io;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::escape::escape;
use crate::files;
use crate::secret::warn_if_public;

/// The longest file that is read: 1 MiB. The bundle of a whole system's roots has some 250 KB.
const LONGEST: u64 = 1024 * 1024;

/// Who one is: the files of a certificate chain and of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// PEM: the own certificate first, then those between it and the root.
    pub cert: PathBuf,
    /// PEM: its private key, PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: PathBuf,
}

/// Why TLS cannot be begun, or begun anew, with these files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system does not give the file.
    #[error("{}: cannot be read", name(.0))]
    Unreadable(PathBuf, #[source] io::Error),
    /// It is no key or certificate by its size alone.
    #[error("{}: longer than {LONGEST} bytes; is it a PEM file?", name(.0))]
    TooLong(PathBuf),
    /// What is between the lines that begin and end a part is not what they say.
    #[error("{}: no sound PEM", name(.0))]
    Pem(PathBuf, #[source] pem::Error),
    /// No part of it is a certificate.
    #[error("{}: holds no certificate; write PEM, with -----BEGIN CERTIFICATE-----", name(.0))]
    NoCertificate(PathBuf),
    /// No part of it is a private key.
    #[error("{}: holds no private key; write PEM, with -----BEGIN PRIVATE KEY-----", name(.0))]
    NoKey(PathBuf),
    /// The key wants a password.
    #[error("{}: the key is encrypted; decrypt it: openssl pkey -in FILE -out NEW", name(.0))]
    EncryptedKey(PathBuf),
    /// Certificate and key are not a pair, or of a kind that is not supported.
    #[error("{} and {}: no certificate and its key", name(&.0.cert), name(&.0.key))]
    Identity(Identity, #[source] rustls::Error),
    /// A certificate in it cannot be trusted as a CA.
    #[error("{}: holds a certificate that is no CA's", name(.0))]
    Ca(PathBuf, #[source] rustls::Error),
    /// The CAs in it do not make a verifier.
    #[error("{}: clients cannot be verified with it", name(.0))]
    ClientCa(PathBuf, #[source] rustls::client::VerifierBuilderError),
    /// The system trusts nobody.
    #[error("the system has no root certificates (install ca-certificates, or give one with --tls-ca)")]
    NoRoots,
    /// The name is neither a host's nor an address.
    #[error("\"{}\" is no name that a certificate could be for: write a host name or an IP address (--tls-name)", escape(.0))]
    Name(String),
    /// TLS itself refuses what was asked for.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

fn name(path: &Path) -> String {
    escape(&path.to_string_lossy())
}

/// Returns the whole of a file that is as short as certificates and keys are.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let unreadable = |source| Error::Unreadable(path.to_owned(), source);
    let content = files::read(path, LONGEST + 1).map_err(unreadable)?;
    if content.len() as u64 > LONGEST {
        return Err(Error::TooLong(path.to_owned()));
    }
    Ok(content)
}

/// Returns the certificates in `content`, at least one.
pub(super) fn certificates(path: &Path, content: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(content).collect();
    let found = found.map_err(|source| Error::Pem(path.to_owned(), source))?;
    if found.is_empty() {
        return Err(Error::NoCertificate(path.to_owned()));
    }
    Ok(found)
}

/// Returns the first private key in `content`, which is that of the file at `path`. Warns in the log if others may read it.
pub(super) fn key(path: &Path, content: &[u8]) -> Result<PrivateKeyDer<'static>, Error> {
    warn_if_public(path, "the key");
    PrivateKeyDer::from_pem_slice(content).map_err(|source| match source {
        pem::Error::NoItemsFound if is_encrypted(content) => Error::EncryptedKey(path.to_owned()),
        pem::Error::NoItemsFound => Error::NoKey(path.to_owned()),
        source => Error::Pem(path.to_owned(), source),
    })
}

fn is_encrypted(content: &[u8]) -> bool {
    let label = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
    content.windows(label.len()).any(|window| window == label)
}

/// Returns the CAs in `content`, every one of which must be one.
pub(super) fn roots(path: &Path, content: &[u8]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, content)? {
        roots.add(certificate).map_err(|source| Error::Ca(path.to_owned(), source))?;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(error: &Error) -> String {
        crate::chain::Chain(error).to_string()
    }

    #[test]
    fn what_a_file_lacks_is_said_with_its_name() {
        let path = Path::new("x\n.pem");
        assert!(text(&certificates(path, b"").unwrap_err()).starts_with("x\\n.pem: holds no certificate"));
        assert!(text(&key(path, b"garbage").unwrap_err()).contains("holds no private key"));
        assert!(text(&roots(path, b"").unwrap_err()).contains("holds no certificate"));
        let broken = b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
        assert!(text(&certificates(path, broken).unwrap_err()).contains("no sound PEM: "));
        let no_ca = b"-----BEGIN CERTIFICATE-----\nSG9sYQ==\n-----END CERTIFICATE-----\n";
        assert!(text(&roots(path, no_ca).unwrap_err()).contains("no CA's: "));
    }

    #[test]
    fn an_encrypted_key_is_told_from_none() {
        let content = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nSG9sYQ==\n-----END ENCRYPTED PRIVATE KEY-----\n";
        assert!(text(&key(Path::new("k"), content).unwrap_err()).contains("openssl pkey"));
    }

    #[test]
    fn a_file_that_is_no_certificate_by_its_length_is_not_read_further() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(LONGEST + 1).unwrap();
        assert!(matches!(read(file.path()), Err(Error::TooLong(_))));
        assert!(text(&read(Path::new("/dev/zero")).unwrap_err()).contains("it is a device, not a regular file"));
        assert!(text(&read(Path::new("/nowhere/x")).unwrap_err()).starts_with("/nowhere/x: cannot be read: "));
    }
}
