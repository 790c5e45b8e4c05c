//! A page's shell sessions, in one directory, with the programs on free ports.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tempfile::TempDir;

use super::output::are_shown;
use super::page::{Block, Kind};
use crate::support::program::{CLIENT, Program, SERVER, clean};
use crate::support::{PATIENCE, eventually, free_port, pause};

/// The character "record separator": after it a shell prints the number of a command that has ended, and its exit code.
const END: char = '\u{1e}';

/// Free ports in place of those that the pages print.
#[derive(Default)]
struct Ports(BTreeMap<u16, u16>);

impl Ports {
    /// Returns the free port in place of `printed`.
    fn free(&mut self, printed: u16) -> u16 {
        *self.0.entry(printed).or_insert_with(free_port)
    }

    /// Returns the page's text with free ports.
    fn rewrite(&mut self, text: &str) -> String {
        replace_numbers(text, |number| {
            let is_port = (8080..8100).contains(&number) || (9000..9100).contains(&number);
            is_port.then(|| self.free(number))
        })
    }

    /// Returns the free ports of the server that the command starts.
    fn of_server(&mut self, command: &str) -> Vec<u16> {
        let words: Vec<_> = command.split_whitespace().collect();
        let after = |options: &[&str]| {
            let pairs = words.windows(2).filter(|pair| options.contains(&pair[0]));
            pairs.filter_map(|pair| pair[1].rsplit([':', '@']).next()?.parse().ok()).collect::<Vec<u16>>()
        };
        let (mut printed, page) = (after(&["-l", "--listen"]), after(&["--http"]));
        if printed.is_empty() {
            printed.push(8080);
        }
        printed.into_iter().chain(page).map(|printed| self.free(printed)).collect()
    }

    /// Returns the output with the ports that the page prints.
    fn restore(&self, text: &str) -> String {
        replace_numbers(text, |number| self.0.iter().find(|(_, free)| **free == number).map(|(printed, _)| *printed))
    }
}

/// Replaces the numbers in the text for which `other` returns one.
fn replace_numbers(text: &str, mut other: impl FnMut(u16) -> Option<u16>) -> String {
    let mut replaced = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let end = rest[start..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |length| start + length);
        let number = &rest[start..end];
        replaced += &rest[..start];
        replaced += &number.parse().ok().and_then(&mut other).map_or(number.to_owned(), |other| other.to_string());
        rest = &rest[end..];
    }
    replaced + rest
}

/// True if and only if a program listens on this port: state 0A in `/proc/net/tcp` and `/proc/net/tcp6` (proc(5)).
fn is_listening(port: u16) -> bool {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let port = format!(":{port:04X}");
    tables.iter().flat_map(|table| table.lines()).any(|line| {
        let mut columns = line.split_whitespace();
        columns.nth(1).is_some_and(|local| local.ends_with(&port)) && columns.nth(1) == Some("0A")
    })
}

/// A shell, with everything that it has started.
struct Terminal {
    bash: Program,
    input: ChildStdin,
    /// The number of its lines of output that have been compared.
    compared: usize,
    /// The number of commands that were started.
    commands: usize,
    has_background: bool,
}

/// A page that is run: its directory, its ports and its terminals.
pub struct Page {
    terminals: BTreeMap<String, Terminal>,
    ports: Ports,
    programs: TempDir,
    directory: TempDir,
}

impl Page {
    pub fn new() -> Self {
        let directory = || tempfile::tempdir().expect("a directory");
        Self { terminals: BTreeMap::new(), ports: Ports::default(), programs: directory(), directory: directory() }
    }

    /// Runs a block, or writes its file.
    #[track_caller]
    pub fn follow(&mut self, block: &Block) {
        match block.kind() {
            Kind::Console(terminal) => self.run(terminal, &block.text),
            Kind::File(name) => self.write(name, &block.text),
            Kind::Commands | Kind::Other => {}
        }
    }

    /// Writes a file of the page.
    fn write(&mut self, name: &str, text: &str) {
        let text = self.ports.rewrite(text);
        fs::write(self.directory.path().join(name), text).expect("a file");
    }

    /// Runs a block in the page's session, or in the terminal with this name, whose last command may go on.
    #[track_caller]
    fn run(&mut self, name: Option<&str>, block: &str) {
        let key = name.unwrap_or_default();
        if !self.terminals.contains_key(key) {
            let terminal = self.start();
            self.terminals.insert(key.to_owned(), terminal);
        }
        let terminal = self.terminals.get_mut(key).expect("started just now");
        let (before, commands) = split(block);
        if !before.is_empty() {
            terminal.compare_more(&before, &self.ports);
        }
        let last = commands.len();
        for (number, (command, shown)) in (1..).zip(commands) {
            let may_go_on = name.is_some() && number == last;
            let rewritten = self.ports.rewrite(&command);
            terminal.run(&rewritten, &shown, may_go_on, &self.ports);
            if command.split_whitespace().any(|word| word == "mapcast-server") && (may_go_on || is_background(&command))
            {
                let ports = self.ports.of_server(&command);
                eventually("the server listens", || ports.iter().all(|port| is_listening(*port)));
            }
        }
    }

    /// The free port in place of `printed`.
    pub fn port(&mut self, printed: u16) -> u16 {
        self.ports.free(printed)
    }

    /// Starts the shell of a terminal.
    fn start(&mut self) -> Terminal {
        let [map, page, json] = [8080, 8081, 8082].map(|printed| self.ports.free(printed));
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = clean("bash");
        command.args(["--norc", "-s"]).current_dir(self.directory.path()).stdin(Stdio::piped()).process_group(0);
        command
            .env("PATH", format!("{}:{path}", self.programs.path().display()))
            .env("PYTHONPATH", self.programs.path());
        command.env("HOME", self.programs.path()).env("no_proxy", "*");
        let mut bash = Program::start(command);
        let mut input = bash.stdin();
        let [server, client] = ["mapcast-server", "mapcast-client"].map(|name| self.programs.path().join(name));
        // The shell writes the programs: what this process writes may be busy while another test forks.
        let start = format!(
            r#"exec 2>&1
trap : INT
# On a terminal curl shows no progress.
echo silent >~/.curlrc
# On a terminal Python writes whole lines, at once.
echo 'import sys; sys.stdout.reconfigure(line_buffering=True)' >~/sitecustomize.py
[ -e {server} ] || cat >{server} <<'EOF'
#!/bin/sh
# Without options and variables a server has three ports, which are free ones here.
case " $* $(env | grep '^MAPCAST_') " in
    *MAPCAST_* | *' -l '* | *' --listen '* | *' --http '* | *' --se'* | *' --so'* | *' -s '* | *' -f '* | *' echo '* | *' greet '* | *.json*) ;;
    *) set -- "$@" --listen 127.0.0.1:{map} --listen json@127.0.0.1:{json} --http 127.0.0.1:{page} ;;
esac
export MAPCAST_LISTEN="${{MAPCAST_LISTEN-127.0.0.1:{map}}}"
exec {SERVER} "$@"
EOF
[ -e {client} ] || cat >{client} <<'EOF'
#!/bin/sh
export MAPCAST_ADDRESS="${{MAPCAST_ADDRESS-127.0.0.1:{map}}}" MAPCAST_HTTP="${{MAPCAST_HTTP-127.0.0.1:{page}}}"
exec {CLIENT} "$@"
EOF
chmod +x {server} {client}"#,
            server = server.display(),
            client = client.display()
        );
        writeln!(input, "{start}").expect("a shell that reads");
        Terminal { bash, input, compared: 0, commands: 0, has_background: false }
    }
}

/// A command, with the output that the page shows.
type Shown<'p> = (String, Vec<&'p str>);

/// Splits a block into the output before its first command, and its commands.
fn split(block: &str) -> (Vec<&str>, Vec<Shown<'_>>) {
    let (mut before, mut commands): (Vec<&str>, Vec<Shown<'_>>) = (Vec::new(), Vec::new());
    for line in block.lines() {
        match (line.strip_prefix("$ "), line.strip_prefix("> "), commands.last_mut()) {
            (Some(command), ..) => commands.push((command.to_owned(), Vec::new())),
            (None, Some(more), Some((command, shown))) if shown.is_empty() => command.extend(["\n", more]),
            _ if is_job(line) => {}
            (None, _, Some((_, shown))) => shown.push(line),
            (None, _, None) => before.push(line),
        }
    }
    (before, commands)
}

/// True if and only if the command goes on in the background; a comment may follow.
fn is_background(command: &str) -> bool {
    command.split(" # ").next().is_some_and(|command| command.trim_end().ends_with('&'))
}

/// True if and only if this is what an interactive shell prints about a new background job: `[1] 8918`.
fn is_job(line: &str) -> bool {
    let job = line.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    job.is_some_and(|(number, pid)| number.parse::<u32>().is_ok() && pid.parse::<u32>().is_ok())
}

impl Terminal {
    /// Runs one command, which must print what is shown, and nothing else.
    #[track_caller]
    fn run(&mut self, command: &str, shown: &[&str], may_go_on: bool, ports: &Ports) {
        self.commands += 1;
        self.has_background |= is_background(command);
        let quoted = command.replace('\'', r"'\''");
        writeln!(self.input, "eval '{quoted}' </dev/null; printf '\\036%s %s\\n' {} $?", self.commands)
            .expect("a shell that reads");
        self.compare(command, shown, may_go_on, ports);
    }

    /// The command that still runs must print what is shown; `^C` at its start interrupts the command first.
    #[track_caller]
    fn compare_more(&mut self, shown: &[&str], ports: &Ports) {
        let Some(first) = shown[0].strip_prefix("^C") else {
            return self.compare("the command that goes on", shown, true, ports);
        };
        self.signal(Signal::INT);
        // What it has printed since the last comparison is not shown.
        let first = if first.is_empty() { "…" } else { first };
        let shown: Vec<_> = ["…", first].into_iter().chain(shown[1..].iter().copied()).collect();
        self.compare("the interrupted command", &shown, false, ports);
    }

    /// Waits until the output after the last comparison is what is shown.
    #[track_caller]
    fn compare(&mut self, command: &str, shown: &[&str], may_go_on: bool, ports: &Ports) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (lines, code) = self.lines(ports);
            // A command that goes on may have printed more already, for a later block.
            let ends = if may_go_on && code.is_none() { 0..=lines.len() } else { lines.len()..=lines.len() };
            let printed = |end: &usize| lines[..*end].iter().map(|(_, line)| line.clone()).collect::<Vec<_>>();
            let end = ends.clone().find(|end| are_shown(shown, &printed(end), self.has_background));
            if let Some(end) = end.filter(|_| may_go_on || code.is_some()) {
                assert!(code.is_none_or(|code| code == 0) || !shown.is_empty(), "{command}: exit code {code:?}");
                self.compared = lines[..end].last().map_or(self.compared, |(number, _)| number + 1);
                return;
            }
            if Instant::now() > deadline {
                let printed = printed(&lines.len()).join("\n");
                panic!("{command}\nexit code {code:?}; the page shows:\n{}\nprinted:\n{printed}", shown.join("\n"));
            }
            pause();
        }
    }

    /// The lines of output that have not been compared, with their numbers, and the exit code of the last command if it has
    /// ended.
    fn lines(&self, ports: &Ports) -> (Vec<(usize, String)>, Option<i32>) {
        let (mut lines, mut code) = (Vec::new(), None);
        for (number, line) in self.bash.out().into_iter().enumerate() {
            let (text, end) = line.split_once(END).map_or((line.as_str(), None), |(text, end)| (text, Some(end)));
            if number >= self.compared && (end.is_none() || !text.is_empty()) {
                lines.push((number, ports.restore(text.trim_end_matches('\r'))));
            }
            let ended = end.and_then(|end| end.split_once(' ')).filter(|(of, _)| *of == self.commands.to_string());
            code = ended.and_then(|(_, code)| code.parse().ok()).or(code);
        }
        (lines, code)
    }

    fn group(&self) -> Pid {
        i32::try_from(self.bash.pid()).ok().and_then(Pid::from_raw).expect("a process")
    }

    /// Sends a signal to the shell and to everything that it has started.
    fn signal(&self, signal: Signal) {
        // Fails only if all of them have exited.
        let _ = kill_process_group(self.group(), signal);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A client ends the program that it has started, unless it is killed.
        self.signal(Signal::TERM);
        if !std::thread::panicking() {
            let group = self.group();
            eventually("the programs of the page end", || {
                !self.bash.is_running() && test_kill_process_group(group).is_err()
            });
        }
        self.signal(Signal::KILL);
    }
}
