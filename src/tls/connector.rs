//! The client's side: whom it trusts, who it is, and the handshake.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ClientConnection};

use super::failure::{CertificateFault, End, HandshakeError, causes, printable};
use super::file_reader::FileReader;
use super::files::{Error, Identity};
use super::kept::{Apply, FileCheck, Kept, Notice};
use super::parts::{OwnCertificate, TrustedCas};
use super::provider::provider;
use super::session::{Session, Step};
use crate::display::error_chain::ErrorChain;
use crate::platform::Readiness;

/// How a client's TLS is made. `ClientTls::default()` trusts the system's roots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// PEM: the only CAs that are trusted. `None`: those of the system, or of `SSL_CERT_FILE` and `SSL_CERT_DIR`. They too are
    /// read again for each connection, some hundred files: for many connections a second, name a file.
    pub ca: Option<PathBuf>,
    /// The name that the server's certificate must be for. `None`: the host that is connected to.
    pub name: Option<String>,
    /// Who the client is, if the server asks.
    pub identity: Option<Identity>,
}

/// Gives TLS to the connections of a client. Reads its files again for each connection; while they are bad, the last good
/// ones stay in use, and the log has the reason once. Certificate and key are good together or not at all; the CAs are
/// good without them.
pub struct Connector {
    /// Guards what was last made of the files. Held while another thread reads them, at most 2 s, so that all
    /// connections that are made at a time have what was read for one of them. Never held while logging.
    loaded: Mutex<Loaded>,
    name: Option<ServerName<'static>>,
    has_certificate: bool,
}

struct Loaded {
    roots: Kept<TrustedCas>,
    own: Option<Kept<OwnCertificate>>,
    config: Arc<ClientConfig>,
    reader: FileReader<(FileCheck<TrustedCas>, Option<FileCheck<OwnCertificate>>)>,
    /// True if the files were not read in time when they were last looked at.
    is_late: bool,
}

impl Loaded {
    fn load(options: &ClientTls) -> Result<Self, Error> {
        let roots = Kept::load(TrustedCas { file: options.ca.clone() })?;
        let own = options.identity.clone().map(|files| Kept::load(OwnCertificate { files, owner: End::Client }));
        let own = own.transpose()?;
        let config = config(&roots, own.as_ref())?;
        Ok(Self { roots, own, config, reader: FileReader::new(), is_late: false })
    }

    /// Takes what is new in the files, and good. Returns what to log.
    fn refresh(&mut self) -> Vec<Notice> {
        let roots = self.roots.reader(Apply::AtOnce);
        let own = self.own.as_ref().map(|own| own.reader(Apply::AtOnce));
        let was_late = std::mem::take(&mut self.is_late);
        let (roots, own) = match self.reader.run(move || (roots(), own.map(|own| own()))) {
            Ok(looks) => looks,
            Err(error) => {
                self.is_late = true;
                let notice = (!was_late).then(|| kept_in_use(&error));
                return notice.into_iter().collect();
            }
        };
        let mut notices = Vec::new();
        let mut is_new = self.roots.take(roots, &mut notices);
        if let Some((kept, look)) = self.own.as_mut().zip(own) {
            is_new |= kept.take(look, &mut notices);
        }
        if is_new {
            match config(&self.roots, self.own.as_ref()) {
                Ok(config) => self.config = config,
                Err(error) => notices.push(kept_in_use(&error)),
            }
        }
        notices
    }
}

fn kept_in_use(error: &Error) -> Notice {
    Notice::warning(format!("{}; the last good files stay in use", ErrorChain(error)))
}

fn config(roots: &Kept<TrustedCas>, own: Option<&Kept<OwnCertificate>>) -> Result<Arc<ClientConfig>, Error> {
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| Error::setup(&error))?;
    let builder = builder.with_root_certificates(Arc::clone(roots.made()));
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let own = SingleCertAndKey::from(Arc::clone(&own.made().certified));
            builder.with_client_cert_resolver(Arc::new(own))
        }
    };
    // The server resumes nothing: there is nothing to keep.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

impl Connector {
    /// Reads the files that `options` names, or the system's roots.
    ///
    /// # Errors
    /// What is wrong with them, and what to do about it.
    pub fn load(options: &ClientTls) -> Result<Self, Error> {
        let name = options.name.as_deref().map(server_name).transpose()?;
        let loaded = Mutex::new(Loaded::load(options)?);
        Ok(Self { loaded, name, has_certificate: options.identity.is_some() })
    }

    fn loaded(&self) -> MutexGuard<'_, Loaded> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn test_connection(&self, host: &str) -> ClientConnection {
        ClientConnection::new(Arc::clone(&self.loaded().config), server_name(host).unwrap()).unwrap()
    }

    /// Reads the files again, and shakes hands over `socket`, with the server that was asked for as `host`. `wait` waits until
    /// the socket is ready, and returns false if and only if `limit` is over.
    pub(crate) fn connect(
        &self,
        socket: TcpStream,
        host: &str,
        limit: Duration,
        mut wait: impl FnMut(&TcpStream, Readiness) -> io::Result<bool>,
    ) -> Result<Box<Session<TcpStream>>, HandshakeError> {
        let name = self.name(host)?;
        // Not in one statement: no lock is held while the log is written.
        let notices = self.loaded().refresh();
        notices.iter().for_each(Notice::log);
        let session = self.session(socket, name)?;
        let failed = |error| causes::at_client(error, self.has_certificate);
        loop {
            let readiness = match session.step(None).map_err(failed)? {
                Step::Done => return Ok(session),
                Step::Again | Step::Late => continue,
                Step::WaitReadable => Readiness::Readable,
                Step::WaitWritable => Readiness::Writable,
            };
            if !wait(session.socket(), readiness).map_err(HandshakeError::Io)? {
                return Err(HandshakeError::TimedOut(limit));
            }
        }
    }

    /// Returns the name that the certificate must be for, of a server that was asked for as `host`.
    pub(super) fn name(&self, host: &str) -> Result<ServerName<'static>, HandshakeError> {
        match &self.name {
            Some(name) => Ok(name.clone()),
            None => server_name(host)
                .map_err(|_| HandshakeError::Certificate(End::Server, CertificateFault::NotAName(printable(host)))),
        }
    }

    /// Returns the session with the server called `name`, with the handshake before it.
    pub(super) fn session<S>(&self, socket: S, name: ServerName<'static>) -> Result<Box<Session<S>>, HandshakeError>
    where
        for<'socket> &'socket S: Read + Write,
    {
        let tls = ClientConnection::new(Arc::clone(&self.loaded().config), name);
        Ok(Box::new(Session::new(socket, tls.map_err(causes::of_setup)?)))
    }

    /// Returns what `error` means, if TLS broke the connection off and not the network. With TLS 1.3 a client's handshake
    /// is over before the server has looked at its certificate: the refusal is the first thing that it reads.
    ///
    /// # Errors
    /// `error` itself if it is the network's.
    pub(crate) fn refusal(&self, error: io::Error) -> Result<HandshakeError, io::Error> {
        causes::in_client_session(error, self.has_certificate)
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

#[cfg(test)]
mod tests;
