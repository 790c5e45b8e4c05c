//! The report at the end.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use crate::arrivals::Arrivals;
use crate::support::sample::Sample;
use crate::support::swarm::Counts;

/// Lines of a histogram.
const BINS: u32 = 12;

/// Characters of its longest bar.
const BAR: usize = 50;

/// Everything that was measured.
pub struct Summary<'swarm> {
    pub target: SocketAddr,
    /// How many clients were to connect.
    pub clients: usize,
    /// How long connecting took, from the first to the last.
    pub connecting: Duration,
    /// How long frames were counted after that.
    pub window: Duration,
    pub counts: Counts,
    /// From the start of each connection until it was established.
    pub connects: &'swarm mut Sample,
    pub arrivals: Arrivals,
}

impl Summary<'_> {
    /// Writes the distributions to standard error.
    pub fn write_histograms(&mut self) {
        write_histogram("gap between two frames of a client", &mut self.arrivals.gaps);
        write_histogram("a change at a client, after the first client had it", &mut self.arrivals.spread);
    }

    /// Prints the figures to standard output.
    pub fn print_table(&mut self) {
        let (counts, seconds) = (self.counts, self.window.as_secs_f64());
        let per_second = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let pending = self.clients.saturating_sub(counts.connected + counts.refused);
        println!("| {:34} | {:>12} |", format!("{} clients of {}", self.clients, self.target), "");
        println!("|{:-<36}|{:->13}:|", "", "");
        row("connected", counts.connected);
        row("refused", counts.refused);
        row("not connected in time", pending);
        row("closed cleanly by the server", counts.ended);
        row("cut inside a frame", counts.torn);
        row("reset", counts.reset);
        row("connecting took, s", format!("{:.2}", self.connecting.as_secs_f64()));
        row("measured for, s", format!("{seconds:.1}"));
        row("frames", self.arrivals.frames);
        row("frames a second", format!("{:.0}", per_second(self.arrivals.frames)));
        row("MiB a second", format!("{:.2}", per_second(self.arrivals.bytes) / f64::from(1 << 20)));
        row("changes", self.arrivals.changes());
        row("longest silence at the end, ms", millis(self.arrivals.longest_silence()));
        println!();
        println!("| {:34} | {:>9} | {:>9} | {:>9} | {:>9} | {:>9} |", "ms", "count", "p50", "p99", "p99.9", "max");
        println!("|{:-<36}|{}", "", format!("{:->10}:|", "").repeat(5));
        percentiles("connect", self.connects);
        percentiles("connect to first map", &mut self.arrivals.greetings);
        percentiles("gap between frames", &mut self.arrivals.gaps);
        percentiles("spread of a change", &mut self.arrivals.spread);
    }
}

fn row(name: &str, value: impl Display) {
    println!("| {name:34} | {value:>12} |");
}

fn percentiles(name: &str, sample: &mut Sample) {
    print!("| {name:34} | {:>9} |", sample.len());
    for percent in [50.0, 99.0, 99.9, 100.0] {
        print!(" {:>9} |", sample.percentile(percent).map(millis).unwrap_or_default());
    }
    println!();
}

/// Bins of one width from the first to the 99th percentile; shorter and longer values are in the first and the last bin.
fn write_histogram(name: &str, sample: &mut Sample) {
    let Some((low, high)) = sample.percentile(1.0).zip(sample.percentile(99.0)) else { return };
    let width = (high.saturating_sub(low) / BINS).max(Duration::from_micros(1));
    let mut counts = Vec::new();
    let mut below = 0;
    for bin in 1..=BINS {
        let up_to = if bin == BINS { sample.len() } else { sample.shorter_than(low + width * bin) };
        counts.push(up_to - below);
        below = up_to;
    }
    let most = counts.iter().copied().max().unwrap_or_default().max(1);
    eprintln!("\n{name}, ms from:");
    for (bin, count) in (0..).zip(&counts) {
        let bar = "#".repeat((count * BAR).div_ceil(most));
        eprintln!("{:>10} | {bar:BAR$} {count}", millis(low + width * bin));
    }
    eprintln!();
}

fn millis(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64() * 1e3)
}
