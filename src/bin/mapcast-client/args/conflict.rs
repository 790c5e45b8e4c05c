//! Options that exclude each other, or have no effect together.

use clap::ArgMatches;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use mapcast::display::units::parse_duration;

use crate::deliver;
use crate::print::Output;

/// Returns the usage error with this text.
pub(super) fn conflict(text: &str) -> clap::Error {
    clap::Error::raw(ErrorKind::ArgumentConflict, text)
}

/// Rejects an option for maps in front of `echo` or `greet`, where it would have no effect. In the environment it is
/// accepted: it is meant for another run.
pub(super) fn reject_follow_options(command: &clap::Command, matches: &ArgMatches) -> Result<(), clap::Error> {
    let Some(name) = matches.subcommand_name() else { return Ok(()) };
    let stray = command.get_arguments().find(|arg| {
        !arg.is_global_set() && matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine)
    });
    let takes = |stray: &clap::Arg| {
        let subcommand = command.find_subcommand(name);
        subcommand.is_some_and(|subcommand| subcommand.get_arguments().any(|arg| arg.get_long() == stray.get_long()))
    };
    match stray {
        Some(stray) if stray.is_positional() => {
            Err(conflict(&format!("the address goes after '{name}', not before it")))
        }
        Some(stray) if takes(stray) => Err(conflict(&format!("'{stray}' goes after '{name}', not before it"))),
        Some(stray) => {
            Err(conflict(&format!("'{stray}' cannot be used with '{name}': it is for printing or delivering maps")))
        }
        None => Ok(()),
    }
}

/// True if and only if `word` is a duration with its unit; a number alone is a port.
fn is_time(word: &str) -> bool {
    parse_duration(word).is_ok() && word.parse::<f64>().is_err()
}

/// Rejects an option that has no effect in combination with the others. In the environment it is accepted, as above.
pub(super) fn reject_options_without_effect(matches: &ArgMatches) -> Result<(), clap::Error> {
    let typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let option = |id: &str| format!("'--{}'", id.replace('_', "-"));
    let any = |ids: &[&'static str]| ids.iter().copied().find(|id| matches.contains_id(id));
    let instead = if matches.get_flag("watch") { Some("watch") } else { any(&["write", "exec", "run"]) };
    let lines: &[&str] = if instead == Some("watch") { &["count", "once"] } else { &[] };
    if let Some(instead) = instead
        && let Some(stray) = [&["output", "prefix", "changes_only", "line_format", "timestamps"], lines]
            .concat()
            .into_iter()
            .find(|id| typed(id))
    {
        return Err(conflict(&format!(
            "{} is for printed lines and cannot be used with {}",
            option(stray),
            option(instead)
        )));
    }
    if typed("output") && typed("line_format") && matches.get_one("output") != Some(&Output::Diff) {
        return Err(conflict("'--line-format' cannot be used with '--output', except with '--output diff'"));
    }
    let address = matches.get_raw("address").and_then(|mut words| words.next()?.to_str());
    if let Some(time) = address.filter(|word| typed("wait") && typed("address") && is_time(word)) {
        return Err(conflict(&format!("{time} is taken for the address; write --wait={time}")));
    }
    for (idle, needed) in deliver::REQUIRED_OPTIONS {
        if typed(idle) && any(needed).is_none() {
            let needed: Vec<String> = needed.iter().map(|id| option(id)).collect();
            return Err(conflict(&format!("{} has no effect without {}", option(idle), needed.join(" or "))));
        }
    }
    Ok(())
}
