//! Messages to the thread that draws.

use crossterm::event::Event;
use mapcast::client::Connectivity;
use mapcast::{Format, Map};

/// What the other threads send to the one that draws.
pub(super) enum Message {
    Map {
        map: Map,
        /// The format of its payload.
        format: Option<Format>,
    },
    Connection(Connectivity),
    Terminal(Event),
    /// The shell suspends the client.
    Suspend,
    /// The client runs again after a stop.
    Continue,
    /// The follower has returned this.
    Ended(anyhow::Result<()>),
}
