//! Headless Chromium, controlled by chromedriver over the W3C protocol: JSON over plain HTTP
//! (<https://www.w3.org/TR/webdriver2/>).

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::program::{Program, clean};
use super::{eventually, has_command, skip};

/// Root has no sandbox, /dev/shm is small in containers, and the browser must contact nothing but the page.
const ARGUMENTS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
];

/// How long chromedriver may take for an answer: a browser starts slowly on a busy machine.
const DRIVER_PATIENCE: Duration = Duration::from_mins(1);

/// One browser at a time: each needs a core to start, and some 300 MB.
static TURN: Mutex<()> = Mutex::new(());

/// A browser with one page and an empty profile; closed with its driver on drop, also by a failing test.
pub struct Browser {
    addr: SocketAddr,
    session: String,
    process: Option<Pid>,
    // The following fields are dropped in this order.
    _driver: Program,
    profile: TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// Starts chromedriver, with its files in `directory`. Returns it with its port.
#[track_caller]
fn start_driver(directory: &Path) -> (Program, u16) {
    // It takes a free IPv6 port, and exits if the same IPv4 port is in use.
    for _ in 0..5 {
        let mut command = clean("chromedriver");
        command.arg("--port=0").env("HOME", directory).env("TMPDIR", directory);
        let mut driver = Program::start(command);
        let port = |driver: &Program| {
            let out = driver.out();
            let line = out.iter().find(|line| line.contains("started successfully on port "))?;
            line.rsplit(' ').next()?.trim_end_matches('.').parse().ok()
        };
        eventually("chromedriver listens, or not", || port(&driver).is_some() || !driver.is_running());
        if let Some(port) = port(&driver) {
            return (driver, port);
        }
    }
    panic!("chromedriver finds no port");
}

impl Browser {
    /// Starts a browser; `None`, and a skipped test, without one.
    #[track_caller]
    pub fn start() -> Option<Self> {
        if let Some(missing) = ["chromium", "chromedriver"].into_iter().find(|command| !has_command(command)) {
            skip(&format!("no {missing}"));
            return None;
        }
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let profile = tempfile::tempdir().expect("a directory");
        let (driver, port) = start_driver(profile.path());
        let mut browser = Self {
            addr: (Ipv4Addr::LOCALHOST, port).into(),
            session: String::new(),
            process: None,
            _driver: driver,
            profile,
            _turn: turn,
        };
        browser.begin();
        Some(browser)
    }

    #[track_caller]
    fn begin(&mut self) {
        let directory = format!("--user-data-dir={}", self.profile.path().join("profile").display());
        let arguments: Vec<&str> = ARGUMENTS.into_iter().chain([directory.as_str()]).collect();
        let wanted = json!({
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        });
        let session = self.ask("POST", "/session", &json!({ "capabilities": { "alwaysMatch": wanted } }));
        self.session = format!("/session/{}", session["sessionId"].as_str().expect("a session"));
        let process = session["capabilities"]["goog:processID"].as_i64().and_then(|id| i32::try_from(id).ok());
        self.process = process.and_then(Pid::from_raw);
    }

    /// Opens the page at `url`, and waits until it is loaded.
    #[track_caller]
    pub fn open(&self, url: &str) {
        self.order("/url", &json!({ "url": url }));
    }

    /// Runs the body of a function in the page and returns its result.
    #[track_caller]
    pub fn run(&self, script: &str) -> Value {
        self.order("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until an expression is true in the page.
    #[track_caller]
    pub fn wait(&self, expression: &str) {
        eventually(expression, || self.run(&format!("return Boolean({expression})")) == true);
    }

    /// Opens another tab and selects it. Returns its handle.
    #[track_caller]
    pub fn open_tab(&self) -> String {
        let tab = self.order("/window/new", &json!({ "type": "tab" }));
        let handle = tab["handle"].as_str().expect("a handle").to_owned();
        self.show_tab(&handle);
        handle
    }

    /// Selects a tab.
    #[track_caller]
    pub fn show_tab(&self, handle: &str) {
        self.order("/window", &json!({ "handle": handle }));
    }

    /// The handle of the selected tab.
    #[track_caller]
    pub fn tab(&self) -> String {
        let handle = self.ask("GET", &format!("{}/window", self.session), &Value::Null);
        handle.as_str().expect("a handle").to_owned()
    }

    /// Runs a command of the Chrome `DevTools` protocol.
    #[track_caller]
    pub fn command(&self, name: &str, params: &Value) -> Value {
        self.order("/goog/cdp/execute", &json!({ "cmd": name, "params": params }))
    }

    /// Returns the messages of a log, `browser` or `performance`, since the last request.
    #[track_caller]
    pub fn log(&self, kind: &str) -> Vec<String> {
        let entries = self.order("/se/log", &json!({ "type": kind }));
        let message = |entry: &Value| entry["message"].as_str().unwrap_or_default().to_owned();
        entries.as_array().expect("a list").iter().map(message).collect()
    }

    #[track_caller]
    fn order(&self, path: &str, body: &Value) -> Value {
        self.ask("POST", &format!("{}{path}", self.session), body)
    }

    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut answer = ask(self.addr, method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let value = answer["value"].take();
        assert!(value["error"].is_null(), "{method} {path} {body}: {} {}", value["error"], value["message"]);
        value
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if thread::panicking() && !self.session.is_empty() {
            let script = json!({ "script": "return document.body.innerText", "args": [] });
            let page = ask(self.addr, "POST", &format!("{}/execute/sync", self.session), &script);
            eprintln!("the page:\n{}", page.unwrap_or_default()["value"].as_str().unwrap_or_default());
        }
        if ask(self.addr, "DELETE", &self.session, &Value::Null).is_err() {
            // The driver alone would leave its browser running. Fails only if that has exited already.
            let _ = self.process.map(|process| kill_process(process, Signal::KILL));
        }
    }
}

/// Sends a request to chromedriver, over a new connection.
fn ask(addr: SocketAddr, method: &str, path: &str, body: &Value) -> io::Result<Value> {
    let mut socket = TcpStream::connect(addr)?;
    socket.set_read_timeout(Some(DRIVER_PATIENCE))?;
    let body = if body.is_null() { String::new() } else { body.to_string() };
    write!(socket, "{method} {path} HTTP/1.1\r\nHost: {addr}\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    let (mut answer, mut line, mut length) = (BufReader::new(socket), String::new(), 0);
    while answer.read_line(&mut line)? > 0 && line != "\r\n" {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    // By the length: chromedriver keeps the connection open regardless of the request.
    let mut body = vec![0; length];
    answer.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}
