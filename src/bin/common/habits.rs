//! Options of other programs that people type by habit, and the way of this program.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Options, and what to do instead.
pub(crate) type Habits = &'static [(&'static [&'static str], &'static str)];

/// Replaces the tip on an unknown option that is in `habits`, and removes the tip to pass an option as a value.
pub(crate) fn explain(error: &mut clap::Error, habits: Habits) {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg) else { return };
    if error.kind() != ErrorKind::UnknownArgument || !word.starts_with('-') {
        return;
    }
    let option = word.split('=').next().unwrap_or_default();
    let known = habits.iter().find(|(options, _)| options.contains(&option));
    if let Some((_, tip)) = known {
        set_tip(error, (*tip).to_owned());
    } else if error.get(ContextKind::SuggestedArg).is_none() {
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
