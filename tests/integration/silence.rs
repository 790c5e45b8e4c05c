//! Silent servers, and followers that were paused themselves.

use std::io::Write;
use std::thread;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;

use crate::http::{Site, path, token};
use crate::support::eventually;
use crate::support::program::{Program, SERVER, clean};

/// Waits for `time`.
fn pass(time: Duration) {
    thread::park_timeout(time);
}

#[test]
fn paused_followers_detect_a_hung_server_without_extra_delay() {
    let server = Program::server(&["--interval", "1s"]);
    let address = server.addr().to_string();
    let client = Program::client(&[&address]);
    let relay = Program::server(&["--source", &format!("tcp://{address}"), "--interval", "1h"]);
    relay.wait_log("source up");
    let read_more = |maps: usize| {
        let before = client.out().len();
        eventually("the client reads on", || client.out().len() >= before + maps);
    };
    read_more(4);
    let signal = |signal| [&client, &relay].map(|program| program.signal(signal));
    signal(Signal::STOP);
    pass(Duration::from_secs(12));
    signal(Signal::CONT);
    read_more(12);
    server.signal(Signal::STOP);
    client.wait_log("no frame for 10s: stale; reconnecting in ");
    relay.wait_log("no frame for 10s: stale; the last good map stays");
}

#[test]
fn a_server_after_fast_changes_does_not_count_as_silent() {
    let mut server = Program::server(&["--interval", "60s", "--source", "-"]);
    let address = server.addr().to_string();
    let client = Program::client(&[&address]);
    let relay = Program::server(&["--source", &format!("tcp://{address}")]);
    client.wait_log("connected to ");
    let mut lines = server.stdin();
    lines.write_all(b"{\"n\":1}\n").unwrap();
    client.wait_out("{\"n\":1}");
    pass(Duration::from_millis(1300));
    lines.write_all(b"{\"n\":2}\n").unwrap();
    client.wait_out("{\"n\":2}");
    relay.wait_log("source up");
    // Longer than the shortest time-out for silence.
    pass(Duration::from_secs(13));
    let bad = |program: &Program| program.log().iter().any(|line| line.contains("stale") || line.contains("down"));
    assert!(!bad(&client) && !bad(&relay), "{:?} {:?}", client.log(), relay.log());
}

#[test]
fn the_age_of_a_map_survives_a_restart_and_ends_with_a_change() {
    let (file, token) = token();
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state.json");
    let start = || {
        let mut command = clean(SERVER);
        command.args(["-l", "127.0.0.1:0", "--http", "127.0.0.1:0", "--http-token-file", path(&file)]);
        command.args(["--state", state.to_str().unwrap()]);
        Site::of(Program::start(command))
    };
    let restart = |site: &mut Site| {
        site.server.signal(Signal::KILL);
        site.server.exit_code();
        *site = start();
    };
    let age = |site: &Site| Duration::from_millis(site.json("/status")["map"]["age_ms"].as_u64().unwrap());
    let hour = Duration::from_hours(1);
    let mut site = start();
    assert_eq!(site.ask("PATCH /map", &token, "{\"n\":1}").code, 200);
    let written = std::fs::File::open(&state).unwrap();
    written.set_modified(SystemTime::now() - hour).unwrap();
    restart(&mut site);
    assert!(age(&site) >= hour, "{:?}", age(&site));
    let metrics = site.get("/metrics").body;
    let changed = metrics.lines().find_map(|line| line.strip_prefix("mapcast_map_last_change_timestamp_seconds "));
    let changed = Duration::from_secs_f64(changed.unwrap().parse().unwrap());
    assert!(SystemTime::UNIX_EPOCH + changed <= SystemTime::now() - hour, "{metrics}");
    // Writing the same map is not a change, now or after the next restart.
    assert_eq!(site.ask("PATCH /map", &token, "{\"n\":1}").code, 200);
    assert!(age(&site) >= hour, "{:?}", age(&site));
    restart(&mut site);
    assert!(age(&site) >= hour, "{:?}", age(&site));
    assert_eq!(site.ask("PATCH /map", &token, "{\"n\":2}").code, 200);
    assert!(age(&site) < hour, "{:?}", age(&site));
    restart(&mut site);
    assert!(age(&site) < hour, "{:?}", age(&site));
    // By another clock: unknown.
    std::fs::File::open(&state).unwrap().set_modified(SystemTime::now() + hour).unwrap();
    restart(&mut site);
    let line = site.server.wait_log("the age of the map is unknown");
    assert!(line.contains(" in the future, by the clock of this machine; set the clock, or touch the file"), "{line}");
    assert!(age(&site) < hour, "{:?}", age(&site));
}
