//! HTTP over raw sockets: requests and responses byte for byte.

mod config;
mod endpoints;
mod events;
mod metrics;
mod overload;
pub mod polyfill;
mod protocol;
mod refusals;
mod state;
mod writing;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::support::connect;
use crate::support::program::Program;

/// The options for the entries of the built-in map, which a server with a token does not send by itself.
pub const BUILTIN_ENTRIES: [&str; 8] =
    ["--set", "1=Hola", "--set", "2=Bienvenido", "--set", "3=Al", "--set", "4=Servidor"];

/// A server with HTTP.
pub struct Site {
    pub server: Program,
    pub page: SocketAddr,
}

impl Site {
    /// Starts a server with `args` and HTTP on a free port.
    #[track_caller]
    pub fn start(args: &[&str]) -> Self {
        Self::of(Program::server(&[args, &["--http", "127.0.0.1:0"]].concat()))
    }

    /// Returns the site of a server that was started with `--http 127.0.0.1:0`.
    #[track_caller]
    pub fn of(server: Program) -> Self {
        let line = server.wait_log("web page on http://");
        let page =
            line.split("http://").nth(1).and_then(|rest| rest.strip_suffix('/')?.parse().ok()).expect("an address");
        Self { server, page }
    }

    pub fn connect(&self) -> TcpStream {
        connect(self.page)
    }

    /// Sends a request over a new connection.
    #[track_caller]
    pub fn ask(&self, request_line: &str, headers: &str, body: &str) -> Response {
        ask(self.page, request_line, headers, body)
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        self.ask(&format!("GET {path}"), "", "")
    }

    /// Returns the JSON at `path`.
    #[track_caller]
    pub fn json(&self, path: &str) -> serde_json::Value {
        let response = self.get(path);
        assert_eq!(response.code, 200, "{response:?}");
        serde_json::from_str(&response.body).unwrap_or_else(|error| panic!("{error}: {response:?}"))
    }

    /// Sends `request` unchanged and returns everything up to the end.
    #[track_caller]
    pub fn send(&self, request: &[u8]) -> String {
        let mut socket = self.connect();
        // Fails if the server has already answered and closed.
        let _ = socket.write_all(request);
        let mut response = Vec::new();
        socket.read_to_end(&mut response).unwrap_or_else(|error| panic!("{error} after {}", response.escape_ascii()));
        String::from_utf8(response).expect("UTF-8")
    }
}

/// Sends a request over a new connection; `request_line` is method and path.
#[track_caller]
pub fn ask(page: SocketAddr, request_line: &str, headers: &str, body: &str) -> Response {
    let mut socket = connect(page);
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let request =
        format!("{request_line} HTTP/1.1\r\nHost: {page}\r\nConnection: close\r\n{length}{headers}\r\n{body}");
    let _ = socket.write_all(request.as_bytes());
    let mut response = String::new();
    socket.read_to_string(&mut response).expect("a response in UTF-8");
    Response::parse(&response)
}

/// A parsed response.
#[derive(Debug)]
pub struct Response {
    pub code: u16,
    head: String,
    pub body: String,
}

impl Response {
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response: {text:?}"));
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        Self { code, head: head.to_owned(), body: body.to_owned() }
    }

    /// Returns the value of a header; empty if it is missing.
    pub fn header(&self, name: &str) -> &str {
        let found = self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        found.unwrap_or_default()
    }
}

/// One event of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub name: String,
    pub id: String,
    pub data: String,
}

/// A reader of an event stream.
pub struct Events {
    lines: BufReader<TcpStream>,
    pub head: String,
}

impl Events {
    #[track_caller]
    pub fn open(page: SocketAddr, path: &str) -> Self {
        let mut socket = connect(page);
        write!(socket, "GET {path} HTTP/1.1\r\nHost: {page}\r\n\r\n").expect("a page");
        Self::over(socket)
    }

    /// As [`open`](Self::open); `None` if the response is not a stream.
    #[track_caller]
    pub fn try_open(page: SocketAddr, path: &str) -> Option<Self> {
        let mut socket = connect(page);
        write!(socket, "GET {path} HTTP/1.1\r\nHost: {page}\r\n\r\n").expect("a page");
        Some(Self::read_head(socket)).filter(|events| events.head.starts_with("HTTP/1.1 200"))
    }

    #[track_caller]
    fn read_head(socket: TcpStream) -> Self {
        let mut events = Self { lines: BufReader::new(socket), head: String::new() };
        while let Some(line) = events.line().filter(|line| !line.is_empty()) {
            events.head += &(line + "\n");
        }
        events
    }

    #[track_caller]
    pub fn over(socket: TcpStream) -> Self {
        let events = Self::read_head(socket);
        assert!(events.head.starts_with("HTTP/1.1 200"), "{}", events.head);
        assert!(events.head.contains("Content-Type: text/event-stream\n"), "{}", events.head);
        events
    }

    /// Returns the next line without its end; `None` at the end of the stream.
    #[track_caller]
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line).expect("a line or a clean end");
        (read > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// Returns the next event, skipping comments; `None` at the end of the stream.
    #[track_caller]
    pub fn next(&mut self) -> Option<Event> {
        let mut event = Event::default();
        loop {
            let line = self.line()?;
            match line.split_once(": ") {
                None if line.is_empty() && event.data.is_empty() => event = Event::default(),
                None if line.is_empty() => return Some(event),
                None if line == ":" => {}
                Some(("event", name)) => name.clone_into(&mut event.name),
                Some(("id", id)) => id.clone_into(&mut event.id),
                Some(("data", data)) => data.clone_into(&mut event.data),
                Some(("retry" | "", _)) => {}
                _ => panic!("not a field: {line:?}"),
            }
        }
    }

    /// Returns the data of the next event called `name`.
    #[track_caller]
    pub fn data(&mut self, name: &str) -> serde_json::Value {
        loop {
            let event = self.next().expect("an event before the end");
            if event.name == name {
                return serde_json::from_str(&event.data).expect("JSON");
            }
        }
    }
}

/// A file with a token, and the header that presents it.
pub fn token() -> (tempfile::NamedTempFile, String) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "correct-horse-battery-staple\n").expect("a file of ours");
    (file, "Authorization: Bearer correct-horse-battery-staple\r\n".to_owned())
}

/// A path as an argument.
pub fn path(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().expect("UTF-8")
}
