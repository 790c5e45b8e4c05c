//! The server's side: its certificate, read again when it changes, and the handshake.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ServerConfig, ServerConnection};

use super::failure::HandshakeError;
use super::files::{self, Error, Identity};
use super::permits::{Permits, Queue};
use super::session::{Session, Step};
use super::{not_after, provider};
use crate::chain::Chain;
use crate::escape::escape;
use crate::platform::{self, Readiness};
use crate::shutdown::Shutdown;
use crate::throttle::Throttle;

/// How often the files are looked at.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

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
/// ones, those who are connected stay as they are.
///
/// No session is resumed: each connection is held against the files as they are now.
pub struct Acceptor {
    files: ServerTls,
    hasher: RandomState,
    /// The hash of what was in the files when they were loaded.
    loaded: u64,
    /// Guards the pointer that new connections clone. Held for a clone or a store.
    current: RwLock<Current>,
    permits: Permits,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    /// `None` if the certificate does not say.
    not_after: Option<SystemTime>,
}

/// What is in the files.
#[derive(Hash)]
struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl ServerTls {
    fn read(&self) -> Result<Contents, Error> {
        Ok(Contents {
            cert: files::read(&self.identity.cert)?,
            key: files::read(&self.identity.key)?,
            client_ca: self.client_ca.as_deref().map(files::read).transpose()?,
        })
    }

    fn build(&self, contents: &Contents) -> Result<Current, Error> {
        let chain = files::certificates(&self.identity.cert, &contents.cert)?;
        let key = files::key(&self.identity.key, &contents.key)?;
        let not_after = chain.first().and_then(not_after);
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder.with_safe_default_protocol_versions().map_err(Error::Setup)?;
        let builder = match self.client_ca.as_ref().zip(contents.client_ca.as_ref()) {
            None => builder.with_no_client_auth(),
            Some((path, content)) => {
                let roots = Arc::new(files::roots(path, content)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
                builder.with_client_cert_verifier(verifier.map_err(|source| Error::ClientCa(path.clone(), source))?)
            }
        };
        let mut config =
            builder.with_single_cert(chain, key).map_err(|source| Error::Identity(self.identity.clone(), source))?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Current { config: Arc::new(config), not_after })
    }
}

impl Acceptor {
    /// Reads `files`.
    ///
    /// # Errors
    /// What is wrong with them, and what to do about it.
    pub fn load(files: ServerTls) -> Result<Self, Error> {
        let (contents, hasher) = (files.read()?, RandomState::new());
        let current = files.build(&contents)?;
        let loaded = hasher.hash_one(&contents);
        Ok(Self { files, hasher, loaded, current: RwLock::new(current), permits: Permits::new() })
    }

    /// When the certificate runs out that new connections are shown; `None` if it does not say.
    pub fn not_after(&self) -> Option<SystemTime> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).not_after
    }

    /// Returns the session of a client that has just connected, with the handshake before it.
    pub(crate) fn session<S>(&self, socket: S) -> Result<Box<Session<S>>, HandshakeError>
    where
        for<'socket> &'socket S: Read + Write,
    {
        let config = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).config);
        let tls = ServerConnection::new(config).map_err(|error| HandshakeError::Protocol(error.to_string()))?;
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
            let readiness = match session.step(Some(&queue)).map_err(HandshakeError::at_server)? {
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
        let mut watch = Watch::new(self);
        watch.warn_of_the_end(SystemTime::now());
        while !stop.wait(LOOK_PERIOD) {
            match watch.look() {
                Some(Ok(())) => log::info!("{}", self.describe()),
                Some(Err(error)) => log::warn!("{}; the old certificate stays", Chain(&error)),
                None => {}
            }
            watch.warn_of_the_end(SystemTime::now());
        }
    }

    /// What new connections are shown, for the log.
    pub(crate) fn describe(&self) -> String {
        let name = escape(&self.files.identity.cert.to_string_lossy());
        let until = self.not_after().map_or_else(String::new, |not_after| format!(", valid until {}", date(not_after)));
        let clients = if self.files.client_ca.is_some() { ", for clients with a certificate" } else { "" };
        format!("TLS certificate {name}{until}{clients}")
    }
}

/// The keys are not shown.
impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("files", &self.files).finish_non_exhaustive()
    }
}

fn date(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

/// What has been seen of the files.
struct Watch<'acceptor> {
    acceptor: &'acceptor Acceptor,
    /// The hash of what was taken or refused last.
    judged: u64,
    /// The hash of what was seen last.
    seen: u64,
    /// Warnings that it runs out, and that it has.
    warnings: [Throttle; 2],
}

impl<'acceptor> Watch<'acceptor> {
    fn new(acceptor: &'acceptor Acceptor) -> Self {
        let warnings = [Throttle::new(WARN_PERIOD), Throttle::new(WARN_PERIOD)];
        Self { acceptor, judged: acceptor.loaded, seen: acceptor.loaded, warnings }
    }

    /// Reads the files. Returns `None` if there is no news: they are as they were, or have only just changed. What is
    /// taken was the same in two looks, because a certificate and its key are two files, and never change in one moment.
    fn look(&mut self) -> Option<Result<(), Error>> {
        let contents = self.acceptor.files.read();
        let hash = match &contents {
            Ok(contents) => self.acceptor.hasher.hash_one(contents),
            Err(error) => self.acceptor.hasher.hash_one(Chain(error).to_string()),
        };
        let is_settled = std::mem::replace(&mut self.seen, hash) == hash;
        if !is_settled || self.judged == hash {
            return None;
        }
        self.judged = hash;
        let taken = contents.and_then(|contents| self.acceptor.files.build(&contents)).map(|current| {
            *self.acceptor.current.write().unwrap_or_else(PoisonError::into_inner) = current;
        });
        Some(taken)
    }

    /// Warns once a day of a certificate that has run out, or soon will.
    fn warn_of_the_end(&mut self, now: SystemTime) {
        let Some(not_after) = self.acceptor.not_after() else { return };
        let has_ended = not_after <= now;
        if not_after > now + WARN_BEFORE || self.warnings[usize::from(has_ended)].pass().is_none() {
            return;
        }
        let advice = "renew it: the files are read again when they change";
        if has_ended {
            log::warn!("the TLS certificate has expired {}, and clients refuse it; {advice}", date(not_after));
        } else {
            log::warn!("the TLS certificate expires {}; {advice}", date(not_after));
        }
    }
}

#[cfg(test)]
mod tests;
