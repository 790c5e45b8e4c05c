//! A time that is over before the server has said anything.

use mapcast::client::{Error, Follower};

/// Returns `error`, with what may be the matter if it is the end of the time and no byte has come to `follower`. Nothing
/// else can be told then: a server that waits for TLS, or whose clients wait for a place, is as silent as one without a map.
pub(crate) fn explain(error: anyhow::Error, follower: &Follower, is_encrypted: bool) -> anyhow::Error {
    if !matches!(error.downcast_ref(), Some(Error::TimedOut)) || !follower.awaits_first_byte() {
        return error;
    }
    error.context(if is_encrypted {
        "no map came (has the server no map yet?)"
    } else {
        "no map came (does the server want TLS: --tls, is it full, or has it no map yet?)"
    })
}
