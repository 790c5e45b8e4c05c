//! A program with a server in it: `cargo run --example exchange_rates`, then any number of
//! `mapcast-client 127.0.0.1:8090`.
//!
//! The rates change in the program's own thread, five times a second. Every client has the newest ones within
//! milliseconds, and a slow client skips to them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mapcast::{Cast, Feed, Format, Server, ServerConfig, Shutdown};
use serde::Serialize;

/// The default of the first argument, the address to listen on.
const ADDRESS: &str = "127.0.0.1:8090";

/// Each client gets the rates at least this often, whether or not one has changed.
const REPEAT: Duration = Duration::from_secs(5);

const CHANGE: Duration = Duration::from_millis(200);

/// What is published. Any serde type will do.
#[derive(Debug, Serialize)]
struct Rates {
    /// Seconds since 1970: a reader sees how old its rates are.
    at: u64,
    /// Units of each currency for one euro.
    rates: BTreeMap<&'static str, f64>,
}

/// A market whose rates walk at random.
struct Market {
    rates: BTreeMap<&'static str, f64>,
    /// The state of a small generator (xorshift, Marsaglia 2003): good enough for this walk.
    random: u64,
}

impl Market {
    fn new() -> Self {
        let rates = BTreeMap::from([("CHF", 0.93), ("GBP", 0.86), ("JPY", 171.2), ("USD", 1.14)]);
        Self { rates, random: 0x9E37_79B9_7F4A_7C15 }
    }

    /// Moves one rate by up to 0.1 %.
    fn step(&mut self) {
        for shift in [13, -7, 17] {
            self.random ^= if shift > 0 { self.random << shift } else { self.random >> -shift };
        }
        let chosen = usize::try_from(self.random % self.rates.len() as u64).unwrap_or(0);
        let change = f64::from(u16::try_from(self.random >> 48).unwrap_or(0)) / f64::from(u16::MAX);
        if let Some(rate) = self.rates.values_mut().nth(chosen) {
            *rate *= 1.0 + (change - 0.5) / 500.0;
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let feed = Arc::new(Feed::new(Format::Json, mapcast::DEFAULT_MAX_FRAME));
    let address = std::env::args().nth(1).unwrap_or_else(|| ADDRESS.to_owned());
    let mut server = Server::new(ServerConfig::default());
    server.bind(&[address.parse()?], Cast::new(Arc::clone(&feed), REPEAT))?;

    let shutdown = Shutdown::new()?;
    let on_signal = shutdown.clone();
    ctrlc::set_handler(move || {
        on_signal.trigger();
    })?;
    let running = server.spawn(shutdown.clone())?;

    let mut market = Market::new();
    while !shutdown.is_triggered() {
        let at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        feed.publish_typed(&Rates { at, rates: market.rates.clone() })?;
        market.step();
        shutdown.wait(CHANGE);
    }
    // Every connection ends on a frame boundary.
    let stopped = running.stop()?;
    println!("{} clients served", stopped.served);
    Ok(())
}
