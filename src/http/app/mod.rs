//! The application: what each path serves, and to which clients.

mod changes;
mod clients;
pub(crate) mod config;
mod document;
mod filter;
mod handler;
mod map;
mod metrics;
pub(crate) mod overload;
mod page;
mod rendering;
pub(crate) mod reply;
mod request_log;
mod routes;
mod selections;
mod status;
mod stream_notifier;
mod streams;
mod telemetry;
pub(crate) mod token;
mod unix_time;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use super::protocol::head::Head;
use super::protocol::host::Hosts;
use super::protocol::response::Response;
use crate::backlog::Backlog;
use crate::connection::Connection;
use crate::feed::Feed;
use crate::service::ServerMonitor;
use crate::shutdown::Shutdown;
use crate::threads::WorkerThread;

use changes::Writer;
use clients::SnapshotCache;
use config::Config;
use handler::Handler;
use overload::Overload;
use rendering::Renderer;
use request_log::{RefusalLog, loggable};
use stream_notifier::{StreamNotifier, StreamSubscribers};
use streams::Streams;
use telemetry::{ResponseCounts, Telemetry};

/// The parts of the application, connected with each other.
#[derive(Debug)]
pub(crate) struct App {
    pub(super) handler: Handler,
    pub(super) streams: Streams,
    overload: Arc<Overload>,
    telemetry: Arc<Telemetry>,
    notifier: StreamNotifier,
    /// Guards the start of the notifier's thread; `None` before the start. The thread ends when this is dropped.
    notifier_thread: Mutex<Option<WorkerThread>>,
    allow_origin: Option<String>,
}

impl App {
    pub(crate) fn new(
        config: Config,
        feed: Arc<Feed>,
        monitor: Arc<dyn ServerMonitor>,
        own_monitor: Arc<dyn ServerMonitor>,
        stop: Shutdown,
    ) -> Self {
        let log = Arc::<RefusalLog>::default();
        let renderer = Arc::new(Renderer::new(Arc::clone(&feed)));
        let writer = config.token.map(|token| {
            let (feed, renderer) = (Arc::clone(&feed), Arc::clone(&renderer));
            Writer::new(feed, renderer, token, config.state, &config.threads, Arc::clone(&log))
        });
        let telemetry = Arc::new(Telemetry {
            feed: Arc::clone(&feed),
            monitor: Arc::clone(&monitor),
            own_monitor: Arc::clone(&own_monitor),
            ports: config.ports,
            interval: config.interval,
            is_writable: writer.is_some(),
            source: config.source,
            dropped_log_lines: config.dropped_log_lines,
            threads: config.threads,
            stop,
            started: Instant::now(),
            started_at: SystemTime::now(),
            snapshots: SnapshotCache::default(),
            responses: ResponseCounts::default(),
        });
        let overload = Arc::new(Overload::new(own_monitor, Arc::clone(&log)));
        let subscribers = Arc::<StreamSubscribers>::default();
        Self {
            handler: Handler {
                hosts: Hosts::new(&config.listen, &config.hosts),
                policy: page::policy(page::PAGE),
                has_cors: config.allow_origin.is_some(),
                renderer: Arc::clone(&renderer),
                writer,
                telemetry: Arc::clone(&telemetry),
                overload: Arc::clone(&overload),
            },
            streams: Streams {
                renderer: Arc::clone(&renderer),
                telemetry: Arc::clone(&telemetry),
                subscribers: Arc::clone(&subscribers),
            },
            overload,
            telemetry,
            notifier: StreamNotifier { feed, monitor, subscribers, log, renderer },
            notifier_thread: Mutex::new(None),
            allow_origin: config.allow_origin,
        }
    }

    /// Starts the threads, unless they run.
    ///
    /// # Errors
    /// If the system cannot create a thread.
    pub(crate) fn start(&self) -> io::Result<()> {
        self.handler.writer.as_ref().map_or(Ok(()), Writer::start)?;
        let mut thread = self.notifier_thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            *thread = Some(self.notifier.clone().start(&self.telemetry.threads)?);
        }
        Ok(())
    }

    pub(crate) fn backlog(&self) -> &Arc<Backlog> {
        self.telemetry.feed.backlog()
    }

    /// Counts and logs `response`. Returns it with the headers that every response has.
    pub(crate) fn complete(&self, response: Response, head: Option<&Head>, connection: &Connection) -> Response {
        let code = response.code();
        self.telemetry.responses.count(code);
        let (method, path) = head.map_or(("-", "-"), |head| (head.method.as_str(), head.path.as_str()));
        log::debug!("{} {} {} for {}", loggable(method), loggable(path), code.number(), connection.peer());
        match &self.allow_origin {
            // Equal for all requests, so it needs no Vary: the browser compares it with the page's origin.
            Some(origin) => {
                response.with("Access-Control-Allow-Origin", origin).with("Access-Control-Expose-Headers", "ETag")
            }
            None => response,
        }
    }

    /// Counts and logs that `connection` is refused, if it exceeds a limit.
    pub(crate) fn record_over_limit(&self, connection: &Connection) {
        if let Some(limit) = connection.over_limit() {
            self.overload.record(connection.peer(), limit);
        }
    }
}
