//! What a change costs a server with thousands of clients, against the least that it can cost, and against other programs.
//!
//! ```text
//! cargo bench --bench fanout                               # the table, in about four minutes
//! cargo bench --bench fanout -- --quick                    # does it work?
//! cargo bench --bench fanout -- --scenario changes --clients 2000 --size 1KiB --rate 10 --rounds 5
//! cargo bench --bench fanout -- --scenario changes --servers floor,mapcast,redis,nats,mosquitto --clients 1000,9000
//! ```
//! Every server is a process of its own, and its CPU is that whole process's. The clients are one thread here, the same
//! for all; servers take turns, and the median of the rounds counts. Times of changes are of one clock, in this process:
//! from before the server is told to when a client has read it. Linux only.
#![allow(unreachable_pub, missing_docs, reason = "nobody uses this program's modules but itself")]
#![allow(clippy::cast_precision_loss, reason = "no count here comes near 2^52")]

#[path = "../../tests/integration/support/authority.rs"]
mod authority;
mod change;
mod figure;
mod floor;
mod http_load;
mod http_only_server;
mod kind;
mod peer;
mod recovery;
mod report;
mod round;
mod scenario;
mod secure;
mod server;
mod subscriber;
#[path = "../support/mod.rs"]
mod support;
mod tally;
mod timing;
mod tree;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use mapcast::display::units::{parse_duration, parse_size};
use rustix::process::{Signal, set_parent_process_death_signal};

use figure::Figures;
use kind::Kind;
use report::{Csv, Outcome, Table};
use scenario::{Scenario, Work};

/// Descriptors beside the clients': standard streams, the epoll set, pipes.
const SPARE_DESCRIPTORS: u64 = 64;

/// Measures the fan-out: mapcast against one thread that only sends.
#[derive(Debug, Parser)]
#[command(name = "fanout", max_term_width = 100)]
struct Options {
    /// Run this scenario alone: changes, large, tls, repeat, connect, idle, stop, stalled, many, http, relay,
    /// redis, tree or recovery; may be repeated
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
    /// Clients at once; several numbers are one run after the other
    #[arg(long, value_name = "K", value_delimiter = ',')]
    clients: Vec<usize>,
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
    /// Write the medians there too, a line a figure
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
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
    let _authority = secure::authority();
    let began = Instant::now();
    let (mut outcomes, mut failures) = (Vec::new(), Vec::new());
    for scenario in scenarios {
        let missing = scenario.servers.iter().find_map(|kind| kind.missing());
        if let Some(program) = missing {
            eprintln!("{}: skipped, there is no {program}", scenario.name);
            continue;
        }
        let http_load = scenario.http_load.map_or(0, |demand| demand.streams as u64);
        let wanted = scenario.clients as u64 + http_load + SPARE_DESCRIPTORS;
        ensure!(
            descriptors.is_none_or(|limit| limit >= wanted),
            "{} clients need {wanted} descriptors, {descriptors:?} is the limit (ulimit -Hn)",
            scenario.clients
        );
        outcomes.push(measure(scenario, &mut failures));
    }
    println!("{}", Table(&outcomes));
    if let Some(path) = &options.csv {
        fs::write(path, Csv(&outcomes).to_string()).with_context(|| path.display().to_string())?;
    }
    eprintln!("measured in {:.0} s", began.elapsed().as_secs_f64());
    for error in &failures {
        eprintln!("FAILED: {error:#}");
    }
    ensure!(failures.is_empty(), "{} servers failed", failures.len());
    Ok(())
}

/// A server that fails is not measured again, and what the others give is not lost with it.
fn measure(scenario: Scenario, failures: &mut Vec<anyhow::Error>) -> Outcome {
    let mut rounds: BTreeMap<Kind, Vec<Figures>> = BTreeMap::new();
    let mut servers = scenario.servers.clone();
    for round in 1..=scenario.rounds {
        servers.retain(|kind| {
            eprintln!(
                "{}: {}, round {round} of {}: {} clients, {} bytes",
                scenario.name,
                kind.name(),
                scenario.rounds,
                scenario.clients,
                scenario.size
            );
            let figures = round::run(*kind, &scenario)
                .with_context(|| format!("{} with {} clients of {}", scenario.name, scenario.clients, kind.name()));
            match figures {
                Ok(figures) => {
                    rounds.entry(*kind).or_default().push(figures);
                    true
                }
                Err(error) => {
                    failures.push(error);
                    false
                }
            }
        });
    }
    Outcome::new(scenario, &rounds)
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
        let mut adapted = Vec::new();
        for scenario in all.into_iter().filter(asked) {
            if self.clients.is_empty() {
                adapted.push(self.adapt(scenario.clone(), None));
            }
            adapted.extend(self.clients.iter().map(|clients| self.adapt(scenario.clone(), Some(*clients))));
        }
        Ok(adapted)
    }

    fn adapt(&self, scenario: Scenario, clients: Option<usize>) -> Scenario {
        let scenario = if self.quick { scenario.quick() } else { scenario };
        let work = match scenario.work {
            Work::Changes(rate) => Work::Changes(self.rate.unwrap_or(rate)),
            Work::Tree(rate) => Work::Tree(self.rate.unwrap_or(rate)),
            work => work,
        };
        let clients = clients.unwrap_or(scenario.clients);
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
