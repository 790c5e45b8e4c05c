//! The results: the checks, the faults by kind, and the leaves.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::fault::Kind;
use crate::outcome::Outcome;
use crate::records::{Order, Regression};
use crate::site::{LATE, Site};
use crate::support::checks::{Checks, Scope};
use crate::support::netstat::tcp_counter;
use crate::support::sample::Sample;
use crate::timing::{INTERVAL, seconds};
use crate::tree::Level;
use crate::writer::Loss;

/// The longest time until a fault is detected: three intervals, but at least 10 s if they are learned
/// ([`FollowConfig::stale_after`](mapcast::client::FollowConfig)), plus 4 s for a busy machine.
const NOTICE: Duration = Duration::from_secs(14);

/// The longest time that the root may follow a partitioned master after another one is written to: it checks once per interval.
const FOLLOW: Duration = INTERVAL.saturating_mul(3).checked_add(Duration::from_secs(4)).unwrap();

/// The longest time until the last client has the newest map after a fault: the longest waits between attempts, at three levels in
/// sequence, plus as much for a busy machine.
const BACK: Duration = Duration::from_secs(20);

/// How long after its fault a leaf's connections may end inside a frame: `--write-timeout` closes them after 10 s.
const CUT: Duration = Duration::from_secs(15);

const CLIENTS: Scope = Scope { phase: "all the time", server: "clients" };
const MEMBERS: Scope = Scope { phase: "all the time", server: "members" };
const QUIET_CLIENTS: Scope = Scope { phase: "without a fault", server: "clients" };

/// Prints all results. Returns the number of failed checks.
pub fn print(site: &Site) -> usize {
    let checks = Checks::default();
    check_clients(site, &checks);
    checks.zero(MEMBERS, "panics", site.panics(), "");
    checks.zero(MEMBERS, "unexpected exits", site.unexpected_exits.len() as u64, detail(&site.unexpected_exits));
    checks.note(MEMBERS, "shutdowns that disconnected clients", site.targets.unclean.len() as f64, "");
    checks.at_most(QUIET_CLIENTS, "longest without the newest map", seconds(site.quiet.worst), seconds(LATE), "s");
    checks.zero(QUIET_CLIENTS, "clients without the last map", site.quiet.lost as u64, "");
    checks.note(QUIET_CLIENTS, "time in which the machine was too busy for checks", seconds(site.quiet.busy), "s");
    checks.note(QUIET_CLIENTS, "connections lost", site.quiet.reconnects as f64, "");
    checks.note(QUIET_CLIENTS, "changes skipped in favour of a newer one", site.quiet.skipped as f64, "");
    site.outcomes.iter().for_each(|outcome| check_fault(outcome, &checks));
    let behind = site.staleness.iter().map(|stale| stale.unexplained.longest).max().unwrap_or_default();
    checks.at_most(MEMBERS, "longest time that a leaf was behind without a fault", seconds(behind), seconds(BACK), "s");
    println!("{checks}");
    print_faults(&site.outcomes);
    print_leaves(site);
    checks.failed()
}

fn check_clients(site: &Site, checks: &Checks) {
    let (tally, losses) = (site.records.tally(), site.writer.losses());
    checks.note(CLIENTS, "changes that Redis acknowledged", site.changes() as f64, "");
    checks.note(CLIENTS, "maps received and checked", tally.maps as f64, "");
    checks.note(CLIENTS, "largest delay of reading on a busy machine", seconds(site.records.lateness().1), "s");
    let retries = tcp_counter("TCPSynRetrans").unwrap_or_default();
    checks.note(CLIENTS, "SYNs lost or unanswered for a second", retries as f64, "");
    checks.note(CLIENTS, "connections lost", tally.lost as f64, "");
    let corrupt = if tally.corrupt == 0 { String::new() } else { format!(" (the last: {})", tally.last_corrupt) };
    checks.zero(CLIENTS, "torn maps", tally.corrupt, corrupt);
    let is_explained = |at| site.outcomes.iter().any(|outcome| may_cut_a_frame(outcome, at));
    let (cut, torn): (Vec<Instant>, Vec<Instant>) = tally.cut.iter().partition(|at| is_explained(**at));
    checks.note(CLIENTS, "connections that a failed leaf closed inside a frame", cut.len() as f64, "");
    checks.zero(CLIENTS, "connections closed inside a frame for other reasons", torn.len() as u64, "");
    let is_by_redis = |it: &&Regression| losses.iter().any(|loss| loss.explains(it.from, it.to));
    let (by_redis, own): (Vec<&Regression>, Vec<_>) = tally.regressions.iter().partition(is_by_redis);
    let what = [
        (Order::SameConnection, "backwards on one connection"),
        (Order::SameProcess, "backwards on another connection to the same process"),
    ];
    for (order, what) in what {
        let found: Vec<_> = own.iter().filter(|it| it.order == order).collect();
        let last = |it: &&&Regression| format!(" (the last: leaf-{}, {} after {})", it.leaf + 1, it.to, it.from);
        checks.zero(CLIENTS, what, found.len() as u64, found.last().map(last).unwrap_or_default());
    }
    let elsewhere = own.iter().filter(|it| it.order == Order::Elsewhere).count();
    checks.note(CLIENTS, "older map from another or restarted leaf that was behind", elsewhere as f64, "");
    checks.note(CLIENTS, "older map because Redis lost the newer one", by_redis.len() as f64, "");
    let lost = lost_changes(&losses);
    checks.note(CLIENTS, "changes lost or not acknowledged by Redis", lost as f64, "");
    let planned = site.outcomes.iter().filter(|outcome| outcome.node.is_some()).count();
    let unplanned = site.writer.terms().saturating_sub(1 + planned);
    checks.note(CLIENTS, "unplanned failovers", unplanned as f64, "");
}

fn lost_changes(losses: &[Loss]) -> u64 {
    // Each new attempt to write records the same loss.
    let by_end: BTreeMap<u64, u64> =
        losses.iter().map(|loss| (loss.last, loss.last - loss.kept.map_or(0, |kept| kept))).collect();
    by_end.into_values().sum()
}

fn may_cut_a_frame(outcome: &Outcome, at: Instant) -> bool {
    let is_of_a_leaf = outcome.planned.member.is_some_and(|member| Level::of(member) == Level::Leaf);
    let is_abrupt = matches!(outcome.planned.kind, Kind::Kill | Kind::Stop | Kind::Unplug);
    is_of_a_leaf && is_abrupt && at >= outcome.begun && outcome.healed.is_none_or(|healed| at <= healed + CUT)
}

fn check_fault(outcome: &Outcome, checks: &Checks) {
    let scope = scope_of(outcome);
    if outcome.must_be_noticed_within(NOTICE + outcome.late) {
        if outcome.is_watched() {
            checks.zero(scope, "not noticed by", outcome.unnoticed() as u64, "");
        }
        if let Some(last) = outcome.noticed().max() {
            checks.at_most(scope, "noticed after", seconds(last), seconds(NOTICE + outcome.late), "s");
        }
    }
    // Only this bound detects a master that is split off.
    let limit = if outcome.planned.kind == Kind::SplitMaster { FOLLOW } else { BACK };
    match outcome.back {
        Some(back) => {
            checks.at_most(scope, "last client back after", seconds(back), seconds(limit + outcome.late), "s");
        }
        None => checks.zero(scope, "clients not back", 1, ""),
    }
}

fn scope_of(outcome: &Outcome) -> Scope {
    let server = outcome.planned.member.map_or("redis", |member| Level::of(member).name());
    Scope { phase: outcome.planned.kind.name(), server }
}

fn print_faults(outcomes: &[Outcome]) {
    let mut groups: BTreeMap<(Kind, &str), Vec<&Outcome>> = BTreeMap::new();
    for outcome in outcomes {
        groups.entry((outcome.planned.kind, scope_of(outcome).server)).or_default().push(outcome);
    }
    println!("| fault | of | times | noticed, median | at most | last client back, median | at most |");
    println!("|---|---|---:|---:|---:|---:|---:|");
    for ((kind, server), group) in groups {
        let noticed = range(group.iter().flat_map(|outcome| outcome.noticed()));
        let back = range(group.iter().filter_map(|outcome| outcome.back));
        println!("| {} | {server} | {} | {noticed} | {back} |", kind.name(), group.len());
    }
    println!();
}

fn print_leaves(site: &Site) {
    println!("| leaf | total time behind | longest | of that without a fault | longest |");
    println!("|---|---:|---:|---:|---:|");
    for (leaf, stale) in site.staleness.iter().enumerate() {
        let (all, own) = (stale.all, stale.unexplained);
        let figures = [all.total, all.longest, own.total, own.longest].map(|time| format!("{:.1} s", seconds(time)));
        println!("| leaf-{} | {} |", leaf + 1, figures.join(" | "));
    }
}

/// Returns the median and the longest, as two cells.
fn range(durations: impl Iterator<Item = Duration>) -> String {
    let mut sample = Sample::default();
    durations.for_each(|duration| sample.add(duration));
    let cells = [50.0, 100.0].map(|percent| sample.percentile(percent).map(|at| format!("{:.1} s", seconds(at))));
    cells.map(Option::unwrap_or_default).join(" | ")
}

fn detail(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
}
