//! What the fan-out bench, the siege and the example `swarm` share: a load of clients on one thread, and its percentiles.
#![allow(dead_code, reason = "each of them needs a part of it")]

pub mod sample;
pub mod stamp;
pub mod swarm;
pub mod wire;
