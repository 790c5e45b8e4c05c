//! A minimal HTTP client: one request, one response, one absolute deadline.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The maximum size of a response header.
const MAX_HEAD: usize = 16 * 1024;

/// A response.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub body: Vec<u8>,
    /// The server accepts another request on the same connection.
    keeps_alive: bool,
}

/// Sends one request on a new connection.
pub fn request(page: SocketAddr, request: &[u8], patience: Duration) -> io::Result<Response> {
    HttpClient::new(page).ask(request, patience)
}

/// Returns the bytes of a GET.
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

/// Returns the bytes of a request with a body.
pub fn send(method: &str, path: &str, token: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A client with a persistent connection, opened when needed.
#[derive(Debug)]
pub struct HttpClient {
    page: SocketAddr,
    stream: Option<TcpStream>,
}

impl HttpClient {
    pub fn new(page: SocketAddr) -> Self {
        Self { page, stream: None }
    }

    /// Sends `request` and reads the response. Closes the connection if this takes longer than `patience` or fails.
    pub fn ask(&mut self, request: &[u8], patience: Duration) -> io::Result<Response> {
        let deadline = Instant::now() + patience;
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => TcpStream::connect_timeout(&self.page, patience)?,
        };
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(patience))?;
        stream.write_all(request)?;
        let answer = read_response(&mut stream, deadline)?;
        if answer.keeps_alive {
            self.stream = Some(stream);
        }
        Ok(answer)
    }
}

fn read_response(stream: &mut TcpStream, deadline: Instant) -> io::Result<Response> {
    let (mut bytes, mut chunk) = (Vec::new(), vec![0; 1 << 16]);
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if bytes.len() > MAX_HEAD {
            return Err(io::Error::other("not an HTTP response"));
        }
        read_more(stream, &mut bytes, &mut chunk, deadline)?;
    };
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("not an HTTP response"))?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let len = field("content-length:").and_then(|len| len.parse().ok()).unwrap_or(0);
    let keeps_alive = field("connection:") != Some("close");
    while bytes.len() < head + len {
        read_more(stream, &mut bytes, &mut chunk, deadline)?;
    }
    Ok(Response { status, body: bytes[head..head + len].to_vec(), keeps_alive })
}

fn read_more(stream: &mut TcpStream, bytes: &mut Vec<u8>, chunk: &mut [u8], deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    stream.set_read_timeout(Some(left))?;
    match stream.read(chunk) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(read) => {
            bytes.extend_from_slice(&chunk[..read]);
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(ErrorKind::TimedOut.into()),
        Err(error) => Err(error),
    }
}
