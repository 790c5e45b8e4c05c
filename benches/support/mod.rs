//! Code shared by the benches and the example `swarm`: clients on one thread and their percentiles, maps that a client can
//! verify, and the table of checks.
#![allow(dead_code, reason = "each program uses a part of it")]

pub mod checks;
pub mod map;
pub mod netstat;
pub mod random;
pub mod sample;
pub mod stamp;
pub mod swarm;
pub mod wire;
