//! A client as raw as a beginner's: a socket, ten bytes, then the payload.

use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};

use mapcast::frame::{Error, FrameReader};
use mapcast::{Format, Map};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::PATIENCE;

pub struct Reader {
    frames: FrameReader<TcpStream>,
}

impl Reader {
    #[track_caller]
    pub fn connect(addr: SocketAddr) -> Self {
        Self::over(TcpStream::connect(addr).expect("a server that listens"))
    }

    #[track_caller]
    pub fn over(socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Self { frames: FrameReader::new(socket, 1 << 30) }
    }

    pub fn socket(&self) -> &TcpStream {
        self.frames.inner()
    }

    /// The next payload.
    #[track_caller]
    pub fn payload(&mut self) -> Vec<u8> {
        self.frames.read_frame().expect("a whole frame").expect("a frame before the end")
    }

    /// The next payload as a map in `format`.
    #[track_caller]
    pub fn map(&mut self, format: Format) -> Map {
        format.decode_map(&self.payload()).expect("a map")
    }

    /// Frames until the end, which must be in order and on a boundary; returns how many.
    #[track_caller]
    pub fn drain(&mut self) -> usize {
        let mut frames = 0;
        while self.frames.read_frame().expect("an end on a frame boundary").is_some() {
            frames += 1;
        }
        frames
    }

    /// How the stream ends: whole frames, then this.
    pub fn end(&mut self) -> Result<(), Error> {
        while self.frames.read_frame()?.is_some() {}
        Ok(())
    }
}

/// A client with a small receive buffer, so that few bytes fill the way to it.
pub fn narrow(addr: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&SockAddr::from(addr)).unwrap();
    socket.into()
}

/// Waits for the end of `socket`, whatever comes before it. Returns true if and only if it was in order.
pub fn ends_in_order(socket: &mut TcpStream) -> bool {
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    match io::copy(&mut Read::by_ref(socket), &mut io::sink()) {
        Ok(_) => true,
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => false,
        Err(error) => panic!("no end came: {error}"),
    }
}
