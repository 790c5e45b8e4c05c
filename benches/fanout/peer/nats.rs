//! NATS, the core without persistence: <https://docs.nats.io/reference/reference-protocols/nats-protocol>.

use std::net::SocketAddr;

use super::{TOPIC, foreign, parse_len, split_line};
use crate::support::wire::{Message, Wire, WireError};

/// The first bytes of a client.
pub const HELLO: &str = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";

/// Returns the command that starts it. Its limit is 65,536 connections by default.
pub fn command(addr: SocketAddr) -> Vec<String> {
    let (ip, port) = (addr.ip().to_string(), addr.port().to_string());
    ["nats-server", "--addr", &ip, "--port", &port, "--log", "/dev/null"].map(str::to_owned).to_vec()
}

/// Returns the bytes that publish `payload`.
pub fn publish(payload: &[u8]) -> Vec<u8> {
    [format!("PUB {TOPIC} {}\r\n", payload.len()).as_bytes(), payload, b"\r\n"].concat()
}

/// The protocol of a subscriber.
#[derive(Debug)]
pub struct NatsWire {
    /// The largest payload in bytes.
    pub max: usize,
}

impl Wire for NatsWire {
    fn hello(&self) -> Vec<u8> {
        format!("{HELLO}SUB {TOPIC} 1\r\n").into_bytes()
    }

    /// The server sends lines. A line that begins with `MSG` ends with the length of the payload that follows.
    fn split<'bytes>(&self, bytes: &'bytes [u8]) -> Result<Option<Message<'bytes>>, WireError> {
        let wrong = || foreign("NATS", bytes);
        let Some((line, len)) = split_line(bytes) else { return Ok(None) };
        let mut words = line.split(|byte| *byte == b' ');
        match words.next() {
            Some(b"MSG") => {
                let size = words.next_back().and_then(|digits| parse_len(digits, self.max)).ok_or_else(wrong)?;
                let Some(whole) = bytes.get(len..len + size + 2) else { return Ok(None) };
                let payload = whole.strip_suffix(b"\r\n").ok_or_else(wrong)?;
                Ok(Some(Message { len: len + whole.len(), payload: Some(payload), reply: &[] }))
            }
            Some(b"PING") => Ok(Some(Message { len, payload: None, reply: b"PONG\r\n" })),
            Some(b"INFO" | b"PONG" | b"+OK") => Ok(Some(Message { len, payload: None, reply: &[] })),
            _ => Err(wrong()),
        }
    }
}
