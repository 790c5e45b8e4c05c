//! The figures: what they are called, and what is asked of them.

use std::collections::BTreeMap;
use std::fmt;

use crate::kind::Kind;

/// Something that is measured.
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
    Memory,
    Requests,
    HttpCpu,
    IdleCpu,
    StopTime,
    Resets,
    ExitCode,
}

impl Figure {
    /// What it is, with its unit.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConnectCpu => "CPU a connection, us",
            Self::LongestConnect => "longest connect, ms",
            Self::SynRetries => "SYN retries",
            Self::DeliveryCpu => "CPU a delivery, us",
            Self::FrameCpu => "CPU a frame, us",
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
            Self::HalfBack2 => "half back after 2 s away, ms",
            Self::LastBack2 => "last back after 2 s away, ms",
            Self::HalfBack8 => "half back after 8 s away, ms",
            Self::LastBack8 => "last back after 8 s away, ms",
            Self::HalfBack15 => "half back after 15 s away, ms",
            Self::LastBack15 => "last back after 15 s away, ms",
            Self::Delivered => "changes that reached all, %",
            Self::GapP1 => "gap p1, ms",
            Self::GapP50 => "gap p50, ms",
            Self::GapP99 => "gap p99, ms",
            Self::GapMax => "gap max, ms",
            Self::Memory => "resident memory a client, KiB",
            Self::Requests => "HTTP requests a second",
            Self::HttpCpu => "CPU of HTTP, ms a second",
            Self::IdleCpu => "CPU while idle, ms",
            Self::StopTime => "SIGTERM to exit, ms",
            Self::Resets => "resets and torn frames",
            Self::ExitCode => "exit code",
        }
    }

    /// Digits that mean something.
    pub fn decimals(self) -> usize {
        match self {
            Self::SynRetries | Self::Resets | Self::ExitCode => 0,
            _ => 1,
        }
    }

    /// True if and only if the ratio to the floor says something.
    pub fn has_ratio(self) -> bool {
        matches!(self, Self::ConnectCpu | Self::DeliveryCpu | Self::FrameCpu | Self::LatencyP50 | Self::LatencyP99)
    }
}

/// The values of one measurement.
pub type Figures = BTreeMap<Figure, f64>;

/// What is asked of mapcast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// At most so much.
    AtMost(f64),
    /// At most so many times that server's.
    Times(f64, Kind),
    /// Exactly so much.
    Exactly(f64),
    /// At most so much more than that server's, of a relay.
    Adds(f64, Kind),
}

impl Goal {
    /// The servers of whom it is asked.
    pub fn subjects(self) -> &'static [Kind] {
        match self {
            Self::Adds(..) => &[Kind::Relay],
            _ => &[Kind::Mapcast, Kind::Hash, Kind::Relay],
        }
    }

    /// True if and only if `value` is what is asked for, where `other` is what a server has. `None` if and only if that is
    /// needed and not there.
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
