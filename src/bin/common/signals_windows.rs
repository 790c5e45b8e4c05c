//! Ctrl-C, Ctrl-Break and the end of the console: the first one requests the stop, a second one ends the process.

use std::io;

use mapcast::Shutdown;

/// Does nothing: Windows has no limit on the size of files.
#[allow(clippy::unnecessary_wraps, reason = "other systems may refuse")]
pub(crate) fn survive_large_writes() -> io::Result<()> {
    Ok(())
}

/// The first event triggers `stop`. A later one, or one after a stop for another reason, calls `leave`, which should end the
/// process.
///
/// # Errors
/// If the system refuses, or the events are handled already.
pub(crate) fn handle(stop: Shutdown, leave: impl Fn() + Send + 'static) -> anyhow::Result<()> {
    let take = move || {
        if !stop.trigger() {
            leave();
        }
    };
    Ok(ctrlc::set_handler(take)?)
}
