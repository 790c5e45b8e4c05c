//! The two protocols of systemd, or of a compatible service manager: inherited listeners (`sd_listen_fds`(3)) and
//! notifications (`sd_notify`(3)). Both are configured by environment variables; without these, they are off.

mod listeners;
mod notifications;
#[cfg(unix)]
#[path = "notify_socket_unix.rs"]
mod notify_socket;
#[cfg(windows)]
#[path = "notify_socket_windows.rs"]
mod notify_socket;
mod supervisor;

pub(crate) use listeners::Listeners;
pub(crate) use supervisor::{ServerState, Supervisor};
