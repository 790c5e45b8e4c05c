//! Somebody else's page beside a server that has none: the machine then has the same to do for HTTP.

use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mapcast::Shutdown;

use crate::kind::Kind;
use crate::scenario::Scenario;
use crate::server::Server;

/// A mapcast server without clients, whose map changes as often. Ends when it is dropped.
pub struct HttpOnlyServer {
    server: Server,
    stop: Shutdown,
    publishing: Option<JoinHandle<()>>,
}

impl HttpOnlyServer {
    /// Starts one, with `rate` changes a second.
    pub fn start(scenario: &Scenario, rate: u32) -> anyhow::Result<Self> {
        let mut server = Server::start(Kind::Mapcast, scenario)?;
        let mut publisher = server.publisher(scenario.size)?;
        publisher.publish()?;
        let stop = Shutdown::new()?;
        let requested = stop.clone();
        let publish = move || {
            // It fails only at the end, when its server is killed.
            let _ = publisher.publish_every(Duration::from_secs(1) / rate, u32::MAX, &requested);
        };
        Ok(Self { server, stop, publishing: Some(thread::Builder::new().spawn(publish)?) })
    }

    /// Where its page is; there is one if somebody looks on.
    pub fn page(&self) -> Option<SocketAddr> {
        self.server.page()
    }
}

impl Drop for HttpOnlyServer {
    fn drop(&mut self) {
        self.stop.trigger();
        // Which ends a publisher that hangs in a write.
        self.server.kill();
        if let Some(publishing) = self.publishing.take() {
            // A panic there has been printed.
            let _ = publishing.join();
        }
    }
}
