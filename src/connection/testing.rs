//! A connection over one end of a socket pair, for the checks in `tests/hostile/`.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::{Connection, FrameSender, Notifier, Watcher};
use crate::stats::histogram::Histogram;
use crate::stream::Stream;

/// Returns a connection over `socket`, which must be non-blocking, owned by the calling thread. Writes do not wait.
pub(crate) fn connection(id: u64, socket: TcpStream, watcher: &Arc<Watcher>) -> Connection {
    let sender = Arc::new(FrameSender::new(Stream::Plain(socket), Notifier::for_current_thread()));
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    Connection::new(id, peer, sender, Arc::clone(watcher), Duration::ZERO, Arc::new(Histogram::new(&[])))
}
