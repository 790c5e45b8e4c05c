//! What to type instead of a command line that is not valid.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::habits::{self, Habits, set_tip};
use crate::nearest::nearest;

/// Options of other clients.
const HABITS: Habits = &[
    (&["-p", "--port"], "the port belongs to the address: mapcast-client HOST:8080, or mapcast-client 8080"),
    (
        &["-H", "--host", "--addr", "--address", "--connect", "--url"],
        "write the address without an option: mapcast-client HOST:PORT",
    ),
    (&["-s", "--server"], "write the address without an option: mapcast-client HOST:PORT; get has -s"),
    (&["--json"], "use -o json, which is the default"),
    (&["--pretty"], "use -o pretty"),
    (&["--text"], "use -o text"),
    (&["--value"], "use -o value"),
    (&["--diff"], "use -o diff"),
    (&["--raw"], "use -o raw"),
    (&["--no-color", "--no-colour"], "use --color never"),
    (&["-i", "--interval"], "the server has this option: mapcast-server --interval"),
    (&["--follow", "--subscribe", "--listen"], "maps are followed without an option: mapcast-client HOST:PORT"),
    (&["--get"], "use the command: mapcast-client get KEY"),
    (&["--set"], "use the command: mapcast-client set KEY=VALUE"),
    (&["--token", "--token-file"], "use it with a command that writes: mapcast-client set --token-file FILE KEY=VALUE"),
    (&["--config"], "there is no configuration file: every option has a variable, see --help"),
];

/// Examples of commands that need an argument.
const EXAMPLES: [(&str, &str); 3] =
    [("set", "set limit=10"), ("del", "del limit"), ("completions", "completions bash")];

/// Adds to `error` what to type instead, if that is known: for the typed `command`, or for the typed `address`.
pub(super) fn explain(
    error: &mut clap::Error,
    definition: &clap::Command,
    (command, address): (Option<&str>, Option<&str>),
) {
    habits::explain(error, HABITS);
    let example = EXAMPLES.iter().find(|(name, _)| Some(*name) == command);
    if let Some((_, example)) = example.filter(|_| error.kind() == ErrorKind::MissingRequiredArgument) {
        return set_tip(error, format!("for example: mapcast-client {example}"));
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg) else { return };
    let (word, Some(address)) = (word.clone(), address) else { return };
    if error.kind() != ErrorKind::UnknownArgument || word.starts_with('-') {
        return;
    }
    let tip = if let Some(command) = mistyped(definition, address) {
        format!("did you mean the command {command}?")
    } else if word.parse::<u16>().is_ok() && !address.contains(':') {
        format!("write the port after a colon: mapcast-client {address}:{word}")
    } else {
        "a command precedes its arguments, and there is one address: see --help".to_owned()
    };
    set_tip(error, tip);
}

/// Returns the command that `word` is probably meant to be.
pub(super) fn mistyped<'d>(definition: &'d clap::Command, word: &str) -> Option<&'d str> {
    nearest(word, definition.get_subcommands().map(clap::Command::get_name).filter(|name| *name != "help"))
}

/// Returns the command of `words`, and the address before it, whatever else is wrong with them.
pub(super) fn rough(definition: clap::Command, words: &[OsString]) -> (Option<String>, Option<String>) {
    let definition = crate::environment::without(definition, |_| true).ignore_errors(true);
    let Ok(matches) = definition.try_get_matches_from(words) else { return (None, None) };
    let address = matches.get_raw("address").and_then(|mut words| words.next()?.to_str().map(str::to_owned));
    let is_typed = matches.value_source("address") == Some(clap::parser::ValueSource::CommandLine);
    (matches.subcommand_name().map(str::to_owned), address.filter(|_| is_typed))
}
