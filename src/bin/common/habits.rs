//! Options of other programs that people type by habit, and the way of this program.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::nearest::nearest;
use crate::typed::Typed;

/// Options of other programs, what to type in their place, if a value that follows stays, and what to do in words.
pub(crate) type Habits = &'static [(&'static [&'static str], Option<&'static [&'static str]>, &'static str)];

/// Returns the unknown option in `error`.
pub(crate) fn unknown_option(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg) else { return None };
    let option = word.split('=').next().unwrap_or_default();
    (error.kind() == ErrorKind::UnknownArgument && word.starts_with('-')).then(|| option.to_owned())
}

/// Returns what to do instead of the unknown `option`: the valid line for what was typed, or else the words in `habits`.
pub(crate) fn tip(option: &str, habits: Habits, typed: &Typed<'_>) -> Option<String> {
    let (_, words, text) = habits.iter().find(|(options, ..)| options.contains(&option))?;
    let line = words.and_then(|words| typed.with_option(option, words));
    Some(line.map_or_else(|| (*text).to_owned(), |line| write(&line)))
}

/// Returns the tip to type `line`.
pub(crate) fn write(line: &str) -> String {
    format!("write {line}")
}

/// True if and only if `tip` is one of [`write()`].
#[allow(dead_code, reason = "only the client asks")]
pub(crate) fn is_line(tip: &str) -> bool {
    tip.starts_with("write mapcast-")
}

/// Removes a tip that misleads: to pass an unknown option as a value, unless it is a number, or to use an option that is not
/// similar.
pub(crate) fn remove_wrong_tip(error: &mut clap::Error) {
    let Some(option) = unknown_option(error) else { return };
    let is_number = option.trim_start_matches('-').starts_with(|first: char| first.is_ascii_digit());
    let is_similar = match error.get(ContextKind::SuggestedArg) {
        Some(ContextValue::String(found)) => {
            let (typed, known) = (option.trim_start_matches('-'), found.trim_start_matches('-'));
            nearest(typed, [known]).is_some() || option.starts_with(found) || found.starts_with(&option)
        }
        _ => false,
    };
    if !is_similar {
        error.remove(ContextKind::SuggestedArg);
    }
    if !is_number {
        error.remove(ContextKind::Suggested);
    }
}

/// Makes `tip` the only tip on `error`.
pub(crate) fn set_tip(error: &mut clap::Error, tip: String) {
    for kind in [ContextKind::SuggestedArg, ContextKind::SuggestedCommand, ContextKind::SuggestedSubcommand] {
        error.remove(kind);
    }
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
}
