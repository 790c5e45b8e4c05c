//! Redis, with `SUBSCRIBE` and `PUBLISH`: <https://redis.io/docs/latest/develop/reference/protocol-spec/>.

use std::net::SocketAddr;

use super::{TOPIC, foreign, parse_len, split_line};
use crate::support::wire::{Message, Wire, WireError};

/// Returns the command that starts it for `most` connections, with the backlog of mapcast and without storage. Protected mode is
/// off because it accepts no loopback address except 127.0.0.1.
pub fn command(addr: SocketAddr, most: usize) -> Vec<String> {
    let (ip, port, most) = (addr.ip().to_string(), addr.port().to_string(), most.to_string());
    ["redis-server", "--bind", &ip, "--port", &port, "--maxclients", &most, "--tcp-backlog", "4096"]
        .into_iter()
        .chain(["--protected-mode", "no", "--save", "", "--appendonly", "no", "--loglevel", "warning"])
        .map(str::to_owned)
        .collect()
}

/// Returns the command that publishes `payload`.
pub fn publish(payload: &[u8]) -> Vec<u8> {
    let start = format!("*3\r\n$7\r\nPUBLISH\r\n${}\r\n{TOPIC}\r\n${}\r\n", TOPIC.len(), payload.len());
    [start.as_bytes(), payload, b"\r\n"].concat()
}

/// The hash that mapcast follows.
pub const HASH: &str = "bench";

/// The channel that announces its changes.
pub const CHANNEL: &str = "mapcast:bench";

/// Returns the commands that store the content of `payload`, a JSON object with one string, and announce it.
pub fn publish_hash(payload: &[u8]) -> Vec<u8> {
    let mut parts = payload.split(|byte| *byte == b'"').skip(1).step_by(2);
    let (field, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let commands = [vec![b"HSET", HASH.as_bytes(), field, value], vec![b"PUBLISH", CHANNEL.as_bytes(), payload]];
    commands.iter().flat_map(|words| command_of(words)).collect()
}

/// Returns the command that subscribes to `channel`.
pub fn subscribe(channel: &str) -> Vec<u8> {
    command_of(&[b"SUBSCRIBE", channel.as_bytes()])
}

fn command_of(words: &[&[u8]]) -> Vec<u8> {
    let mut command = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        command.extend(format!("${}\r\n", word.len()).into_bytes());
        command.extend_from_slice(word);
        command.extend_from_slice(b"\r\n");
    }
    command
}

/// The protocol of a subscriber.
#[derive(Debug)]
pub struct RedisWire {
    /// The largest payload in bytes.
    pub max: usize,
}

impl Wire for RedisWire {
    fn hello(&self) -> Vec<u8> {
        format!("*2\r\n$9\r\nSUBSCRIBE\r\n${}\r\n{TOPIC}\r\n", TOPIC.len()).into_bytes()
    }

    /// Arrays of three: `subscribe`, topic, number; or `message`, topic, payload.
    fn split<'bytes>(&self, bytes: &'bytes [u8]) -> Result<Option<Message<'bytes>>, WireError> {
        let wrong = || foreign("Redis", bytes);
        let Some((array, mut len)) = split_line(bytes) else { return Ok(None) };
        if array != b"*3" {
            return Err(wrong());
        }
        let mut parts = [&[][..]; 3];
        for part in &mut parts {
            let Some((line, line_len)) = split_line(&bytes[len..]) else { return Ok(None) };
            len += line_len;
            let (kind, digits) = line.split_first().ok_or_else(wrong)?;
            match kind {
                b':' => *part = digits,
                b'$' => {
                    let size = parse_len(digits, self.max).ok_or_else(wrong)?;
                    let Some(whole) = bytes.get(len..len + size + 2) else { return Ok(None) };
                    *part = whole.strip_suffix(b"\r\n").ok_or_else(wrong)?;
                    len += whole.len();
                }
                _ => return Err(wrong()),
            }
        }
        match parts {
            [b"message", topic, payload] if topic == TOPIC.as_bytes() => {
                Ok(Some(Message { len, payload: Some(payload), reply: &[] }))
            }
            [b"subscribe", ..] => Ok(Some(Message { len, payload: None, reply: &[] })),
            _ => Err(wrong()),
        }
    }
}

/// Returns the length of the message with a payload of `size` bytes on [`CHANNEL`]. It ends with the payload and CR LF.
pub fn message_len(size: usize) -> usize {
    format!("*3\r\n$7\r\nmessage\r\n${}\r\n{CHANNEL}\r\n${size}\r\n", CHANNEL.len()).len() + size + 2
}
