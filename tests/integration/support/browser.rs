//! Headless Chromium, driven by chromedriver over W3C's protocol for that: JSON over plain HTTP
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

/// As root there is no sandbox, in containers /dev/shm is small, and nothing may ask anybody but the page.
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

/// How long chromedriver may take for an answer: a browser that starts on a busy machine takes its time.
const DRIVER_PATIENCE: Duration = Duration::from_mins(1);

/// One browser at a time: each wants a core to start, and some 300 MB.
static TURN: Mutex<()> = Mutex::new(());

/// A browser with one page, and nothing remembered; ended with its driver when dropped, also by a test that fails.
pub struct Browser {
    addr: SocketAddr,
    session: String,
    process: Option<Pid>,
    // From here on in the order in which they are to go.
    _driver: Program,
    profile: TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// Starts chromedriver, which leaves whatever it does in `directory`. Returns it with its port.
#[track_caller]
fn start_driver(directory: &Path) -> (Program, u16) {
    // It takes a free port of IPv6, and ends if somebody else has the same one of IPv4.
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
    /// Starts a browser; `None`, and a word about it, where there is none.
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

    /// Runs the body of a function in the page and returns what it returns.
    #[track_caller]
    pub fn run(&self, script: &str) -> Value {
        self.order("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until an expression is true in the page.
    #[track_caller]
    pub fn wait(&self, expression: &str) {
        eventually(expression, || self.run(&format!("return Boolean({expression})")) == true);
    }

    /// Opens another tab and makes it the one that is seen and asked. Returns its handle.
    #[track_caller]
    pub fn open_tab(&self) -> String {
        let tab = self.order("/window/new", &json!({ "type": "tab" }));
        let handle = tab["handle"].as_str().expect("a handle").to_owned();
        self.show_tab(&handle);
        handle
    }

    /// Makes a tab the one that is seen and asked.
    #[track_caller]
    pub fn show_tab(&self, handle: &str) {
        self.order("/window", &json!({ "handle": handle }));
    }

    /// The handle of the tab that is asked.
    #[track_caller]
    pub fn tab(&self) -> String {
        let handle = self.ask("GET", &format!("{}/window", self.session), &Value::Null);
        handle.as_str().expect("a handle").to_owned()
    }

    /// Gives a command of the protocol of Chrome's developer tools.
    #[track_caller]
    pub fn command(&self, name: &str, params: &Value) -> Value {
        self.order("/goog/cdp/execute", &json!({ "cmd": name, "params": params }))
    }

    /// Returns the messages of a log, `browser` or `performance`, since it was last asked for.
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
            // The driver alone would leave its browser behind. It fails only if that has ended already.
            let _ = self.process.map(|process| kill_process(process, Signal::KILL));
        }
    }
}

/// Asks chromedriver, over a connection of its own.
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
    // The length, because chromedriver leaves the connection open whatever it is asked for.
    let mut body = vec![0; length];
    answer.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}
