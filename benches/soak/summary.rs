//! The servers' usage after the soak, compared with that before it.

use std::fmt;

use crate::server::{INTERVAL, Reading};
use crate::steady::Gaps;

/// How much more resident memory a server may have than after the warm-up: 5 %, and 2 MiB that malloc may keep.
const MORE_MEMORY_PERCENT: u64 = 5;
const MORE_MEMORY: u64 = 2048;

/// How many more memory maps a server may have. glibc keeps up to 40 MiB of stacks of ended threads (`pthread_create`, two maps
/// each), and the number of concurrent threads varies.
const MORE_MAPS: u64 = 700;

/// The results of the soak.
pub struct Summary {
    pub before: [Reading; 2],
    pub after: [Reading; 2],
    pub gaps: Gaps,
    /// The number of short-lived clients.
    pub short_lived: u64,
    /// The number of published maps.
    pub published: u64,
    pub rotations: u64,
}

impl Summary {
    /// Returns true if and only if every guarantee was kept.
    pub fn is_passed(&self) -> bool {
        let is_flat = self.before.iter().zip(&self.after).all(|(before, after)| after.is_like(before));
        if let Err(broken) = self.gaps.check(INTERVAL) {
            eprintln!("{broken}");
            return false;
        }
        is_flat
    }
}

impl Reading {
    fn figures(&self) -> [(&'static str, u64); 6] {
        [
            ("resident memory, KiB", self.resident),
            ("descriptors", self.descriptors),
            ("threads", self.threads),
            ("memory maps", self.maps),
            ("active connections", self.active),
            ("panics", self.panics),
        ]
    }

    fn is_like(&self, before: &Self) -> bool {
        let most = before.resident + before.resident * MORE_MEMORY_PERCENT / 100 + MORE_MEMORY;
        self.resident <= most
            && self.descriptors == before.descriptors
            && self.threads == before.threads
            && self.maps <= before.maps + MORE_MAPS
            && self.active == before.active
            && self.panics == 0
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| figure | plain: after warm-up | at the end | TLS: after warm-up | at the end |")?;
        writeln!(f, "|---|---:|---:|---:|---:|")?;
        let columns = [self.before[0], self.after[0], self.before[1], self.after[1]].map(|reading| reading.figures());
        for (row, (name, _)) in columns[0].iter().enumerate() {
            let [before, after, tls_before, tls_after] = columns.map(|column| column[row].1);
            writeln!(f, "| {name} | {before} | {after} | {tls_before} | {tls_after} |")?;
        }
        writeln!(f)?;
        writeln!(
            f,
            "{} short-lived clients, {} published maps, {} new certificates",
            self.short_lived, self.published, self.rotations
        )?;
        write!(
            f,
            "steady clients: {} lost; longest without a frame {:.0} ms, oldest change {:.0} ms (N = {} s)",
            self.gaps.lost,
            self.gaps.gap.as_secs_f64() * 1000.0,
            self.gaps.age.as_secs_f64() * 1000.0,
            INTERVAL.as_secs()
        )
    }
}
