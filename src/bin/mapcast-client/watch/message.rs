//! Messages to the thread that draws.

use crossterm::event::Event;
use mapcast::Map;
use mapcast::client::Connectivity;

/// What the other threads send to the one that draws.
pub(super) enum Message {
    Map(Map),
    Connection(Connectivity),
    Terminal(Event),
    /// The shell suspends the client.
    Suspend,
    /// The client runs again after a stop.
    Continue,
    /// The follower has returned this.
    Ended(anyhow::Result<()>),
}
