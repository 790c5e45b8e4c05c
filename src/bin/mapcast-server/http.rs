//! The options of the page and of writing, and the listener that they come to.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use mapcast::server::Role;
use mapcast::service::http::{self, HostError, OriginError, TokenFile};
use mapcast::threads::Threads;
use mapcast::{Feed, Http, Server, ServerConfig, Shutdown};

/// How long the stop waits for HTTP's own connections, when the clients are gone: browsers come back by themselves.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// How many HTTP connections wait for a place at once, and how long: a health check must not wait longer before it has a
/// reserved place.
const MAX_WAITING: usize = 64;
const PLACE_TIMEOUT: Duration = Duration::from_millis(200);

/// What is shown over HTTP, to whom, and who may write.
#[derive(Debug, Args)]
pub(crate) struct HttpArgs {
    /// Serve the page, /events, /map, /clients, /status, /metrics, /livez and /readyz here; off unless given
    #[arg(long, value_name = "ADDR:PORT", env = "MAPCAST_HTTP")]
    http: Option<String>,
    /// Answer HTTP connections above this number with 503, but for health checks and metrics
    #[arg(
        long,
        value_name = "N",
        env = "MAPCAST_HTTP_MAX_CONNECTIONS",
        default_value_t = http::DEFAULT_MAX_CONNECTIONS,
        requires = "http",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    http_max_connections: u64,
    /// Answer requests for this host too, beside loopback and the address that is listened on; may be repeated
    #[arg(long, value_name = "NAME", env = "MAPCAST_HTTP_HOST", value_delimiter = ',', requires = "http", value_parser = parse_host)]
    http_host: Vec<String>,
    /// Let pages of this origin read the answers (CORS); * for all
    #[arg(long, value_name = "ORIGIN", env = "MAPCAST_HTTP_ALLOW_ORIGIN", requires = "http", value_parser = parse_origin)]
    http_allow_origin: Option<String>,
    /// Take PUT and PATCH of /map, PUT and DELETE of /map/KEY, from whoever has the bearer token in this file
    #[arg(long, value_name = "FILE", env = "MAPCAST_HTTP_TOKEN_FILE", requires = "http", conflicts_with = "source")]
    http_token_file: Option<PathBuf>,
}

/// The page that was asked for.
#[derive(Debug)]
pub(crate) struct HttpTask {
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) max_connections: u64,
    /// The hosts of `--http-host`.
    pub(crate) named: Vec<String>,
    pub(crate) config: http::Config,
}

impl HttpArgs {
    /// How many threads and descriptors its connections may take at once: those that are served, that have a reserved
    /// place, and that wait for one.
    pub(crate) fn connections(&self) -> u64 {
        // As many may wait for an ordinary place as for a reserved one.
        let others = http::RESERVED_CONNECTIONS + 2 * MAX_WAITING as u64;
        self.http.as_ref().map_or(0, |_| self.http_max_connections + others)
    }

    /// True if and only if the map may be written.
    pub(crate) fn is_writable(&self) -> bool {
        self.http_token_file.is_some()
    }

    /// Resolves names and opens files; `None` if no page was asked for. The state, the source, the log's count and the threads
    /// are yet to be named.
    pub(crate) fn into_task(
        self,
        interval: Duration,
        resolve: impl Fn(&str) -> anyhow::Result<Vec<SocketAddr>>,
    ) -> anyhow::Result<Option<HttpTask>> {
        let Some(addr) = self.http else { return Ok(None) };
        let listen = resolve(&addr)?;
        let named = self.http_host;
        let mut hosts = named.clone();
        hosts.extend(addr.rsplit_once(':').map(|(name, _)| name.to_owned()));
        let config = http::Config {
            interval,
            listen: listen.clone(),
            hosts,
            allow_origin: self.http_allow_origin,
            token: self.http_token_file.map(TokenFile::open).transpose()?,
            state: None,
            source: None,
            dropped_log_lines: None,
            threads: Threads::default(),
        };
        Ok(Some(HttpTask { listen, max_connections: self.http_max_connections, named, config }))
    }
}

impl HttpTask {
    /// Listens for HTTP, on a server of its own: who looks on takes no client's place, and can while they are drained.
    pub(crate) fn bind(
        self,
        config: &ServerConfig,
        feed: Arc<Feed>,
        clients: &Server,
        stop: &Shutdown,
    ) -> anyhow::Result<Server> {
        let mut server = Server::new(ServerConfig {
            max_connections: self.max_connections,
            reserved_connections: http::RESERVED_CONNECTIONS,
            max_waiting: MAX_WAITING,
            admission_timeout: PLACE_TIMEOUT,
            drain_timeout: DRAIN_TIMEOUT,
            stack_size: http::STACK_SIZE,
            role: Role::Http,
            // A page shows one process.
            reuse_port: false,
            ..config.clone()
        });
        let service = Http::new(self.config, feed, clients.monitor(), server.monitor(), stop.clone());
        server.bind(&self.listen, service).context("--http")?;
        for addr in server.local_addrs() {
            log::info!("web page on {}", page_url(config, addr));
        }
        Ok(server)
    }
}

/// What a browser is to be given to see the page.
pub(crate) fn page_url(config: &ServerConfig, addr: SocketAddr) -> String {
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{addr}/")
}

fn parse_host(text: &str) -> Result<String, HostError> {
    http::parse_host(text)
}

fn parse_origin(text: &str) -> Result<String, OriginError> {
    http::parse_origin(text)
}
