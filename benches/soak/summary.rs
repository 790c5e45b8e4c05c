//! The servers' usage after the soak, compared with that before it.

use std::fmt;

use crate::reading::Reading;
use crate::server::INTERVAL;
use crate::steady::Gaps;

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
