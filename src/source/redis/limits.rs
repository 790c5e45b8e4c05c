//! The limits of the Redis source.

use std::time::Duration;

/// How long Redis may take to connect or to send the next bytes of a reply: 2 s, as in other Redis clients.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);

/// How long a whole reply may take: 10 s. A pause inside it may last [`TIMEOUT`].
pub(super) const WHOLE_REPLY: Duration = Duration::from_secs(10);

/// The largest reply, as a multiple of the largest frame: the protocol adds bytes to each field, and a value may take less
/// room in the frame.
pub(super) const MAX_REPLY_FRAMES: usize = 4;

/// The least limit for a reply, however small the frames: 1 MiB.
pub(super) const MIN_MAX_REPLY: usize = 1024 * 1024;

/// The pause before a retry after a temporary error: 1 s.
pub(super) const SOON: Duration = Duration::from_secs(1);
