//! The errors of sockets (Windows Sockets Error Codes).

use rustix::io::Errno;

/// A non-blocking connect has begun.
pub(crate) const CONNECTING: Errno = Errno::WOULDBLOCK;

/// `accept` failed because of the peer: it has disconnected, or its network is broken.
pub(crate) const PEER_FAILURES: &[Errno] = &[
    Errno::CONNABORTED,
    Errno::CONNRESET,
    Errno::NETDOWN,
    Errno::NETUNREACH,
    Errno::HOSTDOWN,
    Errno::HOSTUNREACH,
    Errno::TIMEDOUT,
];

/// There is no such limit.
pub(crate) const SYSTEM_DESCRIPTORS: Option<Errno> = None;

/// A limit on sockets or memory.
pub(crate) const RESOURCE_LIMITS: &[Errno] = &[Errno::MFILE, Errno::NOBUFS];

/// Why a port may be refused, and what to do.
pub(crate) const REFUSED_PORT: &str =
    " (Windows may have reserved the port, see `netsh int ipv4 show excludedportrange tcp`: choose another port)";
