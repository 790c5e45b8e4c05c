//! The socket of the service manager.

use std::ffi::OsStr;
use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use super::notifications::Notification;

/// How long a full queue of the manager may delay a notification: 1 s, so that a manager that has stopped reading
/// cannot block the stop.
const PATIENCE: Duration = Duration::from_secs(1);

/// A socket connected to the manager. It stays open: a notification must not fail because clients have taken every
/// descriptor.
#[derive(Debug)]
pub(super) struct NotifySocket {
    socket: UnixDatagram,
}

impl NotifySocket {
    /// Connects to the socket at `path`, or in the abstract namespace if the path begins with `@` (unix(7)).
    ///
    /// # Errors
    /// If the socket does not exist.
    pub(super) fn connect(path: &OsStr) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address(path)?)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { socket })
    }

    /// Sends the notifications in one message. An error is logged; serving continues.
    pub(super) fn send(&self, notifications: &[Notification<'_>]) {
        let lines: Vec<_> = notifications.iter().map(ToString::to_string).collect();
        if let Err(error) = self.socket.send(lines.join("\n").as_bytes()) {
            log::warn!("cannot notify the service manager (NOTIFY_SOCKET): {error}");
        }
    }
}

fn address(path: &OsStr) -> io::Result<SocketAddr> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(name) = path.as_encoded_bytes().strip_prefix(b"@") {
        #[cfg(target_os = "android")]
        use std::os::android::net::SocketAddrExt;
        #[cfg(target_os = "linux")]
        use std::os::linux::net::SocketAddrExt;
        return SocketAddr::from_abstract_name(name);
    }
    SocketAddr::from_pathname(path)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use std::os::linux::net::SocketAddrExt;

    fn received(socket: &UnixDatagram) -> String {
        let mut message = [0; 4096];
        let length = socket.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    #[test]
    fn notifications_are_lines_of_one_message() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let channel = NotifySocket::connect(path.as_os_str()).unwrap();
        channel.send(&[
            Notification::Stopping,
            Notification::Status("stopping"),
            Notification::ExtendTimeout(Duration::from_secs(2)),
        ]);
        channel.send(&[Notification::Ready, Notification::Watchdog]);
        assert_eq!(received(&manager), "STOPPING=1\nSTATUS=stopping\nEXTEND_TIMEOUT_USEC=2000000");
        assert_eq!(received(&manager), "READY=1\nWATCHDOG=1");
    }

    #[test]
    fn the_socket_may_be_in_the_abstract_namespace() {
        let name = format!("mapcast-notifications-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        NotifySocket::connect(format!("@{name}").as_ref()).unwrap().send(&[Notification::Ready]);
        assert_eq!(received(&manager), "READY=1");
    }

    #[test]
    fn a_manager_that_does_not_read_blocks_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let _deaf = UnixDatagram::bind(&path).unwrap();
        let channel = NotifySocket::connect(path.as_os_str()).unwrap();
        channel.socket.set_write_timeout(Some(Duration::from_millis(1))).unwrap();
        // The queue holds net.unix.max_dgram_qlen messages, 10 on a common machine (unix(7)).
        let text = "x".repeat(4096);
        (0..100).for_each(|_| channel.send(&[Notification::Status(&text)]));
    }
}
