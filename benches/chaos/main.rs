//! Chaos: a tree of servers behind a Redis with sentinels, in a network of its own, where members are killed, stopped and cut
//! off at random, and clients that check meanwhile that every map is whole, in order, and there.
//!
//! ```text
//! cargo bench --bench chaos                              # ten minutes
//! cargo bench --bench chaos -- --for 90s --seed 4711     # shorter; the same faults as another run with this seed
//! cargo bench --bench chaos -- --seed 4711 --logs        # with what the servers log, to find out why
//! ```
//! A root follows the hash, three relays follow the root, three leaves follow each relay: thirteen processes, each in a network
//! namespace of its own, with a cable to a bridge. The clients are at the leaves: ten followers of the library's at each, and
//! plain ones on one thread, which reconnect at once; ten of these at each leaf go from leaf to leaf all the time. The writer
//! makes a change every 100 ms, with a number and a checksum, at whatever Redis the sentinels call the master.
//!
//! An episode has one to three faults at a time. Then all clients have to come back; then changes go on for a while without
//! a fault, and then nothing changes, so that repeats come. Every kind of fault at every level comes once before one comes
//! again. What may and what must not be:
//!
//! - **Torn**: a map that is not whole must never come. A connection may end inside a frame if its leaf was killed, stopped
//!   or unplugged.
//! - **Backwards**: over one connection, and over the next one to the same process, no older map may follow a newer one. Another
//!   leaf, or another process of the same leaf, may be behind the one before: that is counted, and allowed. If Redis itself
//!   has lost changes in a failover, clients go back to the one that it has kept: that is counted, and allowed, for exactly
//!   these changes (`writer.rs`).
//! - **Lost**: when all faults are over, every client must have the newest map within a bound; while there is no fault, none may
//!   be without the newest one for three intervals, and when changes end, each must have the last one.
//!
//! The tables are standard output, and exit code 1 says that a check failed. Linux only, and root only; it ends by itself, and
//! all its processes, namespaces and files with it, however it ends.
#![allow(unreachable_pub, missing_docs, reason = "nothing uses this program's modules but itself")]
#![allow(clippy::cast_precision_loss, reason = "no count here comes near 2^52")]

mod clients;
mod fault;
mod followers;
mod ledger;
mod member;
mod network;
mod outcome;
mod report;
mod site;
mod staleness;
mod store;
#[path = "../support/mod.rs"]
mod support;
mod tree;
mod writer;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Parser;
use mapcast::units::parse_duration;

use fault::{Plan, Planned};
use site::Site;
use support::random::Random;

/// N, the interval of every server.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// The time between two changes.
pub const PERIOD: Duration = Duration::from_millis(100);

/// Set by SIGINT and SIGTERM.
static STOPPED: AtomicBool = AtomicBool::new(false);

/// Breaks a tree of servers at random, and checks that its clients get every map.
#[derive(Debug, Parser)]
#[command(name = "chaos", max_term_width = 100)]
struct Options {
    /// How long new faults begin; the last ones are waited for
    #[arg(long = "for", value_name = "DURATION", default_value = "10m", value_parser = parse_duration)]
    duration: Duration,
    /// Chooses the faults, their order and their durations; by default another one each time
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Clients in all
    #[arg(long, value_name = "K", default_value_t = 1800)]
    clients: usize,
    /// Prints what the servers log of their sources
    #[arg(long)]
    logs: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
    /// The namespace that this process came from, if it is in namespaces of its own
    #[arg(long, hide = true)]
    outside: Option<String>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("FAIL: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<()> {
    let Some(outside) = &options.outside else { return Err(network::isolate()) };
    network::prepare(outside)?;
    support::swarm::raise_descriptor_limit();
    ctrlc::set_handler(|| STOPPED.store(true, Ordering::Relaxed))?;
    let seed = options.seed.unwrap_or_else(Random::seed);
    let seconds = options.duration.as_secs();
    eprintln!("seed {seed}; the same faults again: cargo bench --bench chaos -- --for {seconds}s --seed {seed}");
    let mut site = Site::start(options.clients, seed, options.logs)?;
    eprintln!("{} clients have a map", options.clients);
    let ended = wreck(&mut site, &mut Plan::new(seed), options.duration);
    // What was found is printed, whatever ended it.
    let broken = report::print(&site);
    println!("\nseed {seed}, {seconds} s, {} clients, {} faults", options.clients, site.outcomes.len());
    ended?;
    ensure!(!is_stopped(), "interrupted: not everything was tried");
    ensure!(broken == 0, "{broken} checks failed");
    Ok(())
}

/// Has one episode after the other befall `site`, for so long.
fn wreck(site: &mut Site, plan: &mut Plan, duration: Duration) -> anyhow::Result<()> {
    let began = Instant::now();
    site.rest()?;
    while began.elapsed() < duration && !is_stopped() {
        let mut episode: Vec<Planned> = plan.next_episode();
        if episode.iter().any(|planned| planned.member.is_none()) && !site.wait_failover_possible()? {
            eprintln!("no failover is possible: the fault of Redis is left out");
            episode.retain(|planned| planned.member.is_some());
        }
        site.suffer(&episode)?;
        site.rest()?;
    }
    Ok(())
}

/// True as soon as everything is to end early.
pub fn is_stopped() -> bool {
    STOPPED.load(Ordering::Relaxed)
}

/// For a table.
pub fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
