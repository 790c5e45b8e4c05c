//! Mosquitto: MQTT 3.1.1 with QoS 0, nothing retained. <https://docs.oasis-open.org/mqtt/mqtt/v3.1.1/mqtt-v3.1.1.html>

use std::net::SocketAddr;

use super::{TOPIC, foreign};
use crate::support::wire::{Message, Wire, WireError};

/// Clean session, no keepalive, and no client identifier: the server assigns one (3.1.3.1).
pub const CONNECT: [u8; 14] = [0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 0x02, 0, 0, 0, 0];

/// Packet types, in the upper half of a packet's first byte (2.2.1).
const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const SUBACK: u8 = 9;

/// Returns the command that starts it. It reads [`config`] from its standard input.
pub fn command() -> Vec<String> {
    ["mosquitto", "-c", "/dev/stdin"].map(str::to_owned).to_vec()
}

/// Returns its configuration. Its limit on connections is the descriptor limit. It keeps its user, so that it is killed with the
/// bench, and sends without delay, as the other servers do.
pub fn config(addr: SocketAddr) -> String {
    let (ip, port) = (addr.ip(), addr.port());
    format!("listener {port} {ip}\nallow_anonymous true\nuser root\nlog_dest none\nset_tcp_nodelay true\n")
}

/// Returns the packet that publishes `payload`.
pub fn publish(payload: &[u8]) -> Vec<u8> {
    packet(PUBLISH << 4, &[&topic()[..], payload].concat())
}

/// Returns the length of the topic followed by the topic (1.5.3).
fn topic() -> Vec<u8> {
    [&[0, u8::try_from(TOPIC.len()).unwrap_or(u8::MAX)], TOPIC.as_bytes()].concat()
}

/// Returns a packet: its first byte, the length of the rest with seven bits per byte, lowest first (2.2.3), and the rest.
fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
    let (mut bytes, mut len) = (vec![first], rest.len());
    loop {
        let low = u8::try_from(len % 128).unwrap_or_default();
        len /= 128;
        if len == 0 {
            bytes.push(low);
            break;
        }
        bytes.push(low | 0x80);
    }
    bytes.extend_from_slice(rest);
    bytes
}

/// The protocol of a subscriber.
#[derive(Debug)]
pub struct MqttWire {
    /// The largest payload in bytes.
    pub max: usize,
}

impl Wire for MqttWire {
    /// A client may subscribe before it receives the reply to its connection (3.1.4).
    fn hello(&self) -> Vec<u8> {
        let (packet_id, qos) = ([0, 1], [0]);
        let subscribe = packet(0x82, &[&packet_id[..], &topic(), &qos].concat());
        [&CONNECT[..], &subscribe].concat()
    }

    fn split<'bytes>(&self, bytes: &'bytes [u8]) -> Result<Option<Message<'bytes>>, WireError> {
        let wrong = || foreign("MQTT", bytes);
        let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
        // At most four bytes of length (2.2.3).
        let Some(last) = rest.iter().take(4).position(|byte| byte & 0x80 == 0) else {
            return if rest.len() < 4 { Ok(None) } else { Err(wrong()) };
        };
        let size = rest[..=last].iter().rev().fold(0, |size, byte| size << 7 | usize::from(byte & 0x7f));
        if size > topic().len() + self.max {
            return Err(wrong());
        }
        let len = 2 + last + size;
        let Some(content) = bytes.get(2 + last..len) else { return Ok(None) };
        let payload = match (first >> 4, content) {
            (PUBLISH, _) => Some(content.strip_prefix(&topic()[..]).ok_or_else(wrong)?),
            // The last byte of both is a code; 0 is success (3.2.2.3, 3.9.3).
            (CONNACK | SUBACK, [.., 0]) => None,
            _ => return Err(wrong()),
        };
        Ok(Some(Message { len, payload, reply: &[] }))
    }
}
