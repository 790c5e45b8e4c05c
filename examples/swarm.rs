//! Thousands of clients for one server: `cargo run --release --example swarm -- --clients 9000 --for 30s`.
//!
//! One thread reads for all of them. A bar shows how many are connected; then the program counts frames. At the end it reports how
//! long connecting took, how many frames and bytes came, how regularly, and how far apart one change reached the first and the
//! last client. The table goes to standard output, the rest to standard error; Ctrl-C prints the table early. The exit code is
//! 1 if not every client connected, one was reset or cut inside a frame, or the bytes were not frames.
//!
//! Times are taken when this program reads. It needs its own core: with a server on the same machine both get slower. It keeps
//! 4 bytes a frame. Linux only.
#![allow(unreachable_pub, missing_docs, reason = "only this program uses its modules")]
#![allow(clippy::cast_precision_loss, reason = "no count here comes near 2^52")]

#[path = "swarm/arrivals.rs"]
mod arrivals;
#[path = "swarm/summary.rs"]
mod summary;
#[path = "../benches/support/mod.rs"]
mod support;

use std::net::{SocketAddr, ToSocketAddrs};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use mapcast::Shutdown;
use mapcast::display::units::{parse_duration, parse_size};

use arrivals::Arrivals;
use summary::Summary;
use support::swarm::{Burst, Swarm, raise_descriptor_limit};
use support::wire::Frames;

/// Descriptors beside the clients': standard streams, the epoll set, pipes.
const SPARE_DESCRIPTORS: u64 = 16;

/// How long the last client may take to connect.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest wait between two reads of the clock.
const TICK: Duration = Duration::from_millis(50);

/// Connects many clients to a mapcast server and measures the frames they get
#[derive(Debug, Parser)]
#[command(name = "swarm", max_term_width = 100)]
struct Options {
    /// The server's address
    #[arg(value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    address: String,
    /// Number of clients
    #[arg(short, long, value_name = "K", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// How long to measure, once they are connected
    #[arg(short, long = "for", value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    window: Duration,
    /// Connections to begin per second
    #[arg(short, long, value_name = "N", default_value_t = 4000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// The largest payload to accept
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = parse_size)]
    max_frame: usize,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let (clients, limit) = (options.clients as usize, raise_descriptor_limit());
    let wanted = u64::from(options.clients) + SPARE_DESCRIPTORS;
    ensure!(
        limit.is_none_or(|limit| limit >= wanted),
        "{clients} clients need {wanted} descriptors, {} is the limit (ulimit -Hn)",
        limit.unwrap_or_default()
    );
    let target = resolve(&options.address)?;
    let stop = stop_on_signals()?;
    let mut swarm = Swarm::new(Frames { max: options.max_frame })?;
    let mut arrivals = Arrivals::new(clients);

    let connecting = Instant::now();
    connect(&mut swarm, &mut arrivals, &options, target, &stop)?;
    let connecting = connecting.elapsed();
    arrivals.open_window();
    let window = measure(&mut swarm, &mut arrivals, options.window, &stop)?;

    let counts = swarm.counts();
    let mut summary = Summary { target, clients, connecting, window, counts, connects: swarm.connects(), arrivals };
    summary.write_histograms();
    summary.print_table();
    let all_is_well = counts.connected == clients && counts.reset + counts.torn == 0;
    Ok(if all_is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn resolve(address: &str) -> anyhow::Result<SocketAddr> {
    let mut found = address.to_socket_addrs().with_context(|| format!("cannot resolve {address}; give HOST:PORT"))?;
    found.next().with_context(|| format!("{address} has no address"))
}

/// Returns a stop that the first signal triggers; the second one ends the process.
fn stop_on_signals() -> anyhow::Result<Shutdown> {
    let stop = Shutdown::new()?;
    let stopped = stop.clone();
    let handler = move || {
        if !stopped.trigger() {
            std::process::exit(130);
        }
    };
    ctrlc::set_handler(handler).context("cannot handle signals")?;
    Ok(stop)
}

fn connect(
    swarm: &mut Swarm<Frames>,
    arrivals: &mut Arrivals,
    options: &Options,
    target: SocketAddr,
    stop: &Shutdown,
) -> anyhow::Result<()> {
    let bar = bar(options.clients.into(), "connected {pos} of {len} {wide_bar} {per_sec}")?;
    let clients = options.clients as usize;
    let burst = Burst { target, clients, stalled: 0, rate: options.rate, patience: PATIENCE };
    let progress = |counts: support::swarm::Counts| {
        bar.set_position(counts.connected as u64);
        if stop.is_triggered() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    swarm.connect(&burst, |arrival| arrivals.take(&arrival), progress)?;
    bar.finish();
    Ok(())
}

/// Counts frames until `window` is over, the stop, or the end of the last connection. Returns how long that was.
fn measure(
    swarm: &mut Swarm<Frames>,
    arrivals: &mut Arrivals,
    window: Duration,
    stop: &Shutdown,
) -> anyhow::Result<Duration> {
    let seconds = window.as_secs().max(1);
    let bar = bar(seconds, "{pos} of {len} s {wide_bar} {msg}")?;
    let began = Instant::now();
    while let Some(left) = window.checked_sub(began.elapsed()) {
        let counts = swarm.counts();
        if stop.is_triggered() || counts.connected + counts.refused <= counts.over() {
            break;
        }
        swarm.poll(left.min(TICK), &mut |arrival| arrivals.take(&arrival))?;
        let elapsed = began.elapsed();
        bar.set_position(elapsed.as_secs().min(seconds));
        bar.set_message(format!("{:.0} frames/s", arrivals.frames as f64 / elapsed.as_secs_f64()));
    }
    bar.finish();
    Ok(began.elapsed().min(window))
}

/// Returns a bar on standard error; hidden if that is not a terminal.
fn bar(len: u64, template: &str) -> anyhow::Result<ProgressBar> {
    Ok(ProgressBar::new(len).with_style(ProgressStyle::with_template(template)?))
}
