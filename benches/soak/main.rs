//! A soak test: thousands of clients stay connected, connect and disconnect, and misbehave, with and without TLS, while the map
//! changes ten times a second and the certificate once a minute. At the end the servers must use as much as after the warm-up.
//!
//! ```text
//! cargo bench --bench soak                    # ten minutes
//! cargo bench --bench soak -- --for 60s       # one minute
//! ```
//! There are two servers, each in its own process: one without TLS, one with TLS. Each has half of the steady clients, which are
//! `Client`s of the library, each on its own thread. Exit code 1 if a guarantee was not kept. Linux only, loopback only.
#![allow(unreachable_pub, missing_docs, reason = "only this program uses its modules")]

mod certificates;
mod churn;
mod load;
mod reading;
mod server;
mod steady;
mod summary;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Parser;
use mapcast::Shutdown;
use mapcast::display::units::parse_duration;

use certificates::Certificates;
use churn::Churn;
use load::Changes;
use reading::Reading;
use server::Server;
use steady::Steady;
use summary::Summary;

/// The time between two new certificates.
const ROTATION: Duration = Duration::from_mins(1);

/// Keeps two servers busy and checks their resources afterwards.
#[derive(Debug, Parser)]
#[command(name = "soak", max_term_width = 100)]
struct Options {
    /// Duration of the soak after the warm-up
    #[arg(long = "for", value_name = "DURATION", default_value = "10m", value_parser = parse_duration)]
    duration: Duration,
    /// Steady clients, half of them over TLS
    #[arg(long, value_name = "K", default_value_t = 2000)]
    clients: usize,
    /// Short-lived clients per second
    #[arg(long, value_name = "N", default_value_t = 50)]
    rate: u32,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    ensure!(options.rate > 0 && options.clients > 1, "--rate must be at least 1 and --clients at least 2");
    raise_descriptors(options.clients)?;
    let stop = Shutdown::new()?;
    let on_signal = stop.clone();
    ctrlc::set_handler(move || {
        on_signal.trigger();
    })?;

    let certificates = Arc::new(Certificates::new()?);
    let mut servers = [Server::start("plain", None)?, Server::start("TLS", Some(&certificates))?];
    let changes = Changes::start(servers.iter_mut().map(Server::take_input).collect::<Result<_, _>>()?)?;
    let steady = Steady::connect(&servers, options.clients, &certificates)?;
    eprintln!("{} steady clients are connected", steady.len());

    // The warm-up does the same as the soak, so that one-time allocations are complete.
    let warm_up = (options.duration / 4).clamp(Duration::from_secs(5), Duration::from_mins(1));
    soak("warm-up", warm_up, &options, &servers, &certificates, &stop)?;
    let before = readings(&servers, &steady)?;
    steady.reset_gaps();
    let short_lived = soak("soak", options.duration, &options, &servers, &certificates, &stop)?;
    let after = readings(&servers, &steady)?;

    let published = changes.published();
    let gaps = steady.stop()?;
    let summary = Summary { before, after, gaps, short_lived, published, rotations: certificates.rotations() };
    println!("{summary}");
    drop(changes);
    for server in &mut servers {
        server.stop()?;
    }
    ensure!(!stop.is_triggered(), "interrupted: the figures are for a shorter time");
    ensure!(summary.is_passed(), "a guarantee was not kept");
    Ok(())
}

/// Runs short-lived clients for `duration`, rotates certificates, and prints progress. Returns the number of clients.
fn soak(
    what: &str,
    duration: Duration,
    options: &Options,
    servers: &[Server; 2],
    certificates: &Arc<Certificates>,
    stop: &Shutdown,
) -> anyhow::Result<u64> {
    let churn = Churn::start(servers, options.rate, certificates)?;
    let began = Instant::now();
    let mut next_rotation = began + ROTATION.min(duration / 2);
    while began.elapsed() < duration && !stop.is_triggered() {
        stop.wait(Duration::from_secs(10).min(duration.saturating_sub(began.elapsed())));
        if Instant::now() >= next_rotation {
            certificates.rotate()?;
            next_rotation += ROTATION;
        }
        let memory: Vec<_> = servers.iter().map(Server::read).collect::<Result<_, _>>()?;
        let [plain, tls] = &memory[..] else { continue };
        eprintln!(
            "{what}: {:.0} s, {} clients; plain {} KiB and {} threads, TLS {} KiB and {} threads",
            began.elapsed().as_secs_f64(),
            churn.connected(),
            plain.resident,
            plain.threads,
            tls.resident,
            tls.threads
        );
    }
    churn.stop()
}

/// Waits until only the steady clients are connected, and reads the usage of each server.
fn readings(servers: &[Server; 2], steady: &Steady) -> anyhow::Result<[Reading; 2]> {
    let read = |server: &Server| -> anyhow::Result<Reading> {
        server.wait_active(steady.on(server), || steady.visit(server))?;
        server.read()
    };
    Ok([read(&servers[0])?, read(&servers[1])?])
}

/// Raises the descriptor limit, and checks that it suffices for all clients.
fn raise_descriptors(clients: usize) -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    let wanted = clients as u64 + 1000;
    ensure!(
        limit.maximum.is_none_or(|most| most >= wanted),
        "{wanted} descriptors are needed; raise the limit with ulimit -Hn"
    );
    Ok(())
}
