//! Sockets: listening, accepting, and the options of every connection.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::AsFd;

/// Length of the kernel's queue of connections that are not accepted yet: 4096, limited to `net.core.somaxconn`. The
/// standard library requests 128; in a burst of 9,000 the others then wait for SYN retries of 1 s (measured).
const BACKLOG: i32 = 4096;

/// The requested send buffer: 64 KiB, which Linux doubles for its own bookkeeping (socket(7)). By default the kernel buffers
/// up to 4 MB of old maps for a client that does not read, 40 GB for 10,000 of them.
const SEND_BUFFER: usize = 64 * 1024;

/// Unsent bytes that the send buffer may hold (`TCP_NOTSENT_LOWAT`, tcp(7)): 16 KiB. A stalled client that resumes first
/// reads old maps; this keeps them few.
#[cfg(any(target_os = "linux", target_os = "android"))]
const NOTSENT: u32 = 16 * 1024;

/// The default idle time before keepalive probes: 60 s. Then the kernel sends a probe every 10 s, and three unanswered probes
/// end the connection; on Linux, `USER_TIMEOUT` without an answer ends it (tcp(7)), at the next probe: an idle peer that
/// vanished is removed after 70 s (measured).
pub(crate) const KEEPALIVE_IDLE: Duration = Duration::from_mins(1);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const LONGEST_KEEPALIVE: u64 = 32_767;
#[cfg(not(any(target_os = "openbsd", target_os = "haiku", windows)))]
const KEEPALIVE_PROBES: u32 = 3;

/// How long sent bytes may stay unacknowledged before the kernel ends the connection (`TCP_USER_TIMEOUT`, tcp(7)): 30 s, or
/// twice the write time-out if that is longer.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Linux's maximum for it: an int of milliseconds, 24 days.
#[cfg(any(target_os = "linux", target_os = "android"))]
const LONGEST_USER_TIMEOUT: Duration = Duration::from_millis(i32::MAX as u64);

/// Returns a listener on `addr` with a queue of [`BACKLOG`]. `only_v6` keeps `[::]` from accepting IPv4. `reuse_port` lets
/// other processes of the same user listen there too, each with its own queue (`SO_REUSEPORT`, socket(7)).
pub(crate) fn listen(addr: SocketAddr, only_v6: bool, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // Connections in TIME-WAIT of a killed server would block the port for a minute. On Windows they do not, and the option
    // would let any other process take the port over.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    if reuse_port {
        share_port(&socket)?;
    }
    if addr.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin", windows)))]
fn share_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

#[cfg(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin", windows))]
fn share_port(_socket: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Makes `listener` non-blocking and sets the options of a connection, which accepted sockets inherit.
///
/// # Errors
/// `InvalidInput` if it does not listen: it would be ready all the time without a client.
pub(crate) fn tune(listener: &TcpListener, write_timeout: Duration) -> io::Result<()> {
    // Apple's systems declare the option but do not support it.
    #[cfg(not(target_vendor = "apple"))]
    if !listens(listener)? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the socket does not listen"));
    }
    listener.set_nonblocking(true)?;
    tune_socket(&SockRef::from(listener), write_timeout)
}

#[cfg(not(target_vendor = "apple"))]
fn listens(listener: &TcpListener) -> io::Result<bool> {
    match rustix::net::sockopt::socket_acceptconn(listener) {
        // The system does not report it (Wine).
        Err(rustix::io::Errno::NOPROTOOPT) => Ok(true),
        reported => Ok(reported?),
    }
}

fn tune_socket(socket: &SockRef<'_>, write_timeout: Duration) -> io::Result<()> {
    // A frame is one write: Nagle's algorithm (RFC 896) gains nothing, and would delay a small map until an ACK.
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    // It also ends a peer with a zero window (measured); twice the write time-out lets the frame's deadline do that first.
    socket.set_tcp_user_timeout(Some(write_timeout.saturating_mul(2).clamp(USER_TIMEOUT, LONGEST_USER_TIMEOUT)))?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_notsent_lowat(NOTSENT)?;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = write_timeout;
    Ok(())
}

/// Enables keepalive probes after an idle time of `idle`, in whole seconds from 1 to 32,767, which is Linux's range
/// (`MAX_TCP_KEEPIDLE`); `None` disables them.
pub(crate) fn keep_alive(socket: &impl AsFd, idle: Option<Duration>) -> io::Result<()> {
    let socket = socket.as_fd();
    let socket = SockRef::from(&socket);
    let Some(idle) = idle else { return socket.set_keepalive(false) };
    let idle = Duration::from_secs(idle.as_secs().clamp(1, LONGEST_KEEPALIVE));
    let keepalive = TcpKeepalive::new().with_time(idle);
    #[cfg(not(any(target_os = "openbsd", target_os = "haiku", windows)))]
    let keepalive = keepalive.with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_PROBES);
    // Windows sends ten probes; before Windows 10 of 2017 it cannot be asked for fewer, nor can Wine.
    #[cfg(windows)]
    let keepalive = keepalive.with_interval(KEEPALIVE_INTERVAL);
    socket.set_tcp_keepalive(&keepalive)
}

/// Accepts one connection, non-blocking and closed on exec, with the peer's address: reading the address later fails with
/// ENOTCONN if the peer has already disconnected.
///
/// # Errors
/// `WouldBlock` if the queue is empty; otherwise those of accept(2).
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    use rustix::net::{SocketFlags, acceptfrom_with};
    let (socket, peer) = acceptfrom_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
    Ok((socket.into(), peer.ok_or(io::ErrorKind::ConnectionAborted)?))
}

/// For systems without accept4(2), or whose sockets do not inherit options.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (socket, peer) = listener.accept()?;
    socket.set_nonblocking(true)?;
    tune_socket(&SockRef::from(&socket), USER_TIMEOUT)?;
    keep_alive(&socket, SockRef::from(listener).keepalive()?.then_some(KEEPALIVE_IDLE))?;
    Ok((socket, peer))
}

/// Makes the close of `socket` a reset, which frees the kernel's buffers at once. For a peer that does not read: after a
/// graceful close the kernel would keep the buffers for minutes.
pub(crate) fn reset_on_close(socket: &TcpStream) {
    // A broken socket has no buffers left to free.
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_sockets_inherit_the_options_of_their_listener() {
        let listener = listen(([127, 0, 0, 1], 0).into(), true, false).unwrap();
        tune(&listener, Duration::from_secs(20)).unwrap();
        keep_alive(&listener, Some(Duration::from_secs(7))).unwrap();
        assert_eq!(accept(&listener).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, addr) = accept(&listener).unwrap();
        assert_eq!(addr, peer.local_addr().unwrap());
        let options = SockRef::from(&socket);
        assert!(options.tcp_nodelay().unwrap() && options.nonblocking().unwrap() && options.keepalive().unwrap());
        assert!(options.send_buffer_size().unwrap() <= 2 * SEND_BUFFER);
        #[cfg(target_os = "linux")]
        {
            assert_eq!(options.tcp_user_timeout().unwrap(), Some(Duration::from_secs(40)));
            assert_eq!(options.tcp_notsent_lowat().unwrap(), NOTSENT);
            assert_eq!(options.tcp_keepalive_time().unwrap(), Duration::from_secs(7));
            assert_eq!(options.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
            assert_eq!(options.tcp_keepalive_retries().unwrap(), KEEPALIVE_PROBES);
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn keepalive_is_set_in_whole_seconds_within_the_kernels_range() {
        let listener = listen(([127, 0, 0, 1], 0).into(), true, false).unwrap();
        let options = SockRef::from(&listener);
        for (asked, had) in [(Duration::from_millis(1500), 1), (Duration::ZERO, 1), (Duration::MAX, 32_767)] {
            keep_alive(&listener, Some(asked)).unwrap();
            assert_eq!(options.tcp_keepalive_time().unwrap(), Duration::from_secs(had), "{asked:?}");
        }
        keep_alive(&listener, None).unwrap();
        assert!(!options.keepalive().unwrap());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_user_timeout_is_30_s_at_least() {
        let listener = listen(([127, 0, 0, 1], 0).into(), true, false).unwrap();
        tune(&listener, Duration::from_secs(10)).unwrap();
        assert_eq!(SockRef::from(&listener).tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
    }

    #[test]
    fn a_dual_stack_listener_accepts_ipv4() {
        let Ok(dual) = listen((std::net::Ipv6Addr::UNSPECIFIED, 0).into(), false, false) else {
            return crate::testing::skip("this machine has no IPv6");
        };
        let port = dual.local_addr().unwrap().port();
        TcpStream::connect(("127.0.0.1", port)).unwrap();
    }
}
