//! HTTP, for people and their tools: a page, event streams, metrics, and writing the map.
//!
//! It stands beside the map's own server, on an accept loop, limits and a stop of its own: who looks on takes no client's
//! place, and can look on while the clients are drained.

mod app;
mod protocol;
#[doc(hidden)]
pub mod testing;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::connection::{Connection, Error};
use crate::display::error_chain::ErrorChain;
use crate::display::escape::escape_start;
use crate::feed::Feed;
use crate::service::{CloseReason, FirstRequest, ServerMonitor, Service};
use crate::shutdown::Shutdown;
use crate::state::StateFile;
use crate::stats::health::Health;
use crate::threads::Threads;
use crate::threads::WorkerThread;

use app::answer::Handled;
use app::change_log::ChangeLog;
use app::changes::Writer;
pub use app::overload::RESERVED_CONNECTIONS;
use app::rendering::{Renderer, Rendering};
use app::status::{View, Views};
use app::stream_notifier::{StreamSubscribers, start_notifier};
pub use app::token::{Error as TokenError, TokenFile};
use protocol::head::Head;
use protocol::host::Hosts;
pub use protocol::host::{HostError, parse_host};
use protocol::request::{ReadOutcome, Requests};
use protocol::response::{Code, Response};

/// The most HTTP connections unless told otherwise: 256. A page takes one, and so does each event stream.
pub const DEFAULT_MAX_CONNECTIONS: u64 = 256;

/// The stack that a thread of this service needs: 512 KiB, because it decodes maps (143 KiB for one in a debug build,
/// measured). Only what is touched is resident.
pub const STACK_SIZE: usize = 512 * 1024;

/// How much of a path is logged, in characters.
const MAX_LOGGED: usize = 64;

/// What may be shown, to whom, and who may write.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// How often event streams have the map at least. Zero is not a time.
    pub interval: Duration,
    /// The addresses that are listened on: a request has to name one of them, or loopback, as its Host.
    pub listen: Vec<SocketAddr>,
    /// What else it may name: [`parse_host`] says what can be.
    pub hosts: Vec<String>,
    /// The origin whose pages may read the answers (`https://app.example`, or `*`). Default none. Goes into a header as
    /// it is: [`parse_origin`] says whether it may.
    pub allow_origin: Option<String>,
    /// Who may write, if anybody may.
    pub token: Option<TokenFile>,
    /// Where what was written is kept.
    pub state: Option<StateFile>,
    /// Where the map comes from, if that is shown.
    pub source: Option<ShownSource>,
    /// How many lines of its log the program has dropped, if that is shown. The library only reads it.
    pub dropped_log_lines: Option<Arc<AtomicU64>>,
    /// The long-lived threads, this service's own among them: `/livez` and `/readyz` tell of those that are stuck.
    pub threads: Threads,
}

/// A source, as it is shown.
#[derive(Debug, Clone)]
pub struct ShownSource {
    /// What it is called: text that anyone may see, without a password.
    pub name: String,
    /// How it fares.
    pub health: Arc<Health>,
}

/// Shows a feed and the server that casts it over HTTP, and lets those who have a token write.
#[derive(Debug)]
pub struct Http {
    config: Config,
    hosts: Hosts,
    /// The page's Content-Security-Policy.
    policy: String,
    feed: Arc<Feed>,
    renderer: Arc<Renderer>,
    writer: Option<Writer>,
    /// The clients of the map.
    monitor: Arc<dyn ServerMonitor>,
    /// Those of this service.
    own: Arc<dyn ServerMonitor>,
    views: Views,
    /// The stop of the map's server.
    stop: Shutdown,
    started: Instant,
    started_at: SystemTime,
    subscribers: Arc<StreamSubscribers>,
    /// Guards the start of the notifier; `None` before it. It ends when this is dropped.
    stream_notifier: Mutex<Option<WorkerThread>>,
    answered: [AtomicU64; Code::ALL.len()],
    change_log: Arc<ChangeLog>,
}

impl Http {
    /// Returns the service that shows `feed`, the clients of `monitor`, and those of `own`, the server that it will be
    /// bound to. `stop` is that of the map's server: this one's should be requested when that one has stopped.
    pub fn new(
        config: Config,
        feed: Arc<Feed>,
        monitor: Arc<dyn ServerMonitor>,
        own: Arc<dyn ServerMonitor>,
        stop: Shutdown,
    ) -> Self {
        let writer = config.token.clone();
        let writer = writer.map(|token| Writer::new(Arc::clone(&feed), token, config.state.clone(), &config.threads));
        Self {
            hosts: Hosts::new(&config.listen, &config.hosts),
            policy: app::page::policy(app::page::PAGE),
            renderer: Arc::new(Renderer::new(Arc::clone(&feed))),
            config,
            feed,
            writer,
            monitor,
            own,
            views: Views::default(),
            stop,
            started: Instant::now(),
            started_at: SystemTime::now(),
            subscribers: Arc::default(),
            stream_notifier: Mutex::new(None),
            answered: Default::default(),
            change_log: Arc::default(),
        }
    }

    /// The current map; `None` if there is none, or none that JSON can show.
    fn shown(&self) -> Option<Arc<Rendering>> {
        self.renderer.latest().unwrap_or_else(|error| {
            log::debug!("the feed's value cannot be shown: {}", ErrorChain(&error));
            None
        })
    }

    fn view(&self) -> Arc<View> {
        self.views.latest(&*self.monitor)
    }

    /// Requests that were answered.
    fn requests(&self) -> u64 {
        self.answered.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Requests that were answered, by status.
    fn answered(&self) -> impl Iterator<Item = (u16, u64)> {
        let counts = self.answered.iter().map(|count| count.load(Ordering::Relaxed));
        Code::ALL.into_iter().map(Code::number).zip(counts)
    }

    /// Counts an answer, logs it, and gives it what every answer has.
    fn finish(&self, response: Response, head: Option<&Head>, connection: &Connection) -> Response {
        let code = response.code();
        self.answered[code as usize].fetch_add(1, Ordering::Relaxed);
        let (method, path) = head.map_or(("-", "-"), |head| (head.method.as_str(), head.path.as_str()));
        log::debug!("{} {} {} for {}", loggable(method), loggable(path), code.number(), connection.peer());
        match &self.config.allow_origin {
            // The same whoever asks, so it needs no Vary: a browser compares it with the page's origin itself.
            Some(origin) => {
                response.with("Access-Control-Allow-Origin", origin).with("Access-Control-Expose-Headers", "ETag")
            }
            None => response,
        }
    }
}

impl Service for Http {
    fn start(&self) -> io::Result<()> {
        self.writer.as_ref().map_or(Ok(()), Writer::start)?;
        let mut stream_notifier = self.stream_notifier.lock().unwrap_or_else(PoisonError::into_inner);
        if stream_notifier.is_none() {
            let (feed, monitor) = (Arc::clone(&self.feed), Arc::clone(&self.monitor));
            let (subscribers, change_log) = (Arc::clone(&self.subscribers), Arc::clone(&self.change_log));
            let (threads, renderer) = (&self.config.threads, Arc::clone(&self.renderer));
            *stream_notifier = Some(start_notifier(threads, feed, monitor, subscribers, change_log, renderer)?);
        }
        Ok(())
    }

    fn serve(&self, connection: &mut Connection, stop: &Shutdown) -> Result<CloseReason, Error> {
        connection.count_in(self.feed.backlog());
        let mut requests = Requests::new();
        loop {
            let head = match requests.read_head(connection, stop)? {
                ReadOutcome::Whole(head) => head,
                ReadOutcome::Over(reason) => {
                    if reason == CloseReason::Done {
                        self.note_over(connection);
                    }
                    return Ok(reason);
                }
                ReadOutcome::Refused(refusal) => {
                    self.note_over(connection);
                    let refusal = self.finish(refusal, None, connection);
                    // Whatever was to follow the head: its length is not known.
                    linger_after(&refusal, connection);
                    refusal.send(requests.is_head(), true, connection)?;
                    return Ok(CloseReason::Done);
                }
            };
            let mut is_last = head.is_last || connection.over_limit().is_some();
            let response = match self.answer(&head, connection) {
                Handled::Whole(response) => {
                    // A body that nobody reads stands where the next request should begin.
                    is_last |= head.content_length > 0;
                    response
                }
                Handled::Stream(stream) => {
                    let (response, is_head) = (self.stream_response(&head, connection), head.is_head());
                    // A stream may last for days, and its request may have taken 100 KiB.
                    drop((head, requests));
                    return self.stream(stream, response, is_head, connection, stop);
                }
                Handled::Write(writer, kind) => {
                    match self.take_change(writer, kind, &head, &mut requests, connection, stop)? {
                        ReadOutcome::Whole(change) => self.write(writer, change, &head, connection),
                        ReadOutcome::Over(reason) => return Ok(reason),
                        ReadOutcome::Refused(refusal) => {
                            is_last = true;
                            refusal
                        }
                    }
                }
            };
            let response = self.finish(response, Some(&head), connection);
            if requests.has_outstanding_body() {
                linger_after(&response, connection);
            }
            response.send(head.is_head(), is_last, connection)?;
            if is_last {
                return Ok(CloseReason::Done);
            }
        }
    }

    fn first_request(&self, received: &[u8]) -> FirstRequest {
        app::overload::first_request(received)
    }

    fn describe(&self) -> String {
        "the page, events and metrics over HTTP".to_owned()
    }
}

/// Lets the client send the rest of what `refusal` refuses before its connection is closed. Not where it had its time.
fn linger_after(refusal: &Response, connection: &mut Connection) {
    if refusal.code() != Code::RequestTimeout && connection.over_limit().is_none() {
        connection.expect_refused_input();
    }
}

/// Returns `text` if and only if it is an origin, as `https://app.example:8443`, or `*` for all of them.
///
/// # Errors
/// What an origin would be.
pub fn parse_origin(text: &str) -> Result<String, OriginError> {
    let refused = || OriginError(text.to_owned());
    if text == "*" {
        return Ok(text.to_owned());
    }
    let (scheme, authority) = text.split_once("://").ok_or_else(refused)?;
    let is_scheme = !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let is_authority = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']')
    };
    let fits = is_scheme && !authority.is_empty() && authority.bytes().all(is_authority);
    if fits { Ok(text.to_owned()) } else { Err(refused()) }
}

/// Text that is no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" is no origin: write https://app.example without a path, in lower case, or * for all", .0.escape_debug())]
pub struct OriginError(String);

/// What a peer has sent, made safe to log, and not long.
fn loggable(text: &str) -> String {
    escape_start(text, MAX_LOGGED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_and_a_host_and_nothing_that_ends_a_header() {
        for origin in ["*", "https://app.example", "http://localhost:3000", "https://[::1]:8443"] {
            assert_eq!(parse_origin(origin).as_deref(), Ok(origin));
        }
        for other in ["", "app.example", "https://", "https://app.example/", "https://a\r\nX: y", "https://a b", "null"]
        {
            assert!(parse_origin(other).is_err(), "{other}");
        }
    }

    #[test]
    fn what_is_logged_is_escaped_and_cut() {
        assert_eq!(loggable("/\x1b[2J\n"), "/\\u{1b}[2J\\n");
        assert_eq!(loggable(&"x".repeat(100)), "x".repeat(MAX_LOGGED) + "...");
    }
}
