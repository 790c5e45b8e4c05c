//! The TLS session over pipes in memory: input of a peer without the keys, and the network's effects on a peer with them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::rc::Rc;

use mapcast::tls::testing::{Pump, at_server};
use mapcast::tls::{Acceptor, ClientTls, Connector, HandshakeError, Identity, ServerTls};

use super::frames;

/// Larger than any handshake. A server that needs more input would buffer without limit.
const ENOUGH: usize = 128 * 1024;

/// Larger than the answers of a server to one handshake, including an alert.
const MOST_ANSWERS: usize = 16 * 1024;

/// Bits of the first byte.
const REVERSE: u8 = 0b100;
const WITH_HELLO: u8 = 0b1000;
const LONG: u8 = 0b1111_0000;

/// The first byte selects the checks. The first half of the rest splits the second half.
pub(super) fn check(bytes: &[u8]) {
    let Some((head, rest)) = bytes.split_first() else { return };
    let (cuts, stream) = rest.split_at(rest.len() / 2);
    let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    ENDS.with(|ends| match head & 0b11 {
        0 | 1 => ends.carry(*head, cuts, stream),
        // A handshake takes 20 times as long as the other checks: one input of 16 has one, selected by the sum of its bytes.
        2 if sum < 16 => ends.spoil(*head, stream),
        _ => ends.greet(*head, cuts, stream),
    });
}

thread_local! {
    static ENDS: Ends = Ends::load();
}

/// Both ends, created once for all inputs.
struct Ends {
    acceptor: Acceptor,
    connector: Connector,
    /// The first flight of a client.
    hello: Vec<u8>,
    /// A session after its handshake, used for all inputs.
    client: Pump<End>,
    server: Pump<End>,
}

impl Ends {
    fn load() -> Self {
        // The fuzz targets run in a subdirectory.
        let mut above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|top| top.join("tests/hostile/identity"));
        let directory = above.find(|directory| directory.is_dir()).expect("the directory of the certificate");
        let (cert, key) = (directory.join("cert.pem"), directory.join("key.pem"));
        let connector = Connector::load(&ClientTls { ca: Some(cert.clone()), ..ClientTls::default() }).unwrap();
        let acceptor = Acceptor::load(ServerTls { identity: Identity { cert, key }, client_ca: None }).unwrap();
        let (client, server) = pair(&connector, &acceptor);
        let (near, far) = End::pair();
        assert!(!Pump::client(&connector, "localhost", near).unwrap().shake_hands().unwrap());
        let hello = far.incoming.bytes.borrow().iter().copied().collect();
        shake_hands(&client, &server);
        Self { acceptor, connector, hello, client, server }
    }

    /// Data that one end sends arrives unchanged, in any pieces and with timeouts: the same bytes and frames.
    fn carry(&self, head: u8, cuts: &[u8], stream: &[u8]) {
        // Some of the long inputs are longer than a record.
        let (times, scale) = if head & LONG == LONG { (100, 100) } else { (1, 1) };
        let plain = stream.repeat(times);
        let (from, to) = if head & REVERSE == 0 { (&self.server, &self.client) } else { (&self.client, &self.server) };
        let pipe = &from.stream().outgoing;
        pipe.room.set((1 + usize::from(head >> 4)) * 8 * scale);
        pipe.reads.replace(Cuts::new(cuts, scale));
        pipe.writes.replace(Cuts::new(cuts, scale));
        let mut carried = Carried {
            from,
            to,
            plain: &plain,
            cuts: Cuts::new(cuts, scale),
            offered: 0,
            sent: 0,
            taken: Vec::new(),
            turns: 0,
        };
        assert_eq!(frames::read(&mut carried), frames::by_the_rule(&plain), "in pieces of {cuts:?}");
        // The bytes after the last valid frame.
        let mut chunk = [0; 1000];
        while !matches!(carried.read(&mut chunk), Ok(0)) {}
        assert!(carried.taken == plain, "{} bytes of {} in pieces of {cuts:?}", carried.taken.len(), plain.len());
        assert_eq!(carried.sent, plain.len());
        assert!(pipe.bytes.borrow().is_empty() && !to.has_input());
        // A key update gets a reply.
        assert_eq!(from.try_take(&mut chunk).ok(), None);
        assert!(from.stream().incoming.bytes.borrow().is_empty());
    }

    /// A server refuses input that is not a client hello, or other data after one, or waits for more.
    fn greet(&self, head: u8, cuts: &[u8], stream: &[u8]) {
        let (near, far) = End::pair();
        let server = Pump::server(&self.acceptor, near).unwrap();
        let (incoming, answers) = (&far.outgoing, &far.incoming);
        incoming.reads.replace(Cuts::new(cuts, 1));
        if head & WITH_HELLO != 0 {
            let part = cuts.first().map_or(255, |part| usize::from(*part));
            incoming.bytes.borrow_mut().extend(&self.hello[..self.hello.len() * part / 255]);
        }
        let is_long = head & LONG == LONG && !stream.is_empty();
        let times = if is_long { ENOUGH / stream.len() + 1 } else { 1 };
        if is_long {
            incoming.reads.replace(Cuts::default());
        }
        incoming.bytes.borrow_mut().extend(stream.repeat(times));
        while !incoming.bytes.borrow().is_empty() {
            match server.shake_hands() {
                Ok(is_done) => assert!(!is_done, "a handshake without a peer"),
                Err(error) => {
                    refused(&error);
                    incoming.reads.replace(Cuts::default());
                    incoming.bytes.borrow_mut().extend(&self.hello);
                    assert!(server.shake_hands().is_err(), "it went on after {error}");
                    break;
                }
            }
        }
        assert!(!is_long || server.shake_hands().is_err(), "{ENOUGH} bytes, and it wants more");
        assert!(answers.bytes.borrow().len() <= MOST_ANSWERS);
    }

    /// Injected bytes end a session, at the latest with the bytes after them, and never become data.
    fn spoil(&self, head: u8, stream: &[u8]) {
        if stream.is_empty() {
            return;
        }
        let (client, server) = pair(&self.connector, &self.acceptor);
        shake_hands(&client, &server);
        let (from, to) = if head & REVERSE == 0 { (&client, &server) } else { (&server, &client) };
        let pipe = &from.stream().outgoing;
        pipe.bytes.borrow_mut().extend(stream);
        // Longer than the rest of any record.
        assert_eq!(from.try_send(&vec![b'x'; 40_000]).unwrap(), 40_000);
        let mut chunk = [0; 1000];
        let error = loop {
            match to.try_take(&mut chunk) {
                Ok(taken) => assert_eq!(taken, Some(0), "data that the peer has not sent"),
                Err(error) if error.kind() == ErrorKind::WouldBlock => assert!(!pipe.bytes.borrow().is_empty()),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
        assert_ne!(super::printable(&error), "message buffer full", "input was buffered that should have been refused");
        // The session stays unusable.
        let _ = (to.has_input(), to.try_send(b"Hola"), to.try_close());
        from.try_send(b"Hola").unwrap();
        assert_eq!(to.try_take(&mut chunk).unwrap_err().kind(), ErrorKind::InvalidData);
        refused(&at_server(error));
    }
}

fn refused(error: &HandshakeError) {
    super::printable(error);
    assert!(!matches!(error, HandshakeError::Io(_)), "the pipe is whole: {error:?}");
}

/// Returns the ends of a client and a server before their handshake.
fn pair(connector: &Connector, acceptor: &Acceptor) -> (Pump<End>, Pump<End>) {
    let (near, far) = End::pair();
    (Pump::client(connector, "localhost", near).unwrap(), Pump::server(acceptor, far).unwrap())
}

fn shake_hands(client: &Pump<End>, server: &Pump<End>) {
    while !client.shake_hands().unwrap() | !server.shake_hands().unwrap() {}
}

/// The output of one end, while the other end sends `plain`.
struct Carried<'a> {
    from: &'a Pump<End>,
    to: &'a Pump<End>,
    plain: &'a [u8],
    /// The lengths of writes and reads.
    cuts: Cuts,
    /// Bytes that were offered once. The next write offers them again, as the session requires.
    offered: usize,
    sent: usize,
    taken: Vec<u8>,
    turns: usize,
}

impl Carried<'_> {
    fn send(&mut self) {
        self.offered = self.plain.len().min(self.offered.max(self.sent.saturating_add(self.cuts.next().max(1))));
        match self.from.try_send(&self.plain[self.sent..self.offered]) {
            Ok(sent) => self.sent += sent,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
        assert!(self.sent <= self.offered, "more has gone than there was");
    }
}

impl Read for Carried<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.turns += 1;
        assert!(self.turns < 100_000, "it stands still at {} of {} bytes", self.taken.len(), self.plain.len());
        if self.sent < self.plain.len() {
            self.send();
        } else if self.taken.len() == self.plain.len() {
            return Ok(0);
        }
        let most = into.len().min(self.cuts.next().max(1));
        match self.to.try_take(&mut into[..most]) {
            Ok(Some(0)) => Err(ErrorKind::WouldBlock.into()),
            Ok(Some(taken)) => {
                self.taken.extend_from_slice(&into[..taken]);
                Ok(taken)
            }
            Ok(None) => panic!("an end that the peer has not sent"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
                assert!(!self.to.has_input(), "there was something");
                Err(error)
            }
        }
    }
}

/// Lengths, repeated; 0 is a timeout, never two in a row. Without lengths there is no limit.
#[derive(Default)]
struct Cuts {
    lengths: Vec<usize>,
    next: usize,
}

impl Cuts {
    fn new(bytes: &[u8], scale: usize) -> Self {
        let mut lengths: Vec<_> = bytes.iter().map(|byte| usize::from(*byte) * scale).collect();
        lengths.dedup_by(|next, last| *next == 0 && *last == 0);
        Self { lengths, next: 0 }
    }

    fn next(&mut self) -> usize {
        self.next += 1;
        // Never only timeouts.
        if self.lengths.iter().all(|length| *length == 0) {
            usize::MAX
        } else {
            self.lengths[self.next % self.lengths.len()]
        }
    }
}

/// Bytes in transit in one direction.
struct Pipe {
    bytes: RefCell<VecDeque<u8>>,
    room: Cell<usize>,
    reads: RefCell<Cuts>,
    writes: RefCell<Cuts>,
}

/// One end of two pipes.
struct End {
    incoming: Rc<Pipe>,
    outgoing: Rc<Pipe>,
}

impl Pipe {
    fn new() -> Rc<Self> {
        Rc::new(Self {
            bytes: RefCell::default(),
            room: Cell::new(usize::MAX),
            reads: RefCell::default(),
            writes: RefCell::default(),
        })
    }
}

impl End {
    fn pair() -> (Self, Self) {
        let (there, back) = (Pipe::new(), Pipe::new());
        let far = Self { incoming: Rc::clone(&there), outgoing: Rc::clone(&back) };
        (Self { incoming: back, outgoing: there }, far)
    }
}

impl Read for &End {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut bytes = self.incoming.bytes.borrow_mut();
        // An empty read uses no length, so that every sequence of lengths makes progress.
        let most = if bytes.is_empty() { 0 } else { into.len().min(self.incoming.reads.borrow_mut().next()) };
        if most == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        bytes.read(&mut into[..most])
    }
}

impl Write for &End {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut queued = self.outgoing.bytes.borrow_mut();
        let room = self.outgoing.room.get().saturating_sub(queued.len());
        let taken = bytes.len().min(room).min(self.outgoing.writes.borrow_mut().next());
        if taken == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        queued.extend(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
