//! The servers that are compared.

use clap::ValueEnum;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Kind {
    /// One thread, one `send` a client, nothing else
    Floor,
    /// `mapcast-server`, reading lines
    Mapcast,
    /// The same, with TLS
    MapcastTls,
    /// `mapcast-server` that follows another one, which reads lines
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
    /// What it is called in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Mapcast => "mapcast",
            Self::MapcastTls => "mapcast-tls",
            Self::Relay => "relay",
            Self::Hash => "hash",
            Self::Redis => "redis",
            Self::Nats => "nats",
            Self::Mosquitto => "mosquitto",
        }
    }

    /// True if and only if it sends the current map to each client that connects.
    pub fn sends_first_map(self) -> bool {
        matches!(self, Self::Mapcast | Self::MapcastTls | Self::Relay | Self::Hash)
    }

    /// True if and only if it sends again by itself what has not changed.
    pub fn repeats(self) -> bool {
        self.sends_first_map()
    }
}
