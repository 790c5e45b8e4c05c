//! The request to stop early, by SIGINT or SIGTERM.

use std::sync::atomic::{AtomicBool, Ordering};

/// Set by SIGINT and SIGTERM.
static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Installs the handler of both signals.
///
/// # Errors
/// If the system refuses.
pub fn watch() -> anyhow::Result<()> {
    Ok(ctrlc::set_handler(|| REQUESTED.store(true, Ordering::Relaxed))?)
}

/// Returns true as soon as SIGINT or SIGTERM has arrived.
pub fn is_requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}
