//! The servers that are compared.

use clap::ValueEnum;

/// A kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Kind {
    /// One thread, one `send` per client, nothing else
    Floor,
    /// `mapcast-server`, reading lines
    Mapcast,
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
        matches!(self, Self::Mapcast | Self::MapcastTls | Self::Relay | Self::Hash)
    }

    /// Returns true if and only if it repeats an unchanged map by itself.
    pub fn repeats(self) -> bool {
        self.sends_first_map()
    }
}
