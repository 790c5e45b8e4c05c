//! Conflicts between options on the command line and in the environment.

use clap::ArgMatches;
use clap::parser::ValueSource;
use clap::parser::ValueSource::{CommandLine, EnvVariable};

use crate::print::Output;

/// Pairs of options that exclude each other.
const PAIRS: [(&str, &str); 18] = [
    ("watch", "output"),
    ("watch", "prefix"),
    ("watch", "changes_only"),
    ("watch", "count"),
    ("watch", "write"),
    ("watch", "exec"),
    ("watch", "run"),
    ("write", "output"),
    ("write", "prefix"),
    ("write", "changes_only"),
    ("exec", "output"),
    ("exec", "prefix"),
    ("exec", "changes_only"),
    ("exec", "run"),
    ("run", "output"),
    ("run", "prefix"),
    ("run", "changes_only"),
    ("run", "count"),
];

/// The same for `--output raw` alone.
const PAIRS_OF_RAW: [(&str, &str); 2] = [("output", "keys"), ("output", "prefix")];

/// The two ways to define the content of a file.
const RENDERINGS: (&str, &str) = ("template", "write_format");

/// Returns the options whose environment variables are ignored, because a typed option excludes them: the command line
/// takes precedence. Conflicts within the command line or within the environment are errors, reported elsewhere.
pub(crate) fn overridden(matches: &ArgMatches) -> Vec<&'static str> {
    let is_raw = matches.get_one::<Output>("output") == Some(&Output::Raw);
    let of_raw = PAIRS_OF_RAW.into_iter().filter(|_| is_raw);
    let is_from = |id: &str, source: ValueSource| matches.value_source(id) == Some(source);
    let both_ways = |(one, other)| [(one, other), (other, one)];
    let pairs = PAIRS.into_iter().chain(of_raw).chain([RENDERINGS]).flat_map(both_ways);
    let mut overridden: Vec<&str> = pairs
        .filter(|(typed, other)| is_from(typed, CommandLine) && is_from(other, EnvVariable))
        .map(|(_, id)| id)
        .collect();
    overridden.sort_unstable();
    overridden.dedup();
    overridden
}
