//! All platform-specific system calls, each with a fallback for other systems. Only Linux is tested.

mod descriptors;
mod limits;
mod process;
mod readiness;
mod send_ring;
mod socket;
mod wakeup;

pub(crate) use descriptors::{Readiness, pipe, wait_any, wait_ready};
pub(crate) use limits::{Limits, raise_descriptor_limit};
pub(crate) use process::{Process, lower_priority};
pub(crate) use readiness::ReadinessSet;
pub(crate) use send_ring::{MAX_BATCH, SendRing};
pub(crate) use socket::{KEEPALIVE_IDLE, accept, keep_alive, listen, reset_on_close, tune};
pub(crate) use wakeup::Wakeup;
