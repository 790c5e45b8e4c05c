//! Job control: Windows has none.

/// Does nothing.
#[allow(clippy::unnecessary_wraps, reason = "other systems may refuse")]
pub(crate) fn on_job_control(_tell: impl FnMut(bool) -> bool + Send + 'static) -> anyhow::Result<()> {
    Ok(())
}

/// Does nothing.
pub(crate) fn suspend() {}

/// Does nothing.
pub(crate) fn stop() {}
