//! A chaos test: a tree of servers that follows a Redis with sentinels, in its own network. Members are killed, stopped and cut off
//! at random, while clients check that every map is complete, in order, and not lost.
//!
//! ```text
//! cargo bench --bench chaos                              # ten minutes
//! cargo bench --bench chaos -- --for 90s --seed 4711     # shorter; the same faults as another run with this seed
//! cargo bench --bench chaos -- --seed 4711 --logs        # also prints the servers' logs
//! ```
//! A root follows the hash, three relays follow the root, and three leaves follow each relay: thirteen processes, each in its own
//! network namespace, which a virtual cable connects to a bridge. The clients connect to the leaves. Ten clients of each leaf are
//! followers of the library. The others share one thread and reconnect at once; ten of them per leaf roam from leaf to leaf. The
//! writer makes a change every 100 ms, with a number and a checksum, at the Redis that the sentinels report as the master.
//!
//! An episode injects one to three faults at a time, and ends when all clients have recovered. After it, changes go on for 3 s
//! without a fault, and then nothing changes for 2.5 s, so that servers repeat their maps. Every kind of fault at every level
//! occurs once before one occurs again. Three things must not happen:
//!
//! - **Torn**: a client receives a map whose checksum is wrong, or bytes that are not a frame. A connection may end inside a
//!   frame if its leaf was killed, stopped or unplugged.
//! - **Backwards**: an older map follows a newer one on the same connection, or on the next connection to the same process. Two
//!   cases are allowed and counted. Another leaf, or another process of the same leaf, may be behind the one before. And if Redis
//!   lost changes in a failover, clients return to the change that it kept, from exactly the changes that it lost
//!   (`writer.rs`).
//! - **Lost**: a client does not have the newest map within a bound after all faults; or is without it for three intervals while
//!   there is no fault; or never gets the last one after the changes have ended.
//!
//! The tables go to standard output. Exit code 1 means that a check failed. Linux and root only. The program ends by itself, and
//! its processes, namespaces and files end with it, however it ends.
#![allow(unreachable_pub, missing_docs, reason = "only this program uses its modules")]
#![allow(clippy::cast_precision_loss, reason = "no count here comes near 2^52")]

mod clients;
mod fault;
mod followers;
mod interrupt;
mod member;
mod network;
mod outcome;
mod records;
mod report;
mod site;
mod staleness;
mod store;
#[path = "../support/mod.rs"]
mod support;
mod targets;
mod timing;
mod tree;
mod writer;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Parser;
use mapcast::display::units::parse_duration;

use fault::{Plan, Planned};
use site::Site;
use support::random::Random;

/// Breaks a tree of servers at random, and checks that its clients get every map.
#[derive(Debug, Parser)]
#[command(name = "chaos", max_term_width = 100)]
struct Options {
    /// How long new faults are started; then the last ones are completed
    #[arg(long = "for", value_name = "DURATION", default_value = "10m", value_parser = parse_duration)]
    duration: Duration,
    /// Seed of the faults, their order and their durations [default: random]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Total number of clients
    #[arg(long, value_name = "K", default_value_t = 1800)]
    clients: usize,
    /// Print the servers' log lines about their sources
    #[arg(long)]
    logs: bool,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
    /// The parent namespace, if this process is in its own namespaces
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
    interrupt::watch()?;
    let seed = options.seed.unwrap_or_else(Random::seed);
    let seconds = options.duration.as_secs();
    eprintln!("seed {seed}; the same faults again: cargo bench --bench chaos -- --for {seconds}s --seed {seed}");
    let mut site = Site::start(options.clients, seed, options.logs)?;
    eprintln!("{} clients have a map", options.clients);
    let ended = run_faults(&mut site, &mut Plan::new(seed), options.duration);
    // Print the results, however the run ended.
    let broken = report::print(&site);
    println!("\nseed {seed}, {seconds} s, {} clients, {} faults", options.clients, site.outcomes.len());
    ended?;
    ensure!(!interrupt::is_requested(), "interrupted: not all faults were run");
    ensure!(broken == 0, "{broken} checks failed");
    Ok(())
}

/// Runs one episode after another for `duration`.
fn run_faults(site: &mut Site, plan: &mut Plan, duration: Duration) -> anyhow::Result<()> {
    let began = Instant::now();
    site.observe_quiet()?;
    while began.elapsed() < duration && !interrupt::is_requested() {
        let mut episode: Vec<Planned> = plan.next_episode();
        if episode.iter().any(|planned| planned.member.is_none()) && !site.wait_failover_possible()? {
            eprintln!("no failover is possible: the Redis fault is skipped");
            episode.retain(|planned| planned.member.is_some());
        }
        site.run_episode(&episode)?;
        site.observe_quiet()?;
    }
    Ok(())
}
