//! The measured figures: their names and their goals.

use std::collections::BTreeMap;
use std::fmt;

use crate::kind::Kind;

/// A measured figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    ConnectCpu,
    LongestConnect,
    SynRetries,
    DeliveryCpu,
    FrameCpu,
    LatencyP50,
    LatencyP99,
    LatencyMax,
    LastClient,
    FirstBelow,
    RootP50,
    RootP99,
    AfterRedisP50,
    AfterRedisP99,
    KilledRelayP99,
    RelayBack,
    RootBack,
    HalfBack2,
    LastBack2,
    HalfBack8,
    LastBack8,
    HalfBack15,
    LastBack15,
    Delivered,
    GapP1,
    GapP50,
    GapP99,
    GapMax,
    /// The growth of the server's resident memory from before the clients connect until the end of the measurement.
    ResidentMemory,
    /// The growth of the kernel's memory from before the clients connect until all are connected and idle: for the server's
    /// threads, and for both ends of each connection, because the clients run on the same machine.
    KernelMemory,
    /// The growth of all memory in use on this machine in the same time: that of the server, the kernel's, and the clients' own.
    /// What other programs take or release meanwhile is part of it.
    MachineMemory,
    Requests,
    HttpCpu,
    IdleCpu,
    StopTime,
    Resets,
    ExitCode,
}

impl Figure {
    /// Returns its name with the unit.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConnectCpu => "CPU per connection, us",
            Self::LongestConnect => "longest connect, ms",
            Self::SynRetries => "SYN retries",
            Self::DeliveryCpu => "CPU per delivery, us",
            Self::FrameCpu => "CPU per frame, us",
            Self::LatencyP50 => "change to client p50, ms",
            Self::LatencyP99 => "change to client p99, ms",
            Self::LatencyMax => "change to client max, ms",
            Self::LastClient => "change to last client, ms",
            Self::FirstBelow => "change to first client, ms",
            Self::RootP50 => "at the root p50, ms",
            Self::RootP99 => "at the root p99, ms",
            Self::AfterRedisP50 => "after a subscriber p50, ms",
            Self::AfterRedisP99 => "after a subscriber p99, ms",
            Self::KilledRelayP99 => "relay killed, others p99, ms",
            Self::RelayBack => "relay restarted to all, ms",
            Self::RootBack => "root restarted to all, ms",
            Self::HalfBack2 => "half back after 2 s down, ms",
            Self::LastBack2 => "last back after 2 s down, ms",
            Self::HalfBack8 => "half back after 8 s down, ms",
            Self::LastBack8 => "last back after 8 s down, ms",
            Self::HalfBack15 => "half back after 15 s down, ms",
            Self::LastBack15 => "last back after 15 s down, ms",
            Self::Delivered => "changes that reached all, %",
            Self::GapP1 => "gap p1, ms",
            Self::GapP50 => "gap p50, ms",
            Self::GapP99 => "gap p99, ms",
            Self::GapMax => "gap max, ms",
            Self::ResidentMemory => "resident memory per client, KiB",
            Self::KernelMemory => "kernel memory per client, KiB",
            Self::MachineMemory => "machine memory per client, KiB",
            Self::Requests => "HTTP requests per second",
            Self::HttpCpu => "CPU of HTTP, ms per second",
            Self::IdleCpu => "CPU while idle, ms",
            Self::StopTime => "SIGTERM to exit, ms",
            Self::Resets => "resets and torn frames",
            Self::ExitCode => "exit code",
        }
    }

    /// Returns the number of significant decimals.
    pub fn decimals(self) -> usize {
        match self {
            Self::SynRetries | Self::Resets | Self::ExitCode => 0,
            _ => 1,
        }
    }

    /// Returns true if the ratio to the floor is meaningful.
    pub fn has_ratio(self) -> bool {
        matches!(self, Self::ConnectCpu | Self::DeliveryCpu | Self::FrameCpu | Self::LatencyP50 | Self::LatencyP99)
    }
}

/// The values of one measurement.
pub type Figures = BTreeMap<Figure, f64>;

/// A goal for mapcast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// At most this value.
    AtMost(f64),
    /// At most this multiple of the server's value.
    Times(f64, Kind),
    /// Exactly this value.
    Exactly(f64),
    /// For a relay: at most this much more than the server's value.
    Adds(f64, Kind),
}

impl Goal {
    /// Returns the servers that have this goal.
    pub fn subjects(self) -> &'static [Kind] {
        match self {
            Self::Adds(..) => &[Kind::Relay],
            _ => &[Kind::Mapcast, Kind::Hash, Kind::Relay],
        }
    }

    /// Returns true if and only if `value` meets the goal. `other` returns the value of another server. `None` if and only if that
    /// value is needed and missing.
    pub fn is_met(self, value: f64, other: impl Fn(Kind) -> Option<f64>) -> Option<bool> {
        match self {
            Self::AtMost(most) => Some(value <= most),
            Self::Times(most, kind) => Some(value <= most * other(kind)?),
            Self::Adds(most, kind) => Some(value - other(kind)? <= most),
            Self::Exactly(wanted) => Some((value - wanted).abs() < f64::EPSILON),
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "<= {most}"),
            Self::Times(most, kind) => write!(f, "<= {most} x {}", kind.name()),
            Self::Adds(most, kind) => write!(f, "<= {most} above {}", kind.name()),
            Self::Exactly(wanted) => write!(f, "{wanted}"),
        }
    }
}
