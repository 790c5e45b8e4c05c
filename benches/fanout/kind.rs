//! The servers that are compared: their names, what they send by themselves, and their protocols.

use std::env;
use std::sync::Arc;

use clap::ValueEnum;
use rustls::ClientConfig;

use crate::change::Wrap;
use crate::peer::{mosquitto, nats, redis};
use crate::secure;
use crate::support::wire::{Frames, Wire};

/// A kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Kind {
    /// One thread, one `send` per client, nothing else
    Floor,
    /// `mapcast-server`, reading lines
    Mapcast,
    /// The same, with plain sends: one system call per client
    MapcastPlain,
    /// The same, with all sends in the clients' own threads
    MapcastThread,
    /// The same, with TLS
    MapcastTls,
    /// `mapcast-server` that follows another one that reads lines
    Relay,
    /// `mapcast-server` that follows a hash in `redis-server`
    Hash,
    /// `redis-server`, with PUBLISH
    Redis,
    /// `nats-server`, without persistence
    Nats,
    /// `mosquitto`, with QoS 0
    Mosquitto,
}

impl Kind {
    /// Returns its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Mapcast => "mapcast",
            Self::MapcastPlain => "mapcast-plain",
            Self::MapcastThread => "mapcast-thread",
            Self::MapcastTls => "mapcast-tls",
            Self::Relay => "relay",
            Self::Hash => "hash",
            Self::Redis => "redis",
            Self::Nats => "nats",
            Self::Mosquitto => "mosquitto",
        }
    }

    /// Returns true if and only if it sends the current map to each new client.
    pub fn sends_first_map(self) -> bool {
        !matches!(self, Self::Floor | Self::Redis | Self::Nats | Self::Mosquitto)
    }

    /// Returns true if and only if it repeats an unchanged map by itself.
    pub fn repeats(self) -> bool {
        self.sends_first_map()
    }

    /// Returns the protocol of its clients, with payloads of at most `max` bytes.
    pub fn wire(self, max: usize) -> Box<dyn Wire> {
        match self {
            Self::Redis => Box::new(redis::RedisWire { max }),
            Self::Nats => Box::new(nats::NatsWire { max }),
            Self::Mosquitto => Box::new(mosquitto::MqttWire { max }),
            _ => Box::new(Frames { max }),
        }
    }

    /// Returns the TLS configuration of its clients, if they use TLS.
    pub fn tls(self) -> anyhow::Result<Option<Arc<ClientConfig>>> {
        if self == Self::MapcastTls { secure::client().map(Some) } else { Ok(None) }
    }

    /// Returns the first bytes of a publisher, and the form of a change.
    pub fn publishing(self) -> (&'static [u8], Wrap) {
        match self {
            Self::Hash => (&[], redis::publish_hash),
            Self::Redis => (&[], redis::publish),
            Self::Nats => (nats::HELLO.as_bytes(), nats::publish),
            Self::Mosquitto => (&mosquitto::CONNECT, mosquitto::publish),
            // Lines on standard input; for a relay, those of its parent.
            _ => (&[], |payload| [payload, b"\n"].concat()),
        }
    }

    /// Returns the program that it needs if this machine does not have it.
    pub fn missing(self) -> Option<&'static str> {
        let program = match self {
            Self::Hash | Self::Redis => "redis-server",
            Self::Nats => "nats-server",
            Self::Mosquitto => "mosquitto",
            _ => return None,
        };
        let path = env::var_os("PATH").unwrap_or_default();
        let is_there = env::split_paths(&path).any(|directory| directory.join(program).is_file());
        (!is_there).then_some(program)
    }

    /// Returns the kind of its upstream, if it has one.
    pub fn upstream(self) -> Option<Self> {
        match self {
            Self::Relay => Some(Self::Mapcast),
            Self::Hash => Some(Self::Redis),
            _ => None,
        }
    }
}
