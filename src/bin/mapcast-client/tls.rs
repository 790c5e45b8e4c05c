//! TLS options, if TLS is compiled in.

#[cfg(feature = "tls")]
pub(crate) use present::TlsArgs;

#[cfg(feature = "tls")]
mod present {
    use std::path::PathBuf;
    use std::sync::Arc;

    use clap::Args;
    use clap::builder::BoolishValueParser;
    use mapcast::tls::{ClientTls, Connector, Identity};

    use crate::exit::describe;

    /// The trusted CAs and the client's own certificate. Clap cannot check dependencies between global options; `load`
    /// does.
    #[derive(Debug, Args)]
    pub(crate) struct TlsArgs {
        /// Encrypt, and trust the system's root certificates
        #[arg(long, global = true, env = "MAPCAST_TLS", value_parser = BoolishValueParser::new())]
        tls: bool,
        /// Trust the CA certificates in this PEM file instead of the system's
        #[arg(long, global = true, value_name = "FILE", env = "MAPCAST_TLS_CA")]
        tls_ca: Option<PathBuf>,
        /// The name in the server's certificate [default: the host of the address]
        #[arg(long, global = true, value_name = "NAME", env = "MAPCAST_TLS_NAME")]
        tls_name: Option<String>,
        /// Present the client certificate in this PEM file to a server that requests one
        #[arg(long, global = true, value_name = "FILE", env = "MAPCAST_TLS_CERT")]
        tls_cert: Option<PathBuf>,
        /// Private key of the certificate: PEM, not encrypted
        #[arg(long, global = true, value_name = "FILE", env = "MAPCAST_TLS_KEY")]
        tls_key: Option<PathBuf>,
    }

    impl TlsArgs {
        /// Reads the files if `--tls` is given. An error is a text for the user.
        pub(crate) fn load(self) -> Result<Option<Arc<Connector>>, String> {
            if !self.tls {
                let options = [
                    ("--tls-ca", self.tls_ca.is_some()),
                    ("--tls-name", self.tls_name.is_some()),
                    ("--tls-cert", self.tls_cert.is_some()),
                    ("--tls-key", self.tls_key.is_some()),
                ];
                return match options.into_iter().find(|(_, is_given)| *is_given) {
                    Some((option, _)) => Err(format!("{option} has no effect without --tls; add --tls")),
                    None => Ok(None),
                };
            }
            let identity = match (self.tls_cert, self.tls_key) {
                (Some(cert), Some(key)) => Some(Identity { cert, key }),
                (None, None) => None,
                (Some(_), None) => return Err("--tls-cert also needs --tls-key".to_owned()),
                (None, Some(_)) => return Err("--tls-key also needs --tls-cert".to_owned()),
            };
            let options = ClientTls { ca: self.tls_ca, name: self.tls_name, identity };
            let connector = Connector::load(&options).map_err(|error| describe(&error.into()))?;
            Ok(Some(Arc::new(connector)))
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
    pub(crate) fn load(self) -> Result<Option<std::sync::Arc<mapcast::tls::Connector>>, String> {
        Ok(None)
    }
}
