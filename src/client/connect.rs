//! Connects to an address.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use log::debug;
use socket2::{Domain, Protocol, Socket, Type};

use super::config::ClientConfig;
use super::error::Error;
use super::resolver::Resolver;
use super::socket::{Cancellation, ClientSocket};
use crate::platform::{self, AsFd, Readiness};
#[cfg(feature = "redis")]
use crate::shutdown::Shutdown;
use crate::stream::Stream as Transport;
use crate::tls::{Connector, DEFAULT_HANDSHAKE_TIMEOUT};

/// Connects to the first address of `address` that answers within the configured time, and performs the TLS handshake
/// if there is TLS. Use one `resolver` for all attempts.
pub(super) fn connect(
    address: &str,
    config: &ClientConfig,
    resolver: &Resolver,
    cancellation: &Cancellation,
) -> Result<ClientSocket, Error> {
    let limits = Timeouts { connect: config.connect_timeout, handshake: DEFAULT_HANDSHAKE_TIMEOUT };
    let transport = connect_and_encrypt(address, limits, config.tls.as_deref(), resolver, cancellation)?;
    ClientSocket::new(transport, cancellation.clone())
        .map_err(|source| Error::Connect { address: address.to_owned(), source })
}

/// As [`connect`], for another protocol: returns the non-blocking socket alone. The handshake is limited by `timeout`
/// as well.
#[cfg(feature = "redis")]
pub(crate) fn dial(
    address: &str,
    timeout: Duration,
    tls: Option<&Connector>,
    resolver: &Resolver,
    shutdown: &Shutdown,
) -> Result<Transport, Error> {
    let limits = Timeouts { connect: timeout, handshake: timeout };
    connect_and_encrypt(address, limits, tls, resolver, &Cancellation { shutdown: shutdown.clone(), deadline: None })
}

/// The time limits of the steps to a connection.
#[derive(Clone, Copy)]
struct Timeouts {
    /// For the lookup of the name, and for each of its addresses.
    connect: Duration,
    /// For the TLS handshake: the server has to compute, possibly for many clients at once.
    handshake: Duration,
}

/// Returns a socket connected to the first address that answers in time, after the handshake if there is TLS.
fn connect_and_encrypt(
    address: &str,
    limits: Timeouts,
    tls: Option<&Connector>,
    resolver: &Resolver,
    cancellation: &Cancellation,
) -> Result<Transport, Error> {
    let socket = connect_tcp(address, limits.connect, resolver, cancellation)?;
    match tls {
        None => Ok(Transport::Plain(socket)),
        Some(tls) => encrypt(socket, tls, address, limits.handshake, cancellation),
    }
}

/// Performs the TLS handshake within `limit`.
fn encrypt(
    socket: TcpStream,
    tls: &Connector,
    address: &str,
    limit: Duration,
    cancellation: &Cancellation,
) -> Result<Transport, Error> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    // A certificate contains an address without the local interface.
    let host = host.split('%').next().unwrap_or(host);
    let within = cancellation.within(limit);
    match tls.connect(socket, host, limit, |socket, readiness| within.wait_ready(socket.as_fd(), readiness)) {
        Ok(session) => Ok(Transport::Tls(session)),
        Err(_) if cancellation.is_over() => Err(cancellation.reason()),
        Err(source) => Err(Error::Tls(source)),
    }
}

/// Returns a socket connected to the first address that answers within `timeout`, which also limits the lookup of the
/// name.
fn connect_tcp(
    address: &str,
    timeout: Duration,
    resolver: &Resolver,
    cancellation: &Cancellation,
) -> Result<TcpStream, Error> {
    let refused = |source| Error::Connect { address: address.to_owned(), source };
    let late = |what: &str| io::Error::new(io::ErrorKind::TimedOut, format!("{what} within {timeout:?}"));
    let mut failure = io::Error::other("the name has no address");
    let peers = match resolver.resolve(address, &cancellation.within(timeout)) {
        _ if cancellation.is_over() => return Err(cancellation.reason()),
        peers => peers.map_err(refused)?.ok_or_else(|| refused(late("no answer to the name lookup")))?,
    };
    for peer in peers {
        match connect_socket(peer, &cancellation.within(timeout)) {
            Ok(socket) => return Ok(socket),
            Err(_) if cancellation.is_over() => return Err(cancellation.reason()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                failure = late("no answer");
            }
            Err(error) => failure = error,
        }
        debug!("cannot connect to {peer}: {failure}");
    }
    Err(refused(failure))
}

/// Returns a non-blocking socket connected to `peer`; `WouldBlock` if it was cancelled.
fn connect_socket(peer: SocketAddr, cancellation: &Cancellation) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(peer), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    platform::keep_alive(&socket, Some(platform::KEEPALIVE_IDLE))?;
    match socket.connect(&peer.into()) {
        Err(error) if error.raw_os_error() == Some(platform::CONNECTING.raw_os_error()) => {
            if !cancellation.wait_ready(socket.as_fd(), Readiness::Writable)? {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            socket.take_error()?.map_or(Ok(()), Err)?;
        }
        connected => connected?,
    }
    let socket = TcpStream::from(socket);
    socket.set_nodelay(true)?;
    reject_self_connection(&socket)?;
    Ok(socket)
}

/// Rejects a socket that is connected to itself (TCP simultaneous open). That happens sooner or later to a client that
/// retries a local port from the ephemeral range. It would receive nothing, and the server could not bind its port.
fn reject_self_connection(socket: &TcpStream) -> io::Result<()> {
    if socket.local_addr()? == socket.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(not(feature = "redis"))]
    use crate::shutdown::Shutdown;
    use std::net::TcpListener;
    use std::time::Instant;

    fn connect(address: &str, timeout: Duration, cancellation: &Cancellation) -> Result<ClientSocket, Error> {
        let config = ClientConfig { connect_timeout: timeout, ..ClientConfig::default() };
        super::connect(address, &config, &Resolver::new(), cancellation)
    }

    /// Returns an address without a listener, and the socket that reserves its port.
    fn closed_port() -> (Socket, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, address)
    }

    fn cancellation() -> Cancellation {
        Cancellation { shutdown: Shutdown::new().unwrap(), deadline: None }
    }

    #[test]
    fn a_closed_port_is_refused_and_named() {
        let (_bound, free) = closed_port();
        let error = connect(&free.to_string(), Duration::from_mins(1), &cancellation()).unwrap_err();
        let Error::Connect { address, source } = error else { panic!("{error:?}") };
        assert_eq!((address, source.kind()), (free.to_string(), io::ErrorKind::ConnectionRefused));
    }

    #[test]
    fn an_address_without_a_port_is_an_error() {
        let error = connect("127.0.0.1", Duration::from_mins(1), &cancellation()).unwrap_err();
        assert!(matches!(error, Error::Connect { .. }), "{error:?}");
    }

    #[test]
    fn every_address_of_a_name_is_tried() {
        // On most systems the first address is ::1, where there is no listener.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("localhost:{}", listener.local_addr().unwrap().port());
        let stream = connect(&address, Duration::from_mins(1), &cancellation()).unwrap();
        assert_eq!(stream.peer(), listener.local_addr().unwrap());
    }

    #[test]
    fn a_slow_name_lookup_is_given_up_after_the_timeout() {
        let resolver = Resolver::with(|_| {
            loop {
                std::thread::park();
            }
        });
        let (started, timeout) = (Instant::now(), Duration::from_millis(50));
        let config = ClientConfig { connect_timeout: timeout, ..ClientConfig::default() };
        let error = super::connect("h:1", &config, &resolver, &cancellation()).unwrap_err();
        assert!(matches!(&error, Error::Connect { source, .. } if source.kind() == io::ErrorKind::TimedOut));
        assert!(started.elapsed() >= timeout);
        let cancellation = cancellation();
        cancellation.shutdown.trigger();
        let config = ClientConfig { connect_timeout: Duration::from_hours(1), ..config };
        assert!(matches!(super::connect("h:1", &config, &resolver, &cancellation), Err(Error::Stopped)));
    }

    /// Returns a listener with a full queue, so that further connections get no answer, and the sockets that fill it.
    fn full_listener() -> (Socket, Vec<Socket>) {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let fill = |_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&address);
            socket
        };
        (listener, (0..4).map(fill).collect())
    }

    #[test]
    fn a_silent_server_is_given_up_after_the_timeout() {
        let (listener, _queue) = full_listener();
        let address = listener.local_addr().unwrap().as_socket().unwrap().to_string();
        let (started, timeout) = (Instant::now(), Duration::from_millis(100));
        let error = connect(&address, timeout, &cancellation()).unwrap_err();
        assert!(matches!(&error, Error::Connect { source, .. } if source.kind() == io::ErrorKind::TimedOut));
        assert!(started.elapsed() >= timeout);
    }

    #[cfg(all(feature = "redis", feature = "tls"))]
    #[test]
    fn the_timeout_of_dial_limits_the_handshake_too() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let ca = Some("tests/hostile/identity/cert.pem".into());
        let connector = Connector::load(&crate::tls::ClientTls { ca, ..Default::default() }).unwrap();
        let (timeout, stop) = (Duration::from_millis(50), Shutdown::new().unwrap());
        let address = silent.local_addr().unwrap().to_string();
        let refused = dial(&address, timeout, Some(&connector), &Resolver::new(), &stop).unwrap_err();
        assert!(
            matches!(refused, Error::Tls(crate::tls::HandshakeError::TimedOut(limit)) if limit == timeout),
            "{refused}"
        );
    }

    #[test]
    fn the_callers_deadline_ends_the_attempt() {
        let (listener, _queue) = full_listener();
        let address = listener.local_addr().unwrap().as_socket().unwrap().to_string();
        let cancellation = cancellation().within(Duration::from_millis(50));
        assert!(matches!(connect(&address, Duration::from_hours(1), &cancellation), Err(Error::TimedOut)));
    }

    #[test]
    fn a_stop_ends_the_attempt() {
        let (listener, _queue) = full_listener();
        let address = listener.local_addr().unwrap().as_socket().unwrap().to_string();
        let cancellation = cancellation();
        cancellation.shutdown.trigger();
        assert!(matches!(connect(&address, Duration::from_hours(1), &cancellation), Err(Error::Stopped)));
    }

    #[test]
    fn a_socket_connected_to_itself_is_refused() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        socket.connect(&socket.local_addr().unwrap()).unwrap();
        let error = reject_self_connection(&TcpStream::from(socket)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
