//! TLS to a source across a network, and what a handshake with it has failed with, in the words of the server's options.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use super::Error;
use crate::stats::health::Failure;
use crate::tls::{ClientTls, Connector, HandshakeError};

/// Returns what TLS to the source `name` is unless more is said: it trusts the system's roots.
///
/// # Errors
/// `NotBuilt` where there is no TLS.
#[cfg(any(feature = "tls", feature = "tls-ring"))]
#[allow(clippy::unnecessary_wraps, reason = "the same as without the feature")]
pub(super) fn by_default(_name: &str) -> Result<ClientTls, Error> {
    Ok(ClientTls::default())
}

#[cfg(not(any(feature = "tls", feature = "tls-ring")))]
pub(super) fn by_default(name: &str) -> Result<ClientTls, Error> {
    Err(Error::NotBuilt { name: name.to_owned(), feature: "tls" })
}

/// Reads the files that `options` names for the source `name`, if there are options.
///
/// # Errors
/// `Tls`.
pub(super) fn connector(options: Option<&ClientTls>, name: &str) -> Result<Option<Arc<Connector>>, Error> {
    let loaded = options.map(Connector::load).transpose();
    let loaded = loaded.map_err(|source| Error::Tls { name: name.to_owned(), source: Box::new(source) })?;
    Ok(loaded.map(Arc::new))
}

/// Why there is no TLS connection to a source. What is to be done about it stands in the options of a server.
#[derive(Debug)]
pub(super) struct Refusal(HandshakeError);

impl Refusal {
    /// The source answers and refuses, or is refused; or else it does not answer.
    pub(super) fn kind(&self) -> Failure {
        if self.0.is_refusal() { Failure::Denied } else { Failure::Unreachable }
    }
}

impl From<HandshakeError> for Refusal {
    fn from(error: HandshakeError) -> Self {
        Self(error)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = self.0.to_string().replace("leave --tls out", "write tcp:// or redis://");
        write!(f, "no TLS connection: {}", told.replace("--tls-", "--source-tls-"))
    }
}

impl StdError for Refusal {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

#[cfg(all(test, any(feature = "tls", feature = "tls-ring")))]
mod tests {
    use super::*;
    use crate::tls::{CertificateFault, End};

    #[test]
    fn the_advice_is_an_option_of_the_server() {
        let wrong_name = CertificateFault::WrongName { wanted: "h".to_owned(), presented: "root".to_owned() };
        let of_server = |fault| HandshakeError::Certificate(End::Server, fault);
        for (error, wanted) in [
            (of_server(CertificateFault::UnknownIssuer), "pass the certificate of its CA with --source-tls-ca FILE"),
            (of_server(wrong_name), "use --source-tls-name root"),
            (HandshakeError::CertificateRequired, "use --source-tls-cert FILE and --source-tls-key FILE"),
            (HandshakeError::PlainServer, "write tcp:// or redis://"),
        ] {
            let refusal = Refusal::from(error);
            assert!(refusal.to_string().ends_with(wanted), "{refusal}");
            assert_eq!(refusal.kind(), Failure::Denied);
        }
        assert_eq!(Refusal::from(HandshakeError::Ended).kind(), Failure::Unreachable);
    }
}
