//! TLS to a source across a network.

use std::sync::Arc;

use super::error::Error;
use crate::stats::health::Failure;
use crate::tls::{ClientTls, Connector, HandshakeError};

/// Returns the default TLS settings for the source `name`: trust the system's root certificates.
///
/// # Errors
/// `NotBuilt` without the feature `tls`.
#[cfg(feature = "tls")]
#[allow(clippy::unnecessary_wraps, reason = "the same as without the feature")]
pub(super) fn by_default(_name: &str) -> Result<ClientTls, Error> {
    Ok(ClientTls::default())
}

#[cfg(not(feature = "tls"))]
pub(super) fn by_default(name: &str) -> Result<ClientTls, Error> {
    Err(Error::NotBuilt { name: name.to_owned(), feature: "tls" })
}

/// Reads the files that `options` names for the source `name`; `None` without options.
///
/// # Errors
/// `Tls`.
pub(super) fn connector(options: Option<&ClientTls>, name: &str) -> Result<Option<Arc<Connector>>, Error> {
    let loaded = options.map(Connector::load).transpose();
    let loaded = loaded.map_err(|source| Error::Tls { name: name.to_owned(), source: Box::new(source) })?;
    Ok(loaded.map(Arc::new))
}

/// Returns what kind of failure a failed handshake is: `Denied` if one end rejects the other, or else `Unreachable`.
pub(super) fn failure(error: &HandshakeError) -> Failure {
    if error.is_refusal() { Failure::Denied } else { Failure::Unreachable }
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use super::*;
    use crate::tls::{CertificateFault, End};

    #[test]
    fn a_rejected_end_is_denied_a_lost_connection_unreachable() {
        let untrusted = HandshakeError::Certificate(End::Server, CertificateFault::UnknownIssuer);
        for error in [untrusted, HandshakeError::CertificateRequired, HandshakeError::PlainServer] {
            assert_eq!(failure(&error), Failure::Denied, "{error}");
        }
        assert_eq!(failure(&HandshakeError::Ended), Failure::Unreachable);
    }
}
