//! Failures of the client do not affect the running program.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use mapcast::Map;
use rustix::process::{Pid, Signal, test_kill_process};

use super::fixture::Fixture;
use super::peer::{delay, frame, numbered_frame, serve};
use crate::support::program::{CLIENT, Program, clean};
use crate::support::{eventually, has_command, skip};

/// The repeat interval: many repeats come between two changes.
const INTERVAL: Duration = Duration::from_millis(50);

/// A program that prints the map with which it was started, in order.
const LIVES: &str = "echo $n >>maps; exec sleep 1000";

/// A program that takes a while to exit, and what it prints then. It has no stream that a test would wait for.
const ENDS_SLOWLY: &str = "exec >/dev/null 2>&1; trap 'echo got TERM >>order; sleep 0.7; echo done >>order; exit' TERM; echo begin >>order; \
                           while :; do sleep 0.05; done";

#[track_caller]
fn run(fixture: &Fixture, options: &[&str], script: &str) -> Program {
    fixture.client(&[options, &["--run", "--", "sh", "-c", script]].concat())
}

/// The directories of `MAPCAST_FILE` in `parent`.
fn directories(parent: PathBuf) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("mapcast-")).collect()
}

fn remove_directories(fixture: &Fixture) {
    let directories = directories(fixture.directory.path().to_owned());
    assert_eq!(directories.len(), 1);
    fs::remove_dir_all(&directories[0]).unwrap();
}

#[track_caller]
fn end(client: Program) {
    client.signal(Signal::TERM);
    client.finish().assert_exit(128 + 15);
}

#[test]
fn a_removed_directory_is_created_again_for_a_restart() {
    let fixture = Fixture::new(INTERVAL);
    let client = run(&fixture, &[], "cat \"$MAPCAST_FILE\" >>maps; exec sleep 1000");
    fixture.wait_text("maps", "{\"n\":0}\n");
    remove_directories(&fixture);
    fixture.publish(1);
    fixture.wait_text("maps", "{\"n\":0}\n{\"n\":1}\n");
    client.wait_log("the directory of MAPCAST_FILE, was removed; created again as ");
    end(client);
    assert_eq!(fixture.directories(), 0);
}

#[test]
fn an_exposed_directory_is_made_private_and_removed() {
    let fixture = Fixture::new(INTERVAL);
    let client = run(&fixture, &[], "cat \"$MAPCAST_FILE\" >>maps; exec sleep 1000");
    fixture.wait_text("maps", "{\"n\":0}\n");
    let [directory] = &directories(fixture.directory.path().to_owned())[..] else { panic!("one directory") };
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    fixture.publish(1);
    fixture.wait_text("maps", "{\"n\":0}\n{\"n\":1}\n");
    client.wait_log("was accessible to other users; made private again");
    assert_eq!(fs::metadata(directory).unwrap().permissions().mode() & 0o777, 0o700);
    end(client);
    assert_eq!(fixture.directories(), 0);
}

#[test]
fn a_removed_directory_is_created_again_with_signal_and_exec() {
    let fixture = Fixture::new(INTERVAL);
    let script = "trap 'cat \"$MAPCAST_FILE\" >>maps' HUP; cat \"$MAPCAST_FILE\" >>maps; echo $$ >>pids; \
                  while :; do sleep 0.02; done";
    let client = run(&fixture, &["--signal", "HUP"], script);
    fixture.wait_text("maps", "{\"n\":0}\n");
    eventually("the trap", || !fixture.text("pids").is_empty());
    remove_directories(&fixture);
    fixture.publish(1);
    fixture.wait_text("maps", "{\"n\":0}\n{\"n\":1}\n");
    assert_eq!(fixture.text("pids").lines().count(), 1, "it was restarted");
    end(client);
    let client = fixture.client(&["--exec", "cat \"$MAPCAST_FILE\" >>commands"]);
    fixture.wait_text("commands", "{\"n\":1}\n");
    client.wait_log("the command succeeded");
    remove_directories(&fixture);
    fixture.publish(2);
    fixture.wait_text("commands", "{\"n\":1}\n{\"n\":2}\n");
}

#[test]
fn the_directory_is_in_the_best_candidate_and_locked() {
    let fixture = Fixture::new(INTERVAL);
    let directory_of = |name: &str| {
        fs::create_dir_all(fixture.path(name)).unwrap();
        fixture.path(name).display().to_string()
    };
    // systemd puts several into one variable.
    let runtime = ("RUNTIME_DIRECTORY", directory_of("runtime") + ":/nowhere");
    let user = ("XDG_RUNTIME_DIR", directory_of("user"));
    for (variables, wanted) in [(vec![user.clone()], "user"), (vec![user, runtime], "runtime")] {
        let seen = format!("seen-{wanted}");
        let script = format!("echo \"$MAPCAST_FILE\" >{seen}; exec sleep 1000");
        let address = fixture.server.running.addr.to_string();
        let client = Program::client_with(&["-f", "json", &address, "--run", "sh", "-c", &script], |client| {
            client.current_dir(&fixture.directory).envs(variables)
        });
        eventually("the program", || fixture.text(&seen).ends_with('\n'));
        let directory = PathBuf::from(fixture.text(&seen).trim()).parent().unwrap().to_owned();
        assert_eq!(directory.parent(), Some(fixture.path(wanted).as_path()));
        // systemd-tmpfiles checks this before it removes anything.
        let opened = fs::File::open(directory).unwrap();
        assert!(matches!(opened.try_lock(), Err(fs::TryLockError::WouldBlock)));
        end(client);
    }
}

#[test]
fn an_unwritable_file_keeps_the_program_and_is_retried() {
    let fixture = Fixture::new(INTERVAL);
    fs::create_dir(fixture.path("tt")).unwrap();
    let address = fixture.server.running.addr.to_string();
    let client = Program::client_with(&["-f", "json", &address, "--run", "sh", "-c", LIVES], |client| {
        client.current_dir(&fixture.directory).env("TMPDIR", fixture.path("tt"))
    });
    fixture.wait_text("maps", "0\n");
    fs::remove_dir_all(fixture.path("tt")).unwrap();
    fs::write(fixture.path("tt"), "in the way").unwrap();
    fixture.publish(1);
    let line = client.wait_log("the program keeps running unchanged");
    assert!(line.contains("cannot create a directory for MAPCAST_FILE in "), "{line}");
    assert_eq!(fixture.text("maps"), "0\n");
    fs::remove_file(fixture.path("tt")).unwrap();
    fs::create_dir(fixture.path("tt")).unwrap();
    // Without another map.
    fixture.wait_text("maps", "0\n1\n");
    end(client);
}

#[test]
fn a_command_that_cannot_be_started_is_retried() {
    let fixture = Fixture::new(INTERVAL);
    fs::create_dir(fixture.path("tt")).unwrap();
    let address = fixture.server.running.addr.to_string();
    let client = Program::client_with(&["-f", "json", &address, "--exec", "cat >>maps"], |client| {
        client.current_dir(&fixture.directory).env("TMPDIR", fixture.path("tt"))
    });
    fixture.wait_text("maps", "{\"n\":0}\n");
    client.wait_log("the command succeeded");
    fs::remove_dir_all(fixture.path("tt")).unwrap();
    fs::write(fixture.path("tt"), "in the way").unwrap();
    fixture.publish(1);
    client.wait_log("cannot run the command: cannot create a directory for MAPCAST_FILE in ");
    fs::remove_file(fixture.path("tt")).unwrap();
    fs::create_dir(fixture.path("tt")).unwrap();
    // Without another map.
    fixture.wait_text("maps", "{\"n\":0}\n{\"n\":1}\n");
    client.signal(Signal::TERM);
    client.finish().assert_exit(0);
}

#[test]
fn a_missing_program_is_restarted_only_when_it_is_back() {
    let fixture = Fixture::new(INTERVAL);
    let program = fixture.path("program");
    let script = fixture.path("script");
    fs::write(&script, format!("#!/bin/sh\necho $$ >>pids\n{LIVES}\n")).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    // Copied by another process: a child of another test may hold a descriptor that this process has opened for writing.
    assert!(std::process::Command::new("cp").arg("-p").args([&script, &program]).status().unwrap().success());
    let client = fixture.client(&["--run", "./program"]);
    fixture.wait_text("maps", "0\n");
    let first = Pid::from_raw(fixture.text("pids").trim().parse().unwrap()).unwrap();
    fs::rename(&program, fixture.path("away")).unwrap();
    fixture.publish(1);
    client.wait_log("the program keeps running unchanged: cannot run ./program: No such file or directory");
    delay(Duration::from_millis(300));
    assert!(test_kill_process(first).is_ok());
    fs::rename(fixture.path("away"), &program).unwrap();
    fixture.wait_text("maps", "0\n1\n");
    end(client);
}

#[test]
fn a_map_too_large_for_an_environment_is_in_the_file() {
    let fixture = Fixture::new(INTERVAL);
    let address = fixture.server.running.addr.to_string();
    let mut command = clean("sh");
    let script =
        format!("ulimit -s 1024; exec {CLIENT} -f json {address} --run sh -c 'echo \"$MAPCAST_FILE\" >file; {LIVES}'");
    command.args(["-c", &script]).current_dir(&fixture.directory).env("TMPDIR", fixture.directory.path());
    let client = Program::start(command);
    fixture.wait_text("maps", "0\n");
    let large: Map = (0..10).map(|number| (format!("v{number}").into(), "x".repeat(95_000).into())).collect();
    fixture.server.feed.publish(&large).unwrap();
    let line = client.wait_log("the program keeps running unchanged");
    assert!(line.contains("bytes, and the system allows 262144"), "{line}");
    let file = fs::metadata(fixture.text("file").trim()).unwrap();
    assert!(file.len() > 950_000, "{}", file.len());
    assert_eq!(fixture.text("maps"), "0\n");
    fixture.publish(2);
    fixture.wait_text("maps", "0\n2\n");
    end(client);
}

#[test]
fn a_changing_map_restarts_once_a_second_up_to_the_newest() {
    let fixture = Fixture::new(INTERVAL);
    let started = Instant::now();
    let client = run(&fixture, &[], LIVES);
    fixture.wait_text("maps", "0\n");
    for number in 1..=500 {
        fixture.publish(number);
        delay(Duration::from_millis(5));
    }
    eventually("the newest map", || fixture.text("maps").ends_with("\n500\n"));
    let (starts, took) = (fixture.text("maps").lines().count(), started.elapsed());
    assert!(starts >= 2 && starts as u64 <= took.as_secs() + 2, "{starts} starts in {took:?}");
    end(client);
}

#[test]
fn a_restart_waits_for_the_whole_process_group() {
    let fixture = Fixture::new(INTERVAL);
    // The outer shell exits at once.
    let client = run(&fixture, &[], &format!("sh -c '{}'; true", ENDS_SLOWLY.replace('\'', "'\\''")));
    fixture.wait_text("order", "begin\n");
    fixture.publish(1);
    fixture.wait_text("order", "begin\ngot TERM\ndone\nbegin\n");
    client.signal(Signal::TERM);
    client.finish().assert_exit(143);
    assert_eq!(fixture.text("order"), "begin\ngot TERM\ndone\nbegin\ngot TERM\ndone\n");
}

#[test]
fn at_a_timeout_the_program_has_its_grace_period() {
    let fixture = Fixture::new(INTERVAL);
    let client = run(&fixture, &["-W", "5s"], &format!("sh -c '{}'; true", ENDS_SLOWLY.replace('\'', "'\\''")));
    client.finish().assert_exit(124);
    assert_eq!(fixture.text("order"), "begin\ngot TERM\ndone\n");
}

#[test]
fn a_late_command_in_a_shell_has_its_grace_period() {
    let fixture = Fixture::new(INTERVAL);
    fs::write(fixture.path("slow.sh"), ENDS_SLOWLY).unwrap();
    let client = fixture.client(&["-n", "1", "--exec-timeout", "5s", "--exec", "sh slow.sh; true"]).finish();
    client.assert_exit(1).assert_stderr("the command exceeded 5s and was terminated");
    assert_eq!(fixture.text("order"), "begin\ngot TERM\ndone\n");
}

#[test]
fn process_1_terminates_descendants_and_reaps_orphans() {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root || !has_command("unshare") {
        return skip("not root, or no unshare");
    }
    let fixture = Fixture::new(INTERVAL);
    let slow = ENDS_SLOWLY.replace('\'', "'\\''");
    // An orphan that exits, one that exits slowly, and a program that exits before both.
    let script = format!(
        "(sleep 0.1 & echo $! >orphan) ; sh -c '{slow}' & until [ -s order ] && ! [ -e /proc/$(cat orphan) ]; do sleep 0.02; done; exit 7"
    );
    let address = fixture.server.running.addr.to_string();
    let mut command = clean("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child", CLIENT]).current_dir(&fixture.directory);
    command.args(["-f", "json", &address, "--run", "sh", "-c", &script]).env("TMPDIR", fixture.directory.path());
    Program::start(command).finish().assert_exit(7);
    assert_eq!(fixture.text("order"), "begin\ngot TERM\ndone\n");
}

#[test]
fn a_later_map_without_the_key_keeps_the_program() {
    let fixture = Fixture::new(INTERVAL);
    let client = run(&fixture, &["-k", "n"], LIVES);
    fixture.wait_text("maps", "0\n");
    fixture.server.feed.publish(&Map::from([("other".into(), 1.into())])).unwrap();
    client.wait_log("keeping the previous map: the map has no entry \"n\"");
    fixture.publish(1);
    fixture.wait_text("maps", "0\n1\n");
    end(client);
}

#[test]
fn a_later_invalid_frame_keeps_the_program() {
    let fixture = Fixture::new(INTERVAL);
    let (go, went) = mpsc::channel::<()>();
    let mut kept = Vec::new();
    let server = serve(move |connection, mut stream| {
        use std::io::Write;
        stream.write_all(&numbered_frame(i64::from(connection > 1))).unwrap();
        match connection {
            0 => {
                went.recv().unwrap();
                stream.write_all(b"HTTP/1.1 400 Bad Request\r\n").unwrap();
            }
            1 => stream.write_all(&frame(b"\x01")).unwrap(),
            _ => {}
        }
        kept.push(stream);
        if connection == 1 {
            kept.clear();
        }
    });
    let client = Program::client_with(&[&server, "--run", "sh", "-c", LIVES], |client| {
        client.current_dir(&fixture.directory).env("TMPDIR", fixture.directory.path())
    });
    fixture.wait_text("maps", "0\n");
    go.send(()).unwrap();
    client.wait_log("keeping the previous map: not a frame header");
    client.wait_log("is the other end set to another --format?");
    fixture.wait_text("maps", "0\n1\n");
    end(client);
}
