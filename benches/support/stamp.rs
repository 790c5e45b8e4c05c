//! Kernel timestamps of received bytes, independent of when they are read.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant, SystemTime};

use nix::cmsg_space;
use nix::sys::socket::sockopt::ReceiveTimestampns;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt};
use nix::sys::time::TimeSpec;

/// Enables kernel timestamps for bytes that arrive at `socket` (`SO_TIMESTAMPNS`, socket(7)).
///
/// # Errors
/// If the system refuses.
pub fn stamp(socket: &impl AsFd) -> io::Result<()> {
    Ok(setsockopt(socket, ReceiveTimestampns, &true)?)
}

/// Reads once. Returns the number of bytes, and when the kernel received the last of them, or now if they have no timestamp.
///
/// # Errors
/// As `recvmsg`.
pub fn read_stamped(socket: &impl AsFd, chunk: &mut [u8]) -> io::Result<(usize, Instant)> {
    let (mut space, mut parts) = (cmsg_space!(TimeSpec), [IoSliceMut::new(chunk)]);
    let message = recvmsg::<()>(socket.as_fd().as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty())?;
    let stamp = message.cmsgs()?.find_map(|part| match part {
        ControlMessageOwned::ScmTimestampns(stamp) => Some(Duration::from(stamp)),
        _ => None,
    });
    // The timestamp is of the wall clock: convert its age to the monotonic clock.
    let age = stamp.and_then(|stamp| SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + stamp).ok());
    let now = Instant::now();
    Ok((message.bytes, age.and_then(|age| now.checked_sub(age)).unwrap_or(now)))
}
