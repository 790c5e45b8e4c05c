//! Advice when `--timeout` expires before the server has sent a byte.

use mapcast::client::{Error, Follower};

/// Adds possible causes to `error` if it is a timeout and `follower` has received no byte. They cannot be
/// distinguished: a server that waits for TLS, or whose clients wait for a free connection, is as silent as one
/// without a map.
pub(crate) fn explain(error: anyhow::Error, follower: &Follower, is_encrypted: bool) -> anyhow::Error {
    if !matches!(error.downcast_ref(), Some(Error::TimedOut)) || !follower.awaits_first_byte() {
        return error;
    }
    error.context(if is_encrypted {
        "no map was received (is this the port of the map, or does the server have no map yet?)"
    } else {
        "no map was received (is this the port of the map, does the server need --tls, is it full, or does it have no map yet?)"
    })
}
