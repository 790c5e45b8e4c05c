//! Conflicts between options on the command line and in the environment.

use clap::ArgMatches;
use clap::parser::ValueSource;
use clap::parser::ValueSource::{CommandLine, EnvVariable};

use crate::print::Output;

/// Pairs of options that exclude each other.
const PAIRS: [(&str, &str); 29] = [
    ("watch", "output"),
    ("watch", "prefix"),
    ("watch", "changes_only"),
    ("watch", "count"),
    ("watch", "once"),
    ("watch", "line_format"),
    ("watch", "timestamps"),
    ("watch", "write"),
    ("watch", "exec"),
    ("watch", "run"),
    ("write", "output"),
    ("write", "prefix"),
    ("write", "changes_only"),
    ("write", "line_format"),
    ("write", "timestamps"),
    ("exec", "output"),
    ("exec", "prefix"),
    ("exec", "changes_only"),
    ("exec", "line_format"),
    ("exec", "timestamps"),
    ("exec", "run"),
    ("run", "output"),
    ("run", "prefix"),
    ("run", "changes_only"),
    ("run", "line_format"),
    ("run", "timestamps"),
    ("run", "count"),
    ("run", "once"),
    ("count", "once"),
];

/// The same for `--output raw` alone.
const PAIRS_OF_RAW: [(&str, &str); 3] = [("output", "keys"), ("output", "prefix"), ("output", "timestamps")];

/// The same for every `--output` but `diff`.
const PAIR_OF_LINES: (&str, &str) = ("output", "line_format");

/// The two ways to define the content of a file.
const RENDERINGS: (&str, &str) = ("template", "write_format");

/// Returns the options whose environment variables are ignored, because a typed option excludes them: the command line
/// takes precedence. Conflicts within the command line or within the environment are errors, reported elsewhere.
pub(crate) fn overridden(matches: &ArgMatches) -> Vec<&'static str> {
    let is_output = |output| matches.get_one("output") == Some(&output);
    let of_raw = PAIRS_OF_RAW.into_iter().filter(|_| is_output(Output::Raw));
    let of_lines = [PAIR_OF_LINES].into_iter().filter(|_| !is_output(Output::Diff));
    let is_from = |id: &str, source: ValueSource| matches.value_source(id) == Some(source);
    let both_ways = |(one, other)| [(one, other), (other, one)];
    let pairs = PAIRS.into_iter().chain(of_raw).chain(of_lines).chain([RENDERINGS]).flat_map(both_ways);
    let mut overridden: Vec<&str> = pairs
        .filter(|(typed, other)| is_from(typed, CommandLine) && is_from(other, EnvVariable))
        .map(|(_, id)| id)
        .collect();
    overridden.sort_unstable();
    overridden.dedup();
    overridden
}
