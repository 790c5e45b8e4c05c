//! What to type instead of a command line that is not valid.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::environment;
use crate::habits::{self, Habits, set_tip, write};
use crate::nearest::nearest;
use crate::typed::Typed;

/// The commands, which precede their options.
const COMMANDS: [&str; 2] = ["echo", "greet"];

/// What other programs call the start of their server, which is no command here.
const STARTS: [&str; 7] = ["daemon", "listen", "map", "run", "serve", "server", "start"];

/// The commands of the client.
const CLIENT_COMMANDS: [&str; 8] = ["check", "clients", "completions", "del", "edit", "get", "set", "status"];

/// What other programs call an address, or a part of it.
const ADDRESSES: [&str; 10] = ["-p", "-P", "--port", "-H", "-b", "-a", "--host", "--bind", "--addr", "--address"];

/// Options of other servers, besides those for an address.
const HABITS: Habits = &[
    (
        &["--json", "--toml", "--file", "--input", "--map", "--data"],
        Some(&[]),
        "name the file without an option: mapcast-server FILE",
    ),
    (&["-c", "--config"], None, "there is no configuration file: every option has a variable, see --help"),
    (&["-d", "-D", "--daemon", "--background"], None, "use a service manager, or append & in a shell"),
    (&["--tls", "--ssl"], None, "use --tls-cert FILE and --tls-key FILE"),
    (&["--token", "--token-file"], Some(&["--http-token-file"]), "use --http-token-file FILE"),
    (&["--web", "--page", "--ui", "--http-port"], Some(&["--http"]), "use --http 8081"),
    (&["-o"], None, "the client has this option: mapcast-client -o"),
    (&["--debug", "--trace", "--log-level"], None, "use -v, -vv, or the variable RUST_LOG"),
    (&["--log", "--log-file"], None, "the log is on standard error: append 2>FILE"),
    (&["--user", "--group", "--pidfile", "--pid-file"], None, "use a service manager"),
    (&["--max-clients"], Some(&["--max-connections"]), "use --max-connections N"),
];

/// Returns `error` with what to type instead, if that is known.
pub(crate) fn explained(mut error: clap::Error, typed: &Typed<'_>) -> clap::Error {
    let is_late = |word: &String| COMMANDS.iter().any(|command| word == command);
    let of_order = [ErrorKind::ArgumentConflict, ErrorKind::UnknownArgument, ErrorKind::InvalidSubcommand];
    if of_order.contains(&error.kind())
        && let Some(place) = typed.words().iter().skip(2).position(is_late)
    {
        return late_command(typed, place + 2);
    }
    // A word too many is not a command, although clap says so.
    if error.kind() == ErrorKind::ArgumentConflict
        && let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand)
    {
        let tip = word_tip(typed).unwrap_or_else(|| "there is one FILE".to_owned());
        let text = format!("unexpected argument '{}'; {tip}", word.escape_debug());
        return clap::Error::raw(ErrorKind::UnknownArgument, text);
    }
    match tip(&error, typed) {
        Some(tip) => set_tip(&mut error, tip),
        None => habits::remove_wrong_tip(&mut error),
    }
    error
}

fn tip(error: &clap::Error, typed: &Typed<'_>) -> Option<String> {
    let may_have_one_hyphen = [ErrorKind::UnknownArgument, ErrorKind::InvalidValue, ErrorKind::ValueValidation];
    if may_have_one_hyphen.contains(&error.kind())
        && let Some(line) = typed.with_two_hyphens()
    {
        return Some(write(&line));
    }
    if let Some(option) = habits::unknown_option(error) {
        return option_tip(&option, typed);
    }
    let names = |kind, option: &str| match error.get(kind) {
        Some(ContextValue::String(arg)) => arg.contains(option),
        Some(ContextValue::Strings(args)) => args.iter().any(|arg| arg.contains(option)),
        _ => false,
    };
    let of_token = ["--http-token-file", "--source"]
        .iter()
        .any(|option| names(ContextKind::InvalidArg, option) || names(ContextKind::PriorArg, option));
    match error.kind() {
        ErrorKind::ArgumentConflict if of_token => Some(WRITABLE.to_owned()),
        ErrorKind::MissingRequiredArgument if typed.position("greet").is_some() => {
            let line = typed.with_words(typed.words().len(), 0, &["Hola"]);
            line.map(|line| format!("for example: {line}"))
        }
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand => word_tip(typed),
        _ => None,
    }
}

/// For an unknown option.
fn option_tip(option: &str, typed: &Typed<'_>) -> Option<String> {
    if ADDRESSES.contains(&option) {
        let line = typed.with_address(Some("--listen"), Some(DEFAULT_PORT));
        let Some(line) = line else {
            return Some("use --listen ADDR:PORT, --listen PORT or --listen :PORT".to_owned());
        };
        let address = line.split("--listen ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        let is_port = address.parse::<u16>().is_ok();
        let every = if is_port { format!(", or --listen :{address} for every address") } else { String::new() };
        return Some(write(&line) + &every);
    }
    let of_client = || {
        let is_of_client = environment::program_of(option) == Some("mapcast-client");
        is_of_client.then(|| format!("the client has this option: mapcast-client {option}"))
    };
    habits::tip(option, HABITS, typed).or_else(of_client)
}

/// The port of `--listen` without an option.
const DEFAULT_PORT: &str = "8080";

/// For a word too many: the first word may not be a file, or another one may be an address.
fn word_tip(typed: &Typed<'_>) -> Option<String> {
    let words = typed.words();
    let first = words.get(1)?;
    if STARTS.contains(&first.as_str()) {
        let line = typed.with_words(1, 1, &[]);
        return Some(line.map_or_else(|| START.to_owned(), |line| write(&line)));
    }
    if CLIENT_COMMANDS.contains(&first.as_str()) {
        return Some(of_client(first));
    }
    if first == "echo" {
        return Some("the client sends the text: mapcast-client echo 127.0.0.1:8080 TEXT".to_owned());
    }
    if first == "greet" {
        let words = words.get(2..)?.join(" ");
        return typed.with_words(2, usize::MAX, &[&words]).map(|line| write(&line));
    }
    let addresses = (1..words.len()).filter(|place| is_address(&words[*place]));
    let mut lines = addresses.filter_map(|place| typed.with_words(place, 1, &["--listen", &words[place]]));
    lines.next().map(|line| write(&line))
}

/// What to type instead of a command that starts the server.
const START: &str = "the server starts without a command: mapcast-server, or mapcast-server FILE";

fn of_client(command: &str) -> String {
    format!("{command} is a command of the client: mapcast-client {command}")
}

/// True if `word` is a port, or an address with a port.
fn is_address(word: &str) -> bool {
    word.trim_start_matches(':').parse::<u16>().is_ok() || word.parse::<std::net::SocketAddr>().is_ok()
}

/// Why a source excludes a token.
const WRITABLE: &str =
    "a source would overwrite what is written over HTTP; to keep that, use --state FILE in place of it";

/// Returns the error on a command at `place`, which follows an option.
pub(crate) fn late_command(typed: &Typed<'_>, place: usize) -> clap::Error {
    let mut words = typed.words().to_vec();
    let command = words.remove(place);
    words.insert(1, command.clone());
    let line = typed.line(&words).unwrap_or_else(|| format!("mapcast-server {command}, and then its options"));
    clap::Error::raw(ErrorKind::ArgumentConflict, format!("the command {command} goes first; write {line}"))
}

/// Returns the error if `file` is a command that follows an option.
pub(crate) fn command_as_file(file: &str, typed: &Typed<'_>) -> Option<clap::Error> {
    let place = typed.position(file)?;
    COMMANDS.contains(&file).then(|| late_command(typed, place))
}

/// Returns what to do about the text `source`, which does not name a source; `None` if only the general advice applies.
pub(crate) fn on_source(source: &str) -> Option<String> {
    let path = std::path::Path::new(source);
    let suffix = path.extension().and_then(|suffix| suffix.to_str()).unwrap_or_default().to_lowercase();
    Some(if is_address(source) {
        format!("a port is not a source; to listen there, use --listen {source}")
    } else if STARTS.contains(&source) {
        START.to_owned()
    } else if ["kill", "quit", "reload", "restart", "stop"].contains(&source) {
        "not a source; Ctrl-C or SIGTERM stops the server, whose log begins with its pid".to_owned()
    } else if source == "version" {
        "use --version".to_owned()
    } else if CLIENT_COMMANDS.contains(&source) {
        of_client(source)
    } else if let Some(command) = nearest(source, COMMANDS) {
        format!("not a source; did you mean the command {command}?")
    } else if ["yaml", "yml"].contains(&suffix.as_str()) {
        let json = path.with_extension("json");
        format!("YAML is not supported; convert it: yq -o json {source} > {}", json.display())
    } else if source.starts_with("http://") || source.starts_with("https://") {
        "HTTP is not supported; pipe it, one JSON object per line: curl -s URL | mapcast-server -".to_owned()
    } else if path.is_dir() {
        "a directory is not a source; name a .json or .toml file in it".to_owned()
    } else if path.is_file() {
        "the name of a file ends in .json or .toml, which tells how to read it".to_owned()
    } else {
        return None;
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_not_a_source_has_advice() {
        for (source, wanted) in [
            ("8080", "use --listen 8080"),
            (":8080", "use --listen :8080"),
            ("127.0.0.1:9", "use --listen 127.0.0.1:9"),
            ("ecko", "did you mean the command echo?"),
            ("serve", "mapcast-server, or mapcast-server FILE"),
            ("get", "mapcast-client get"),
            ("stop", "Ctrl-C or SIGTERM stops the server"),
            ("x.yaml", "yq -o json x.yaml > x.json"),
            ("https://h/x.json", "HTTP is not supported"),
            ("/", "a directory is not a source"),
            ("/etc/passwd", "ends in .json or .toml"),
        ] {
            let advice = on_source(source).unwrap_or_default();
            assert!(advice.contains(wanted), "{source}: {advice}");
        }
        assert_eq!(on_source("nofile"), None);
    }

    #[test]
    fn a_command_after_an_option_is_moved() {
        let words = |words: &[&str]| words.iter().map(std::ffi::OsString::from).collect::<Vec<_>>();
        let is_moved = |command_as_file: &[&str]| {
            let words = words(command_as_file);
            let typed = Typed::new("mapcast-server", &words, &|_| true);
            super::command_as_file(&words[words.len() - 1].to_string_lossy(), &typed).is_some()
        };
        let late = words(&["x/mapcast-server", "-l", "9001", "greet", "a b"]);
        let text = late_command(&Typed::new("mapcast-server", &late, &|_| true), 3).to_string();
        assert!(text.contains("write mapcast-server greet -l 9001 'a b'"), "{text}");
        let text = late_command(&Typed::new("mapcast-server", &late, &|_| false), 3).to_string();
        assert!(text.contains("write mapcast-server greet, and then its options"), "{text}");
        assert!(is_moved(&["mapcast-server", "-q", "echo"]) && !is_moved(&["mapcast-server", "-q", "f.json"]));
    }
}
