//! What the fan-out bench and the example `swarm` share: a load of clients on one thread, and its percentiles.

pub mod sample;
pub mod swarm;
pub mod wire;
