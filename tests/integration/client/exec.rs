//! `--exec`: one command at a time, with the newest map; a failure does not end the client.

use std::fs;
use std::time::Duration;

use mapcast::Map;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::fixture::Fixture;
use super::peer::delay;
use crate::support::eventually;
use crate::support::program::Program;

/// The repeat interval: many repeats come between two changes.
const INTERVAL: Duration = Duration::from_millis(50);

/// Starts a client that runs `command` on each change.
#[track_caller]
fn exec(fixture: &Fixture, command: &str, args: &[&str]) -> Program {
    fixture.client(&[&["--exec", command], args].concat())
}

#[test]
fn each_change_is_in_a_file_and_on_standard_input() {
    let fixture = Fixture::new(INTERVAL);
    let client =
        exec(&fixture, "cat >>stdin; cat \"$MAPCAST_FILE\" >>file; ls -l \"$MAPCAST_FILE\" | cut -c 1-10 >mode", &[]);
    fixture.wait_text("file", "{\"n\":0}\n");
    client.wait_log("the command succeeded after");
    fixture.publish(1);
    fixture.wait_text("file", "{\"n\":0}\n{\"n\":1}\n");
    // Repeats are not changes. Longer than the second between two starts.
    delay(Duration::from_millis(1500));
    client.signal(Signal::TERM);
    client.finish().assert_exit(0).assert_stdout("");
    assert_eq!(fixture.text("stdin"), "{\"n\":0}\n{\"n\":1}\n");
    assert_eq!(fixture.text("mode"), "-rw-------\n");
    assert_eq!(fixture.directories(), 0);
}

#[test]
fn changes_during_a_run_cause_one_run_with_the_newest() {
    let fixture = Fixture::new(INTERVAL);
    let client = exec(
        &fixture,
        "echo begin >>order; cat >>order; until [ -e go ]; do sleep 0.02; done; echo end >>order",
        &["--write", "seen.toml"],
    );
    fixture.wait_text("order", "begin\n{\"n\":0}\n");
    for number in 1..=20 {
        fixture.publish(number);
    }
    fixture.wait_text("seen.toml", "n = 20\n");
    delay(Duration::from_millis(100));
    assert_eq!(fixture.text("order"), "begin\n{\"n\":0}\n", "one at a time");
    fs::write(fixture.path("go"), "").unwrap();
    fixture.wait_text("order", "begin\n{\"n\":0}\nend\nbegin\n{\"n\":20}\nend\n");
    client.signal(Signal::TERM);
    client.finish().assert_exit(0);
}

#[test]
fn a_hanging_command_is_terminated_with_its_children() {
    let fixture = Fixture::new(INTERVAL);
    let hang = "read map; echo \"$map\" >>maps; if [ \"$map\" = '{\"n\":0}' ]; then \
                sh -c 'trap \"\" TERM; echo $$ >pid; exec sleep 1000' & wait; fi";
    let client = exec(&fixture, hang, &["--exec-timeout", "5s"]);
    client.wait_log("the command exceeded 5s and was terminated");
    client.wait_log("the command failed after");
    let child = Pid::from_raw(fixture.text("pid").trim().parse().unwrap()).unwrap();
    eventually("the child of the command to be gone", || test_kill_process(child).is_err());
    fixture.publish(1);
    fixture.wait_text("maps", "{\"n\":0}\n{\"n\":1}\n");
}

#[test]
fn a_command_that_ignores_sigterm_is_killed() {
    let fixture = Fixture::new(INTERVAL);
    let client = exec(&fixture, "trap '' TERM; while :; do sleep 0.1; done", &["--exec-timeout", "3s", "-n", "1"]);
    let client = client.finish();
    client.assert_exit(1).assert_stderr("the command does not exit; killed").assert_stderr("signal: 9");
    assert!(client.elapsed > Duration::from_secs(3 + 5), "{:?}", client.elapsed);
}

#[test]
fn after_a_failed_command_the_next_change_is_delivered() {
    let fixture = Fixture::new(INTERVAL);
    let client = exec(&fixture, "cat >>maps; exit 3", &[]);
    client.wait_log("exit status: 3");
    fixture.publish(1);
    fixture.wait_text("maps", "{\"n\":0}\n{\"n\":1}\n");
    client.signal(Signal::INT);
    client.finish().assert_exit(0);
}

#[test]
fn with_a_count_the_last_command_sets_the_exit_code() {
    let fixture = Fixture::new(INTERVAL);
    let client = exec(&fixture, "exit 3", &["-n", "2", "-qq"]).finish();
    client.assert_exit(1).assert_stderr("mapcast-client: the last command failed: exit status: 3");
    exec(&fixture, "exit 0", &["-n", "2"]).finish().assert_exit(0);
    // Without a count the client continues after a failed command.
    let client = exec(&fixture, "exit 3", &[]);
    client.wait_log("exit status: 3");
    client.signal(Signal::TERM);
    client.finish().assert_exit(0);
    // A later success replaces the first failure.
    let fixture = Fixture::new(Duration::from_mins(1));
    let client = exec(&fixture, "read map; [ \"$map\" != '{\"n\":0}' ] || exit 3", &["-n", "2"]);
    client.wait_log("exit status: 3");
    fixture.publish(1);
    client.finish().assert_exit(0);
}

#[test]
fn a_command_that_does_not_read_succeeds() {
    let fixture = Fixture::new(INTERVAL);
    let large = Map::from([("text".into(), "x".repeat(500_000).into())]);
    fixture.server.feed.publish(&large).unwrap();
    exec(&fixture, "exec true", &["-n", "1"]).finish().assert_exit(0).assert_stderr("the command succeeded");
}

#[test]
fn the_last_map_of_a_count_is_delivered() {
    let fixture = Fixture::new(INTERVAL);
    let client = exec(&fixture, "sleep 0.3; cat >map", &["-n", "1", "--splay", "200ms"]).finish();
    client.assert_exit(0);
    assert_eq!(fixture.text("map"), "{\"n\":0}\n");
}

#[test]
fn after_a_signal_the_command_finishes_and_no_other_starts() {
    let fixture = Fixture::new(INTERVAL);
    let client = exec(&fixture, "echo begin >>order; until [ -e go ]; do sleep 0.02; done; echo end >>order", &[]);
    fixture.wait_text("order", "begin\n");
    fixture.publish(1);
    delay(Duration::from_millis(200));
    client.signal(Signal::TERM);
    client.wait_log("exiting after the command");
    fs::write(fixture.path("go"), "").unwrap();
    client.finish().assert_exit(0);
    assert_eq!(fixture.text("order"), "begin\nend\n");
}

#[test]
fn at_a_timeout_the_command_finishes_and_no_other_starts() {
    let fixture = Fixture::new(INTERVAL);
    let command = "echo begin >>order; until [ -e go ]; do sleep 0.02; done; echo end >>order";
    let client = exec(&fixture, command, &["-W", "5s"]);
    fixture.wait_text("order", "begin\n");
    fixture.publish(1);
    client.wait_log("exiting after the command");
    fs::write(fixture.path("go"), "").unwrap();
    client.finish().assert_exit(124);
    assert_eq!(fixture.text("order"), "begin\nend\n");
}

#[test]
fn a_signal_ends_a_splay_and_nothing_runs() {
    let fixture = Fixture::new(INTERVAL);
    let client = exec(&fixture, "touch ran", &["--splay", "1000h", "--write", "seen.toml"]);
    fixture.wait_text("seen.toml", "n = 0\n");
    delay(Duration::from_millis(100));
    client.signal(Signal::TERM);
    client.finish().assert_exit(0);
    assert!(!fixture.path("ran").exists());
}

#[test]
fn a_splay_before_the_last_command_ends_at_a_timeout() {
    let fixture = Fixture::new(INTERVAL);
    let waiting = ["-n", "1", "--splay", "100000h", "--write", "seen.toml"];
    // A random delay is shorter than the timeout in one of a million runs.
    exec(&fixture, "touch ran", &[&waiting[..], &["-W", "5s"]].concat()).finish().assert_exit(124);
    fs::remove_file(fixture.path("seen.toml")).unwrap();
    let client = exec(&fixture, "touch ran", &waiting);
    fixture.wait_text("seen.toml", "n = 0\n");
    delay(Duration::from_millis(200));
    client.signal(Signal::TERM);
    client.finish().assert_exit(0);
    assert!(!fixture.path("ran").exists());
}

#[test]
fn an_empty_tmpdir_means_tmp() {
    let fixture = Fixture::new(INTERVAL);
    let address = fixture.server.running.addr.to_string();
    let args = ["-f", "json", &address, "-n", "1", "--exec", "printf %s \"$MAPCAST_FILE\" >path"];
    let client = Program::client_with(&args, |client| client.current_dir(&fixture.directory).env("TMPDIR", ""));
    client.finish().assert_exit(0);
    assert!(fixture.text("path").starts_with("/tmp/mapcast-"), "{:?}", fixture.text("path"));
}

#[test]
fn a_second_signal_exits_at_once_and_cleans_up() {
    let fixture = Fixture::new(INTERVAL);
    let client = exec(&fixture, "echo $$ >pid.tmp; mv pid.tmp pid; sleep 1000", &[]);
    eventually("the command to run", || !fixture.text("pid").is_empty());
    let command = Pid::from_raw(fixture.text("pid").trim().parse().unwrap()).unwrap();
    client.signal(Signal::TERM);
    client.wait_log("exiting after the command");
    client.signal_again(Signal::TERM);
    let client = client.finish();
    client.assert_exit(130);
    eventually("the command to be gone", || kill_process(command, Signal::CONT).is_err());
    assert_eq!(fixture.directories(), 0);
}

#[test]
fn with_write_the_command_runs_only_if_the_file_changes() {
    let fixture = Fixture::new(INTERVAL);
    fs::write(fixture.path("template"), "{{n}}\n").unwrap();
    let both = ["--write", "out", "--template", "template"];
    let client = exec(&fixture, "cat out >>seen", &both);
    fixture.wait_text("seen", "0\n");
    let other = Map::from([("n".into(), 0.into()), ("other".into(), 1.into())]);
    fixture.server.feed.publish(&other).unwrap();
    // Longer than the second between two starts.
    delay(Duration::from_millis(1500));
    assert_eq!(fixture.text("seen"), "0\n");
    fixture.publish(1);
    fixture.wait_text("seen", "0\n1\n");
    client.signal(Signal::TERM);
    client.finish().assert_exit(0);
    // The file is up to date already.
    exec(&fixture, "cat out >>seen", &[&both[..], &["-n", "2"]].concat()).finish().assert_exit(0);
    assert_eq!(fixture.text("seen"), "0\n1\n");
}

#[test]
fn a_client_in_the_command_does_not_repeat_the_delivery() {
    let fixture = Fixture::new(INTERVAL);
    let address = fixture.server.running.addr.to_string();
    let command = format!("{} -f json -n 1 -q {address} >inner", crate::support::program::CLIENT);
    let client = Program::client_with(&["-f", "json", "-n", "1", &address], |client| {
        client.current_dir(&fixture.directory).env("MAPCAST_EXEC", command)
    });
    client.finish().assert_exit(0);
    assert_eq!(fixture.text("inner"), "{\"n\":0}\n");
}
