//! A client for HTTP/1.1: one request a connection, within limits of time and size. Without TLS.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use mapcast::{Shutdown, frame};

use super::url::Url;

/// How long a request may take in total, with its response: 15 s. The server itself waits up to 10 s for its disk.
pub(super) const REQUEST_LIMIT: Duration = Duration::from_secs(15);

/// The longest head of a response: 64 KiB. The server's own have less than 1 KiB.
const MAX_HEAD: usize = 64 * 1024;

/// The longest body of a response: 256 MiB, more than the JSON of a map in the largest usual frame.
const MAX_BODY: usize = 256 * 1024 * 1024;

/// The most headers of a response.
const MAX_HEADERS: usize = 100;

/// A server's HTTP listener, and the limits of a request to it.
#[derive(Debug)]
pub(crate) struct HttpClient {
    pub(super) url: Url,
    pub(super) token: Option<String>,
    /// Limit for resolving the host, and then for each of its addresses to answer.
    pub(super) connect_timeout: Duration,
    /// Limit for a request with its response.
    pub(super) request_limit: Duration,
    /// When every request ends; `None` leaves the limit of a request alone.
    pub(super) deadline: Option<Instant>,
    pub(super) shutdown: Shutdown,
}

/// A request. Its path begins with a slash.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'r> {
    pub(super) method: &'static str,
    pub(super) path: &'r str,
    pub(super) if_match: Option<&'r str>,
    pub(super) body: Option<&'r [u8]>,
}

/// A complete response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(super) code: u16,
    pub(super) etag: Option<String>,
    pub(super) body: Vec<u8>,
}

/// Why there is no usable response. The texts contain the fix.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// None of the host's addresses answered.
    #[error("cannot connect to http://{address} (is the server running there, with --http {address}?)")]
    Connect { address: String, source: io::Error },
    /// The connection failed.
    #[error("the connection to http://{address} failed")]
    Connection { address: String, source: io::Error },
    /// The peer speaks something else.
    #[error("http://{address} does not speak HTTP: {hint}")]
    NotHttp { address: String, hint: &'static str },
    /// The response has a form that this client does not read.
    #[error("http://{address} sends a response that cannot be read: {problem}")]
    Unreadable { address: String, problem: &'static str },
    /// The response is not complete in time.
    #[error("no response from http://{address} within {limit:?}; is the server or its disk stuck?")]
    NoResponse { address: String, limit: Duration },
    /// The server refuses the request.
    #[error("{code}: {message}")]
    Refused { code: u16, message: String },
    /// `--timeout` has expired.
    #[error("timed out")]
    TimedOut,
    /// A signal arrived.
    #[error("stopped")]
    Stopped,
}

impl HttpClient {
    /// Sends a request and returns the response, whatever its status.
    ///
    /// # Errors
    /// If there is no complete response in time. The server may have executed the request unless it is `Connect`.
    pub(super) fn send(&self, request: Request<'_>) -> Result<Response, Error> {
        let limit = Instant::now() + self.request_limit;
        let until = self.deadline.map_or(limit, |deadline| deadline.min(limit));
        let mut stream = self.connect(until)?;
        self.write(&mut stream, &self.head(request), until)?;
        // A refusal may arrive while the body is still being sent: the response says why.
        let sent = self.write(&mut stream, request.body.unwrap_or_default(), until);
        match (self.read(&mut stream, until), sent) {
            (Ok(response), _) => Ok(response),
            (Err(_), Err(error)) | (Err(error), Ok(())) => Err(error),
        }
    }

    /// Returns a response if its status is 200.
    ///
    /// # Errors
    /// `Refused`, with the fix, for any other status.
    pub(super) fn accept(&self, response: Response) -> Result<Response, Error> {
        let authority = self.url.authority();
        let body = String::from_utf8_lossy(&response.body);
        let body = body.trim_end();
        let message = match (response.code, &self.token) {
            (200, _) => return Ok(response),
            (401, None) => "the server wants a token: use --token-file FILE".to_owned(),
            (401, Some(_)) => {
                "the server refuses the token: use the file of its --http-token-file for --token-file".to_owned()
            }
            (404, _) => format!("{body}; is http://{authority} the address of the server's --http?"),
            (405, _) => {
                "writing is off: start the server with --http-token-file FILE, which excludes --source".to_owned()
            }
            (413, _) => format!("{body}; raise --max-frame of the server if this is meant"),
            (421, _) => format!("{body}; start the server with --http-host {}", self.url.host),
            _ => body.to_owned(),
        };
        Err(Error::Refused { code: response.code, message })
    }

    fn head(&self, request: Request<'_>) -> Vec<u8> {
        let Request { method, path, if_match, body } = request;
        let of_body = body.map(|body| format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        let lines = [
            Some(format!("{method} {}{path} HTTP/1.1\r\nHost: {}\r\n", self.url.base, self.url.authority())),
            Some("Connection: close\r\nAccept: application/json\r\n".to_owned()),
            self.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n")),
            if_match.map(|etag| format!("If-Match: {etag}\r\n")),
            of_body,
            Some("\r\n".to_owned()),
        ];
        lines.into_iter().flatten().collect::<String>().into_bytes()
    }

    fn connect(&self, until: Instant) -> Result<TcpStream, Error> {
        let refused = |source| Error::Connect { address: self.url.authority(), source };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in self.resolve(until).map_err(refused)? {
            let left = self.left(until)?.min(self.connect_timeout);
            match TcpStream::connect_timeout(&address, left) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        self.left(until)?;
        Err(refused(last))
    }

    /// Returns the addresses of the host, looked up in a thread: a lookup cannot be cancelled.
    fn resolve(&self, until: Instant) -> io::Result<Vec<SocketAddr>> {
        let (host, port) = (self.url.host.clone(), self.url.port);
        let (sender, addresses) = mpsc::channel();
        let resolve = move || {
            let found = (host.as_str(), port).to_socket_addrs();
            // The receiver is gone only if the time limit has passed.
            let _ = sender.send(found.map(Iterator::collect));
        };
        thread::Builder::new().name("resolver".to_owned()).spawn(resolve)?;
        let left = until.saturating_duration_since(Instant::now()).min(self.connect_timeout);
        addresses.recv_timeout(left).unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))
    }

    /// Returns the time until `until`, which is more than zero.
    fn left(&self, until: Instant) -> Result<Duration, Error> {
        if self.shutdown.is_triggered() {
            return Err(Error::Stopped);
        }
        let now = Instant::now();
        match until.saturating_duration_since(now) {
            Duration::ZERO if self.deadline.is_some_and(|deadline| deadline <= now) => Err(Error::TimedOut),
            Duration::ZERO => Err(Error::NoResponse { address: self.url.authority(), limit: self.request_limit }),
            left => Ok(left),
        }
    }

    fn write(&self, stream: &mut TcpStream, mut bytes: &[u8], until: Instant) -> Result<(), Error> {
        let failed = |source| Error::Connection { address: self.url.authority(), source };
        while !bytes.is_empty() {
            stream.set_write_timeout(Some(self.left(until)?)).map_err(failed)?;
            match stream.write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if is_pause(&error) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }

    fn read(&self, stream: &mut TcpStream, until: Instant) -> Result<Response, Error> {
        let failed = |source| Error::Connection { address: self.url.authority(), source };
        let (mut bytes, mut chunk) = (Vec::new(), [0; 16 * 1024]);
        loop {
            let left = self.left(until)?;
            if !self.shutdown.wait_readable(&*stream, Some(Instant::now() + left)).map_err(failed)? {
                continue;
            }
            let ended = match stream.read(&mut chunk) {
                Ok(read) => {
                    bytes.extend_from_slice(&chunk[..read]);
                    read == 0
                }
                Err(error) if is_pause(&error) => false,
                Err(error) => return Err(failed(error)),
            };
            if let Some(response) = self.parse(&bytes, ended)? {
                return Ok(response);
            }
        }
    }

    /// Returns the response that `bytes` begin with; `None` if it is not complete and more bytes may follow.
    fn parse(&self, bytes: &[u8], ended: bool) -> Result<Option<Response>, Error> {
        let unreadable = |problem| Error::Unreadable { address: self.url.authority(), problem };
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Response::new(&mut headers);
        let body = match head.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => &bytes[length..],
            Ok(httparse::Status::Partial) if !ended && bytes.len() <= MAX_HEAD => return Ok(None),
            _ => return Err(Error::NotHttp { address: self.url.authority(), hint: hint_on(bytes) }),
        };
        let header = |name: &str| {
            let found = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
            str::from_utf8(found.value).ok()
        };
        if header("Transfer-Encoding").is_some() {
            return Err(unreadable("it has a Transfer-Encoding; name the server itself, not a proxy"));
        }
        let length = header("Content-Length").map(|length| length.trim().parse::<usize>()).transpose();
        let length = length.map_err(|_| unreadable("its Content-Length is not a number"))?;
        if length.unwrap_or(body.len()) > MAX_BODY {
            return Err(unreadable("its body is longer than 256 MiB"));
        }
        match length {
            Some(length) if body.len() < length && ended => return Err(unreadable("it ended too early")),
            Some(length) if body.len() < length => return Ok(None),
            None if !ended => return Ok(None),
            _ => {}
        }
        let body = body[..length.unwrap_or(body.len())].to_vec();
        let etag = header("ETag").map(str::to_owned);
        Ok(Some(Response { code: head.code.unwrap_or_default(), etag, body }))
    }
}

/// True if and only if a read or write may be repeated.
fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// Returns what the first bytes of a peer that does not speak HTTP suggest.
fn hint_on(bytes: &[u8]) -> &'static str {
    let is_frame = bytes.first_chunk().is_some_and(|header| frame::decode_header(header).is_ok());
    match bytes.first() {
        _ if is_frame => "it is the port of the map; use the address of the server's --http",
        // The record type of an alert (RFC 8446, section 5.1).
        Some(0x15) => "it speaks TLS, and https is not supported; use curl for a server with --tls-cert",
        Some(_) => "is it the address of the server's --http?",
        None => "it closed the connection; is it the address of the server's --http, and is this address allowed?",
    }
}

#[cfg(test)]
mod tests {
    use super::super::url::parse_url;
    use super::*;
    use crate::testing::check_texts;
    use proptest::prelude::*;

    fn client(deadline: Option<Instant>) -> HttpClient {
        HttpClient {
            url: parse_url("http://127.0.0.1:1/base").unwrap(),
            token: Some("secret".to_owned()),
            connect_timeout: Duration::from_secs(30),
            request_limit: REQUEST_LIMIT,
            deadline,
            shutdown: Shutdown::new().unwrap(),
        }
    }

    #[test]
    fn a_request_has_the_headers_that_it_needs() {
        let request = Request { method: "PUT", path: "/map", if_match: Some("\"a\""), body: Some(b"{}") };
        let head = String::from_utf8(client(None).head(request)).unwrap();
        assert!(head.starts_with("PUT /base/map HTTP/1.1\r\nHost: 127.0.0.1:1\r\n") && head.ends_with("\r\n\r\n"));
        for line in ["Authorization: Bearer secret", "If-Match: \"a\"", "Content-Length: 2", "Connection: close"] {
            assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
        }
    }

    #[test]
    fn a_response_is_complete_at_its_length_or_its_end() {
        let client = client(None);
        let whole = b"HTTP/1.1 200 OK\r\netag: \"x\"\r\nContent-Length: 3\r\n\r\nabcmore";
        for cut in 0..whole.len() - 4 {
            assert!(client.parse(&whole[..cut], false).unwrap().is_none(), "{cut}");
        }
        let response = client.parse(whole, false).unwrap().unwrap();
        assert_eq!((response.code, response.etag.as_deref(), &response.body[..]), (200, Some("\"x\""), &b"abc"[..]));
        let without_length = b"HTTP/1.0 404 Not Found\r\n\r\nno";
        assert!(client.parse(without_length, false).unwrap().is_none());
        assert_eq!(client.parse(without_length, true).unwrap().unwrap().body, b"no");
    }

    #[test]
    fn a_response_that_cannot_be_read_is_an_error_with_a_hint() {
        for (bytes, wanted) in [
            (&b"12        {\"a\":\"b\"}"[..], "it is the port of the map"),
            (b"\x15\x03\x03\0\x02", "it speaks TLS"),
            (b"SSH-2.0\r\n", "is it the address"),
            (b"", "it closed the connection"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", "it ended too early"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "longer than 256 MiB"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "not a number"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "not a proxy"),
        ] {
            let error = client(None).parse(bytes, true).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn a_refusal_names_the_option_that_fixes_it() {
        let refusal = |token: Option<&str>, code| {
            let client = HttpClient { token: token.map(str::to_owned), ..client(None) };
            let response = Response { code, etag: None, body: b"why\n".to_vec() };
            client.accept(response).unwrap_err().to_string()
        };
        assert_eq!(refusal(None, 401), "401: the server wants a token: use --token-file FILE");
        assert!(refusal(Some("x"), 401).contains("refuses the token"));
        assert!(refusal(None, 405).contains("405: writing is off: start the server with --http-token-file FILE"));
        assert!(refusal(None, 421).contains("why; start the server with --http-host 127.0.0.1"));
        assert_eq!(refusal(None, 503), "503: why");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_response_or_an_error(
            head in "(HTTP/1\\.[01] [0-9]{3} ?[A-Z]{0,3}\r\n)?((Content-Length|ETag|A): ?[0-9a\"-]{0,21}\r\n){0,3}(\r\n)?",
            body in proptest::collection::vec(any::<u8>(), 0..40),
            ended in any::<bool>(),
        ) {
            let bytes = [head.as_bytes(), &body].concat();
            if let Ok(Some(response)) = client(None).parse(&bytes, ended) {
                prop_assert!(bytes.ends_with(&response.body) || response.body.len() < bytes.len());
            }
            if ended {
                prop_assert!(!matches!(client(None).parse(&bytes, true), Ok(None)), "it waits for ever");
            }
        }
    }

    #[test]
    fn a_passed_deadline_is_a_timeout() {
        let error = client(Some(Instant::now())).left(Instant::now()).unwrap_err();
        assert!(matches!(error, Error::TimedOut), "{error}");
    }

    #[test]
    fn every_error_has_its_text() {
        let address = || "h:1".to_owned();
        let refused = || io::ErrorKind::ConnectionRefused.into();
        check_texts!(Error {
            Connect { address: address(), source: refused() } =>
                "cannot connect to http://h:1 (is the server running there, with --http h:1?)";
            Connection { address: address(), source: refused() } => "the connection to http://h:1 failed";
            NotHttp { address: address(), hint: "why" } => "http://h:1 does not speak HTTP: why";
            Unreadable { address: address(), problem: "why" } => "http://h:1 sends a response that cannot be read: why";
            NoResponse { address: address(), limit: Duration::from_secs(30) } =>
                "no response from http://h:1 within 30s; is the server or its disk stuck?";
            Refused { code: 503, message: "why".to_owned() } => "503: why";
            TimedOut => "timed out";
            Stopped => "stopped";
        });
    }
}
