//! The variables of the options: which ones exist, and which one is at fault.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};

use crate::nearest::nearest;

/// What the name of every variable begins with.
const PREFIX: &str = "MAPCAST_";

/// The variables of `mapcast-server`, without the prefix. Both programs know them all: one environment may serve both.
const SERVER: &[&str] = &[
    "ALLOW",
    "CHECK_CONFIG",
    "DRAIN_TIMEOUT",
    "FORMAT",
    "HTTP",
    "HTTP_ALLOW_ORIGIN",
    "HTTP_HOST",
    "HTTP_MAX_CONNECTIONS",
    "HTTP_TOKEN_FILE",
    "INTERVAL",
    "KEEPALIVE",
    "LISTEN",
    "MAX_BACKLOG",
    "MAX_CONNECTIONS",
    "MAX_CONNECTIONS_PER_IP",
    "MAX_FRAME",
    "QUIET",
    "REDIS_PASSWORD_FILE",
    "REUSE_PORT",
    "SEND",
    "SET",
    "SOURCE",
    "SOURCE_TLS_CA",
    "SOURCE_TLS_CERT",
    "SOURCE_TLS_KEY",
    "SOURCE_TLS_NAME",
    "STATE",
    "TEXT",
    "TLS_CERT",
    "TLS_CLIENT_CA",
    "TLS_KEY",
    "VERBOSE",
    "WRITE_TIMEOUT",
];

/// The variables of `mapcast-client`, without the prefix.
const CLIENT: &[&str] = &[
    "ADDRESS",
    "CACHE",
    "CHANGES_ONLY",
    "CHECK",
    "CHECK_TIMEOUT",
    "COLOR",
    "CONNECT_TIMEOUT",
    "COUNT",
    "EXEC",
    "EXEC_TIMEOUT",
    "FORMAT",
    "HTTP",
    "KEY",
    "KILL_TIMEOUT",
    "LINE_FORMAT",
    "MAX_FRAME",
    "MODE",
    "NO_RECONNECT",
    "ONCE",
    "OUTPUT",
    "PREFIX",
    "QUIET",
    "RUN",
    "SETTLE",
    "SETTLE_MAX",
    "SIGNAL",
    "SPLAY",
    "STALE_AFTER",
    "TEMPLATE",
    "TIMEOUT",
    "TIMESTAMPS",
    "TLS",
    "TLS_CA",
    "TLS_CERT",
    "TLS_KEY",
    "TLS_NAME",
    "TOKEN_FILE",
    "VERBOSE",
    "WAIT",
    "WATCH",
    "WRITE",
    "WRITE_FORMAT",
];

/// Variables without an option: a password, and what a program of the client finds in its environment.
const OTHERS: &[&str] = &["REDIS_PASSWORD", "FILE"];

/// Returns a warning for each variable of the environment that is probably meant for these programs, and has no effect.
pub(crate) fn unknown_variables() -> Vec<String> {
    std::env::vars_os().filter_map(|(name, _)| warning(name.to_str()?)).collect()
}

fn warning(name: &str) -> Option<String> {
    let rest = name.strip_prefix(PREFIX)?;
    let known = || SERVER.iter().chain(CLIENT).chain(OTHERS).copied();
    if known().any(|known| known == rest) || is_of_kubernetes(rest) {
        return None;
    }
    let meant = nearest(rest, known()).map_or_else(String::new, |meant| format!("; did you mean {PREFIX}{meant}?"));
    Some(format!("the variable {} has no effect{meant}", name.escape_debug()))
}

/// True if and only if Kubernetes sets this variable in every pod beside a service whose name begins with `mapcast`:
/// `MAPCAST_HTTP_SERVICE_HOST`, `MAPCAST_PORT`, `MAPCAST_HTTP_PORT_80_TCP_ADDR`.
fn is_of_kubernetes(rest: &str) -> bool {
    let is_of_port =
        |tail: &str| tail.is_empty() || ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| tail.contains(protocol));
    rest.contains("SERVICE_") || format!("_{rest}").split_once("_PORT").is_some_and(|(_, tail)| is_of_port(tail))
}

/// Names the variable in `error` if one of the environment is the cause. `parse` parses the command line with another
/// definition.
pub(crate) fn name_the_cause(
    mut error: clap::Error,
    definition: &Command,
    parse: impl Fn(Command) -> Result<(), clap::Error>,
) -> clap::Error {
    // The request for help is not an error.
    if !error.use_stderr() || is_same(Some(&error), parse(without(definition.clone(), |_| true)).err().as_ref()) {
        return error;
    }
    let commands = [definition].into_iter().chain(definition.get_subcommands());
    let names = commands.flat_map(Command::get_arguments).filter_map(variable);
    let set: Vec<OsString> = names.filter(|name| std::env::var_os(name).is_some()).collect();
    let is_cause = |name: &&OsString| {
        let rest = parse(without(definition.clone(), |arg| variable(arg).as_ref() == Some(*name)));
        !is_same(Some(&error), rest.err().as_ref())
    };
    let Some(cause) = set.iter().find(is_cause).and_then(|name| name.to_str()) else { return error };
    let of_value = matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation);
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(option)) if of_value => {
            let origin = format!("{cause}, the variable of {option}");
            error.insert(ContextKind::InvalidArg, ContextValue::String(origin));
        }
        _ => {
            let tip = format!("{cause} is set in the environment");
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
        }
    }
    error
}

/// Returns `command` without the variables of the options that `is_excluded`.
pub(crate) fn without(command: Command, is_excluded: impl Fn(&Arg) -> bool) -> Command {
    let strip = |arg: Arg| if is_excluded(&arg) { arg.env(None::<&str>) } else { arg };
    command.mut_args(strip).mut_subcommands(|command| command.mut_args(strip))
}

fn variable(arg: &Arg) -> Option<OsString> {
    arg.get_env().map(std::ffi::OsStr::to_owned)
}

/// True if and only if both are the same complaint.
fn is_same(one: Option<&clap::Error>, other: Option<&clap::Error>) -> bool {
    one.map(ToString::to_string) == other.map(ToString::to_string)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn an_unknown_variable_is_named_with_the_nearest_one() {
        let wanted = "the variable MAPCAST_INTERVALL has no effect; did you mean MAPCAST_INTERVAL?";
        assert_eq!(warning("MAPCAST_INTERVALL").as_deref(), Some(wanted));
        assert_eq!(warning("MAPCAST_COLOUR").as_deref().map(|text| text.ends_with("MAPCAST_COLOR?")), Some(true));
        assert_eq!(warning("MAPCAST_NONSENSE").as_deref(), Some("the variable MAPCAST_NONSENSE has no effect"));
        for name in [
            "MAPCAST_INTERVAL",
            "MAPCAST_KEY",
            "MAPCAST_FILE",
            "HOME",
            "MAPCAST_PORT_8080_TCP_ADDR",
            "MAPCAST_HTTP_PORT",
            "MAPCAST_SERVER_PORT_80_TCP_ADDR",
        ] {
            assert_eq!(warning(name), None, "{name}");
        }
    }

    /// Fails unless the variables of `definition` are those that are listed here for its program.
    #[track_caller]
    pub(crate) fn assert_listed(definition: &Command) {
        let commands = [definition].into_iter().chain(definition.get_subcommands());
        let names = commands.flat_map(Command::get_arguments).filter_map(variable);
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort_unstable();
        names.dedup();
        let listed = if definition.get_name() == "mapcast-server" { SERVER } else { CLIENT };
        let has_tls = cfg!(feature = "tls");
        let listed = listed.iter().filter(|name| has_tls || !name.contains("TLS"));
        let listed: Vec<_> = listed.map(|name| format!("{PREFIX}{name}")).collect();
        assert_eq!(names, listed);
    }
}
