//! One connection to Redis: commands and replies over a socket of our own, so that every wait ends when the program
//! stops.
//!
//! The crate's own connection blocks in the kernel until its time-out, where nobody can wake it; a sentinel's lookup has
//! none at all. So the crate packs commands and parses replies here, and the waiting is ours.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use redis::{Cmd, FromRedisValue, Value};
use socket2::{Domain, SockAddr, Socket as RawSocket, Type};

use super::address::{Address, Node};
use super::error::Error;
use super::limits::{TIMEOUT, WHOLE_REPLY};
use super::scan::{Malformed, Replies};

use crate::client::{self, Resolver};
use crate::display::escape::escape;
use crate::shutdown::Shutdown;
use crate::stream::Stream;
use crate::tls::Connector;

/// How servers are reached, and what bounds it.
#[derive(Clone, Copy)]
pub(super) struct ConnectContext<'source> {
    pub(super) address: &'source Address,
    /// Encrypts each connection, if it is there.
    pub(super) tls: Option<&'source Arc<Connector>>,
    /// The most bytes of one reply.
    pub(super) max: usize,
    pub(super) resolver: &'source Resolver,
    pub(super) stop: &'source Shutdown,
}

/// A connection. After an error other than `Server` the position in the stream is unknown: drop it.
pub(super) struct Connection {
    transport: Transport,
    replies: Replies,
    /// The most bytes of one reply.
    max: usize,
    /// The code and the text of the last reply, if that was an error: why the connection is closed, if it is closed then.
    refusal: Option<(String, Option<String>)>,
}

/// The socket, which never blocks by itself, and what bounds the reading from it.
struct Transport {
    socket: Socket,
    /// Tells what a refusal means.
    tls: Option<Arc<Connector>>,
    stop: Shutdown,
    /// When the reply must be whole; `None` reads what is there and does not wait.
    deadline: Option<Instant>,
    /// Bytes that may still come of this reply.
    left: usize,
    /// What went wrong with the last read.
    failure: Option<io::Error>,
}

enum Socket {
    Tcp(Stream),
    Unix(UnixStream),
}

impl Connection {
    /// Connects to `node`.
    ///
    /// # Errors
    /// If it does not answer in time.
    pub(super) fn open(node: &Node, context: ConnectContext<'_>) -> Result<Self, Error> {
        let tls = context.tls.cloned();
        let socket = match node {
            Node::Tcp(..) => {
                Socket::Tcp(client::dial(&node.to_string(), TIMEOUT, tls.as_deref(), context.resolver, context.stop)?)
            }
            Node::Unix(path) => {
                let failed = |source| Error::Socket { path: escape(&path.to_string_lossy()), source };
                Socket::Unix(connect_unix(path).map_err(failed)?)
            }
        };
        Ok(Self::new(socket, tls, context.max, context.stop))
    }

    /// Returns the connection over `socket`, which has to be non-blocking.
    pub(super) fn over(socket: UnixStream, max: usize, stop: &Shutdown) -> Self {
        Self::new(Socket::Unix(socket), None, max, stop)
    }

    fn new(socket: Socket, tls: Option<Arc<Connector>>, max: usize, stop: &Shutdown) -> Self {
        let transport = Transport { socket, tls, stop: stop.clone(), deadline: None, left: max, failure: None };
        Self { transport, replies: Replies::default(), max, refusal: None }
    }

    /// Sends `command` and returns the reply to it.
    ///
    /// # Errors
    /// `Server` if Redis refuses, after which the connection is as good as before; whatever else ends it.
    pub(super) fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, Error> {
        self.send(command)?;
        self.reply()
    }

    /// Sends `command`; the reply is the next that is read.
    ///
    /// # Errors
    /// If the connection is lost.
    pub(super) fn send(&mut self, command: &Cmd) -> Result<(), Error> {
        self.transport.write_all(&command.get_packed_command()).map_err(|error| match self.transport.classify(error) {
            Error::Closed => self.close_reason(),
            error => error,
        })
    }

    /// Returns why the other end has closed the connection: what it said before it did so.
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

    /// The same, with what Redis refuses apart: other replies can be read behind it.
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

    /// Returns what has come unasked, or `None` if there is nothing whole. Does not wait.
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

    /// Returns the next value, with what came of it before; `None` if the socket has failed first. Only a whole one makes room
    /// for as many bytes of another.
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

    /// Returns why nothing whole was read: the socket's reason, or else the bytes'.
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
    /// Waits for bytes until the deadline. `TimedOut` if none came; `WouldBlock` only where there is none to wait for;
    /// `FileTooLarge` if there may not be any more; `UnexpectedEof` at the end.
    fn read_some(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let room = into.len().min(self.left);
        if room == 0 {
            return Err(ErrorKind::FileTooLarge.into());
        }
        loop {
            // Looked at before every read: what comes without end may have no bytes for us, as TLS's empty records.
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

    /// Sends `bytes`. Some hundred, which find room, unless Redis has stopped reading long ago.
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

    /// What it means that the socket has failed so.
    fn classify(&self, error: io::Error) -> Error {
        match &self.tls {
            // The refusal of a certificate is the first thing that is read.
            Some(tls) => tls.refusal(error).map_or_else(Error::from_io, Error::Tls),
            None => Error::from_io(error),
        }
    }
}

impl Socket {
    /// Takes what has come. Returns `None` at the end of the stream, and nothing where there is only a part of a record.
    fn try_take(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        match self {
            Self::Tcp(socket) => Ok(socket.try_take(into)?.map(|taken| taken.data)),
            Self::Unix(socket) => socket.read(into).map(|read| (read > 0).then_some(read)),
        }
    }

    fn try_send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.try_send(bytes),
            Self::Unix(socket) => socket.write(bytes),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

/// Returns a non-blocking socket connected to the one at `path`. Where the server's queue is full it fails at once.
fn connect_unix(path: &std::path::Path) -> io::Result<UnixStream> {
    let socket = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::thread;
    use std::time::Duration;

    use crate::source::redis::address::Address as RedisAddress;

    const LONG: Duration = Duration::from_mins(1);

    /// Returns a connection whose replies may have 1,000 bytes, the other end of it, and what stops its waits.
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
    fn a_reply_comes_whole() {
        assert_eq!(answered(b"*2\r\n$1\r\na\r\n$0\r\n\r\n").unwrap(), [b"a".to_vec(), vec![]]);
    }

    #[test]
    fn what_redis_refuses_is_told_and_cut_and_escaped() {
        let error = answered(b"-NOPERM no right\x1b[2J for it\r\n").unwrap_err();
        assert_eq!(error.to_string(), "Redis says NOPERM: no right\\u{1b}[2J for it");
        let long = answered(format!("-ERR {}\r\n", "x".repeat(900)).as_bytes()).unwrap_err();
        assert!(long.to_string().len() < 300);
    }

    #[test]
    fn a_reply_above_the_limit_is_not_read_to_its_end() {
        let mut reply = b"*1\r\n$2000\r\n".to_vec();
        reply.resize(3000, b'x');
        assert!(matches!(answered(&reply), Err(Error::TooLarge { max: 1000 })));
    }

    #[test]
    fn the_limit_holds_for_what_comes_unasked_however_often_it_is_read() {
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
    fn what_is_no_reply_is_an_error_however_it_is_nested_or_counted() {
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
    fn a_server_that_closes_is_told_from_one_that_is_silent() {
        let (mut connection, server, _stop) = pair();
        drop(server);
        assert!(matches!(connection.reply::<Value>(), Err(Error::Closed)));
        let (mut connection, _server, _stop) = pair();
        let started = Instant::now();
        assert!(matches!(connection.ask::<Value>(&redis::cmd("PING")), Err(Error::NoAnswer)));
        assert!(started.elapsed() >= TIMEOUT);
    }

    #[test]
    fn what_redis_said_before_it_closed_is_the_reason_whether_or_not_anything_could_be_sent() {
        let wanted = "Redis closed the connection: ERR: max number of clients reached";
        let closed = || {
            let (connection, mut server, stop) = pair();
            server.write_all(b"-ERR max number of clients reached\r\n").unwrap();
            drop(server);
            assert!(stop.wait_readable(&connection, Some(Instant::now() + LONG)).unwrap());
            (connection, stop)
        };
        let (mut connection, _stop) = closed();
        assert!(matches!(connection.reply::<Value>(), Err(Error::Server { .. })));
        assert_eq!(connection.reply::<Value>().unwrap_err().to_string(), wanted);
        let (mut connection, _stop) = closed();
        // The first may still go out: it is then that the other end answers with a reset.
        let failed = (0..1000).find_map(|_| {
            thread::park_timeout(Duration::from_millis(1));
            connection.send(&redis::cmd("PING")).err()
        });
        assert_eq!(failed.unwrap().to_string(), wanted);
    }

    #[test]
    fn a_stop_ends_the_wait_for_a_reply() {
        let took = || {
            let (mut connection, _server, stop) = pair();
            let waiting = thread::Builder::new().spawn(move || connection.reply::<Value>().is_err()).unwrap();
            let started = Instant::now();
            stop.trigger();
            assert!(waiting.join().unwrap());
            started.elapsed()
        };
        // Without the stop each takes the whole time; a machine may be busy, but not each time.
        assert!((0..20).any(|_| took() < TIMEOUT));
    }

    #[test]
    fn what_comes_unasked_is_read_message_by_message_without_waiting() {
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
