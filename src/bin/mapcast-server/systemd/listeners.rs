//! Inherited listeners: socket activation.

use std::env;
use std::net::TcpListener;
use std::sync::Arc;

use anyhow::Context;
use listenfd::ListenFd;
use mapcast::{Server, Service};

/// The name of an unnamed listener (`sd_listen_fds_with_names`(3)).
const UNNAMED: &str = "unknown";

/// The listeners that this process has inherited.
#[derive(Debug)]
pub(crate) struct Listeners {
    inherited: Vec<Inherited>,
}

/// A listener, and its name in the socket unit (`FileDescriptorName=`).
#[derive(Debug)]
struct Inherited {
    name: String,
    listener: TcpListener,
}

impl Listeners {
    /// Takes the sockets of `LISTEN_FDS` if they are for this process (`LISTEN_PID`); usually none. Call this once,
    /// before anything else opens a descriptor.
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
            let listener = listener.with_context(|| format!("the inherited socket {name} is not a TCP socket"))?;
            inherited.extend(listener.map(|listener| Inherited { name, listener }));
        }
        Ok(Self { inherited })
    }

    /// True if and only if there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.inherited.is_empty()
    }

    /// Serves `service` on the inherited listeners.
    ///
    /// # Errors
    /// If the server cannot listen.
    pub(crate) fn serve(self, server: &mut Server, service: impl Service) -> anyhow::Result<()> {
        let service: Arc<dyn Service> = Arc::new(service);
        for Inherited { name, listener } in self.inherited {
            let taken = server.take_over(listener, Arc::clone(&service));
            taken.with_context(|| {
                format!("cannot serve the inherited socket {name} (the socket unit needs Accept=no)")
            })?;
            log::info!("using the inherited socket {name} instead of --listen");
        }
        Ok(())
    }
}
