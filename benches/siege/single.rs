//! Single storms, each against a new server with default settings.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::attacks;
use crate::certificates::Certificates;
use crate::gauge::Sampler;
use crate::server::{Plan, Server, descriptors};
use crate::site::{self, STOP};
use crate::storm::Port;

/// The duration of a storm.
const TIME: Duration = Duration::from_secs(15);

/// Concurrent connections: almost the default limit of the server, and thousands more than that of HTTP.
const WIDTH: u64 = 9_950;

/// Descriptors of this process for other purposes.
const OWN_DESCRIPTORS: u64 = 100;

/// Runs a storm against `runs` servers, one after another, and prints the results. Fails if a server did not survive.
pub fn run(port: Port, runs: u32) -> anyhow::Result<()> {
    let (certificates, sampler) = (Certificates::new()?, Sampler::start()?);
    let tls = site::trust(&certificates)?;
    let width = usize::try_from(WIDTH.min(descriptors().saturating_sub(OWN_DESCRIPTORS)))?;
    let file = |name: &str| certificates.file(name).into_os_string();
    let option = |name: &str, value| [format!("--{name}").into(), file(value)];
    let args = match port {
        Port::Map | Port::Http => Vec::new(),
        Port::Tls => {
            [option("tls-cert", "cert.pem"), option("tls-key", "key.pem"), option("tls-client-ca", "ca.pem")].concat()
        }
    };
    println!("| run | server | most threads | connections | closed without a byte | stopped |");
    println!("|---|---|---:|---:|---:|---|");
    let mut died = 0;
    for run in 1..=runs {
        let plan = Plan {
            name: "stormed",
            args: args.clone(),
            has_page: port == Port::Http,
            drain: Duration::from_secs(10),
            ..Plan::default()
        };
        let mut server = Server::start(plan, &sampler)?;
        let figures = attacks::run(&mut server, port, width, Instant::now() + TIME, &tls)?;
        let exit = server.wait_exit();
        let threads = server.gauge.threads();
        let stopped = match exit {
            Some(_) => "-".to_owned(),
            None => server.terminate(Duration::from_secs(10) + STOP).map_or_else(
                || "did not exit, was killed".to_owned(),
                |(exit, took)| format!("{exit}, {:.1} s after SIGTERM", took.as_secs_f64()),
            ),
        };
        died += u32::from(exit.is_some() || server.panics() > 0);
        let survived = exit.map_or_else(|| "survived".to_owned(), |exit| exit.to_string());
        println!("| {run} | {survived} | {threads} | {} | {} | {stopped} |", figures.opened, figures.refused);
        if crate::interrupt::is_requested() {
            break;
        }
    }
    ensure!(died == 0, "{died} of {runs} servers did not survive");
    Ok(())
}
