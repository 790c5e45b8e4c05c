//! The options that TLS takes, where it is built in.

use crate::advice::TlsOptions;

#[cfg(any(feature = "tls", feature = "tls-ring"))]
pub(crate) use present::{SourceTlsArgs, TlsArgs};

/// The options that advice on the TLS connection to a source names.
pub(crate) const SOURCE_ADVICE: TlsOptions =
    TlsOptions { prefix: "--source-tls", on: "write tls:// for tcp://", off: "write tcp:// or redis://" };

#[cfg(any(feature = "tls", feature = "tls-ring"))]
mod present {
    use std::path::PathBuf;
    use std::sync::Arc;

    use clap::Args;
    use mapcast::tls::{Acceptor, ClientTls, Identity, ServerTls};

    /// Who the server is, and of whom a client has to be.
    #[derive(Debug, Args)]
    pub(crate) struct TlsArgs {
        /// Encrypt with this certificate: PEM, those between it and the root behind it. Read again when it changes
        #[arg(long = "tls-cert", value_name = "FILE", env = "MAPCAST_TLS_CERT", requires = "key")]
        cert: Option<PathBuf>,
        /// The certificate's private key: PEM, not encrypted
        #[arg(long = "tls-key", value_name = "FILE", env = "MAPCAST_TLS_KEY", requires = "cert")]
        key: Option<PathBuf>,
        /// Let only clients in that have a certificate of a CA in this file: PEM
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

    /// Whom the server trusts as its source, and who it is there.
    #[derive(Debug, Args)]
    pub(crate) struct SourceTlsArgs {
        /// Trust the CAs in this file, with a source of TLS: PEM [default: the system's roots]
        #[arg(long = "source-tls-ca", id = "source_tls_ca", value_name = "FILE", env = "MAPCAST_SOURCE_TLS_CA")]
        ca: Option<PathBuf>,
        /// The name that the source's certificate must be for [default: the host that is connected to]
        #[arg(long = "source-tls-name", id = "source_tls_name", value_name = "NAME", env = "MAPCAST_SOURCE_TLS_NAME")]
        name: Option<String>,
        /// Show this certificate to a source that asks for one: PEM
        #[arg(
            long = "source-tls-cert",
            id = "source_tls_cert",
            value_name = "FILE",
            env = "MAPCAST_SOURCE_TLS_CERT",
            requires = "source_tls_key"
        )]
        cert: Option<PathBuf>,
        /// The certificate's private key: PEM, not encrypted
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
        /// Returns what was chosen; `None` if nothing was.
        pub(crate) fn chosen(&self) -> Option<ClientTls> {
            let identity = self.cert.clone().zip(self.key.clone()).map(|(cert, key)| Identity { cert, key });
            let chosen = ClientTls { ca: self.ca.clone(), name: self.name.clone(), identity };
            (chosen != ClientTls::default()).then_some(chosen)
        }
    }
}

/// None, without the feature `tls`.
#[cfg(not(any(feature = "tls", feature = "tls-ring")))]
#[derive(Debug, clap::Args)]
pub(crate) struct TlsArgs {}

#[cfg(not(any(feature = "tls", feature = "tls-ring")))]
impl TlsArgs {
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "the same as with the feature")]
    pub(crate) fn load(&self) -> anyhow::Result<Option<std::sync::Arc<mapcast::tls::Acceptor>>> {
        Ok(None)
    }
}

/// None, without the feature `tls`.
#[cfg(not(any(feature = "tls", feature = "tls-ring")))]
#[derive(Debug, clap::Args)]
pub(crate) struct SourceTlsArgs {}

#[cfg(not(any(feature = "tls", feature = "tls-ring")))]
impl SourceTlsArgs {
    #[allow(clippy::unused_self, reason = "the same as with the feature")]
    pub(crate) fn chosen(&self) -> Option<mapcast::tls::ClientTls> {
        None
    }
}
