//! The server's side: its certificate, read again when it changes, and the handshake.

use std::fmt;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{ServerConfig, ServerConnection};

use super::failure::{End, HandshakeError, causes};
use super::files::{Error, Identity};
use super::handshake_limiter::{HandshakeLimiter, Queue};
use super::kept::{Apply, FileCheck, Kept, Notice};
use super::parts::{OwnCertificate, TrustedCas};
use super::provider::provider;
use super::session::{Session, Step};
use super::time::date;
use crate::display::throttle::Throttle;
use crate::platform::{self, Readiness};
use crate::shutdown::Shutdown;

/// How often the files are looked at.
const POLL_PERIOD: Duration = Duration::from_secs(1);

/// How long before it runs out a certificate is warned of: 14 days. Those of a public CA are renewed 30 days before.
const WARN_BEFORE: Duration = Duration::from_hours(14 * 24);

/// One such warning in this time.
const WARN_PERIOD: Duration = Duration::from_hours(24);

/// The files that a server's TLS is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// Who the server is.
    pub identity: Identity,
    /// PEM: the CAs of which every client must have a certificate. `None`: clients need none.
    pub client_ca: Option<PathBuf>,
}

/// Gives TLS to the clients of a server. Its files are read again when they change: those who connect then see the new
/// ones, those who are connected stay as they are. Certificate and key are good together or not at all; the clients' CAs
/// are good without them.
///
/// No session is resumed: each connection is held against the files as they are now.
pub struct Acceptor {
    files: ServerTls,
    /// Guards what was last made of the files. Held to take a new version; never while one is read or parsed, nor while
    /// logging.
    loaded: Mutex<Loaded>,
    /// Guards the pointer that new connections clone. Held for a clone or a store.
    current: RwLock<Current>,
    permits: HandshakeLimiter,
}

#[derive(Debug, Clone)]
struct Current {
    config: Arc<ServerConfig>,
    /// `None` if the certificate does not say.
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
    /// What is wrong with them, and what to do about it.
    pub fn load(files: ServerTls) -> Result<Self, Error> {
        let loaded = Loaded::load(&files)?;
        let current = RwLock::new(loaded.current()?);
        Ok(Self { files, loaded: Mutex::new(loaded), current, permits: HandshakeLimiter::new() })
    }

    fn loaded(&self) -> MutexGuard<'_, Loaded> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Apply the certificate runs out that new connections are shown; `None` if it does not say.
    pub fn not_after(&self) -> Option<SystemTime> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).not_after
    }

    /// Returns the session of a client that has just connected, with the handshake before it.
    pub(crate) fn session<S>(&self, socket: S) -> Result<Box<Session<S>>, HandshakeError>
    where
        for<'socket> &'socket S: Read + Write,
    {
        let config = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).config);
        let tls = ServerConnection::new(config).map_err(causes::of_setup)?;
        Ok(Box::new(Session::new(socket, tls)))
    }

    #[cfg(test)]
    pub(super) fn test_connection(&self) -> ServerConnection {
        ServerConnection::new(Arc::clone(&self.current.read().unwrap().config)).unwrap()
    }

    /// Shakes hands, within `timeout` in all. A client that speaks no TLS, or the stop, or the time, ends it; an alert
    /// that says so is on its way then, as far as there was room.
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

    /// Looks at the files once a second until the stop, takes what is new and good, and says in the log what it does.
    pub(crate) fn follow(&self, stop: &Shutdown) {
        let mut expiry = ExpiryWarnings::new();
        expiry.warn(self.not_after(), SystemTime::now());
        while !stop.wait(POLL_PERIOD) {
            self.refresh();
            expiry.warn(self.not_after(), SystemTime::now());
        }
    }

    /// Looks at the files. What is taken was the same in two looks.
    fn refresh(&self) {
        let (own, clients) = {
            let loaded = self.loaded();
            let clients = loaded.clients.as_ref().map(|clients| clients.reader(Apply::WhenStable));
            (loaded.own.reader(Apply::WhenStable), clients)
        };
        let (own, clients) = (own(), clients.map(|clients| clients()));
        let notices = self.take(own, clients);
        notices.iter().for_each(Notice::log);
    }

    fn take(&self, own: FileCheck<OwnCertificate>, clients: Option<FileCheck<TrustedCas>>) -> Vec<Notice> {
        let (mut loaded, mut notices) = (self.loaded(), Vec::new());
        let mut is_new = loaded.own.take(own, &mut notices);
        if let Some((kept, look)) = loaded.clients.as_mut().zip(clients) {
            is_new |= kept.take(look, &mut notices);
        }
        if is_new {
            match loaded.current() {
                Ok(current) => *self.current.write().unwrap_or_else(PoisonError::into_inner) = current,
                Err(error) => notices.push(Notice::warning(format!("{error}; the last good files stay in use"))),
            }
        }
        notices
    }

    /// What new connections are shown, for the log.
    pub(crate) fn describe(&self) -> String {
        let clients = if self.files.client_ca.is_some() { ", for clients with a certificate" } else { "" };
        self.loaded().own.describe() + clients
    }
}

/// The keys are not shown.
impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("files", &self.files).finish_non_exhaustive()
    }
}

/// Warnings of a certificate that has expired, or soon will: one a day of each.
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
