//! TLS for a client: its trusted CAs, its certificate, and the handshake.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ClientConnection};

use super::failure::{CertificateFault, End, HandshakeError, causes, printable};
use super::file_reader::FileReader;
use super::files::{Error, Identity};
use super::kept::{Apply, FileCheck, Kept};
use super::parts::{OwnCertificate, TrustedCas};
use super::provider::provider;
use super::session::{Session, Step};
use crate::display::error_chain::ErrorChain;
use crate::display::notice::Notice;
use crate::platform::Readiness;
use crate::sync::Mutex;

/// The TLS settings of a client. `ClientTls::default()` trusts the system's root certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// PEM: the only trusted CAs. `None`: the CAs of the system, or of `SSL_CERT_FILE` and `SSL_CERT_DIR`. These are read again
    /// for each connection too, about a hundred files: name a file for many connections a second.
    pub ca: Option<PathBuf>,
    /// The name that the server's certificate must be for. `None`: the host of the connection.
    pub name: Option<String>,
    /// The client's certificate and key, if the server requires one.
    pub identity: Option<Identity>,
}

/// Makes the TLS sessions of a client. It reads its files again for each connection; while they are invalid, the last valid
/// ones stay in use, and the reason is logged once. Certificate and key are valid only together; the CAs are valid without
/// them.
pub struct Connector {
    /// Guards the loaded parts. Held while another thread reads the files, at most 2 s, so that simultaneous connections share
    /// one reading. Not held while logging.
    loaded: Mutex<Loaded>,
    name: Option<ServerName<'static>>,
    has_certificate: bool,
}

struct Loaded {
    roots: Kept<TrustedCas>,
    own: Option<Kept<OwnCertificate>>,
    config: Arc<ClientConfig>,
    reader: FileReader<(FileCheck<TrustedCas>, Option<FileCheck<OwnCertificate>>)>,
    /// True if the last reading of the files timed out.
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

    /// Reads the files, and applies valid changes. Returns what to log.
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
    // Servers of this library do not resume sessions.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

impl Connector {
    /// Reads the files that `options` names, or the system's root certificates.
    ///
    /// # Errors
    /// If a file cannot be read, or is invalid.
    pub fn load(options: &ClientTls) -> Result<Self, Error> {
        let name = options.name.as_deref().map(server_name).transpose()?;
        let loaded = Mutex::new(Loaded::load(options)?);
        Ok(Self { loaded, name, has_certificate: options.identity.is_some() })
    }

    #[cfg(test)]
    pub(super) fn test_connection(&self, host: &str) -> ClientConnection {
        ClientConnection::new(Arc::clone(&self.loaded.lock().config), server_name(host).unwrap()).unwrap()
    }

    /// Reads the files again, and completes the handshake over `socket` with the server at `host`. `wait` waits until the socket
    /// is ready, and returns false if and only if `limit` has passed.
    pub(crate) fn connect(
        &self,
        socket: TcpStream,
        host: &str,
        limit: Duration,
        mut wait: impl FnMut(&TcpStream, Readiness) -> io::Result<bool>,
    ) -> Result<Box<Session<TcpStream>>, HandshakeError> {
        let name = self.name(host)?;
        // Two statements, so that the lock is released before the log is written.
        let notices = self.loaded.lock().refresh();
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

    /// Returns the name that the certificate of the server at `host` must be for.
    pub(super) fn name(&self, host: &str) -> Result<ServerName<'static>, HandshakeError> {
        match &self.name {
            Some(name) => Ok(name.clone()),
            None => server_name(host)
                .map_err(|_| HandshakeError::Certificate(End::Server, CertificateFault::NotAName(printable(host)))),
        }
    }

    /// Returns a session with the server `name`, before its handshake.
    pub(super) fn session<S>(&self, socket: S, name: ServerName<'static>) -> Result<Box<Session<S>>, HandshakeError>
    where
        for<'socket> &'socket S: Read + Write,
    {
        let tls = ClientConnection::new(Arc::clone(&self.loaded.lock().config), name);
        Ok(Box::new(Session::new(socket, tls.map_err(causes::of_setup)?)))
    }

    /// Returns the TLS error for the error of a read or a write. With TLS 1.3 a client completes the handshake before the server
    /// has verified its certificate: a rejection shows at the first read.
    ///
    /// # Errors
    /// `error` itself if the socket failed and not TLS.
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
