//! `--run`: a program that runs with the map.

use std::fs;
use std::os::unix::process::CommandExt;
use std::time::Duration;

use mapcast::Map;
use rustix::process::{Pid, Signal, test_kill_process};

use super::fixture::Fixture;
use super::peer::{closed_address, delay, serve_bytes};
use crate::support::eventually;
use crate::support::program::Program;

/// The repeat interval: many repeats come between two changes.
const INTERVAL: Duration = Duration::from_millis(50);

/// Runs a shell script with the map.
#[track_caller]
fn run(fixture: &Fixture, options: &[&str], script: &str) -> Program {
    fixture.client(&[options, &["--run", "--", "sh", "-c", script]].concat())
}

/// Returns the number of zombie children of a process.
fn zombies(parent: u32) -> usize {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).unwrap();
    let all = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok()).collect::<String>();
    let is_zombie =
        |pid: &&str| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "));
    (children + &all).split_whitespace().filter(is_zombie).count()
}

#[test]
fn the_map_is_in_the_environment_and_in_a_file() {
    let fixture = Fixture::new(INTERVAL);
    let map = Map::from([("n".into(), 7.into()), ("text".into(), "x y".into()), ("no-name".into(), 1.into())]);
    fixture.server.feed.publish(&map).unwrap();
    let script = "echo \"$n $text\"; env | grep -c no-name; cat \"$MAPCAST_FILE\"";
    let client = run(&fixture, &[], script).finish();
    client.assert_exit(0).assert_stdout("7 x y\n0\n{\"n\":7,\"no-name\":1,\"text\":\"x y\"}\n");
    client.assert_stderr("only in MAPCAST_FILE, because a variable cannot represent them: \"no-name\"");
    assert_eq!(fixture.directories(), 0);
}

#[test]
fn the_programs_own_exit_code_is_passed_on() {
    let fixture = Fixture::new(INTERVAL);
    run(&fixture, &[], "exit 42").finish().assert_exit(42);
    run(&fixture, &[], "kill -9 $$").finish().assert_exit(137);
}

#[test]
fn a_change_restarts_it_with_the_new_map_and_leaves_no_zombie() {
    let fixture = Fixture::new(INTERVAL);
    let client = run(&fixture, &[], "echo $n >>maps; exec sleep 1000");
    for (number, text) in ["0\n", "0\n1\n", "0\n1\n2\n"].into_iter().enumerate() {
        fixture.wait_text("maps", text);
        fixture.publish(i64::try_from(number).unwrap() + 1);
    }
    fixture.wait_text("maps", "0\n1\n2\n3\n");
    assert_eq!(zombies(client.pid()), 0);
    client.signal(Signal::TERM);
    client.finish().assert_exit(128 + 15);
    assert_eq!(fixture.directories(), 0);
}

#[test]
fn the_first_start_is_immediate_and_a_restart_splayed() {
    let fixture = Fixture::new(INTERVAL);
    let client = run(&fixture, &["--splay", "1000h"], "echo $n >>maps; exec sleep 1000");
    fixture.wait_text("maps", "0\n");
    fixture.publish(1);
    // Longer than the second between two starts.
    delay(Duration::from_millis(1500));
    assert_eq!(fixture.text("maps"), "0\n");
    client.signal(Signal::TERM);
    client.finish().assert_exit(143);
}

#[test]
fn a_change_during_termination_restarts_with_the_newest() {
    let fixture = Fixture::new(INTERVAL);
    let script =
        "trap 'until [ -e go ]; do sleep 0.02; done; exit 0' TERM; echo $n >>maps; while :; do sleep 0.02; done";
    let client = run(&fixture, &["--write", "seen.toml"], script);
    fixture.wait_text("maps", "0\n");
    fixture.publish(1);
    client.wait_log("restarting");
    for number in 2..=9 {
        fixture.publish(number);
    }
    fixture.wait_text("seen.toml", "n = 9\n");
    fs::write(fixture.path("go"), "").unwrap();
    fixture.wait_text("maps", "0\n9\n");
    client.signal(Signal::TERM);
    client.finish().assert_exit(0);
}

#[test]
fn a_program_that_does_not_exit_is_killed_as_a_group() {
    let fixture = Fixture::new(INTERVAL);
    let script = "trap '' TERM; echo $n >>maps; sleep 1000 & echo $! >>pids; while :; do sleep 0.1; done";
    let client = run(&fixture, &["--kill-timeout", "300ms"], script);
    fixture.wait_text("maps", "0\n");
    eventually("a child", || fixture.text("pids").ends_with('\n'));
    let child = Pid::from_raw(fixture.text("pids").trim().parse().unwrap()).unwrap();
    fixture.publish(1);
    client.wait_log("the program does not exit; killed");
    fixture.wait_text("maps", "0\n1\n");
    eventually("the child to be gone", || test_kill_process(child).is_err());
    client.signal(Signal::TERM);
    client.finish().assert_exit(137);
}

/// Like a program that reads from the terminal.
#[test]
fn a_stopped_program_is_continued_to_exit() {
    let fixture = Fixture::new(INTERVAL);
    let script = "trap 'echo end >>order; exit' TERM; echo begin >>order; kill -STOP $$; while :; do sleep 0.02; done";
    let client = run(&fixture, &["--kill-timeout", "1000h"], script);
    fixture.wait_text("order", "begin\n");
    delay(Duration::from_millis(200));
    fixture.publish(1);
    fixture.wait_text("order", "begin\nend\nbegin\n");
    delay(Duration::from_millis(200));
    client.signal(Signal::TERM);
    client.finish().assert_exit(0);
    fixture.wait_text("order", "begin\nend\nbegin\nend\n");
}

#[test]
fn leftover_children_of_a_restarted_program_are_killed() {
    let fixture = Fixture::new(INTERVAL);
    let stubborn = "sh -c 'trap \"\" TERM; echo $$ >>pids; exec sleep 1000' &";
    let script = format!("{stubborn} trap 'exit 0' TERM; echo $n >>maps; while :; do sleep 0.02; done");
    let client = run(&fixture, &["--kill-timeout", "1s"], &script);
    eventually("its child", || fixture.text("pids").lines().count() == 1 && fixture.text("maps") == "0\n");
    let child = Pid::from_raw(fixture.text("pids").trim().parse().unwrap()).unwrap();
    fixture.publish(1);
    fixture.wait_text("maps", "0\n1\n");
    eventually("the first child to be gone", || test_kill_process(child).is_err());
    eventually("the second child", || fixture.text("pids").lines().count() == 2);
    let second = Pid::from_raw(fixture.text("pids").lines().nth(1).unwrap().parse().unwrap()).unwrap();
    drop(client);
    // A killed client (SIGKILL) leaves its program running.
    let group = rustix::process::getpgid(Some(second)).unwrap();
    rustix::process::kill_process_group(group, Signal::KILL).unwrap();
}

#[test]
fn a_signal_announces_a_change_of_the_file() {
    let fixture = Fixture::new(INTERVAL);
    let script = "trap 'cat \"$MAPCAST_FILE\" >>maps' HUP; cat \"$MAPCAST_FILE\" >>maps; echo $$ >>pids; \
                  while :; do sleep 0.02; done";
    let client = run(&fixture, &["--signal", "HUP"], script);
    fixture.wait_text("maps", "{\"n\":0}\n");
    eventually("the trap", || !fixture.text("pids").is_empty());
    fixture.publish(1);
    fixture.wait_text("maps", "{\"n\":0}\n{\"n\":1}\n");
    assert_eq!(fixture.text("pids").lines().count(), 1, "it was not restarted");
    client.signal(Signal::TERM);
    client.finish().assert_exit(143);
}

#[test]
fn signals_are_forwarded_and_do_not_end_the_client() {
    let fixture = Fixture::new(INTERVAL);
    let script = "trap 'echo hup >>seen' HUP; trap 'echo usr1 >>seen' USR1; trap 'echo int >>seen; exit 9' INT; \
                  echo ready >>seen; while :; do sleep 0.02; done";
    let client = run(&fixture, &[], script);
    fixture.wait_text("seen", "ready\n");
    client.signal(Signal::HUP);
    fixture.wait_text("seen", "ready\nhup\n");
    client.signal(Signal::USR1);
    fixture.wait_text("seen", "ready\nhup\nusr1\n");
    client.signal(Signal::INT);
    client.finish().assert_exit(9);
    assert_eq!(fixture.directories(), 0);
}

#[test]
fn without_a_map_nothing_runs_and_an_interrupt_is_130() {
    let client = Program::client(&[&serve_bytes(Vec::new()), "--run", "touch", "/nowhere/at/all"]);
    client.wait_log("connected to");
    client.signal(Signal::TERM);
    client.finish().assert_exit(130);
    Program::client(&[&closed_address(), "--run", "true"]).finish().assert_exit(3);
}

#[test]
fn a_missing_program_is_1_and_named() {
    let fixture = Fixture::new(INTERVAL);
    let address = fixture.server.running.addr.to_string();
    let client = Program::client(&["-f", "json", &address, "--run", "no-such-program"]).finish();
    client.assert_exit(1).assert_stderr("cannot run no-such-program: No such file or directory");
}

#[test]
fn a_timeout_ends_the_program_too() {
    let fixture = Fixture::new(INTERVAL);
    let client = run(&fixture, &["-W", "3s"], "echo $$ >pid; exec sleep 1000").finish();
    client.assert_exit(124);
    let program = Pid::from_raw(fixture.text("pid").trim().parse().unwrap()).unwrap();
    assert!(test_kill_process(program).is_err());
}

#[test]
fn with_write_only_a_change_of_the_file_restarts() {
    let fixture = Fixture::new(INTERVAL);
    fs::write(fixture.path("template"), "{{n}}\n").unwrap();
    fs::write(fixture.path("out"), "0\n").unwrap();
    let client = run(&fixture, &["--write", "out", "--template", "template"], "cat out >>maps; exec sleep 1000");
    fixture.wait_text("maps", "0\n");
    fixture.server.feed.publish(&Map::from([("n".into(), 0.into()), ("other".into(), 1.into())])).unwrap();
    // Longer than the second between two starts.
    delay(Duration::from_millis(1500));
    assert_eq!(fixture.text("maps"), "0\n");
    fixture.publish(1);
    fixture.wait_text("maps", "0\n1\n");
    client.signal(Signal::TERM);
    client.finish().assert_exit(143);
}

#[test]
fn ctrl_c_in_the_terminal_reaches_the_program_once() {
    let fixture = Fixture::new(INTERVAL);
    let address = fixture.server.running.addr.to_string();
    let script = "trap 'echo int >>seen' INT; trap 'exit 0' TERM; echo ready >>seen; while :; do sleep 0.02; done";
    // A process group of its own, which a terminal signals as a whole.
    let client = Program::client_with(&["-f", "json", &address, "--run", "sh", "-c", script], |client| {
        client.current_dir(&fixture.directory).process_group(0)
    });
    fixture.wait_text("seen", "ready\n");
    let group = Pid::from_raw(i32::try_from(client.pid()).unwrap()).unwrap();
    rustix::process::kill_process_group(group, Signal::INT).unwrap();
    fixture.wait_text("seen", "ready\nint\n");
    delay(Duration::from_millis(100));
    client.signal(Signal::TERM);
    client.finish().assert_exit(0);
    assert_eq!(fixture.text("seen"), "ready\nint\n");
}
