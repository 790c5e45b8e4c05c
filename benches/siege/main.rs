//! A siege: servers under attack, while well-behaved clients check every guarantee.
//!
//! ```text
//! cargo bench --bench siege                             # ten minutes
//! cargo bench --bench siege -- --for 60s                # one round
//! cargo bench --bench siege -- --for 60s --phase log    # one phase, and the shutdown of all servers
//! cargo bench --bench siege -- --storm map --runs 5     # only connection churn, each time against a new server
//! ```
//! Every server is a separate process on 127.0.0.2. Clients come from 127.0.0.1 and 127.0.1.0/24.
//!
//! | server | map | clients | attacks |
//! |---|---|---|---|
//! | `written` | written over HTTP with a token and `--state`, 20 times a second | four fifths of the well-behaved clients, the writer, `/livez` and `/metrics` and a new client once a second | churn of the map's port and of the HTTP port, stalled peers, an unread log, a token and a state file that hang |
//! | `encrypted` | lines on standard input | the other fifth, over TLS | churn of its port, a key file that hangs |
//! | `large`, `large-tls` | 1 MB, lines on standard input, 20 times a second in the phase of the stalled peers | three | stalled peers of every kind |
//! | `file` | 30,000 entries in a file | five | streams with thousands of keys, a file that hangs |
//! | `limited` | the built-in one | | as many clients as its limit, which all reconnect at once |
//! | `unread` | the built-in one | | SIGTERM while its log is unread |
//! | `hung` | | | files that hang at startup |
//! | `few-files`, `small-space`, `small-files` | lines, lines, HTTP | twenty each, none for the last | more clients than fit under `RLIMIT_NOFILE` and `RLIMIT_AS`; a map larger than `RLIMIT_FSIZE` |
//!
//! The attack uses one thread, and the well-behaved clients of each server another. A round runs every phase once. It takes a
//! minute, plus the time until the servers have returned to their state before. Ten minutes are ten rounds. After each phase the
//! results of every server's clients are checked: for attacked servers under the name of the phase, for the others under
//! `meanwhile`. A server that exited, or does not return to its state, is restarted for the next phase.
//!
//! The table goes to standard output. Exit code 1 means that a check failed, 3 that the siege itself hung. Linux only, loopback
//! only. The siege ends by itself, and stops all its servers.
#![allow(unreachable_pub, missing_docs, reason = "only this program uses its modules")]
#![allow(clippy::cast_precision_loss, reason = "no count here comes near 2^52")]

mod attacks;
#[path = "../soak/certificates.rs"]
#[allow(dead_code, reason = "only the soak uses the rest")]
mod certificates;
mod faults;
mod feed;
mod gauge;
mod http;
mod interrupt;
mod log;
mod observers;
mod probes;
mod server;
mod shutdown;
mod single;
mod site;
mod stalled;
mod storm;
mod streams;
#[path = "../support/mod.rs"]
mod support;

use std::ffi::OsString;
use std::process::{self, ExitCode};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use mapcast::display::units::parse_duration;

use server::Limit;
use site::{Progress, Site, mib};
use storm::Port;
use support::checks::{Checks, Scope};

/// The duration of a round.
const ROUND: Duration = Duration::from_mins(1);

/// The time between two progress lines.
const REPORT: Duration = Duration::from_secs(5);

/// The longest overrun of a round, if every server has to be waited for, killed and restarted.
const SLACK: Duration = Duration::from_mins(6);

/// The phases, with their duration in sixtieths of a round.
const PHASES: [(&str, u32); 9] = [
    ("storm-map", 9),
    ("storm-http", 7),
    ("storm-tls", 7),
    ("reconnect", 4),
    ("stalled", 12),
    ("filters", 5),
    ("log", 8),
    ("files", 4),
    ("limits", 4),
];

/// Attacks servers, and checks that they keep every guarantee.
#[derive(Debug, Parser)]
#[command(name = "siege", max_term_width = 100)]
struct Options {
    /// Total duration of the attacks
    #[arg(long = "for", value_name = "DURATION", default_value = "10m", value_parser = parse_duration)]
    duration: Duration,
    /// Number of well-behaved clients
    #[arg(long, value_name = "K", default_value_t = 500)]
    clients: usize,
    /// Run only this phase: storm-map, storm-http, storm-tls, reconnect, stalled, filters, log, files or limits; may be
    /// repeated
    #[arg(long, value_name = "NAME", value_parser = PHASES.map(|(name, _)| name))]
    phase: Vec<String>,
    /// Run only connection storms on this port, each against a new server with default settings
    #[arg(long, value_name = "PORT")]
    storm: Option<Port>,
    /// Number of storms
    #[arg(long, value_name = "N", default_value_t = 5, requires = "storm")]
    runs: u32,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
    /// The role of this process, if it is not the siege itself
    #[arg(long, hide = true)]
    role: Option<Role>,
    /// A resource limit for the command
    #[arg(long, hide = true)]
    limit: Vec<Limit>,
    /// Command to execute
    #[arg(last = true, hide = true)]
    command: Vec<OsString>,
}

/// The role of a child process.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Role {
    /// Another program.
    Exec,
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
    if let Some(Role::Exec) = options.role {
        return server::exec(&options.command, &options.limit);
    }
    support::swarm::raise_descriptor_limit();
    interrupt::watch()?;
    if let Some(port) = options.storm {
        return single::run(port, options.runs);
    }
    let rounds = u32::try_from(options.duration.as_secs() / ROUND.as_secs())?.max(1);
    let (checks, progress) = (Arc::new(Checks::default()), Arc::new(Progress::default()));
    report(Arc::clone(&checks), Arc::clone(&progress), options.duration + SLACK * rounds)?;
    let mut site = Site::start(options.clients, Arc::clone(&checks), progress)?;
    let ended = run_phases(&mut site, options, rounds);
    // Print the results, however the run ended.
    println!("{checks}");
    ended?;
    ensure!(!interrupt::is_requested(), "interrupted: not all phases were run");
    ensure!(checks.failed() == 0, "{} checks failed", checks.failed());
    Ok(())
}

fn run_phases(site: &mut Site, options: &Options, rounds: u32) -> anyhow::Result<()> {
    let wanted = |name: &str| options.phase.is_empty() || options.phase.iter().any(|phase| phase == name);
    for _ in 0..rounds {
        for (name, share) in PHASES.into_iter().filter(|(name, _)| wanted(name)) {
            site.prepare(name).with_context(|| format!("before {name}"))?;
            if interrupt::is_requested() {
                return Ok(());
            }
            let time = options.duration / rounds * share / 60;
            attack(site, name, time).with_context(|| format!("in {name}"))?;
        }
    }
    if interrupt::is_requested() {
        return Ok(());
    }
    site.prepare("end")?;
    shutdown::run(site, "end")
}

fn attack(site: &mut Site, phase: &'static str, time: Duration) -> anyhow::Result<()> {
    match phase {
        "storm-map" => attacks::storm(site, phase, Port::Map, time),
        "storm-http" => attacks::storm(site, phase, Port::Http, time),
        "storm-tls" => attacks::storm(site, phase, Port::Tls, time),
        "reconnect" => attacks::reconnect(site, phase, time),
        "stalled" => attacks::stalled(site, phase, time),
        "filters" => attacks::filters(site, phase, time),
        "log" => faults::unread_log(site, phase, time),
        "files" => faults::hung_files(site, phase),
        _ => faults::limits(site, phase, time),
    }
}

/// Prints a progress line every few seconds. After `most`, prints the results and exits, which also ends the servers.
fn report(checks: Arc<Checks>, progress: Arc<Progress>, most: Duration) -> anyhow::Result<()> {
    let began = Instant::now();
    let watch = move || {
        loop {
            thread::park_timeout(REPORT);
            let now = progress.now.lock().unwrap_or_else(PoisonError::into_inner);
            let (phase, gauges) = &*now;
            let figures: Vec<_> = gauges
                .iter()
                .map(|gauge| format!("{} {} threads, {:.0} MiB", gauge.name, gauge.threads(), mib(gauge.resident())))
                .collect();
            eprintln!("{:.0} s: {phase}: at most {}", began.elapsed().as_secs_f64(), figures.join("; "));
            if began.elapsed() > most {
                checks.holds(Scope { phase, server: "siege" }, "ends by itself", false, "hung", "ends");
                println!("{checks}");
                process::exit(3);
            }
        }
    };
    thread::Builder::new().name("reporter".to_owned()).spawn(watch)?;
    Ok(())
}
