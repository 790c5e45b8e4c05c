//! TLS for a server: its certificate, which is reloaded when it changes, and the handshake.

use std::fmt;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{ServerConfig, ServerConnection};

use super::failure::{End, HandshakeError, causes};
use super::files::{Error, Identity};
use super::handshake_limiter::{HandshakeLimiter, Queue};
use super::kept::{Apply, FileCheck, Kept};
use super::parts::{OwnCertificate, TrustedCas};
use super::provider::provider;
use super::session::{Session, Step};
use super::time::date;
use crate::display::notice::Notice;
use crate::display::throttle::Throttle;
use crate::platform::{self, AsFd, Readiness};
use crate::shutdown::Shutdown;
use crate::sync::{Mutex, RwLock};

/// How often the files are checked.
const POLL_PERIOD: Duration = Duration::from_secs(1);

/// How long before its expiry a certificate is warned of: 14 days. Certificates of public CAs are renewed 30 days before.
const WARN_BEFORE: Duration = Duration::from_hours(14 * 24);

/// The period of such warnings: 24 h.
const WARN_PERIOD: Duration = Duration::from_hours(24);

/// The TLS files of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// The server's certificate and key.
    pub identity: Identity,
    /// PEM: every client must have a certificate of one of these CAs. `None`: clients need no certificate.
    pub client_ca: Option<PathBuf>,
}

/// Makes the TLS sessions of a server. It reloads its files when they change: new connections use the new files, existing
/// connections are not affected. Certificate and key are valid only together; the client CAs are valid without them.
///
/// Sessions are not resumed: each connection is checked against the current files.
pub struct Acceptor {
    files: ServerTls,
    /// Guards the loaded parts. Held to apply a new version; not while reading, parsing or logging.
    loaded: Mutex<Loaded>,
    /// Guards the configuration that new connections clone. Held for a clone or a store.
    current: RwLock<Current>,
    permits: HandshakeLimiter,
}

#[derive(Debug, Clone)]
struct Current {
    config: Arc<ServerConfig>,
    /// When the certificate expires; `None` if it does not say.
    not_after: Option<SystemTime>,
}

struct Loaded {
    own: Kept<OwnCertificate>,
    clients: Option<Kept<TrustedCas>>,
}

impl Loaded {
    fn load(files: &ServerTls) -> Result<Self, Error> {
        let own = Kept::load(OwnCertificate { files: files.identity.clone(), owner: End::Server })?;
        let clients = files.client_ca.clone().map(|file| Kept::load(TrustedCas { file: Some(file) })).transpose()?;
        Ok(Self { own, clients })
    }

    fn current(&self) -> Result<Current, Error> {
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| Error::setup(&error))?;
        let builder = match &self.clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let roots = Arc::clone(clients.made());
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| Error::setup(&error))?)
            }
        };
        let own = self.own.made();
        let resolver = SingleCertAndKey::from(Arc::clone(&own.certified));
        let mut config = builder.with_cert_resolver(Arc::new(resolver));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Current { config: Arc::new(config), not_after: own.not_after })
    }
}

impl Acceptor {
    /// Reads `files`.
    ///
    /// # Errors
    /// If a file cannot be read, or is invalid.
    pub fn load(files: ServerTls) -> Result<Self, Error> {
        let loaded = Loaded::load(&files)?;
        let current = RwLock::new(loaded.current()?);
        Ok(Self { files, loaded: Mutex::new(loaded), current, permits: HandshakeLimiter::new() })
    }

    /// When the certificate that new connections get expires; `None` if the certificate does not say.
    pub fn not_after(&self) -> Option<SystemTime> {
        self.current.read().not_after
    }

    /// Returns the session of a new connection, before its handshake.
    pub(crate) fn session<S>(&self, socket: S) -> Result<Box<Session<S>>, HandshakeError>
    where
        for<'socket> &'socket S: Read + Write,
    {
        let config = Arc::clone(&self.current.read().config);
        let tls = ServerConnection::new(config).map_err(causes::of_setup)?;
        Ok(Box::new(Session::new(socket, tls)))
    }

    #[cfg(test)]
    pub(super) fn test_connection(&self) -> ServerConnection {
        ServerConnection::new(Arc::clone(&self.current.read().config)).unwrap()
    }

    /// Completes the handshake within `timeout`. If the client violates TLS, an alert was sent as far as there was room.
    ///
    /// # Errors
    /// `TimedOut`, `Stopping` at the shutdown, and every other reason why the handshake fails.
    pub(crate) fn shake_hands(
        &self,
        session: &Session<TcpStream>,
        timeout: Duration,
        stop: &Shutdown,
    ) -> Result<(), HandshakeError> {
        let deadline = Instant::now().checked_add(timeout);
        let queue = Queue { permits: &self.permits, deadline, stop };
        while !stop.is_triggered() {
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(HandshakeError::TimedOut(timeout));
            }
            let readiness = match session.step(Some(&queue)).map_err(causes::at_server)? {
                Step::Done => return Ok(()),
                Step::Again | Step::Late => continue,
                Step::WaitReadable => Readiness::Readable,
                Step::WaitWritable => Readiness::Writable,
            };
            let sources = [(session.socket().as_fd(), readiness), (stop.as_fd(), Readiness::Readable)];
            platform::wait_ready(sources, deadline).map_err(HandshakeError::Io)?;
        }
        Err(HandshakeError::Stopping)
    }

    /// Checks the files once a second until the shutdown, applies valid changes, and logs them.
    pub(crate) fn follow(&self, stop: &Shutdown) {
        let mut expiry = ExpiryWarnings::new();
        expiry.warn(self.not_after(), SystemTime::now());
        while !stop.wait(POLL_PERIOD) {
            self.refresh();
            expiry.warn(self.not_after(), SystemTime::now());
        }
    }

    /// Checks the files. A change is applied when two consecutive checks find the same.
    fn refresh(&self) {
        let (own, clients) = {
            let loaded = self.loaded.lock();
            let clients = loaded.clients.as_ref().map(|clients| clients.reader(Apply::WhenStable));
            (loaded.own.reader(Apply::WhenStable), clients)
        };
        let (own, clients) = (own(), clients.map(|clients| clients()));
        let notices = self.take(own, clients);
        notices.iter().for_each(Notice::log);
    }

    fn take(&self, own: FileCheck<OwnCertificate>, clients: Option<FileCheck<TrustedCas>>) -> Vec<Notice> {
        let (mut loaded, mut notices) = (self.loaded.lock(), Vec::new());
        let mut is_new = loaded.own.take(own, &mut notices);
        if let Some((kept, look)) = loaded.clients.as_mut().zip(clients) {
            is_new |= kept.take(look, &mut notices);
        }
        if is_new {
            match loaded.current() {
                Ok(current) => *self.current.write() = current,
                Err(error) => notices.push(Notice::warning(format!("{error}; the last good files stay in use"))),
            }
        }
        notices
    }

    /// Returns a description of the certificate for new connections, for the log.
    pub(crate) fn describe(&self) -> String {
        let clients = if self.files.client_ca.is_some() { ", for clients with a certificate" } else { "" };
        self.loaded.lock().own.describe() + clients
    }
}

/// The keys are not shown.
impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("files", &self.files).finish_non_exhaustive()
    }
}

/// Warnings of a certificate that has expired or expires soon: one of each a day.
struct ExpiryWarnings {
    soon: Throttle,
    over: Throttle,
}

impl ExpiryWarnings {
    fn new() -> Self {
        Self { soon: Throttle::new(WARN_PERIOD), over: Throttle::new(WARN_PERIOD) }
    }

    fn warn(&mut self, not_after: Option<SystemTime>, now: SystemTime) {
        let Some(not_after) = not_after else { return };
        let advice = "renew it: the files are read again when they change";
        if not_after <= now {
            if self.over.pass().is_some() {
                log::warn!("the TLS certificate has expired {}, and clients refuse it; {advice}", date(not_after));
            }
        } else if not_after <= now + WARN_BEFORE && self.soon.pass().is_some() {
            log::warn!("the TLS certificate expires {}; {advice}", date(not_after));
        }
    }
}

#[cfg(test)]
mod tests;
