//! What to type instead of a command line that is not valid.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::habits::{self, Habits};
use crate::nearest::nearest;

/// The commands, which precede their options.
const COMMANDS: [&str; 2] = ["echo", "greet"];

/// Options of other servers.
const HABITS: Habits = &[
    (&["-p", "-P", "--port"], "use --listen 9000, or --listen :9000 for every address of this machine"),
    (&["-H", "-b", "-a", "--host", "--bind", "--addr", "--address"], "use --listen ADDR:PORT"),
    (
        &["--json", "--toml", "--file", "--input", "--map", "--data"],
        "name the file without an option: mapcast-server FILE",
    ),
    (&["-c", "--config"], "there is no configuration file: every option has a variable, see --help"),
    (&["-d", "-D", "--daemon", "--background"], "use a service manager, or append & in a shell"),
    (&["--tls", "--ssl"], "use --tls-cert FILE and --tls-key FILE"),
    (&["--token", "--token-file"], "use --http-token-file FILE"),
    (&["--web", "--page", "--ui", "--http-port"], "use --http 8081"),
    (&["-o", "--output", "--watch", "--once"], "the client has this option: mapcast-client"),
    (&["--max-clients"], "use --max-connections N"),
];

/// Returns `error` with what to type instead of `words`, if that is known.
pub(crate) fn explained(mut error: clap::Error, words: &[OsString]) -> clap::Error {
    let is_late = |word: &OsString| COMMANDS.iter().any(|command| word == command);
    let of_order = [ErrorKind::ArgumentConflict, ErrorKind::UnknownArgument, ErrorKind::InvalidSubcommand];
    if of_order.contains(&error.kind())
        && let Some(place) = words.iter().skip(2).position(is_late)
    {
        return late_command(words, place + 2);
    }
    habits::explain(&mut error, HABITS);
    let is_file = matches!(error.get(ContextKind::InvalidArg), Some(ContextValue::Strings(args)) if args.iter().any(|arg| arg.contains("--source")));
    let of_token = matches!(error.get(ContextKind::PriorArg), Some(ContextValue::String(arg)) if arg.contains("--http-token-file"));
    if error.kind() == ErrorKind::ArgumentConflict && (is_file || of_token) {
        habits::set_tip(&mut error, WRITABLE.to_owned());
    }
    error
}

/// Why a source excludes a token.
const WRITABLE: &str =
    "a source would overwrite what is written over HTTP; to keep that, use --state FILE in place of it";

/// Returns the error on a command at `place`, which follows an option.
pub(crate) fn late_command(words: &[OsString], place: usize) -> clap::Error {
    let mut sorted: Vec<_> = words.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let command = sorted.remove(place - 1);
    let text = format!("the command {command} goes first; write mapcast-server {command} {}", sorted.join(" "));
    clap::Error::raw(ErrorKind::ArgumentConflict, text)
}

/// Returns the error if `file` is a command that follows an option.
pub(crate) fn command_as_file(file: &str, words: &[OsString]) -> Option<clap::Error> {
    let place = words.iter().position(|word| word == file).filter(|place| *place > 0)?;
    COMMANDS.contains(&file).then(|| late_command(words, place))
}

/// Returns what to do about the text `source`, which does not name a source; `None` if only the general advice applies.
pub(crate) fn on_source(source: &str) -> Option<String> {
    let path = std::path::Path::new(source);
    let suffix = path.extension().and_then(|suffix| suffix.to_str()).unwrap_or_default().to_lowercase();
    let is_port = source.trim_start_matches(':').parse::<u16>().is_ok();
    Some(if is_port || source.parse::<std::net::SocketAddr>().is_ok() {
        format!("a port is not a source; to listen there, use --listen {source}")
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
        let words: Vec<OsString> = ["mapcast-server", "-l", "9001", "greet", "hola"].map(OsString::from).to_vec();
        let text = late_command(&words, 3).to_string();
        assert!(text.contains("write mapcast-server greet -l 9001 hola"), "{text}");
        assert!(command_as_file("echo", &["mapcast-server", "-q", "echo"].map(OsString::from)).is_some());
        assert!(command_as_file("f.json", &["mapcast-server", "-q", "f.json"].map(OsString::from)).is_none());
    }
}
