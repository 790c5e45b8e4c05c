//! The client's side: whom it trusts, who it is, and the handshake.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::failure::HandshakeError;
use super::files::{self, Error, Identity};
use super::session::{Session, Step};
use super::{DEFAULT_HANDSHAKE_TIMEOUT, provider};
use crate::platform::Readiness;

/// How a client's TLS is made. `ClientTls::default()` trusts the system's roots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// PEM: the only CAs that are trusted. `None`: those of the system, or of `SSL_CERT_FILE` and `SSL_CERT_DIR`.
    pub ca: Option<PathBuf>,
    /// The name that the server's certificate must be for. `None`: the host that is connected to.
    pub name: Option<String>,
    /// Who the client is, if the server asks.
    pub identity: Option<Identity>,
}

/// Gives TLS to the connections of a client. Reads its files once.
pub struct Connector {
    config: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
    has_certificate: bool,
}

impl Connector {
    /// Reads the files that `options` names, or the system's roots.
    ///
    /// # Errors
    /// What is wrong with them, and what to do about it.
    pub fn load(options: &ClientTls) -> Result<Self, Error> {
        let roots = match &options.ca {
            Some(path) => files::roots(path, &files::read(path)?)?,
            None => system_roots()?,
        };
        let builder = ClientConfig::builder_with_provider(provider());
        let builder = builder.with_safe_default_protocol_versions().map_err(Error::Setup)?;
        let builder = builder.with_root_certificates(roots);
        let mut config = match &options.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = files::certificates(&identity.cert, &files::read(&identity.cert)?)?;
                let key = files::key(&identity.key, &files::read(&identity.key)?)?;
                let built = builder.with_client_auth_cert(chain, key);
                built.map_err(|source| Error::Identity(identity.clone(), source))?
            }
        };
        // The server resumes nothing: there is nothing to keep.
        config.resumption = Resumption::disabled();
        let name = options.name.as_deref().map(server_name).transpose()?;
        Ok(Self { config: Arc::new(config), name, has_certificate: options.identity.is_some() })
    }

    #[cfg(test)]
    pub(super) fn test_connection(&self, host: &str) -> ClientConnection {
        ClientConnection::new(Arc::clone(&self.config), server_name(host).unwrap()).unwrap()
    }

    /// Shakes hands over `socket`, with the server that was asked for as `host`. `wait` waits until the socket is ready,
    /// and returns false if and only if it may not wait any longer.
    pub(crate) fn connect(
        &self,
        socket: TcpStream,
        host: &str,
        mut wait: impl FnMut(&TcpStream, Readiness) -> io::Result<bool>,
    ) -> Result<Box<Session<TcpStream>>, HandshakeError> {
        let name = self.name(host)?;
        let wanted = name.to_str().into_owned();
        let session = self.session(socket, name)?;
        let failed = |error| HandshakeError::at_client(error, &wanted, self.has_certificate);
        loop {
            let readiness = match session.step(None).map_err(failed)? {
                Step::Done => return Ok(session),
                Step::Again | Step::Late => continue,
                Step::WaitReadable => Readiness::Readable,
                Step::WaitWritable => Readiness::Writable,
            };
            if !wait(session.socket(), readiness).map_err(HandshakeError::Io)? {
                return Err(HandshakeError::TimedOut(DEFAULT_HANDSHAKE_TIMEOUT));
            }
        }
    }

    /// Returns the name that the certificate must be for, of a server that was asked for as `host`.
    pub(super) fn name(&self, host: &str) -> Result<ServerName<'static>, HandshakeError> {
        match &self.name {
            Some(name) => Ok(name.clone()),
            None => server_name(host).map_err(|error| HandshakeError::ServerCertificate(error.to_string())),
        }
    }

    /// Returns the session with the server called `name`, with the handshake before it.
    pub(super) fn session<S>(&self, socket: S, name: ServerName<'static>) -> Result<Box<Session<S>>, HandshakeError>
    where
        for<'socket> &'socket S: Read + Write,
    {
        let tls = ClientConnection::new(Arc::clone(&self.config), name);
        let tls = tls.map_err(|error| HandshakeError::Protocol(error.to_string()))?;
        Ok(Box::new(Session::new(socket, tls)))
    }

    /// Returns what `error` means, if TLS broke the connection off and not the network. With TLS 1.3 a client's handshake
    /// is over before the server has looked at its certificate: the refusal is the first thing that it reads.
    pub(crate) fn refusal(&self, error: io::Error) -> Result<HandshakeError, io::Error> {
        if error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).is_some() {
            return Ok(HandshakeError::at_client(error, "", self.has_certificate));
        }
        Err(error)
    }
}

/// The keys are not shown.
impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("name", &self.name).finish_non_exhaustive()
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, Error> {
    ServerName::try_from(name.to_owned()).map_err(|_| Error::Name(name.to_owned()))
}

/// What the administrator of this machine trusts. A root that cannot be read is left out, as everywhere.
fn system_roots() -> Result<RootCertStore, Error> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        log::debug!("of the system's root certificates: {error}");
    }
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(found.certs);
    if taken == 0 { Err(Error::NoRoots) } else { Ok(roots) }
}

#[cfg(test)]
mod tests;
