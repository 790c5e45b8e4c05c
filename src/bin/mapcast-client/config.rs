//! The validated configuration of a run.

use std::time::Duration;

use mapcast::client::{ClientConfig, FollowConfig};

use crate::commands;
use crate::deliver::DeliverConfig;
use crate::print::PrintConfig;
use crate::selection::Selection;

/// The validated configuration.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) address: String,
    pub(crate) client: ClientConfig,
    /// Limit for the whole run, from the start of the program.
    pub(crate) timeout: Option<Duration>,
    /// How often `-v` was given, minus `-q`.
    pub(crate) verbosity: i16,
    /// What to type if the host is unknown: its name may be a mistyped command.
    pub(crate) unknown_host_hint: Option<String>,
    /// Warnings about variables without effect.
    pub(crate) notices: Vec<String>,
    pub(crate) task: Task,
}

/// What the client does.
#[derive(Debug)]
pub(crate) enum Task {
    /// Print maps.
    Follow { follow: FollowConfig, print: PrintConfig, count: Option<u64> },
    /// Deliver maps to other programs.
    Deliver { follow: FollowConfig, selection: Selection, count: Option<u64>, deliver: DeliverConfig },
    /// Show the map on the whole screen.
    Watch { follow: FollowConfig, selection: Selection, is_colored: bool },
    /// Receive one map and report whether it is good.
    Check,
    /// Send this text, or standard input, to an echo server.
    Echo { text: Option<String> },
    /// Print the greeting.
    Greet,
    /// Read or change the map once, or describe the server.
    Command(commands::Command),
}

impl Task {
    /// True if and only if the task is pointless once standard output has no reader.
    pub(crate) fn prints(&self) -> bool {
        !matches!(self, Self::Watch { .. } | Self::Deliver { .. } | Self::Check | Self::Command(_))
    }

    /// True if and only if signals are for another program: they are forwarded to it, or it shares the keyboard.
    pub(crate) fn forwards_signals(&self) -> bool {
        match self {
            Self::Deliver { deliver, .. } => deliver.forwards_signals(),
            Self::Command(command) => command.shares_signals(),
            _ => false,
        }
    }
}
