//! All that differs between operating systems: one directory for Unix, one for Windows, and what both share.

mod descriptors;
#[cfg(any(test, windows))]
mod device_names;
mod limits;
mod process;
mod readiness;
mod send_ring;
mod socket;
#[cfg(unix)]
mod unix;
mod wakeup;
#[cfg(windows)]
mod windows;

pub use descriptors::Pollable;
pub(crate) use descriptors::{AsFd, BorrowedFd, OwnedFd, Readiness, wait_any, wait_ready};
pub(crate) use limits::Limits;
pub(crate) use process::Process;
pub(crate) use readiness::ReadinessSet;
pub(crate) use send_ring::{MAX_BATCH, SendRing};
pub(crate) use socket::{KEEPALIVE_IDLE, accept, keep_alive, listen, reset_on_close, tune};
#[cfg(unix)]
pub(crate) use unix::*;
pub(crate) use wakeup::Wakeup;
#[cfg(windows)]
pub(crate) use windows::*;
