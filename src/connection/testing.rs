//! A connection over one end of a pair of sockets, for the checks in `tests/hostile/`.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::{Connection, FrameSender, Notifier, Watcher};
use crate::stats::histogram::Histogram;
use crate::stream::Stream;

/// Returns the connection of the calling thread over `socket`, which has to be non-blocking. No write waits.
pub(crate) fn connection(id: u64, socket: TcpStream, watcher: &Arc<Watcher>) -> Connection {
    let sender = Arc::new(FrameSender::new(Stream::Plain(socket), Notifier::for_current_thread()));
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    Connection::new(id, peer, sender, Arc::clone(watcher), Duration::ZERO, Arc::new(Histogram::new(&[])))
}
