//! The table of results.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::figure::{Figure, Figures, Goal};
use crate::kind::Kind;
use crate::scenario::Scenario;

/// The result of one scenario.
#[derive(Debug)]
pub struct Outcome {
    /// The scenario.
    pub scenario: Scenario,
    /// The medians over all rounds, for each server.
    pub medians: BTreeMap<Kind, Figures>,
}

impl Outcome {
    /// Computes the median of each figure.
    pub fn new(scenario: Scenario, rounds: &BTreeMap<Kind, Vec<Figures>>) -> Self {
        let medians = rounds.iter().map(|(kind, rounds)| (*kind, medians(rounds))).collect();
        Self { scenario, medians }
    }

    fn value(&self, kind: Kind, figure: Figure) -> Option<f64> {
        self.medians.get(&kind)?.get(&figure).copied()
    }

    fn goal(&self, figure: Figure) -> Option<Goal> {
        self.scenario.goals.iter().find(|(asked, _)| *asked == figure).map(|(_, goal)| *goal)
    }
}

fn medians(rounds: &[Figures]) -> Figures {
    let all: BTreeSet<Figure> = rounds.iter().flat_map(BTreeMap::keys).copied().collect();
    let median = |figure| {
        let mut values: Vec<f64> = rounds.iter().filter_map(|round| round.get(figure)).copied().collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        f64::midpoint(low, high)
    };
    all.iter().map(|figure| (*figure, median(figure))).collect()
}

/// Formats all outcomes as one Markdown table: one row per figure, one column per server.
pub struct Table<'outcomes>(pub &'outcomes [Outcome]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: BTreeSet<Kind> = self.0.iter().flat_map(|outcome| outcome.medians.keys()).copied().collect();
        write!(f, "| {:9} | {:>7} | {:31} |", "scenario", "clients", "figure")?;
        for kind in &kinds {
            write!(f, " {:>15} |", kind.name())?;
        }
        writeln!(f, " {:>22} |", "goal")?;
        writeln!(
            f,
            "|{:-<11}|{:->8}:|{:-<33}|{}",
            "",
            "",
            "",
            format!("{:->16}:|", "").repeat(kinds.len()) + &format!("{:->23}:|", "")
        )?;
        for outcome in self.0 {
            let figures: BTreeSet<Figure> = outcome.medians.values().flat_map(BTreeMap::keys).copied().collect();
            for figure in figures {
                let Scenario { name, clients, .. } = outcome.scenario;
                write!(f, "| {name:9} | {clients:>7} | {:31} |", figure.name())?;
                for kind in &kinds {
                    write!(f, " {:>15} |", cell(outcome, *kind, figure))?;
                }
                writeln!(f, " {:>22} |", judgement(outcome, figure))?;
            }
        }
        Ok(())
    }
}

/// Formats all outcomes as CSV.
pub struct Csv<'outcomes>(pub &'outcomes [Outcome]);

impl fmt::Display for Csv<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "scenario,clients,bytes,server,figure,value")?;
        for outcome in self.0 {
            let Scenario { name, clients, size, .. } = outcome.scenario;
            for (kind, figures) in &outcome.medians {
                for (figure, value) in figures {
                    writeln!(f, "{name},{clients},{size},{},\"{}\",{value:.3}", kind.name(), figure.name())?;
                }
            }
        }
        Ok(())
    }
}

/// Returns the value, with its multiple of the floor.
fn cell(outcome: &Outcome, kind: Kind, figure: Figure) -> String {
    let Some(value) = outcome.value(kind, figure) else { return String::new() };
    let text = format!("{value:.*}", figure.decimals());
    match outcome.value(Kind::Floor, figure) {
        Some(floor) if figure.has_ratio() && kind != Kind::Floor && floor > 0.0 => {
            format!("{text} ({:.2})", value / floor)
        }
        _ => text,
    }
}

/// Returns the goal, marked if it was missed.
fn judgement(outcome: &Outcome, figure: Figure) -> String {
    let Some(goal) = outcome.goal(figure) else { return String::new() };
    let Some(value) = goal.subjects().iter().find_map(|kind| outcome.value(*kind, figure)) else {
        return String::new();
    };
    match goal.is_met(value, |kind| outcome.value(kind, figure)) {
        Some(false) => format!("MISSED {goal}"),
        _ => goal.to_string(),
    }
}
