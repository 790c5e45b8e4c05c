//! Checks, and the table of their results.
#![allow(clippy::cast_precision_loss, reason = "no count here comes near 2^52")]

use std::fmt::{self, Display};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// A figure without a limit.
    Info,
    Passed,
    Failed,
}

#[derive(Debug)]
struct Check {
    phase: &'static str,
    server: &'static str,
    what: String,
    figure: String,
    bound: String,
    outcome: Outcome,
    /// The table shows the round with the largest weight.
    weight: f64,
    rounds: u32,
    failed: u32,
}

/// All results so far, in the order of their first round. The watchdog shares them and prints them if a phase hangs.
#[derive(Debug, Default)]
pub struct Checks {
    /// Locked for one change or for printing.
    list: Mutex<Vec<Check>>,
}

/// The phase and the server of a check.
#[derive(Debug, Clone, Copy)]
pub struct Scope {
    pub phase: &'static str,
    pub server: &'static str,
}

impl Checks {
    /// Checks that `value` is at most `bound`, both in `unit`.
    pub fn at_most(&self, scope: Scope, what: impl Display, value: f64, bound: f64, unit: &str) {
        let outcome = if value <= bound { Outcome::Passed } else { Outcome::Failed };
        self.add(scope, &what, with_unit(value, unit), format!("at most {}", with_unit(bound, unit)), outcome, value);
    }

    /// Checks that `count` is 0. `detail` describes the counted items.
    pub fn zero(&self, scope: Scope, what: impl Display, count: u64, detail: impl Display) {
        let outcome = if count == 0 { Outcome::Passed } else { Outcome::Failed };
        let figure = format!("{count}{detail}");
        self.add(scope, &what, figure, "0".to_owned(), outcome, count as f64);
    }

    /// Checks that `value` is at least `bound`.
    pub fn at_least(&self, scope: Scope, what: impl Display, value: f64, bound: f64, unit: &str) {
        let outcome = if value >= bound { Outcome::Passed } else { Outcome::Failed };
        self.add(scope, &what, with_unit(value, unit), format!("at least {}", with_unit(bound, unit)), outcome, -value);
    }

    /// Checks a condition. `figure` is the observed value, `bound` the expected one.
    pub fn holds(&self, scope: Scope, what: impl Display, holds: bool, figure: impl Display, bound: impl Display) {
        let outcome = if holds { Outcome::Passed } else { Outcome::Failed };
        self.add(scope, &what, figure.to_string(), bound.to_string(), outcome, 0.0);
    }

    /// Adds a figure without a check.
    pub fn note(&self, scope: Scope, what: impl Display, value: f64, unit: &str) {
        self.add(scope, &what, with_unit(value, unit), String::new(), Outcome::Info, value);
    }

    /// Returns the number of failed checks.
    pub fn failed(&self) -> usize {
        self.lock().iter().filter(|check| check.outcome == Outcome::Failed).count()
    }

    fn add(&self, scope: Scope, what: &dyn Display, figure: String, bound: String, outcome: Outcome, weight: f64) {
        let Scope { phase, server } = scope;
        let (what, is_failed) = (what.to_string(), outcome == Outcome::Failed);
        if is_failed {
            eprintln!("FAIL: {phase}: {server}: {what}: {figure}, expected {bound}");
        }
        let new =
            Check { phase, server, what, figure, bound, outcome, weight, rounds: 1, failed: u32::from(is_failed) };
        let mut checks = self.lock();
        let is_same = |old: &&mut Check| old.phase == phase && old.server == server && old.what == new.what;
        match checks.iter_mut().find(is_same) {
            Some(old) => old.merge(new),
            None => checks.push(new),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Check>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Check {
    /// Keeps the worse result of two rounds.
    fn merge(&mut self, new: Self) {
        let (rounds, failed) = (self.rounds + new.rounds, self.failed + new.failed);
        if (new.outcome, new.weight) > (self.outcome, self.weight) {
            *self = new;
        }
        (self.rounds, self.failed) = (rounds, failed);
    }
}

/// Formats the table in Markdown.
impl Display for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | phase | server | check | figure | expected |")?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        for check in self.lock().iter() {
            let outcome = match check.outcome {
                Outcome::Info => "",
                Outcome::Passed => "ok",
                Outcome::Failed => "FAIL",
            };
            let Check { phase, server, what, figure, bound, .. } = check;
            write!(f, "| {outcome} | {phase} | {server} | {what} | {figure}")?;
            if check.failed > 0 && check.rounds > 1 {
                write!(f, " (in {} of {} rounds)", check.failed, check.rounds)?;
            }
            writeln!(f, " | {bound} |")?;
        }
        Ok(())
    }
}

fn with_unit(value: f64, unit: &str) -> String {
    let digits = if value.fract() == 0.0 { 0 } else { 2 };
    let space = if unit.is_empty() { "" } else { " " };
    format!("{value:.digits$}{space}{unit}")
}
