//! TLS options, if TLS is compiled in.

use crate::advice::TlsOptions;

#[cfg(feature = "tls")]
pub(crate) use present::{SourceTlsArgs, TlsArgs};

/// The options that advice on the TLS connections of clients names.
pub(crate) const TLS_OPTIONS: TlsOptions =
    TlsOptions { prefix: "--tls", on: "use --tls-cert and --tls-key", off: "leave out --tls-cert and --tls-key" };

/// The options that advice on the TLS connection to a source names.
pub(crate) const SOURCE_ADVICE: TlsOptions =
    TlsOptions { prefix: "--source-tls", on: "write tls:// for tcp://", off: "write tcp:// or redis://" };

#[cfg(feature = "tls")]
mod present {
    use std::path::PathBuf;
    use std::sync::Arc;

    use clap::Args;
    use mapcast::tls::{Acceptor, ClientTls, Identity, ServerTls};

    /// The server's certificate, and the CA of its clients.
    #[derive(Debug, Args)]
    pub(crate) struct TlsArgs {
        /// Encrypt with the certificate chain in this PEM file, leaf first; read again when it changes
        #[arg(long = "tls-cert", value_name = "FILE", env = "MAPCAST_TLS_CERT", requires = "key")]
        cert: Option<PathBuf>,
        /// Private key of the certificate: PEM, not encrypted
        #[arg(long = "tls-key", value_name = "FILE", env = "MAPCAST_TLS_KEY", requires = "cert")]
        key: Option<PathBuf>,
        /// Accept only clients with a certificate from a CA in this PEM file
        #[arg(long = "tls-client-ca", value_name = "FILE", env = "MAPCAST_TLS_CLIENT_CA", requires = "cert")]
        client_ca: Option<PathBuf>,
    }

    impl TlsArgs {
        /// Reads the files, if there are any.
        pub(crate) fn load(&self) -> anyhow::Result<Option<Arc<Acceptor>>> {
            let Some((cert, key)) = self.cert.clone().zip(self.key.clone()) else { return Ok(None) };
            let files = ServerTls { identity: Identity { cert, key }, client_ca: self.client_ca.clone() };
            Ok(Some(Arc::new(Acceptor::load(files)?)))
        }
    }

    /// The trusted CAs for the source, and the certificate to present there.
    #[derive(Debug, Args)]
    pub(crate) struct SourceTlsArgs {
        /// With a TLS source, trust the CA certificates in this PEM file instead of the system's
        #[arg(long = "source-tls-ca", id = "source_tls_ca", value_name = "FILE", env = "MAPCAST_SOURCE_TLS_CA")]
        ca: Option<PathBuf>,
        /// The name in the source's certificate [default: the host of the address]
        #[arg(long = "source-tls-name", id = "source_tls_name", value_name = "NAME", env = "MAPCAST_SOURCE_TLS_NAME")]
        name: Option<String>,
        /// Present the client certificate in this PEM file to a source that requests one
        #[arg(
            long = "source-tls-cert",
            id = "source_tls_cert",
            value_name = "FILE",
            env = "MAPCAST_SOURCE_TLS_CERT",
            requires = "source_tls_key"
        )]
        cert: Option<PathBuf>,
        /// Private key of the certificate: PEM, not encrypted
        #[arg(
            long = "source-tls-key",
            id = "source_tls_key",
            value_name = "FILE",
            env = "MAPCAST_SOURCE_TLS_KEY",
            requires = "source_tls_cert"
        )]
        key: Option<PathBuf>,
    }

    impl SourceTlsArgs {
        /// Returns the TLS settings; `None` if no option was given.
        pub(crate) fn chosen(&self) -> Option<ClientTls> {
            let identity = self.cert.clone().zip(self.key.clone()).map(|(cert, key)| Identity { cert, key });
            let chosen = ClientTls { ca: self.ca.clone(), name: self.name.clone(), identity };
            (chosen != ClientTls::default()).then_some(chosen)
        }
    }
}

/// No options without the feature `tls`.
#[cfg(not(feature = "tls"))]
#[derive(Debug, clap::Args)]
pub(crate) struct TlsArgs {}

#[cfg(not(feature = "tls"))]
impl TlsArgs {
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "same signature as with the feature")]
    pub(crate) fn load(&self) -> anyhow::Result<Option<std::sync::Arc<mapcast::tls::Acceptor>>> {
        Ok(None)
    }
}

/// No options without the feature `tls`.
#[cfg(not(feature = "tls"))]
#[derive(Debug, clap::Args)]
pub(crate) struct SourceTlsArgs {}

#[cfg(not(feature = "tls"))]
impl SourceTlsArgs {
    #[allow(clippy::unused_self, reason = "same signature as with the feature")]
    pub(crate) fn chosen(&self) -> Option<mapcast::tls::ClientTls> {
        None
    }
}
