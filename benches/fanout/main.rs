//! Measures what a change costs a server with thousands of clients, compared with the minimum cost and with other servers.
//!
//! ```text
//! cargo bench --bench fanout                               # the table, in about five minutes
//! cargo bench --bench fanout -- --quick                    # only checks that it works
//! cargo bench --bench fanout -- --scenario changes --clients 2000 --size 1KiB --rate 10 --rounds 5
//! cargo bench --bench fanout -- --scenario changes --servers floor,mapcast,redis,nats,mosquitto --clients 1000,9000
//! ```
//! Every server is a separate process, and its CPU time is that of the whole process. All clients run on one thread of this
//! process, with the same code for all servers. Servers take turns, and the median of the rounds counts. The time of a change
//! is measured with one clock, from just before the server gets it until a client has read it. Linux only.
#![allow(unreachable_pub, missing_docs, reason = "only this program uses its modules")]
#![allow(clippy::cast_precision_loss, reason = "no count here comes near 2^52")]

#[path = "../../tests/integration/support/authority.rs"]
mod authority;
mod change;
mod command_line;
mod figure;
mod floor;
mod http_load;
mod http_only_server;
mod kind;
mod memory;
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

use anyhow::{Context, bail, ensure};
use clap::Parser;
use mapcast::display::units::{parse_duration, parse_size};
use rustix::process::{Signal, set_parent_process_death_signal};

use figure::Figures;
use kind::Kind;
use report::{Csv, Outcome, Table};
use scenario::{Scenario, Work};

/// Descriptors in addition to the clients': standard streams, the epoll set, pipes.
const SPARE_DESCRIPTORS: u64 = 64;

/// Measures the fan-out of mapcast against one thread that only sends.
#[derive(Debug, Parser)]
#[command(name = "fanout", max_term_width = 100)]
struct Options {
    /// Run only this scenario: changes, large, huge, modes, tls, repeat, connect, idle, stop, stalled, many, http, relay,
    /// redis, tree or recovery; may be repeated
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// Use a tenth of the clients, one round, half the time
    #[arg(long)]
    quick: bool,
    /// Measure these servers, in turns, instead of the scenario's
    #[arg(long, value_name = "SERVER", value_delimiter = ',')]
    servers: Vec<Kind>,
    /// Rounds per server; the median counts
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Concurrent clients; several numbers are run one after another
    #[arg(long, value_name = "K", value_delimiter = ',')]
    clients: Vec<usize>,
    /// How many of the clients never read
    #[arg(long, value_name = "K")]
    stalled: Option<usize>,
    /// Payload size
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    size: Option<usize>,
    /// Changes per second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Connections begun per second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    connect_rate: Option<u32>,
    /// Interval of mapcast
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    interval: Option<Duration>,
    /// Duration of each measurement
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Also write the medians to this file, one line per figure
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
    /// The role of this process, if it is not the bench itself
    #[arg(long, hide = true)]
    role: Option<Role>,
    /// Address of the floor
    #[arg(hide = true)]
    addr: Option<SocketAddr>,
    /// Command to execute
    #[arg(last = true, hide = true)]
    command: Vec<OsString>,
}

/// The role of a child process.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Role {
    /// The floor.
    Floor,
    /// Another program.
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
            eprintln!("{}: skipped: {program} is not installed", scenario.name);
            continue;
        }
        let http_load = scenario.http_load.map_or(0, |demand| demand.streams as u64);
        let wanted = scenario.clients as u64 + http_load + SPARE_DESCRIPTORS;
        if let Some(limit) = descriptors.filter(|limit| *limit < wanted) {
            let clients = scenario.clients;
            bail!(
                "cannot run {clients} clients: the descriptor limit is {limit}; raise it to {wanted} with ulimit -Hn"
            );
        }
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

/// Measures all servers of `scenario`. A server that fails is skipped in later rounds; the results of the others are kept.
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

/// Runs a child process. It is killed when the bench exits for any reason.
fn play(role: Role, options: &Options) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    match role {
        Role::Floor => floor::run(options.addr.context("no address to listen on")?),
        Role::Exec => {
            let [program, args @ ..] = options.command.as_slice() else { bail!("no command to execute") };
            // Returns only if it fails.
            Err(Command::new(program).args(args).exec()).with_context(|| program.display().to_string())
        }
    }
}

impl Options {
    /// Returns the requested scenarios, with the options in place of their own numbers.
    fn scenarios(&self) -> anyhow::Result<Vec<Scenario>> {
        let all = Scenario::all();
        for name in &self.scenario {
            let names: Vec<_> = all.iter().map(|scenario| scenario.name).collect();
            ensure!(names.contains(&name.as_str()), "unknown scenario {name:?}; use one of {}", names.join(", "));
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
