//! What the benches and the example `swarm` share: a load of clients on one thread and its percentiles, maps that a client
//! can check, and the table of checks.
#![allow(dead_code, reason = "each of them needs a part of it")]

pub mod checks;
pub mod map;
pub mod netstat;
pub mod random;
pub mod sample;
pub mod stamp;
pub mod swarm;
pub mod wire;
