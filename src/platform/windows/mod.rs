//! Windows.

mod errors;
mod files;
mod input;
mod limits;
#[cfg(feature = "redis")]
mod local_socket;
mod pipe;
mod process;

pub(crate) use errors::{CONNECTING, PEER_FAILURES, REFUSED_PORT, RESOURCE_LIMITS, SYSTEM_DESCRIPTORS};
pub(crate) use files::{
    FileId, FileTimes, can_create_in, create_new, is_device_name, is_fifo, is_mount_point, is_public, open_directory,
    open_lock, open_without_waiting, replace, special_type, sync_directory,
};
pub(crate) use input::{PollableFile, pollable, standard_input};
pub(crate) use limits::{raise_descriptor_limit, read_limits};
#[cfg(feature = "redis")]
pub(crate) use local_socket::connect_local;
pub(crate) use pipe::{LocalStream, local_pair, pipe};
pub(crate) use process::{lower_priority, read_process, show_users};
