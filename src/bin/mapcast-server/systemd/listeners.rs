//! Listeners that were handed over instead of being asked for: socket activation.

use std::env;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::Context;
use listenfd::ListenFd;
use mapcast::{Server, Service};

/// What a listener is called that has no name (`sd_listen_fds_with_names`(3)).
const UNNAMED: &str = "unknown";

/// The listeners that this process was started with.
#[derive(Debug)]
pub(crate) struct Listeners {
    inherited: Vec<Inherited>,
}

/// A listener and what its socket unit calls it (`FileDescriptorName=`).
#[derive(Debug)]
struct Inherited {
    name: String,
    listener: TcpListener,
}

impl Listeners {
    /// Takes what `LISTEN_FDS` tells of, if it is meant for this process (`LISTEN_PID`); usually nothing. To be called
    /// before anything else opens a descriptor, and once.
    ///
    /// # Errors
    /// If one of them is not a TCP socket.
    pub(crate) fn inherited() -> anyhow::Result<Self> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':').filter(|name| !name.is_empty());
        let mut sockets = ListenFd::from_env();
        let mut inherited = Vec::new();
        for index in 0..sockets.len() {
            let name = names.next().unwrap_or(UNNAMED).escape_debug().to_string();
            let listener = sockets.take_tcp_listener(index);
            let listener = listener.with_context(|| format!("socket {name} was handed over, and is no TCP socket"))?;
            inherited.extend(listener.map(|listener| Inherited { name, listener }));
        }
        Ok(Self { inherited })
    }

    /// Has `server` serve `service` on the listeners that were handed over or, if there are none, on `addrs`.
    ///
    /// # Errors
    /// If one cannot be listened on.
    pub(crate) fn serve(self, server: &mut Server, addrs: &[SocketAddr], service: impl Service) -> anyhow::Result<()> {
        if self.inherited.is_empty() {
            return Ok(server.bind(addrs, service)?);
        }
        let service: Arc<dyn Service> = Arc::new(service);
        for Inherited { name, listener } in self.inherited {
            let taken = server.take_over(listener, Arc::clone(&service));
            taken.with_context(|| {
                format!("socket {name} was handed over, and cannot be served (the socket unit wants Accept=no)")
            })?;
            log::info!("socket {name} was handed over, in place of --listen");
        }
        Ok(())
    }
}
