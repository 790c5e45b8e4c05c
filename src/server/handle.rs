//! The handle of a server that runs on its own thread.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::{Error, Summary};
use crate::service::ServerMonitor;
use crate::shutdown::Shutdown;
use crate::stats::Stats;

/// A server that runs on its own thread.
#[derive(Debug)]
pub struct Handle {
    pub(super) addrs: Vec<SocketAddr>,
    pub(super) monitor: Arc<dyn ServerMonitor>,
    pub(super) stop: Shutdown,
    pub(super) thread: JoinHandle<Result<Summary, Error>>,
}

impl Handle {
    /// The listeners' addresses.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// The counters.
    pub fn stats(&self) -> &Stats {
        self.monitor.stats()
    }

    /// The server's monitor.
    pub fn monitor(&self) -> &dyn ServerMonitor {
        &*self.monitor
    }

    /// Requests the stop and waits until the server has stopped.
    ///
    /// # Errors
    /// Why the server could not start.
    pub fn stop(self) -> Result<Summary, Error> {
        self.stop.trigger();
        self.join()
    }

    /// Waits until the server has stopped.
    ///
    /// # Errors
    /// Why the server could not start.
    pub fn join(self) -> Result<Summary, Error> {
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
