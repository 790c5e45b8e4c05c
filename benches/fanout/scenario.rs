//! The scenarios, and the goals for mapcast in each of them.

use std::time::Duration;

use crate::figure::{Figure, Goal};
use crate::http_load::HttpRate;
use crate::kind::Kind;

/// One hour, so that no repeat falls into a measurement.
const NEVER: Duration = Duration::from_hours(1);

/// A scenario: the work of the clients and the publisher.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The name for `--scenario`.
    pub name: &'static str,
    /// Concurrent clients.
    pub clients: usize,
    /// How many clients never read.
    pub stalled: usize,
    /// Connections begun per second.
    pub connect_rate: u32,
    /// Payload size in bytes.
    pub size: usize,
    /// Interval of mapcast.
    pub interval: Duration,
    /// The work once all clients are connected.
    pub work: Work,
    /// HTTP load during the work.
    pub http_load: Option<HttpRate>,
    /// Duration of the measurement.
    pub window: Duration,
    /// The measured servers.
    pub servers: Vec<Kind>,
    /// Rounds; the median counts.
    pub rounds: usize,
    /// The goals for mapcast.
    pub goals: &'static [(Figure, Goal)],
}

/// The work once all clients are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// This many changes per second.
    Changes(u32),
    /// No changes. mapcast repeats by itself; the bench publishes to the others at the same rate.
    Repeat,
    /// None: connecting is measured.
    Connect,
    /// None, for the whole duration.
    Idle,
    /// SIGTERM.
    Stop,
    /// This many changes per second through three relays; then one relay, and later the root, is killed and restarted.
    Tree(u32),
    /// The server is down for 2, 8 and 15 s, and its clients reconnect.
    Recovery,
}

/// The goals for the delivery of changes; the last one is about memory.
const CHANGES_GOALS: &[(Figure, Goal)] = &[
    (Figure::DeliveryCpu, Goal::Times(1.1, Kind::Floor)),
    (Figure::LatencyP50, Goal::Times(0.8, Kind::Redis)),
    (Figure::LatencyP99, Goal::Times(0.85, Kind::Redis)),
    (Figure::Delivered, Goal::Exactly(100.0)),
    (Figure::ResidentMemory, Goal::AtMost(10.5)),
];

impl Scenario {
    /// Returns all scenarios with their default values.
    pub fn all() -> Vec<Self> {
        let changes = Self {
            name: "changes",
            clients: 9000,
            stalled: 0,
            connect_rate: 8000,
            size: 200,
            interval: NEVER,
            work: Work::Changes(5),
            http_load: None,
            window: Duration::from_secs(3),
            servers: vec![Kind::Floor, Kind::Mapcast],
            rounds: 3,
            goals: CHANGES_GOALS,
        };
        let repeat_goals = &[(Figure::GapP99, Goal::AtMost(1005.0)), (Figure::FrameCpu, Goal::Times(1.2, Kind::Floor))];
        let connect_goals = &[
            (Figure::ConnectCpu, Goal::AtMost(150.0)),
            (Figure::LongestConnect, Goal::AtMost(900.0)),
            (Figure::SynRetries, Goal::Exactly(0.0)),
        ];
        let stop_goals = &[
            (Figure::StopTime, Goal::AtMost(1000.0)),
            (Figure::Resets, Goal::Exactly(0.0)),
            (Figure::ExitCode, Goal::Exactly(0.0)),
        ];
        let mut all = vec![
            changes.clone(),
            Self { name: "large", clients: 1000, size: 16 * 1024, ..changes.clone() },
            Self {
                name: "huge",
                clients: 500,
                size: 256 * 1024,
                goals: &[(Figure::Delivered, Goal::Exactly(100.0))],
                ..changes.clone()
            },
            // The three ways to send, for comparison: see `--send` of the server.
            Self {
                name: "modes",
                servers: vec![Kind::Floor, Kind::Mapcast, Kind::MapcastPlain, Kind::MapcastThread],
                goals: &[(Figure::Delivered, Goal::Exactly(100.0))],
                ..changes.clone()
            },
            Self {
                name: "tls",
                clients: 1000,
                connect_rate: 1000,
                servers: vec![Kind::Mapcast, Kind::MapcastTls],
                goals: &[(Figure::Delivered, Goal::Exactly(100.0))],
                ..changes.clone()
            },
            Self {
                name: "repeat",
                interval: Duration::from_secs(1),
                work: Work::Repeat,
                window: Duration::from_secs(4),
                rounds: 2,
                goals: repeat_goals,
                ..changes.clone()
            },
            Self {
                name: "connect",
                work: Work::Connect,
                window: Duration::ZERO,
                goals: connect_goals,
                ..changes.clone()
            },
            Self {
                name: "idle",
                work: Work::Idle,
                window: Duration::from_secs(5),
                servers: vec![Kind::Mapcast],
                rounds: 1,
                goals: &[(Figure::IdleCpu, Goal::AtMost(5.0))],
                ..changes.clone()
            },
            Self {
                name: "stop",
                clients: 10_000,
                work: Work::Stop,
                servers: vec![Kind::Mapcast],
                rounds: 1,
                goals: stop_goals,
                ..changes.clone()
            },
            Self {
                name: "stalled",
                clients: 1000,
                stalled: 500,
                size: 16 * 1024,
                window: Duration::from_secs(4),
                servers: vec![Kind::Mapcast],
                rounds: 1,
                goals: &[(Figure::Delivered, Goal::Exactly(100.0)), (Figure::ResidentMemory, Goal::AtMost(10.5))],
                ..changes.clone()
            },
        ];
        all.extend(Self::beside_others(&changes));
        all
    }

    /// Returns the scenarios with the maximum number of clients, with HTTP load, and with several servers in a chain.
    fn beside_others(changes: &Self) -> Vec<Self> {
        vec![
            Self {
                name: "many",
                clients: 15_000,
                interval: Duration::from_secs(5),
                work: Work::Repeat,
                window: Duration::from_secs(11),
                servers: vec![Kind::Mapcast],
                rounds: 1,
                goals: &[(Figure::GapP99, Goal::AtMost(5050.0)), (Figure::ResidentMemory, Goal::AtMost(10.5))],
                ..changes.clone()
            },
            // The goals are the same as without HTTP load, except for memory, which includes that of HTTP.
            Self {
                name: "http",
                http_load: Some(HttpRate { streams: 100, requests: 1000 }),
                goals: &CHANGES_GOALS[..CHANGES_GOALS.len() - 1],
                ..changes.clone()
            },
            Self {
                name: "relay",
                clients: 1000,
                servers: vec![Kind::Mapcast, Kind::Relay],
                goals: &[
                    (Figure::LatencyP99, Goal::Adds(1.0, Kind::Mapcast)),
                    (Figure::Delivered, Goal::Exactly(100.0)),
                ],
                ..changes.clone()
            },
            Self {
                name: "redis",
                clients: 1000,
                // With 25 changes per round, the p99 is one slow change.
                rounds: 5,
                servers: vec![Kind::Hash],
                goals: &[(Figure::AfterRedisP99, Goal::AtMost(5.0)), (Figure::Delivered, Goal::Exactly(100.0))],
                ..changes.clone()
            },
            Self {
                name: "tree",
                servers: vec![Kind::Relay],
                work: Work::Tree(2),
                window: Duration::from_secs(5),
                rounds: 1,
                goals: &[(Figure::Delivered, Goal::Exactly(100.0))],
                ..changes.clone()
            },
            Self {
                name: "recovery",
                clients: 200,
                servers: vec![Kind::Mapcast],
                work: Work::Recovery,
                rounds: 1,
                goals: &[
                    (Figure::HalfBack15, Goal::AtMost(2500.0)),
                    (Figure::LastBack2, Goal::AtMost(5500.0)),
                    (Figure::LastBack8, Goal::AtMost(5500.0)),
                    (Figure::LastBack15, Goal::AtMost(5500.0)),
                ],
                ..changes.clone()
            },
        ]
    }

    /// Returns a short version: a tenth of the clients, one round, half the time. It shows that the bench works; its figures are
    /// not meaningful.
    pub fn quick(self) -> Self {
        let window = if self.work == Work::Repeat { self.interval * 2 } else { self.window / 2 };
        Self { clients: self.clients / 10, stalled: self.stalled / 10, rounds: 1, window, ..self }
    }
}
