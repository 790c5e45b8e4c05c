//! The eviction of a client that is too slow to accept a shared payload.

use std::net::Shutdown as Direction;
use std::sync::{Arc, Weak};

use super::{ClientSender, Error};
use crate::backlog::{Backlog, Disconnect, Payload, Pending};

impl Disconnect for ClientSender {
    fn disconnect(&self) {
        // Fails only if the peer has disconnected, which wakes the thread as well.
        let _ = self.socket().tcp().shutdown(Direction::Both);
    }
}

/// Counts the connection of `sender` in `backlog`: it waits for its client to accept `payload`.
pub(super) fn enter_backlog(
    backlog: Option<&Arc<Backlog>>,
    sender: &Arc<ClientSender>,
    payload: Payload,
) -> Option<Pending> {
    let sender: Weak<dyn Disconnect> = Arc::downgrade(sender) as _;
    backlog.map(|backlog| backlog.enter(payload, sender))
}

/// Returns the cause of a failure: `Backlog` if the connection was evicted, which looks like a broken socket; otherwise
/// `error`.
pub(super) fn explain(error: Error, pending: Option<&Pending>) -> Error {
    if pending.is_some_and(Pending::is_evicted) { Error::Backlog } else { error }
}
