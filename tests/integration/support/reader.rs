//! A minimal client: a socket, ten bytes, then the payload.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use mapcast::frame::{Error, FrameReader};
use mapcast::{Format, Map};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{PATIENCE, connect};

pub struct Reader {
    frames: FrameReader<TcpStream>,
    /// The last payload; empty before the first.
    last: Vec<u8>,
}

impl Reader {
    #[track_caller]
    pub fn connect(addr: SocketAddr) -> Self {
        Self::over(connect(addr))
    }

    #[track_caller]
    pub fn over(socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Self { frames: FrameReader::new(socket, 1 << 30), last: Vec::new() }
    }

    pub fn socket(&self) -> &TcpStream {
        self.frames.inner()
    }

    /// Returns the next payload.
    #[track_caller]
    pub fn payload(&mut self) -> Vec<u8> {
        self.last = self.frames.read_frame().expect("a whole frame").expect("a frame before the end");
        self.last.clone()
    }

    /// Returns the next payload as a map in `format`.
    #[track_caller]
    pub fn map(&mut self, format: Format) -> Map {
        format.decode_map(&self.payload()).expect("a map")
    }

    /// Waits for `map`, skipping repeats of the last map. Any other map in between is a failure.
    #[track_caller]
    pub fn change(&mut self, format: Format, map: &Map) {
        let deadline = Instant::now() + PATIENCE;
        let before = self.last.clone();
        while self.map(format) != *map {
            assert!(self.last == before, "neither {map:?} nor a repeat: {}", self.last.escape_ascii());
            assert!(Instant::now() < deadline, "{map:?} does not come");
        }
    }

    /// Waits for the first byte of a map, or for the end. Returns true if and only if a byte came.
    #[track_caller]
    pub fn is_served(&self) -> bool {
        match self.socket().peek(&mut [0]) {
            Ok(read) => read > 0,
            Err(error) => {
                assert!(is_end(&error), "neither a map nor the end: {error}");
                false
            }
        }
    }

    /// Reads frames until the end, which must be orderly and between two frames; returns their number.
    #[track_caller]
    pub fn drain(&mut self) -> usize {
        let mut frames = 0;
        while self.frames.read_frame().expect("an end on a frame boundary").is_some() {
            frames += 1;
        }
        frames
    }

    /// How the stream ends, after whole frames.
    pub fn end(&mut self) -> Result<(), Error> {
        while self.frames.read_frame()?.is_some() {}
        Ok(())
    }
}

/// Returns a client with a small receive buffer, so that few bytes fill the way to it.
pub fn narrow(addr: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&SockAddr::from(addr)).unwrap();
    socket.into()
}

/// Waits for the end of `socket`, discarding data. Returns true if and only if it was orderly.
pub fn ends_in_order(socket: &mut TcpStream) -> bool {
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    match io::copy(&mut Read::by_ref(socket), &mut io::sink()) {
        Ok(_) => true,
        Err(error) if is_end(&error) => false,
        Err(error) => panic!("no end came: {error}"),
    }
}

/// Writes to `socket` until the other end closes it. Returns how many bytes were accepted.
///
/// # Panics
/// If more than `most` bytes are accepted, or none for long.
#[track_caller]
pub fn flood(socket: &mut TcpStream, most: usize) -> usize {
    let (chunk, mut taken) = (vec![b'x'; 64 * 1024], 0);
    loop {
        match socket.write(&chunk) {
            Ok(written) => taken += written,
            Err(error) if is_end(&error) => return taken,
            Err(error) => panic!("{taken} bytes were taken, and no end came: {error}"),
        }
        assert!(taken <= most, "{taken} bytes were taken");
    }
}

/// True if and only if the other end has closed the connection.
fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}
