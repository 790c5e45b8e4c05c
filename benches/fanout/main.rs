//! What a change costs a server with thousands of clients, against the least that it can cost.
//!
//! ```text
//! cargo bench --bench fanout                               # the table, in about three minutes
//! cargo bench --bench fanout -- --quick                    # does it work?
//! cargo bench --bench fanout -- --scenario changes --clients 2000 --size 1KiB --rate 10 --rounds 5
//! ```
//! Every server is a process of its own, and its CPU is that whole process's. The clients are one thread here, the same
//! for all; servers take turns, and the median of the rounds counts. Times of changes are of one clock, in this process:
//! from before the server is told to when a client has read it. Linux only.
#![allow(unreachable_pub, missing_docs, reason = "nobody uses this program's modules but itself")]
#![allow(clippy::cast_precision_loss, reason = "no count here comes near 2^52")]

mod change;
mod figure;
mod floor;
mod netstat;
mod report;
mod round;
mod scenario;
mod server;
#[path = "../support/mod.rs"]
mod support;
mod tally;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use mapcast::units::{parse_duration, parse_size};
use rustix::process::{Signal, set_parent_process_death_signal};

use report::{Outcome, Table};
use round::Figures;
use scenario::{Scenario, Work};
use server::Kind;

/// Descriptors beside the clients': standard streams, the epoll set, pipes.
const SPARE_DESCRIPTORS: u64 = 64;

/// Measures the fan-out: mapcast against one thread that only sends.
#[derive(Debug, Parser)]
#[command(name = "fanout", max_term_width = 100)]
struct Options {
    /// Run this scenario alone: changes, large, repeat, connect, idle, stop, stalled or many; may be repeated
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// A tenth of the clients, one round, half the time
    #[arg(long)]
    quick: bool,
    /// Measure these, by turns, instead of the scenario's own
    #[arg(long, value_name = "SERVER", value_delimiter = ',')]
    servers: Vec<Kind>,
    /// How often each is measured; the median counts
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Clients at once
    #[arg(long, value_name = "K")]
    clients: Option<usize>,
    /// Clients among them that never read
    #[arg(long, value_name = "K")]
    stalled: Option<usize>,
    /// Bytes of a payload
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    size: Option<usize>,
    /// Changes a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Connections begun in a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    connect_rate: Option<u32>,
    /// mapcast's interval
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    interval: Option<Duration>,
    /// How long it is measured, in each round
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
    /// What this process is, if not the bench itself
    #[arg(long, hide = true)]
    role: Option<Role>,
    /// Where the floor listens
    #[arg(hide = true)]
    addr: Option<SocketAddr>,
    /// What is executed
    #[arg(last = true, hide = true)]
    command: Vec<OsString>,
}

/// What a child of the bench is.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Role {
    /// The floor itself.
    Floor,
    /// Some program.
    Exec,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let descriptors = support::swarm::raise_descriptor_limit();
    if let Some(role) = options.role {
        return play(role, &options);
    }
    let scenarios = options.scenarios()?;
    let began = Instant::now();
    let (mut outcomes, mut failures) = (Vec::new(), Vec::new());
    for scenario in scenarios {
        let wanted = scenario.clients as u64 + SPARE_DESCRIPTORS;
        ensure!(
            descriptors.is_none_or(|limit| limit >= wanted),
            "{} clients need {wanted} descriptors, {descriptors:?} is the limit (ulimit -Hn)",
            scenario.clients
        );
        // What the others give is not lost with one that fails.
        match measure(scenario) {
            Ok(outcome) => outcomes.push(outcome),
            Err(error) => failures.push(error),
        }
    }
    println!("{}", Table(&outcomes));
    eprintln!("measured in {:.0} s", began.elapsed().as_secs_f64());
    for error in &failures {
        eprintln!("FAILED: {error:#}");
    }
    ensure!(failures.is_empty(), "{} scenarios failed", failures.len());
    Ok(())
}

fn measure(scenario: Scenario) -> anyhow::Result<Outcome> {
    let mut rounds: BTreeMap<Kind, Vec<Figures>> = BTreeMap::new();
    for round in 1..=scenario.rounds {
        for kind in &scenario.servers {
            eprintln!(
                "{}: {}, round {round} of {}: {} clients, {} bytes",
                scenario.name,
                kind.name(),
                scenario.rounds,
                scenario.clients,
                scenario.size
            );
            let figures = round::run(*kind, &scenario)
                .with_context(|| format!("{} with {} clients of {}", scenario.name, scenario.clients, kind.name()))?;
            rounds.entry(*kind).or_default().push(figures);
        }
    }
    Ok(Outcome::new(scenario, &rounds))
}

/// What a child does. Dies with the bench, however that ends.
fn play(role: Role, options: &Options) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    match role {
        Role::Floor => floor::run(options.addr.context("where to listen?")?),
        Role::Exec => {
            let [program, args @ ..] = options.command.as_slice() else { anyhow::bail!("execute what?") };
            // Returns if and only if it fails.
            Err(Command::new(program).args(args).exec()).with_context(|| program.display().to_string())
        }
    }
}

impl Options {
    /// The scenarios that were asked for, with what was asked for in place of their own numbers.
    fn scenarios(&self) -> anyhow::Result<Vec<Scenario>> {
        let all = Scenario::all();
        for name in &self.scenario {
            let names: Vec<_> = all.iter().map(|scenario| scenario.name).collect();
            ensure!(names.contains(&name.as_str()), "no scenario {name:?}: there are {}", names.join(", "));
        }
        let asked =
            |scenario: &Scenario| self.scenario.is_empty() || self.scenario.iter().any(|it| it == scenario.name);
        Ok(all.into_iter().filter(asked).map(|scenario| self.adapt(scenario)).collect())
    }

    fn adapt(&self, scenario: Scenario) -> Scenario {
        let scenario = if self.quick { scenario.quick() } else { scenario };
        let work = match scenario.work {
            Work::Changes(rate) => Work::Changes(self.rate.unwrap_or(rate)),
            work => work,
        };
        let clients = self.clients.unwrap_or(scenario.clients);
        Scenario {
            clients,
            stalled: self.stalled.unwrap_or(scenario.stalled).min(clients),
            connect_rate: self.connect_rate.unwrap_or(scenario.connect_rate),
            size: self.size.unwrap_or(scenario.size).max(change::MIN_SIZE),
            interval: self.interval.unwrap_or(scenario.interval),
            window: self.duration.unwrap_or(scenario.window),
            rounds: self.rounds.unwrap_or(scenario.rounds).max(1),
            servers: if self.servers.is_empty() { scenario.servers.clone() } else { self.servers.clone() },
            work,
            ..scenario
        }
    }
}
