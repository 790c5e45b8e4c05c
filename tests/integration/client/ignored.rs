//! Signals that are ignored at the start, as with nohup(1), stay ignored in the program and its child processes.

use std::time::Duration;

use rustix::process::Signal;

use super::fixture::Fixture;
use super::peer::delay;
use crate::support::program::{CLIENT, Program, SERVER, clean};

/// The repeat interval: many repeats come between two changes.
const INTERVAL: Duration = Duration::from_millis(50);

/// SIGHUP, SIGINT and SIGQUIT as bits of `SigIgn`.
const IGNORED: u64 = 0b111;

/// Starts `words` in a shell that ignores the three signals.
#[track_caller]
fn ignoring(fixture: &Fixture, words: &[&str]) -> Program {
    let mut command = clean("sh");
    command.args(["-c", "trap '' HUP INT QUIT; exec \"$@\"", "sh"]).args(words);
    command.current_dir(&fixture.directory).env("TMPDIR", fixture.directory.path());
    Program::start(command)
}

/// Returns the mask that a child wrote into the file `mask`.
fn mask(fixture: &Fixture) -> u64 {
    u64::from_str_radix(fixture.text("mask").trim().trim_start_matches("SigIgn:").trim(), 16).unwrap()
}

#[test]
fn the_server_ignores_them_and_stops_by_another_signal() {
    let fixture = Fixture::new(INTERVAL);
    let mut server = ignoring(&fixture, &[SERVER, "--listen", "127.0.0.1:0"]);
    let address = server.addr().to_string();
    for signal in [Signal::HUP, Signal::INT] {
        server.signal(signal);
    }
    delay(Duration::from_millis(300));
    Program::client(&["-n", "1", &address]).finish().assert_exit(0);
    assert!(server.is_running());
    server.signal(Signal::TERM);
    server.finish().assert_exit(0).assert_stderr("stopped: ");
}

/// As left by a parent that waits for its own children with sigwait(3).
#[test]
fn a_client_with_sigchld_blocked_reaps_its_children() {
    let fixture = Fixture::new(INTERVAL);
    let mut command = clean("env");
    let address = fixture.server.running.addr.to_string();
    command.args(["--block-signal=CHLD", CLIENT, "-f", "json", &address, "-n", "1", "--exec", "exit 3"]);
    command.current_dir(&fixture.directory).env("TMPDIR", fixture.directory.path());
    Program::start(command).finish().assert_exit(1).assert_stderr("the last command failed: exit status: 3");
}

#[test]
fn the_client_ignores_them_and_so_does_its_command() {
    let fixture = Fixture::new(INTERVAL);
    let address = fixture.server.running.addr.to_string();
    let command = "grep SigIgn /proc/self/status >mask.tmp; mv mask.tmp mask";
    let mut client = ignoring(&fixture, &[CLIENT, "-f", "json", &address, "--exec", command]);
    client.wait_log("the command succeeded");
    assert_eq!(mask(&fixture) & IGNORED, IGNORED);
    for signal in [Signal::HUP, Signal::INT] {
        client.signal(signal);
    }
    delay(Duration::from_millis(300));
    assert!(client.is_running());
    client.signal(Signal::TERM);
    client.finish().assert_exit(0);
}

#[test]
fn a_program_of_run_ignores_them_if_and_only_if_the_client_does() {
    for (is_ignoring, wanted) in [(true, IGNORED), (false, 0)] {
        let fixture = Fixture::new(INTERVAL);
        let address = fixture.server.running.addr.to_string();
        let script = "grep SigIgn /proc/self/status >mask.tmp; mv mask.tmp mask; exec sleep 1000";
        let words = [CLIENT, "-f", "json", &address, "--run", "sh", "-c", script];
        let mut client = if is_ignoring { ignoring(&fixture, &words) } else { fixture.client(&words[4..]) };
        crate::support::eventually("the mask", || fixture.path("mask").exists());
        assert_eq!(mask(&fixture) & IGNORED, wanted);
        if is_ignoring {
            for signal in [Signal::HUP, Signal::INT, Signal::QUIT] {
                client.signal(signal);
            }
            delay(Duration::from_millis(300));
            assert!(client.is_running());
        }
        client.signal(Signal::TERM);
        client.finish().assert_exit(143);
    }
}
