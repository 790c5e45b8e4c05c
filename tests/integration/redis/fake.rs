//! A scripted Redis, for replies that a real one sends rarely.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// The reaction to a command.
pub enum Act {
    /// Sends these bytes.
    Say(Vec<u8>),
    /// Sends these bytes and closes the connection.
    SayAndClose(Vec<u8>),
    /// Sends nothing and keeps the connection.
    Hang,
}

impl Act {
    pub fn say(bytes: impl AsRef<[u8]>) -> Self {
        Self::Say(bytes.as_ref().to_vec())
    }
}

/// A scripted server. It runs until the process ends.
#[derive(Clone)]
pub struct Fake {
    port: u16,
    connections: Arc<AtomicUsize>,
    /// The connections with a subscription.
    subscribed: Arc<Mutex<Vec<TcpStream>>>,
}

impl Fake {
    /// Starts a server that answers each command, with its words in lower case, by `script`. Where the script returns `None`,
    /// it answers like a Redis whose hash has one field, `n`, with the value 1.
    pub fn start(script: impl Fn(&[String]) -> Option<Act> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let fake = Self { port, connections: Arc::default(), subscribed: Arc::default() };
        let (serving, script) = (fake.clone(), Arc::new(script));
        let serve = move || {
            for socket in listener.incoming() {
                serving.connections.fetch_add(1, Ordering::SeqCst);
                let (serving, script) = (serving.clone(), Arc::clone(&script));
                thread::Builder::new().spawn(move || serving.serve(socket.unwrap(), &*script)).unwrap();
            }
        };
        thread::Builder::new().spawn(serve).unwrap();
        fake
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn source(&self) -> String {
        format!("redis://127.0.0.1:{}/0?key=flags", self.port)
    }

    /// Returns the number of connections accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Announces a change to the subscribers. Returns their number.
    pub fn announce(&self) -> usize {
        let message = message();
        let mut subscribed = self.subscribed.lock().unwrap();
        subscribed.retain(|mut socket| socket.write_all(&message).is_ok());
        subscribed.len()
    }

    /// Announces changes to the subscribers as fast as they read, until `has_ended` returns true.
    pub fn flood(&self, has_ended: impl Fn() -> bool) {
        let messages = message().repeat(1000);
        while !has_ended() {
            let sockets: Vec<_> = self.subscribed.lock().unwrap().iter().map(|it| it.try_clone().unwrap()).collect();
            for mut socket in sockets {
                let _ = socket.write_all(&messages);
            }
        }
    }

    fn serve(&self, socket: TcpStream, script: &(dyn Fn(&[String]) -> Option<Act> + Send + Sync)) {
        let mut reader = BufReader::new(socket.try_clone().unwrap());
        let mut socket = socket;
        let mut channels = 0;
        while let Ok(words) = command(&mut reader) {
            let act = script(&words).unwrap_or_else(|| by_default(&words, &mut channels));
            let is_subscription = words[0] == "subscribe" && matches!(&act, Act::Say(bytes) if bytes.starts_with(b"*"));
            let (bytes, closes) = match act {
                Act::Say(bytes) => (bytes, false),
                Act::SayAndClose(bytes) => (bytes, true),
                Act::Hang => continue,
            };
            if socket.write_all(&bytes).is_err() || closes {
                return;
            }
            if is_subscription {
                let mut subscribed = self.subscribed.lock().unwrap();
                // Both channels of one connection count once.
                if subscribed.last().is_none_or(|last| last.peer_addr().ok() != socket.peer_addr().ok()) {
                    subscribed.push(socket.try_clone().unwrap());
                }
            }
        }
    }
}

/// A hash with one field `n`.
pub fn hash(n: &str) -> Act {
    Act::say(format!("*2\r\n$1\r\nn\r\n${}\r\n{n}\r\n", n.len()))
}

fn message() -> Vec<u8> {
    b"*3\r\n$7\r\nmessage\r\n$13\r\nmapcast:flags\r\n$0\r\n\r\n".to_vec()
}

fn by_default(words: &[String], channels: &mut usize) -> Act {
    match words[0].as_str() {
        "hgetall" => hash("1"),
        "get" => Act::say("$-1\r\n"),
        "role" => Act::say("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"),
        "ping" if *channels > 0 => Act::say("*2\r\n$4\r\npong\r\n$0\r\n\r\n"),
        "subscribe" => {
            *channels += 1;
            Act::say(format!("*3\r\n$9\r\nsubscribe\r\n${}\r\n{}\r\n:{channels}\r\n", words[1].len(), words[1]))
        }
        "auth" | "select" | "asking" => Act::say("+OK\r\n"),
        other => Act::say(format!("-ERR unknown command '{other}'\r\n")),
    }
}

/// Reads one command, an array of bulk strings.
fn command(reader: &mut impl BufRead) -> io::Result<Vec<String>> {
    let count = number(reader, "*")?;
    (0..count)
        .map(|_| {
            let mut bytes = vec![0; number(reader, "$")? + 2];
            reader.read_exact(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes[..bytes.len() - 2]).to_lowercase())
        })
        .collect()
}

fn number(reader: &mut impl BufRead, kind: &str) -> io::Result<usize> {
    let mut line = String::new();
    reader.by_ref().read_line(&mut line)?;
    let number = line.strip_prefix(kind).and_then(|rest| rest.trim_end().parse().ok());
    number.ok_or(io::ErrorKind::UnexpectedEof.into())
}
