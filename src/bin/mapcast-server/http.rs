//! The options of HTTP, and the server that they configure.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use mapcast::connection::OverLimit;
use mapcast::http::{self, HostError, OriginError, TokenFile};
use mapcast::server::{LimitNames, Role};
use mapcast::threads::Threads;
use mapcast::{Feed, Http, Server, ServerConfig, Shutdown};

use crate::input_advice;
use crate::ports::{self, Ports, resolve};

/// The longest time that the stop waits for HTTP connections after the clients are gone: browsers reconnect by themselves.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// The maximum number of HTTP connections that wait for a free connection, and the longest wait: afterwards a health check gets
/// a reserved connection.
const MAX_WAITING: usize = 64;
const PLACE_TIMEOUT: Duration = Duration::from_millis(200);

/// The options of HTTP.
#[derive(Debug, Args)]
pub(crate) struct HttpArgs {
    /// Serve the page, /events, /map, /clients, /status, /metrics, /livez and /readyz on this address, or on this port of
    /// 127.0.0.1; off by default
    #[arg(long, value_name = "ADDR:PORT", env = "MAPCAST_HTTP")]
    http: Option<String>,
    /// Limit HTTP connections; above the limit answer 503, except for health checks and metrics
    #[arg(
        long,
        value_name = "N",
        env = "MAPCAST_HTTP_MAX_CONNECTIONS",
        default_value_t = http::DEFAULT_MAX_CONNECTIONS,
        requires = "http",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    http_max_connections: u64,
    /// Accept requests for this host, in addition to loopback and the address of --http; may be repeated
    #[arg(long, value_name = "NAME", env = "MAPCAST_HTTP_HOST", value_delimiter = ',', requires = "http", value_parser = parse_host)]
    http_host: Vec<String>,
    /// Let pages of this origin read responses (CORS); * for all origins
    #[arg(long, value_name = "ORIGIN", env = "MAPCAST_HTTP_ALLOW_ORIGIN", requires = "http", value_parser = parse_origin)]
    http_allow_origin: Option<String>,
    /// Accept PUT and PATCH of /map, and PUT and DELETE of /map/KEY, with the bearer token in this file
    #[arg(long, value_name = "FILE", env = "MAPCAST_HTTP_TOKEN_FILE", conflicts_with_all = ["source", "file"])]
    http_token_file: Option<PathBuf>,
}

/// The HTTP server that the options configure.
#[derive(Debug)]
pub(crate) struct HttpTask {
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) max_connections: u64,
    /// The hosts of `--http-host`.
    pub(crate) named: Vec<String>,
    pub(crate) config: http::Config,
}

impl HttpArgs {
    /// Returns the maximum number of HTTP connections, each with a thread and a descriptor: those that are served, that are
    /// reserved, and that wait.
    pub(crate) fn connections(&self) -> u64 {
        // As many may wait for an ordinary connection as for a reserved one.
        let others = http::RESERVED_CONNECTIONS + 2 * MAX_WAITING as u64;
        self.http.as_ref().map_or(0, |_| self.http_max_connections + others)
    }

    /// Sets the address of `--http`.
    pub(crate) fn serve_on(&mut self, addr: &str) {
        self.http = Some(addr.to_owned());
    }

    /// True if and only if there is a token, and no address where it is accepted.
    pub(crate) fn lacks_address(&self) -> bool {
        self.http.is_none() && self.is_writable()
    }

    /// True if and only if the map can be changed over HTTP.
    pub(crate) fn is_writable(&self) -> bool {
        self.http_token_file.is_some()
    }

    /// Resolves names and opens files; `clients` are the ports of the map. Returns `None` without `--http`. The caller sets the
    /// state, the source, the ports of the map, the log's counter and the threads.
    pub(crate) fn into_task(self, interval: Duration, clients: &[Ports]) -> anyhow::Result<Option<HttpTask>> {
        let Some(addr) = self.http else { return Ok(None) };
        let option = format!("--http {}", addr.escape_debug());
        let listen = resolve(&option, &addr)?;
        let is_taken = |addr: &&SocketAddr| addr.port() != 0 && clients.iter().any(|ports| ports.addrs.contains(addr));
        if let Some(addr) = listen.iter().find(is_taken) {
            bail!("{option}: --listen has {addr} already; choose another port");
        }
        let named = self.http_host;
        let mut hosts = named.clone();
        hosts.extend(addr.rsplit_once(':').map(|(name, _)| name.to_owned()).filter(|name| !name.is_empty()));
        let config = http::Config {
            interval,
            listen: listen.clone(),
            hosts,
            allow_origin: self.http_allow_origin,
            limit_advice: Some(limit_advice),
            token: self.http_token_file.map(TokenFile::open).transpose()?,
            state: None,
            source: None,
            send: None,
            map_ports: Vec::new(),
            dropped_log_lines: None,
            threads: Threads::default(),
        };
        Ok(Some(HttpTask { listen, max_connections: self.http_max_connections, named, config }))
    }
}

impl HttpTask {
    /// Binds a separate server for HTTP: it does not use up clients' connections, and works while clients are drained.
    pub(crate) fn bind(
        self,
        config: &ServerConfig,
        feed: Arc<Feed>,
        clients: &Server,
        stop: &Shutdown,
    ) -> anyhow::Result<Server> {
        let mut server = Server::new(ServerConfig {
            max_connections: self.max_connections,
            limit_names: LimitNames { max_connections: "--http-max-connections", ..config.limit_names },
            reserved_connections: http::RESERVED_CONNECTIONS,
            max_waiting: MAX_WAITING,
            admission_timeout: PLACE_TIMEOUT,
            drain_timeout: DRAIN_TIMEOUT,
            stack_size: http::STACK_SIZE,
            role: Role::Http,
            // A page shows one process: its port must not be shared.
            reuse_port: false,
            ..config.clone()
        });
        let service = Http::new(self.config, feed, clients.monitor(), server.monitor(), stop.clone());
        server.bind(&self.listen, service).map_err(|error| ports::explain(error, "--http "))?;
        for addr in server.local_addrs() {
            let url = page_url(config, addr);
            log::info!("web page on {url}");
            input_advice::set_page(url);
        }
        Ok(server)
    }
}

/// Returns the option that raises `limit`.
fn limit_advice(limit: OverLimit) -> Option<String> {
    match limit {
        OverLimit::Connections => Some("raise --http-max-connections".to_owned()),
        OverLimit::PerAddress => Some("raise --max-connections-per-ip".to_owned()),
        _ => None,
    }
}

/// Returns the URL of the page.
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
