//! The two agreements with systemd, or whatever else keeps them: listeners that it hands over (`sd_listen_fds`(3)), and what
//! it is told (`sd_notify`(3)). Both are in the environment; where it says nothing, nothing here does anything.

mod listeners;
mod notices;
mod supervisor;

pub(crate) use listeners::Listeners;
pub(crate) use supervisor::{Subject, Supervisor};
