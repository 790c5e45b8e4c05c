//! What other programs call the commands of this one.

use crate::nearest::nearest;

/// What a word is probably meant to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meant<'d> {
    /// This command.
    Command(&'d str),
    /// No command: maps are followed without one.
    Follow,
    /// The server.
    Server,
    /// The option `--version`.
    Version,
}

/// The names of commands in other programs, and what they are called here.
const ALIASES: [(&[&str], Meant<'static>); 9] = [
    (&["cat", "dump", "list", "ls", "print", "read", "show"], Meant::Command("get")),
    (&["add", "assign", "put", "update", "write"], Meant::Command("set")),
    (&["delete", "remove", "rm", "unset"], Meant::Command("del")),
    (&["health", "healthcheck", "ping", "verify"], Meant::Command("check")),
    (&["info", "stat", "stats"], Meant::Command("status")),
    (&["conns", "connections", "who"], Meant::Command("clients")),
    (&["follow", "listen", "monitor", "stream", "sub", "subscribe", "tail", "watch"], Meant::Follow),
    (&["daemon", "run", "serve", "server", "start"], Meant::Server),
    (&["version"], Meant::Version),
];

/// Returns what `word` is probably meant to be: what another program calls a command, or a mistyped command of `definition`.
pub(super) fn meant<'d>(definition: &'d clap::Command, word: &str) -> Option<Meant<'d>> {
    let alias = ALIASES.iter().find(|(names, _)| names.contains(&word)).map(|(_, meant)| *meant);
    let commands = || definition.get_subcommands().map(clap::Command::get_name).filter(|name| *name != "help");
    alias.or_else(|| nearest(word, commands()).map(Meant::Command))
}

impl Meant<'_> {
    /// Returns what to ask, or to say, if the whole line is not known.
    pub(super) fn question(self) -> String {
        match self {
            Meant::Command(command) => format!("did you mean the command {command}?"),
            Meant::Follow => "maps are followed without a command: mapcast-client HOST:PORT".to_owned(),
            Meant::Server => "the server is another program: mapcast-server".to_owned(),
            Meant::Version => "use --version".to_owned(),
        }
    }
}
