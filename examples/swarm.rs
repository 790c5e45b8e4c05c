//! Thousands of clients against a server of yours: `cargo run --release --example swarm -- --clients 9000 --for 30s`.
//!
//! They are one thread and only listen. While they connect there is a bar; then it counts what comes, and at the end it
//! says how long connecting took, what came, how regularly, and how far apart one change reached the first and the last
//! client. The table goes to standard output, the rest to standard error; Ctrl-C brings the table early. The exit code
//! is 1 if not every client connected, one was reset or cut inside a frame, or the bytes were no frames.
//!
//! Times are taken when this program reads: it needs a core of its own, and with a server on the same machine both get
//! slower. It keeps 4 bytes a frame. Linux only.
#![allow(unreachable_pub, missing_docs, reason = "nobody uses this program's modules but itself")]
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

/// The longest wait between two looks at the clock.
const TICK: Duration = Duration::from_millis(50);

/// Connects many clients to a mapcast server and measures what comes.
#[derive(Debug, Parser)]
#[command(name = "swarm", max_term_width = 100)]
struct Options {
    /// Where the server listens
    #[arg(value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    address: String,
    /// Clients at once
    #[arg(short, long, value_name = "K", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// How long it is measured, once they are connected
    #[arg(short, long = "for", value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    window: Duration,
    /// Connections begun in a second
    #[arg(short, long, value_name = "N", default_value_t = 4000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// The largest payload that is believed to be one
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
    let mut found = address.to_socket_addrs().with_context(|| format!("{address} is not HOST:PORT, or unknown"))?;
    found.next().with_context(|| format!("{address} has no address"))
}

/// The first signal ends the wait, the second the process.
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

/// Returns how long it was: until `window` is over, the stop, or the end of the last connection.
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

/// On standard error; hidden where that is no terminal.
fn bar(len: u64, template: &str) -> anyhow::Result<ProgressBar> {
    Ok(ProgressBar::new(len).with_style(ProgressStyle::with_template(template)?))
}
