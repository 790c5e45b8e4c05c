//! The errors of sockets.

use rustix::io::Errno;

/// A non-blocking connect has begun.
pub(crate) const CONNECTING: Errno = Errno::INPROGRESS;

/// `accept` failed because of the peer: it has disconnected, its network is broken, or a packet filter rejects it (accept(2)).
pub(crate) const PEER_FAILURES: &[Errno] = &[
    Errno::CONNABORTED,
    Errno::PROTO,
    Errno::NOPROTOOPT,
    Errno::NETDOWN,
    Errno::NETUNREACH,
    Errno::HOSTDOWN,
    Errno::HOSTUNREACH,
    Errno::TIMEDOUT,
    Errno::PERM,
];

/// The limit on the descriptors of the whole system.
pub(crate) const SYSTEM_DESCRIPTORS: Option<Errno> = Some(Errno::NFILE);

/// A limit on descriptors, memory or threads.
pub(crate) const RESOURCE_LIMITS: &[Errno] = &[Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::AGAIN];

/// Why a port may be refused, and what to do.
pub(crate) const REFUSED_PORT: &str = " (ports below 1024 need privileges: choose another port)";
