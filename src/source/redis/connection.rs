//! One connection to Redis, over a socket of this library, so that a shutdown ends every wait.
//!
//! The connection of the crate `redis` blocks in the kernel until its timeout and cannot be woken; its sentinel lookup has no
//! timeout at all. So the crate only encodes commands and parses replies.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::Instant;

use redis::{Cmd, FromRedisValue, Value};

use super::address::{Address, Node};
use super::error::Error;
use super::limits::{TIMEOUT, WHOLE_REPLY};
use super::scan::{Malformed, Replies};

use crate::client::{self, Resolver};
use crate::display::escape::escape;
use crate::platform::{self, AsFd, BorrowedFd, LocalStream};
use crate::shutdown::Shutdown;
use crate::stream::Stream;
use crate::tls::Connector;

/// How to connect to the servers, and the limits.
#[derive(Clone, Copy)]
pub(super) struct ConnectContext<'source> {
    pub(super) address: &'source Address,
    /// Encrypts each connection, if there is one.
    pub(super) tls: Option<&'source Arc<Connector>>,
    /// The largest reply in bytes.
    pub(super) max: usize,
    pub(super) resolver: &'source Resolver,
    pub(super) stop: &'source Shutdown,
}

/// A connection. After any error but `Server` the position in the stream is unknown: drop the connection.
pub(super) struct Connection {
    transport: Transport,
    replies: Replies,
    /// The largest reply in bytes.
    max: usize,
    /// The code and the text of the last reply if it was an error: the reason if Redis then closes the connection.
    refusal: Option<(String, Option<String>)>,
}

/// The non-blocking socket, and the limits for reading from it.
struct Transport {
    socket: Socket,
    /// Classifies the errors of TLS.
    tls: Option<Arc<Connector>>,
    stop: Shutdown,
    /// When the reply must be complete; `None` reads what is available without waiting.
    deadline: Option<Instant>,
    /// The bytes that this reply may still have.
    left: usize,
    /// The error of the last read.
    failure: Option<io::Error>,
}

enum Socket {
    Tcp(Stream),
    Local(LocalStream),
}

impl Connection {
    /// Connects to `node`.
    ///
    /// # Errors
    /// If it cannot be connected to within 2 s.
    pub(super) fn open(node: &Node, context: ConnectContext<'_>) -> Result<Self, Error> {
        let tls = context.tls.cloned();
        let socket = match node {
            Node::Tcp(..) => {
                Socket::Tcp(client::dial(&node.to_string(), TIMEOUT, tls.as_deref(), context.resolver, context.stop)?)
            }
            Node::Unix(path) => {
                let failed = |source| Error::Socket { path: escape(&path.to_string_lossy()), source };
                Socket::Local(platform::connect_local(path).map_err(failed)?)
            }
        };
        Ok(Self::new(socket, tls, context.max, context.stop))
    }

    /// Returns a connection over `socket`, which must be non-blocking.
    pub(super) fn over(socket: LocalStream, max: usize, stop: &Shutdown) -> Self {
        Self::new(Socket::Local(socket), None, max, stop)
    }

    fn new(socket: Socket, tls: Option<Arc<Connector>>, max: usize, stop: &Shutdown) -> Self {
        let transport = Transport { socket, tls, stop: stop.clone(), deadline: None, left: max, failure: None };
        Self { transport, replies: Replies::default(), max, refusal: None }
    }

    /// Sends `command` and returns the reply to it.
    ///
    /// # Errors
    /// `Server` for an error reply, after which the connection can be used; any other error ends it.
    pub(super) fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, Error> {
        self.send(command)?;
        self.reply()
    }

    /// Sends `command`. Its reply is the next one that is read.
    ///
    /// # Errors
    /// If the connection is lost.
    pub(super) fn send(&mut self, command: &Cmd) -> Result<(), Error> {
        self.transport.write_all(&command.get_packed_command()).map_err(|error| match self.transport.classify(error) {
            Error::Closed => self.close_reason(),
            error => error,
        })
    }

    /// Returns why Redis closed the connection: its last error reply, or `Closed`.
    fn close_reason(&mut self) -> Error {
        loop {
            match self.read_ready() {
                Ok(Some(_)) => {}
                Ok(None) => return Error::Closed,
                Err(error) => return error,
            }
        }
    }

    /// Waits for the next reply and returns it.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub(super) fn reply<T: FromRedisValue>(&mut self) -> Result<T, Error> {
        T::from_redis_value(self.reply_or_refusal()??).map_err(|_| Error::Unexpected)
    }

    /// Waits for the next reply and returns it. An error reply is the inner error: more replies can be read after it.
    ///
    /// # Errors
    /// If the connection is lost.
    pub(super) fn reply_or_refusal(&mut self) -> Result<Result<Value, Error>, Error> {
        self.transport.deadline = Some(Instant::now() + WHOLE_REPLY);
        match self.parse() {
            Ok(Some(Value::ServerError(error))) => Ok(Err(Error::server(error.code(), error.details()))),
            Ok(Some(value)) => Ok(Ok(value)),
            Ok(None) | Err(_) => Err(self.lost()),
        }
    }

    /// Returns the next message if a whole one has been received; `None` otherwise. Does not wait.
    ///
    /// # Errors
    /// If the connection is lost.
    pub(super) fn read_ready(&mut self) -> Result<Option<Value>, Error> {
        self.transport.deadline = None;
        match self.parse() {
            Ok(Some(value)) => Ok(Some(value)),
            Ok(None) if self.transport.failure.as_ref().is_some_and(|error| error.kind() == ErrorKind::WouldBlock) => {
                Ok(None)
            }
            Ok(None) | Err(_) => Err(self.lost()),
        }
    }

    /// Returns the next value, including bytes that were received before; `None` if the socket fails first. The limit starts
    /// again only after a whole value.
    fn parse(&mut self) -> Result<Option<Value>, Malformed> {
        self.transport.failure = None;
        let value = self.replies.next(&mut self.transport)?;
        if let Some(value) = &value {
            self.transport.left = self.max;
            self.refusal = match value {
                Value::ServerError(error) => Some((error.code().to_owned(), error.details().map(str::to_owned))),
                _ => None,
            };
        }
        Ok(value)
    }

    /// Returns why no whole value was read: the error of the socket, or else `Unexpected`.
    fn lost(&mut self) -> Error {
        match self.transport.failure.take() {
            Some(error) if error.kind() == ErrorKind::FileTooLarge => Error::TooLarge { max: self.max },
            Some(error) => match (self.transport.classify(error), self.refusal.take()) {
                (Error::Closed, Some((code, detail))) => Error::closed_after(&code, detail.as_deref()),
                (error, _) => error,
            },
            None => Error::Unexpected,
        }
    }
}

/// For waiting until there is something to [`read_ready`](Connection::read_ready).
impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.transport.socket.as_fd()
    }
}

impl Read for Transport {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.failure = None;
        self.read_some(into).map_err(|error| {
            let kind = error.kind();
            self.failure = Some(error);
            kind.into()
        })
    }
}

impl Transport {
    /// Reads bytes, waiting for them until the deadline.
    ///
    /// # Errors
    /// `TimedOut` at the deadline, `WouldBlock` without a deadline, `FileTooLarge` above the limit, `UnexpectedEof` at the end.
    fn read_some(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let room = into.len().min(self.left);
        if room == 0 {
            return Err(ErrorKind::FileTooLarge.into());
        }
        loop {
            // Checked before every read: an endless stream may contain no data, such as empty TLS records.
            if self.stop.is_triggered() || self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(ErrorKind::TimedOut.into());
            }
            match self.socket.try_take(&mut into[..room]) {
                Ok(None) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(Some(0)) => {}
                Ok(Some(read)) => {
                    self.left -= read;
                    return Ok(read);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let Some(deadline) = self.deadline else { return Err(error) };
                    let until = deadline.min(Instant::now() + TIMEOUT);
                    if !self.stop.wait_readable(&self.socket, Some(until))? {
                        return Err(ErrorKind::TimedOut.into());
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends `bytes`: some hundred, for which there is room in the socket unless Redis stopped reading long ago.
    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.socket.try_send(bytes) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Returns the error for a failure of the socket.
    fn classify(&self, error: io::Error) -> Error {
        match &self.tls {
            // A rejected client certificate shows at the first read.
            Some(tls) => tls.refusal(error).map_or_else(Error::from_io, Error::Tls),
            None => Error::from_io(error),
        }
    }
}

impl Socket {
    /// Reads available bytes. Returns `None` at the end of the stream, and 0 for an incomplete TLS record.
    fn try_take(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        match self {
            Self::Tcp(socket) => Ok(socket.try_take(into)?.map(|taken| taken.data)),
            Self::Local(socket) => socket.read(into).map(|read| (read > 0).then_some(read)),
        }
    }

    fn try_send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.try_send(bytes),
            Self::Local(socket) => socket.write(bytes),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Local(socket) => socket.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::thread;
    use std::time::Duration;

    use crate::source::redis::address::Address as RedisAddress;

    const LONG: Duration = Duration::from_mins(1);

    /// Returns a connection with a limit of 1,000 bytes for a reply, its other end, and its shutdown.
    fn pair() -> (Connection, TcpStream, Shutdown) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address: RedisAddress = format!("redis://{}?key=k", listener.local_addr().unwrap()).parse().unwrap();
        let stop = Shutdown::new().unwrap();
        let context =
            ConnectContext { address: &address, tls: None, max: 1000, resolver: &Resolver::new(), stop: &stop };
        let connection = Connection::open(&address.nodes[0], context).unwrap();
        (connection, listener.accept().unwrap().0, stop)
    }

    fn answered(reply: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        let (mut connection, mut server, _stop) = pair();
        server.write_all(reply).unwrap();
        connection.ask(&redis::cmd("HGETALL"))
    }

    #[test]
    fn a_reply_is_returned_whole() {
        assert_eq!(answered(b"*2\r\n$1\r\na\r\n$0\r\n\r\n").unwrap(), [b"a".to_vec(), vec![]]);
    }

    #[test]
    fn an_error_reply_is_escaped_and_cut() {
        let error = answered(b"-NOPERM no right\x1b[2J for it\r\n").unwrap_err();
        let Error::Server { code, detail } = error else { panic!("{error:?}") };
        assert_eq!((&*code, &*detail), ("NOPERM", "no right\\u{1b}[2J for it"));
        let long = answered(format!("-ERR {}\r\n", "x".repeat(900)).as_bytes()).unwrap_err();
        assert!(long.to_string().len() < 300);
    }

    #[test]
    fn a_reply_above_the_limit_is_an_error() {
        let mut reply = b"*1\r\n$2000\r\n".to_vec();
        reply.resize(3000, b'x');
        assert!(matches!(answered(&reply), Err(Error::TooLarge { max: 1000 })));
    }

    #[test]
    fn the_limit_applies_to_each_message_over_many_reads() {
        let (mut connection, mut server, stop) = pair();
        let mut take = |bytes: &[u8]| {
            server.write_all(bytes).unwrap();
            assert!(stop.wait_readable(&connection, Some(Instant::now() + LONG)).unwrap());
            connection.read_ready()
        };
        for _ in 0..3 {
            assert!(take(b"$700\r\n").unwrap().is_none());
            assert!(take(&[b'x'; 400]).unwrap().is_none());
            assert!(take(&[&[b'x'; 300][..], b"\r\n"].concat()).unwrap().is_some());
        }
        assert!(take(b"$5000\r\n").unwrap().is_none());
        assert!(take(&[b'x'; 600]).unwrap().is_none());
        assert!(matches!(take(&[b'x'; 600]), Err(Error::TooLarge { max: 1000 })));
    }

    #[test]
    fn malformed_nested_and_huge_replies_are_errors() {
        let bomb = [b"*1\r\n".repeat(240), b":1\r\n".to_vec()].concat();
        for reply in [&b"HTTP/1.1 400\r\n"[..], &bomb, b":12x\r\n", b"+OK\r\n"] {
            assert!(matches!(answered(reply), Err(Error::Unexpected)), "{}", reply.escape_ascii());
        }
        for counted in
            [&b"*9999999999\r\n"[..], b"*2147483647\r\n$1\r\na\r\n", b"$9999999999\r\n", b"%4611686018427387904\r\n"]
        {
            let (mut connection, mut server, _stop) = pair();
            server.write_all(counted).unwrap();
            drop(server);
            let outcome = connection.ask::<Vec<Vec<u8>>>(&redis::cmd("HGETALL"));
            assert!(outcome.is_err(), "{}", counted.escape_ascii());
        }
    }

    #[test]
    fn a_closed_and_a_silent_server_are_different_errors() {
        let (mut connection, server, _stop) = pair();
        drop(server);
        assert!(matches!(connection.reply::<Value>(), Err(Error::Closed)));
        let (mut connection, _server, _stop) = pair();
        let started = Instant::now();
        assert!(matches!(connection.ask::<Value>(&redis::cmd("PING")), Err(Error::NoAnswer)));
        assert!(started.elapsed() >= TIMEOUT);
    }

    #[test]
    fn an_error_reply_before_the_end_is_the_reason_for_it() {
        let is_wanted = |error: &Error| match error {
            Error::ClosedAfter { code, detail } => code == "ERR" && detail == "max number of clients reached",
            _ => false,
        };
        let closed = || {
            let (connection, mut server, stop) = pair();
            server.write_all(b"-ERR max number of clients reached\r\n").unwrap();
            drop(server);
            assert!(stop.wait_readable(&connection, Some(Instant::now() + LONG)).unwrap());
            (connection, stop)
        };
        let (mut connection, _stop) = closed();
        assert!(matches!(connection.reply::<Value>(), Err(Error::Server { .. })));
        let error = connection.reply::<Value>().unwrap_err();
        assert!(is_wanted(&error), "{error:?}");
        let (mut connection, _stop) = closed();
        // The first may still be sent: the peer answers with a reset then.
        let failed = (0..1000).find_map(|_| {
            thread::park_timeout(Duration::from_millis(1));
            connection.send(&redis::cmd("PING")).err()
        });
        assert!(failed.as_ref().is_some_and(is_wanted), "{failed:?}");
    }

    #[test]
    fn a_shutdown_ends_the_wait_for_a_reply() {
        let took = || {
            let (mut connection, _server, stop) = pair();
            let waiting = thread::Builder::new().spawn(move || connection.reply::<Value>().is_err()).unwrap();
            let started = Instant::now();
            stop.trigger();
            assert!(waiting.join().unwrap());
            started.elapsed()
        };
        // Without the shutdown each takes the whole timeout; a machine may be busy, but not each time.
        assert!((0..20).any(|_| took() < TIMEOUT));
    }

    #[test]
    fn messages_are_read_one_by_one_without_waiting() {
        let (mut connection, mut server, stop) = pair();
        assert!(connection.read_ready().unwrap().is_none());
        server.write_all(b"+a\r\n+b\r\n$3\r\nab").unwrap();
        assert!(stop.wait_readable(&connection, Some(Instant::now() + LONG)).unwrap());
        let text = |value: Option<Value>| value.map(|value| String::from_redis_value(value).unwrap());
        assert_eq!(text(connection.read_ready().unwrap()).as_deref(), Some("a"));
        assert_eq!(text(connection.read_ready().unwrap()).as_deref(), Some("b"));
        assert_eq!(text(connection.read_ready().unwrap()), None);
        server.write_all(b"c\r\n").unwrap();
        assert!(stop.wait_readable(&connection, Some(Instant::now() + LONG)).unwrap());
        assert_eq!(text(connection.read_ready().unwrap()).as_deref(), Some("abc"));
    }
}
