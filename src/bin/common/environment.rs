//! The variables of the options: which ones exist, and which one is at fault.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};

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
    std::env::vars_os()
        .filter_map(|(name, value)| warning(name.to_str()?, value.to_str().unwrap_or_default()))
        .collect()
}

fn warning(name: &str, value: &str) -> Option<String> {
    let rest = name.strip_prefix(PREFIX)?;
    if known().any(|known| known == rest) || is_of_kubernetes(rest, value) {
        return None;
    }
    let meant = meant(rest).map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
    Some(format!("the variable {} has no effect{meant}", name.escape_debug()))
}

/// Returns the program that has the long option `option`, if it is one of the two.
pub(crate) fn program_of(option: &str) -> Option<&'static str> {
    let name = option.strip_prefix("--")?.replace('-', "_").to_uppercase();
    match (SERVER.contains(&name.as_str()), CLIENT.contains(&name.as_str())) {
        (true, false) => Some("mapcast-server"),
        (false, true) => Some("mapcast-client"),
        _ => None,
    }
}

fn known() -> impl Iterator<Item = &'static str> {
    SERVER.iter().chain(CLIENT).chain(OTHERS).copied()
}

/// Returns the variable that `rest` is probably meant to be: the nearest one, one that `rest` continues by another word, as
/// `LISTEN_PORT` does, or one that continues `rest`, as `TOKEN_FILE` does.
fn meant(rest: &str) -> Option<String> {
    if ["ADDR", "BIND", "HOST", "PORT"].contains(&rest) {
        return Some(format!("{PREFIX}LISTEN of the server or {PREFIX}ADDRESS of the client"));
    }
    let continues = |long: &str, short: &str| long.strip_prefix(short).is_some_and(|tail| tail.starts_with('_'));
    let shorter = || known().filter(|known| continues(rest, known)).max_by_key(|known| known.len());
    let longer = || known().find(|known| continues(known, rest));
    // Not HTTP_HOST for HTTP_PORT.
    let of_address = ["_ADDR", "_ADDRESS", "_PORT"].iter().any(|tail| rest.ends_with(tail)).then(shorter).flatten();
    let meant = of_address.or_else(|| nearest(rest, known())).or_else(shorter).or_else(longer);
    meant.map(|meant| format!("{PREFIX}{meant}"))
}

/// True if and only if Kubernetes sets this variable in every pod beside a service whose name begins with `mapcast`:
/// `MAPCAST_HTTP_SERVICE_HOST=10.0.0.1`, `MAPCAST_PORT=tcp://10.0.0.1:80`, `MAPCAST_HTTP_PORT_80_TCP_ADDR=10.0.0.1`
/// (Kubernetes, `makeLinkVariables` and `FromServices` in pkg/kubelet/envvars). The value decides: with that of a user the
/// variable is unknown.
fn is_of_kubernetes(rest: &str, value: &str) -> bool {
    let is_number = |text: &str| text.parse::<u16>().is_ok();
    let is_ip = |text: &str| text.parse::<IpAddr>().is_ok();
    let is_url = |text: &str| {
        text.split_once("://").is_some_and(|(scheme, rest)| is_protocol(scheme) && rest.parse::<SocketAddr>().is_ok())
    };
    // The parts after `_PORT`: none, or those of `_80_TCP`, `_80_TCP_PROTO`, `_80_TCP_PORT` and `_80_TCP_ADDR`.
    let is_of_port = |tail: &str| match tail.split('_').collect::<Vec<_>>()[..] {
        [""] => is_url(value),
        ["", number, protocol] => is_number(number) && is_protocol(protocol) && is_url(value),
        ["", number, protocol, "PROTO"] => is_number(number) && is_protocol(protocol) && is_protocol(value),
        ["", number, protocol, "PORT"] => is_number(number) && is_protocol(protocol) && is_number(value),
        ["", number, protocol, "ADDR"] => is_number(number) && is_protocol(protocol) && is_ip(value),
        _ => false,
    };
    let rest = format!("_{rest}");
    // `_SERVICE_PORT_HTTP` is that of the port called http.
    let is_service_port = |(_, tail): (&str, &str)| (tail.is_empty() || tail.starts_with('_')) && is_number(value);
    (rest.ends_with("_SERVICE_HOST") && is_ip(value))
        || rest.rsplit_once("_SERVICE_PORT").is_some_and(is_service_port)
        || rest.match_indices("_PORT").any(|(at, port)| is_of_port(&rest[at + port.len()..]))
}

/// True if and only if a service of Kubernetes may have this protocol.
fn is_protocol(text: &str) -> bool {
    ["tcp", "udp", "sctp"].iter().any(|protocol| text.eq_ignore_ascii_case(protocol))
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
        assert_eq!(warning("MAPCAST_INTERVALL", "1").as_deref(), Some(wanted));
        for (name, meant) in [
            ("MAPCAST_COLOUR", "MAPCAST_COLOR"),
            ("MAPCAST_LISTEN_PORT", "MAPCAST_LISTEN"),
            ("MAPCAST_HTTP_PORT", "MAPCAST_HTTP"),
            ("MAPCAST_HTTP_HOST_NAME", "MAPCAST_HTTP_HOST"),
            ("MAPCAST_TOKEN", "MAPCAST_TOKEN_FILE"),
            ("MAPCAST_PORT", "MAPCAST_LISTEN of the server or MAPCAST_ADDRESS of the client"),
        ] {
            let text = warning(name, "8080").unwrap_or_default();
            assert!(text.ends_with(&format!("; did you mean {meant}?")), "{text}");
        }
        assert_eq!(warning("MAPCAST_NONSENSE", "").as_deref(), Some("the variable MAPCAST_NONSENSE has no effect"));
        for name in ["MAPCAST_INTERVAL", "MAPCAST_KEY", "MAPCAST_FILE", "HOME"] {
            assert_eq!(warning(name, "x"), None, "{name}");
        }
    }

    #[test]
    fn a_variable_of_kubernetes_is_known_by_its_value() {
        for (name, value, other) in [
            ("SERVICE_HOST", "10.0.0.1", "localhost"),
            ("SERVICE_PORT", "8080", "http"),
            ("LISTEN_SERVICE_HOST", "fd00::1", "1"),
            ("LISTEN_SERVICE_PORT_HTTP", "80", "http"),
            ("PORT", "tcp://10.0.0.1:8080", "8080"),
            ("LISTEN_PORT", "tcp://[fd00::1]:8080", "8080"),
            ("HTTP_PORT", "sctp://10.0.0.1:8080", ":8080"),
            ("PORT_8080_TCP", "tcp://10.0.0.1:8080", "10.0.0.1:8080"),
            ("LISTEN_PORT_8080_TCP_ADDR", "10.0.0.1", "tcp://10.0.0.1:8080"),
            ("LISTEN_PORT_8080_UDP_PORT", "8080", "x"),
            ("LISTEN_PORT_8080_TCP_PROTO", "tcp", "http"),
            ("PORT_A_PORT", "tcp://10.0.0.1:8080", "8080"),
        ] {
            assert!(is_of_kubernetes(name, value), "{name}={value}");
            assert!(!is_of_kubernetes(name, other), "{name}={other}");
        }
        for name in ["LISTEN_PORTS", "PORT_8080", "PORT_X_TCP", "PORT_8080_TCP_X", "SERVICE_HOSTS"] {
            let values = ["tcp://10.0.0.1:8080", "10.0.0.1", "8080"];
            assert!(!values.iter().any(|value| is_of_kubernetes(name, value)), "{name}");
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
