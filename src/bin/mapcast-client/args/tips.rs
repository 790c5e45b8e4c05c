//! What to type instead of a command line that is not valid.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::aliases::{Meant, meant};
use crate::address::is_address;
use crate::environment;
use crate::habits::{self, Habits, is_line, set_tip, write};
use crate::nearest::nearest;
use crate::typed::Typed;

/// Options of other clients, besides those for an address.
const HABITS: Habits = &[
    (&["--json"], Some(&["-o", "json"]), "use -o json, which is the default"),
    (&["--pretty"], Some(&["-o", "pretty"]), "use -o pretty"),
    (&["--text"], Some(&["-o", "text"]), "use -o text"),
    (&["--value"], Some(&["-o", "value"]), "use -o value"),
    (&["--diff"], Some(&["-o", "diff"]), "use -o diff"),
    (&["--raw"], Some(&["-o", "raw"]), "use -o raw"),
    (&["--no-color", "--no-colour"], Some(&["--color", "never"]), "use --color never"),
    (
        &["--follow", "--subscribe", "--listen"],
        Some(&[]),
        "maps are followed without an option: mapcast-client HOST:PORT",
    ),
    (&["-i"], None, "the server has this option: mapcast-server --interval"),
    (&["--get"], None, "use the command: mapcast-client get KEY"),
    (&["--set"], None, "use the command: mapcast-client set KEY=VALUE"),
    (&["--del", "--delete", "--unset"], None, "use the command: mapcast-client del KEY"),
    (&["--token"], None, "name the file of the token: mapcast-client set --token-file FILE KEY=VALUE"),
    (&["--config"], None, "there is no configuration file: every option has a variable, see --help"),
    (&["--debug", "--trace", "--log-level"], None, "use -v, -vv, or the variable RUST_LOG"),
    (&["--log", "--log-file"], None, "the log is on standard error: append 2>FILE"),
    (&["--reconnect"], Some(&[]), "it reconnects by itself, unless --no-reconnect is given"),
    (&["-t", "--topic", "--subject", "--entry"], Some(&["-k"]), "print one entry with -k KEY"),
    (&["-c", "-C", "--max"], Some(&["-n"]), "use -n N"),
    (&["--ssl"], Some(&["--tls"]), "use --tls"),
    (&["--ca", "--cacert", "--cafile"], Some(&["--tls-ca"]), "use --tls --tls-ca FILE"),
    (&["--insecure"], None, "pass the certificate of the server's CA with --tls-ca FILE"),
    (&["--retry"], None, "use --wait, or --wait=5s"),
    (&["--file", "--out", "-O"], Some(&["--write"]), "use --write FILE"),
];

/// What other programs call an address, or a part of it.
const ADDRESSES: [&str; 12] =
    ["-s", "-p", "-P", "--port", "-H", "--host", "--addr", "--address", "--connect", "--server", "--url", "--bind"];

/// Examples of the arguments of commands that need one.
const EXAMPLES: [(&str, &str); 3] = [("set", "limit=10"), ("del", "limit"), ("completions", "bash")];

/// Adds to `error` what to type instead, if that is known.
pub(super) fn explain(error: &mut clap::Error, definition: &clap::Command, typed: &Typed<'_>, words: &[OsString]) {
    let (command, address) = rough(definition.clone(), words);
    let line = Line { definition, typed, command: command.as_deref(), address: address.as_deref() };
    match line.tip(error) {
        Some(tip) => set_tip(error, tip),
        None => habits::remove_wrong_tip(error),
    }
}

/// A command line that is not valid.
struct Line<'a> {
    definition: &'a clap::Command,
    typed: &'a Typed<'a>,
    /// The command, and the address before it, if they were typed.
    command: Option<&'a str>,
    address: Option<&'a str>,
}

impl Line<'_> {
    fn tip(&self, error: &clap::Error) -> Option<String> {
        let string = |kind| match error.get(kind) {
            Some(ContextValue::String(text)) => Some(text.as_str()),
            _ => None,
        };
        let may_have_one_hyphen = [ErrorKind::UnknownArgument, ErrorKind::InvalidValue, ErrorKind::ValueValidation];
        if may_have_one_hyphen.contains(&error.kind())
            && let Some(line) = self.typed.with_two_hyphens()
        {
            return Some(write(&line));
        }
        match error.kind() {
            ErrorKind::MissingRequiredArgument => self.example(),
            ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand => {
                if let Some(tip) = self.meant_command() {
                    return Some(tip);
                }
                match habits::unknown_option(error) {
                    Some(option) => self.option(&option),
                    None => {
                        self.extra_word(string(ContextKind::InvalidArg).or(string(ContextKind::InvalidSubcommand))?)
                    }
                }
            }
            ErrorKind::ValueValidation if self.command == Some("set") => self.entry(string(ContextKind::InvalidValue)?),
            _ => None,
        }
    }

    /// For a command without its argument.
    fn example(&self) -> Option<String> {
        let (command, argument) = EXAMPLES.iter().find(|(name, _)| Some(*name) == self.command)?;
        let end = self.typed.words().len();
        let line = self.typed.with_words(end, 0, &[argument]);
        Some(format!("for example: {}", line.unwrap_or_else(|| format!("mapcast-client {command} {argument}"))))
    }

    /// If the address is not one, but a command with another name or a mistyped one.
    fn meant_command(&self) -> Option<String> {
        let word = self.address.filter(|_| self.command.is_none())?;
        let meant = meant(self.definition, word)?;
        let place = self.typed.position(word)?;
        let line = match meant {
            Meant::Command(command) => {
                let joined = || self.typed.words().get(place + 1..place + 3).map(|pair| pair.join("="));
                let set = || self.typed.with_words(place, 3, &[command, &joined()?]).filter(|_| command == "set");
                self.typed.with_words(place, 1, &[command]).or_else(set)
            }
            Meant::Follow => self.typed.with_words(place, 1, &[]),
            Meant::Server | Meant::Version => None,
        };
        Some(line.map_or_else(|| meant.question(), |line| write(&line)))
    }

    fn option(&self, option: &str) -> Option<String> {
        if ADDRESSES.contains(&option) {
            return Some(self.address_option(option));
        }
        let own: Habits = match self.command {
            Some("get" | "del" | "edit") => &[(&["-k", "--key"], Some(&[]), "write the key without an option")],
            Some("clients") => &[(&["-n", "--count"], Some(&["--limit"]), "use --limit N")],
            Some("completions") => &[(&["-s", "--shell"], Some(&[]), "write the shell without an option")],
            _ => &[],
        };
        let of_other = || habits::tip(option, HABITS, self.typed).filter(|tip| self.command.is_none() || is_line(tip));
        if let Some(tip) = habits::tip(option, own, self.typed).or_else(|| self.beginning(option)).or_else(of_other) {
            return Some(tip);
        }
        let is_known = |command: &clap::Command| {
            command.get_arguments().any(|arg| {
                let long = arg.get_long().is_some_and(|long| option.strip_prefix("--") == Some(long));
                long || arg.get_short().is_some_and(|short| option == format!("-{short}"))
            })
        };
        let commands: Vec<_> = self.definition.get_subcommands().filter(|command| is_known(command)).collect();
        let names = || {
            let plural = if commands.len() == 1 { "the command" } else { "one of the commands" };
            format!("{plural} {}", commands.iter().map(|command| command.get_name()).collect::<Vec<_>>().join(", "))
        };
        match self.command {
            None if !commands.is_empty() => Some(format!("{option} goes after {}", names())),
            // Before the command.
            Some(command) if commands.iter().any(|takes| takes.get_name() == command) => {
                Some(self.moved(command).map_or_else(|| format!("{option} goes after {command}"), |line| write(&line)))
            }
            Some(command) if is_known(self.definition) => {
                Some(format!("{option} is for printing or delivering maps, without the command {command}"))
            }
            Some(_) if !commands.is_empty() => Some(format!("{option} is an option of {}", names())),
            _ if environment::program_of(option) == Some("mapcast-server") => {
                Some(format!("the server has this option: mapcast-server {option}"))
            }
            _ => None,
        }
    }

    /// If the typed `option` is the beginning of one option.
    fn beginning(&self, option: &str) -> Option<String> {
        let begun = option.strip_prefix("--").filter(|begun| begun.len() > 2)?;
        let command = self.command.and_then(|command| self.definition.find_subcommand(command));
        let longs = command.unwrap_or(self.definition).get_arguments().filter_map(clap::Arg::get_long);
        let found: Vec<_> = longs.filter(|long| long.starts_with(begun)).collect();
        let [long] = found[..] else { return None };
        self.typed.with_option(option, &[&format!("--{long}")]).map(|line| write(&line))
    }

    /// Returns the line with the words before `command` after it.
    fn moved(&self, command: &str) -> Option<String> {
        let place = self.typed.position(command)?;
        let (before, after) = (&self.typed.words()[1..place], &self.typed.words()[place + 1..]);
        let words: Vec<&str> = [command].into_iter().chain(before.iter().chain(after).map(String::as_str)).collect();
        self.typed.with_words(1, self.typed.words().len(), &words)
    }

    /// For an option that names the address of a server.
    fn address_option(&self, option: &str) -> String {
        let wanted = match self.command {
            Some(command) if self.has_http(command) => Some("--http"),
            Some("get") => Some("-s"),
            _ => None,
        };
        let words: Vec<&str> = wanted.into_iter().collect();
        // The port of the map is not that of HTTP.
        let is_of_map = || self.typed.words().iter().any(|word| word.ends_with("8080"));
        let has_value = self.typed.words().last().is_some_and(|word| word != option);
        let with_option = || self.typed.with_option(option, &words).filter(|_| has_value);
        let line = self.typed.with_address(wanted, None).or_else(with_option);
        let general = || match wanted {
            Some("--http") => "use --http HOST:PORT, with the port of the server's --http, such as 8081".to_owned(),
            Some(_) => "use -s HOST:PORT".to_owned(),
            None => {
                let command = self.command.map_or_else(String::new, |command| format!("{command} "));
                format!("write the address without an option: mapcast-client {command}HOST:PORT")
            }
        };
        line.filter(|_| wanted != Some("--http") || !is_of_map()).map_or_else(general, |line| write(&line))
    }

    /// True if and only if `command` is sent over HTTP.
    fn has_http(&self, command: &str) -> bool {
        let command = self.definition.find_subcommand(command);
        command.is_some_and(|command| command.get_arguments().any(|arg| arg.get_id() == "http"))
    }

    /// For a word too many.
    fn extra_word(&self, word: &str) -> Option<String> {
        let place = self.typed.position(word);
        if self.typed.words().get(1).is_some_and(|first| first == "help") {
            let names = self.definition.get_subcommands().map(clap::Command::get_name);
            return Some(format!("did you mean the command {}?", nearest(word, names)?));
        }
        let line = place.and_then(|place| match self.command {
            Some("status" | "clients") => self.typed.with_words(place, 1, &["--http", word]),
            Some("edit") if is_address(word) => self.typed.with_words(place, 1, &["--http", word]),
            // HOST PORT, as other programs take them.
            None | Some("check" | "greet") if word.parse::<u16>().is_ok() => {
                let host = self.typed.words().get(place.checked_sub(1)?)?;
                let address = format!("{host}:{word}");
                (!host.contains(':')).then(|| self.typed.with_words(place - 1, 2, &[&address]))?
            }
            _ => None,
        });
        if let Some(line) = line {
            return Some(write(&line));
        }
        match self.command {
            None => Some(place.and_then(|place| self.option_or_key(place, word)).unwrap_or_else(|| {
                "a command precedes its arguments, and there is one address: see --help".to_owned()
            })),
            Some(command) => self.has_http(command).then(|| "name the server with --http HOST:PORT".to_owned()),
        }
    }

    /// For a word that may be an option without its hyphens, or the key of an entry.
    fn option_or_key(&self, place: usize, word: &str) -> Option<String> {
        let option = self.typed.with_words(place, 1, &[&format!("--{word}")]).map(|line| write(&line));
        let is_key = !is_address(word) && !word.contains(['=', ':', '.']);
        let key = || self.typed.with_words(place, 1, &["-k", word]).filter(|_| is_key);
        option.or_else(|| key().map(|line| format!("to print this entry, {}", write(&line))))
    }

    /// For a word that is not `KEY=VALUE`.
    fn entry(&self, word: &str) -> Option<String> {
        let place = self.typed.position(word)?;
        if word.starts_with('{') {
            return Some("mapcast-client edit changes the whole map".to_owned());
        }
        let of_server = || self.typed.with_words(place, 1, &["--http", word]).filter(|_| is_address(word));
        let next = |at: usize| self.typed.words().get(place + at).map(String::as_str);
        let key = word.strip_suffix(':').unwrap_or(word);
        // KEY = VALUE, KEY: VALUE and KEY VALUE.
        let of_three =
            || self.typed.with_words(place, 3, &[&format!("{key}={}", next(2)?)]).filter(|_| next(1) == Some("="));
        let of_two = || self.typed.with_words(place, 2, &[&format!("{key}={}", next(1)?)]);
        // KEY:VALUE.
        let of_one = || self.typed.with_words(place, 1, &[&key.replacen(':', "=", 1)]);
        let line = of_server().or_else(of_three).or_else(of_one).or_else(of_two);
        line.map(|line| write(&line))
    }
}

/// Returns the command of `words`, and the address before it, whatever else is wrong with them.
pub(super) fn rough(definition: clap::Command, words: &[OsString]) -> (Option<String>, Option<String>) {
    let names: Vec<String> = definition.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let definition = environment::without(definition, |_| true).ignore_errors(true);
    let Ok(matches) = definition.try_get_matches_from(words) else { return (None, None) };
    let address = matches.get_raw("address").and_then(|mut words| words.next()?.to_str().map(str::to_owned));
    let is_typed = matches.value_source("address") == Some(clap::parser::ValueSource::CommandLine);
    // Of words with an unknown option clap may miss the command.
    let first =
        || words.iter().skip(1).filter_map(|word| word.to_str()).find(|word| names.iter().any(|name| name == word));
    let command = matches.subcommand_name().or_else(first).map(str::to_owned);
    (command, address.filter(|_| is_typed))
}
