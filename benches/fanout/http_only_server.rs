//! A mapcast server that takes the HTTP load beside a server without HTTP, so that the machine has the same work.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mapcast::Shutdown;

use crate::kind::Kind;
use crate::scenario::Scenario;
use crate::server::Server;
use crate::timing::PATIENCE;

/// A mapcast server without clients, whose map changes at the same rate. Stopped on drop.
pub struct HttpOnlyServer {
    server: Server,
    stop: Shutdown,
    publishing: Option<JoinHandle<()>>,
}

impl HttpOnlyServer {
    /// Starts a server with `rate` changes per second.
    pub fn start(scenario: &Scenario, rate: u32) -> anyhow::Result<Self> {
        let mut server = Server::start(Kind::Mapcast, scenario)?;
        let mut publisher = server.publisher(scenario.size)?;
        publisher.publish()?;
        // Until the server has read its first map, `/map` is 503.
        let mut client = TcpStream::connect(server.addr())?;
        client.set_read_timeout(Some(PATIENCE))?;
        client.read_exact(&mut [0])?;
        let stop = Shutdown::new()?;
        let requested = stop.clone();
        let publish = move || {
            // Fails only at the end, when the server is killed.
            let _ = publisher.publish_every(Duration::from_secs(1) / rate, u32::MAX, &requested);
        };
        Ok(Self { server, stop, publishing: Some(thread::Builder::new().spawn(publish)?) })
    }

    /// Returns the address of its HTTP server; `Some` if the scenario has HTTP load.
    pub fn page(&self) -> Option<SocketAddr> {
        self.server.page()
    }
}

impl Drop for HttpOnlyServer {
    fn drop(&mut self) {
        self.stop.trigger();
        // This unblocks a publisher that hangs in a write.
        self.server.kill();
        if let Some(publishing) = self.publishing.take() {
            // A panic has been printed.
            let _ = publishing.join();
        }
    }
}
