//! `--watch` in a real terminal (tmux).

use std::fs;
use std::process::Command;
use std::time::Duration;

use mapcast::{Map, Value};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::peer::{builtin_frame, serve_bytes};
use crate::support::program::{CLIENT, Program, clean};
use crate::support::server::{MapServer, numbered};
use crate::support::{eventually, has_command, skip};

/// A terminal of 80 columns and 12 lines in which a shell runs one command; closed on drop.
struct Screen {
    directory: TempDir,
}

impl Screen {
    /// Starts `mapcast-client --watch` with `args`; the screen stays after its exit. `None` without tmux.
    #[track_caller]
    fn watch(args: &str, setting: &str) -> Option<Self> {
        Self::start(args, setting, "")
    }

    /// As [`watch`](Self::watch), with words after the command.
    #[track_caller]
    fn start(args: &str, before: &str, after: &str) -> Option<Self> {
        if !has_command("tmux") {
            skip("no tmux");
            return None;
        }
        let screen = Self { directory: tempfile::tempdir().unwrap() };
        let script = format!(
            "cd {}; echo 'the shell before'; stty -g >before; {before} sh -c 'echo $$ >pid; exec {CLIENT} --watch {args}'{after}; \
             echo \"code $?\"; stty -g >after; cat",
            screen.directory.path().display()
        );
        screen.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "12", &script]);
        Some(screen)
    }

    #[track_caller]
    fn tmux(&self, args: &[&str]) -> String {
        let mut command: Command = clean("tmux");
        command
            .arg("-S")
            .arg(self.directory.path().join("socket"))
            .args(args)
            .env_remove("TMUX")
            .env_remove("NO_COLOR");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The content of the screen; with its escape sequences if `styled`.
    fn text(&self, styled: bool) -> String {
        let escapes: &[&str] = if styled { &["-e"] } else { &[] };
        self.tmux(&[&["capture-pane", "-p"], escapes].concat())
    }

    #[track_caller]
    fn wait_text(&self, text: &str) {
        self.wait(text, |screen| screen.contains(text));
    }

    #[track_caller]
    fn wait(&self, what: &str, holds: impl Fn(&str) -> bool) {
        let mut last = String::new();
        eventually(&format!("{what:?} on the screen"), || {
            let text = self.text(false);
            if text != last {
                // Shown if the test fails.
                eprintln!("{text}");
                last.clone_from(&text);
            }
            holds(&text)
        });
    }

    fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    fn pid(&self) -> Pid {
        let pid = fs::read_to_string(self.directory.path().join("pid")).unwrap();
        Pid::from_raw(pid.trim().parse().unwrap()).unwrap()
    }

    /// Fails unless the client has exited with `code` and restored the terminal.
    #[track_caller]
    fn assert_restored(&self, code: i32) {
        self.wait_text(&format!("code {code}\n"));
        self.wait_text("the shell before");
        let setting = |name: &str| fs::read_to_string(self.directory.path().join(name)).unwrap_or_default();
        eventually("the settings after", || !setting("after").is_empty());
        assert_eq!(setting("before"), setting("after"));
        assert_eq!(self.tmux(&["display", "-p", "#{alternate_on} #{cursor_flag}"]), "0 1\n");
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut command = clean("tmux");
        let _ = command.arg("-S").arg(self.directory.path().join("socket")).arg("kill-server").output();
    }
}

fn two_entries(number: i64) -> Map {
    Map::from([("n".into(), number.into()), ("quiet".into(), "same".into())])
}

#[test]
fn the_screen_shows_the_map_and_highlights_changes() {
    let server = MapServer::start(Duration::from_mins(1));
    server.feed.publish(&two_entries(1)).unwrap();
    let Some(screen) = Screen::watch(&format!("-f json {}", server.running.addr), "") else { return };
    screen.wait_text("  n      1\n");
    screen.wait_text("  quiet  \"same\"\n");
    screen.wait_text(&format!("{}, json: connected\n", server.running.addr));
    let styled = screen.text(true);
    assert!(!styled.contains("\x1b[7m") && styled.contains("\x1b[38;5;6mquiet"), "{styled:?}");
    server.feed.publish(&two_entries(2)).unwrap();
    screen.wait_text("* n      2  (was 1, ");
    let styled = screen.text(true);
    assert!(styled.contains("\x1b[7m\x1b[38;5;3m* n      2"), "{styled:?}");
    assert!(!styled.contains("\x1b[7m  quiet") && styled.contains("  \x1b[38;5;6mquiet"), "{styled:?}");
    screen.wait_text("| 1 change | 2 frames, ");
    // The highlight ends by itself.
    screen.wait_text("  n      2  (was 1, ");
    assert_eq!(screen.tmux(&["display", "-p", "#{alternate_on} #{cursor_flag}"]), "1 0\n");
    screen.press("q");
    screen.assert_restored(0);
}

#[test]
fn every_exit_restores_the_terminal() {
    for end in ["C-c", "TERM", "garbage"] {
        let server = MapServer::start(Duration::from_mins(1));
        let Some(screen) = Screen::watch(&format!("-f json {}", server.running.addr), "") else { return };
        screen.wait_text("  n  0\n");
        match end {
            "TERM" => kill_process(screen.pid(), Signal::TERM).unwrap(),
            "garbage" => {
                server.feed.publish(&Map::from([("x".into(), Value::Text("x".repeat(2 << 20)))])).unwrap();
            }
            key => screen.press(key),
        }
        screen.assert_restored(if end == "garbage" { 4 } else { 0 });
    }
}

#[test]
fn errors_are_printed_on_the_normal_screen() {
    let Some(screen) = Screen::watch(&format!("--no-reconnect {}", super::peer::closed_address()), "") else { return };
    screen.assert_restored(3);
    screen.wait_text("cannot connect to");
}

#[test]
fn a_server_that_is_not_there_yet_is_awaited() {
    let address = super::peer::closed_address();
    let Some(screen) = Screen::watch(&address, "") else { return };
    screen.wait_text(&format!("{address}: no server for 1 s, next try in "));
    screen.wait_text("Connection refused");
    let _server = Program::server(&["-l", &address, "--set", "n=1"]);
    screen.wait_text("  n  1\n");
    assert!(!screen.text(false).contains("reconnect"));
    screen.press("q");
    screen.assert_restored(0);
}

#[test]
fn keys_pause_sort_and_move_long_values() {
    let server = MapServer::start(Duration::from_mins(1));
    let entries =
        |number: i64| Map::from([("a".into(), Value::from("x".repeat(90) + "end")), ("n".into(), number.into())]);
    server.feed.publish(&entries(1)).unwrap();
    let Some(screen) = Screen::watch(&format!("-f json {}", server.running.addr), "") else { return };
    screen.wait_text("  n  1\n");
    screen.press("Right");
    screen.press("Right");
    screen.wait_text("xend\"");
    screen.press("Left");
    screen.press("Left");
    screen.wait("the begin", |text| text.contains("  a  \"xxx") && !text.contains("end"));
    screen.press("Space");
    screen.wait_text("connected, paused with 0 newer maps");
    server.feed.publish(&entries(2)).unwrap();
    screen.wait_text("paused with 1 newer map\n");
    assert!(screen.text(false).contains("  n  1\n"));
    screen.press("Space");
    screen.wait_text("n  2  (was 1, ");
    screen.press("s");
    screen.wait("the change first", |text| {
        text.contains("2 entries; by change") && text.find("n  2") < text.find("a  \"x")
    });
    screen.press("q");
    screen.assert_restored(0);
}

#[test]
fn colours_follow_the_option_before_the_environment() {
    for (setting, option, is_colored) in
        [("NO_COLOR=1", "", false), ("", "--color never", false), ("NO_COLOR=1", "--color always", true)]
    {
        let server = MapServer::start(Duration::from_mins(1));
        let Some(screen) = Screen::watch(&format!("{option} -f json {}", server.running.addr), setting) else { return };
        screen.wait_text("  n  0\n");
        let styled = screen.text(true);
        assert_eq!(styled.contains("\x1b[38;5;6mn\x1b"), is_colored, "{setting} {option}: {styled:?}");
        screen.press("q");
        screen.assert_restored(0);
    }
}

#[test]
fn a_larger_map_is_scrolled_and_a_resize_is_noticed() {
    let server = MapServer::start(Duration::from_mins(1));
    server.feed.publish(&(0..30).map(|number| (number.into(), Value::from("x"))).collect::<Map>()).unwrap();
    let Some(screen) = Screen::watch(&format!("-f json {}", server.running.addr), "") else { return };
    screen.wait_text("… 22 more: 1 to 8 of 30 entries");
    screen.press("PageDown");
    screen.wait_text("9 to 16 of 30");
    screen.press("End");
    screen.wait_text("23 to 30 of 30");
    screen.press("Home");
    screen.tmux(&["resize-window", "-x", "40", "-y", "20"]);
    screen.wait_text("1 to 16 of 30");
    screen.press("q");
    screen.assert_restored(0);
}

#[test]
fn keys_filter_the_map_and_show_the_help() {
    let server = MapServer::start(Duration::from_mins(1));
    server.feed.publish(&(0..30).map(|number| (number.into(), Value::from("x"))).collect::<Map>()).unwrap();
    let Some(screen) = Screen::watch(&format!("-f json {}", server.running.addr), "") else { return };
    screen.wait_text("1 to 8 of 30 entries");
    screen.press("?");
    screen.wait_text("filter by key or value");
    screen.press("q");
    screen.wait_text("1 to 8 of 30 entries");
    screen.press("/");
    screen.wait_text("filter: _");
    // A character of the filter.
    screen.press("q");
    screen.wait_text("filter: q_");
    screen.press("BSpace");
    screen.press("2");
    screen.press("9");
    screen.wait("one entry", |text| text.contains("  29  \"x\"\n") && !text.contains("  28  "));
    screen.press("Enter");
    screen.wait_text("1 of 30 entries with \"29\"");
    screen.press("Escape");
    screen.wait_text("1 to 8 of 30 entries");
    screen.press("q");
    screen.assert_restored(0);
}

#[test]
fn a_peers_control_characters_are_escaped() {
    let server = MapServer::start(Duration::from_mins(1));
    let evil = "\x1b[2J\x1b[?1049l";
    server.feed.publish(&Map::from([(evil.into(), Value::from(evil))])).unwrap();
    let Some(screen) = Screen::watch(&format!("-f json {}", server.running.addr), "") else { return };
    screen.wait_text(r#"  \u{1b}[2J\u{1b}[?1049l  "\u001b[2J\u001b[?1049l""#);
    screen.press("q");
    screen.assert_restored(0);
}

#[test]
fn a_lost_connection_is_red_except_with_no_color() {
    for (setting, red) in [("", true), ("NO_COLOR=1", false)] {
        let server = MapServer::start(Duration::from_mins(1));
        let Some(screen) = Screen::watch(&format!("-f json {}", server.running.addr), setting) else { return };
        screen.wait_text("json: connected");
        server.running.stop();
        screen.wait("the loss", |text| text.contains("connection lost") || text.contains("cannot connect"));
        screen.wait_text("json: cut off ");
        screen.wait_text(" s, next try in ");
        let styled = screen.text(true);
        assert_eq!(["\x1b[31m", "\x1b[38;5;9m", "\x1b[91m"].iter().any(|red| styled.contains(red)), red, "{styled:?}");
        screen.press("q");
        screen.assert_restored(0);
    }
}

#[test]
fn without_a_terminal_it_prints_lines() {
    let client = Program::client_with(&[&serve_bytes(builtin_frame())], |command| command.env("MAPCAST_WATCH", "true"));
    client.wait_out("  \"4\": \"Servidor\"");
    client.signal(Signal::INT);
    client.finish().assert_exit(0);
    let server = MapServer::start(Duration::from_mins(1));
    server.feed.publish(&numbered(1)).unwrap();
    let client = Program::client(&["--watch", "-f", "json", &server.running.addr.to_string()]);
    client.wait_out("  \"n\": 1");
    client.signal(Signal::INT);
    client.finish().assert_exit(0).assert_stdout("{\n  \"n\": 1\n}\n");
}

#[test]
fn a_suspended_client_restores_the_terminal() {
    for key in [true, false] {
        let server = MapServer::start(Duration::from_mins(1));
        // The terminal runs a shell with job control.
        let jobs = "set -m; until [ -e go ]; do";
        let again = "; echo \"stopped $?\"; stty -g >during; until [ -e go ]; do sleep 0.05; done; done; fg >fg";
        let Some(screen) = Screen::start(&format!("-f json {}", server.running.addr), jobs, again) else { return };
        screen.wait_text("  n  0\n");
        if key {
            screen.press("C-z");
        } else {
            kill_process(screen.pid(), Signal::TSTP).unwrap();
        }
        screen.wait_text("stopped 147\n");
        screen.wait_text("the shell before");
        let setting = |name: &str| fs::read_to_string(screen.directory.path().join(name)).unwrap_or_default();
        eventually("the settings", || !setting("during").is_empty());
        assert_eq!(setting("before"), setting("during"));
        server.feed.publish(&numbered(1)).unwrap();
        fs::write(screen.directory.path().join("go"), "").unwrap();
        screen.wait("the map again", |text| text.contains(" n  1  (was 0, ") && !text.contains("stopped"));
        screen.press("q");
        screen.assert_restored(0);
    }
}

#[test]
fn a_client_without_a_shell_is_not_suspended() {
    let server = MapServer::start(Duration::from_mins(1));
    let Some(screen) = Screen::watch(&format!("-f json {}", server.running.addr), "") else { return };
    screen.wait_text("  n  0\n");
    screen.press("C-z");
    server.feed.publish(&numbered(1)).unwrap();
    screen.wait("the next map", |text| text.contains("n  1  (was 0, "));
    screen.press("q");
    screen.assert_restored(0);
}

#[test]
fn a_dumb_terminal_gets_lines() {
    for term in [Some("dumb"), Some(""), None] {
        let terminal = nix::pty::openpty(None, None).unwrap();
        let mut command = clean(CLIENT);
        command.args(["--watch", &serve_bytes(builtin_frame())]).stdout(terminal.slave);
        match term {
            Some(term) => command.env("TERM", term),
            None => command.env_remove("TERM"),
        };
        let client = Program::start(command);
        let shown = crate::support::output::Output::pump(Some(fs::File::from(terminal.master)));
        shown.wait_line("\"4\": \"Servidor\"").expect("the map");
        client.signal(Signal::INT);
        client.finish().assert_exit(0);
        assert!(!shown.text().contains('\x1b'), "{:?}", shown.text());
    }
}

/// Runs its arguments in a terminal that is paused, as by Ctrl-S, and prints the exit code.
const IN_A_HELD_TERMINAL: &str = "
import os, pty, sys, termios
pid, _ = pty.fork()
if pid == 0:
    termios.tcflow(1, termios.TCOOFF)
    os.execv(sys.argv[1], sys.argv[1:])
print('code', os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
";

#[test]
fn a_timeout_ends_a_client_on_a_blocked_terminal() {
    if !has_command("python3") {
        return skip("no python3");
    }
    let server = serve_bytes(builtin_frame());
    let mut command = clean("python3");
    command.args(["-c", IN_A_HELD_TERMINAL, CLIENT, "--watch", "-W", "500ms", &server]);
    Program::start(command).finish().assert_exit(0).assert_stdout("code 124\n");
}
