//! Hung files, and threads that are stuck or panic: their detection, what continues to work, and the stop.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use mapcast::http;
use mapcast::threads::Threads;
use mapcast::{Cast, Feed, Format, Http, Server, ServerConfig, Shutdown, builtin_map};
use rustix::fs::{CWD, FileType, mknodat};
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use tempfile::TempDir;

use crate::http::{Site, ask, path, token};
use crate::support::program::{CLIENT, Program, SERVER, clean, run};
use crate::support::reader::Reader;
use crate::support::{PATIENCE, eventually, has_command, pause, skip};

/// A file system of the test in a directory, which hangs while its process is stopped.
pub struct SlowFs {
    place: TempDir,
    server: Program,
}

impl SlowFs {
    /// Mounts the file system; `None` if this machine does not permit that.
    pub fn mount() -> Option<Self> {
        if !rustix::process::geteuid().is_root() || !Path::new("/dev/fuse").exists() || !has_command("python3") {
            skip("a file system that hangs takes root, /dev/fuse and python3");
            return None;
        }
        let place = tempfile::tempdir().unwrap();
        let server = script("slow_fs.py", &[place.path().to_str().unwrap()]);
        server.wait_out("mounted");
        Some(Self { place, server })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    pub fn write(&self, name: &str, content: &str) -> String {
        fs::write(self.path(name), content).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    pub fn hang(&self) {
        self.server.signal(Signal::STOP);
    }

    pub fn go_on(&self) {
        self.server.signal(Signal::CONT);
    }
}

impl Drop for SlowFs {
    fn drop(&mut self) {
        self.go_on();
        drop(self.server.stdin());
        self.server.exit_code();
    }
}

/// Starts a script of these tests, with a pipe as standard input.
fn script(name: &str, args: &[&str]) -> Program {
    let mut command = clean("python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration/support").join(name)).args(args);
    command.stdin(Stdio::piped());
    Program::start(command)
}

fn mkfifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, 0o600.into(), 0).unwrap();
}

/// Waits until the body of `/readyz` contains `text`.
#[track_caller]
fn wait_unready(site: &Site, text: &str) {
    eventually(text, || {
        pause();
        let answer = site.get("/readyz");
        answer.code == 503 && answer.body.contains(text)
    });
}

#[track_caller]
fn wait_ready(site: &Site) {
    eventually("ready again", || site.get("/readyz").code == 200);
}

#[test]
fn a_path_that_is_not_a_regular_file_is_refused_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo.json");
    mkfifo(&fifo);
    let (file, _) = token();
    let (fifo, place) = (fifo.to_str().unwrap(), directory.path().to_str().unwrap());
    let with_token = ["--http", "127.0.0.1:0", "--http-token-file", path(&file)];
    let slash = format!("{place}/x/");
    let mut refused = vec![
        (vec!["--source", fifo], "it is a FIFO, not a regular file; name a regular file"),
        ([&with_token[..], &["--state", fifo]].concat(), "it is a FIFO, not a regular file"),
        ([&with_token[..], &["--state", &slash]].concat(), "it is a directory's path; name a file in it"),
        (vec!["--http", "127.0.0.1:0", "--http-token-file", "/dev/zero"], "it is a device, not a regular file"),
        (vec!["--http", "127.0.0.1:0", "--http-token-file", place], "it is a directory, not a regular file"),
    ];
    if cfg!(feature = "redis") {
        let args = vec!["--source", "redis://127.0.0.1/0?key=k", "--redis-password-file", place];
        refused.push((args, "it is a directory, not a regular file"));
    }
    if cfg!(feature = "tls") {
        refused.push((vec!["--tls-cert", fifo, "--tls-key", fifo], "fifo.json: cannot be read: it is a FIFO"));
    }
    for (args, why) in refused {
        for check in [&[][..], &["--check-config"]] {
            Program::server(&[&args, check].concat()).finish().assert_exit(2).assert_stderr(why);
        }
    }
}

#[test]
fn a_token_file_replaced_by_a_fifo_refuses_writes_only() {
    let mut piped = Program::server(&["--http", "127.0.0.1:0", "--http-token-file", "/dev/stdin"]);
    piped.stdin().write_all(b"correct-horse-battery-staple\n").unwrap();
    let (_, right) = token();
    let site = Site::of(piped);
    for code in [200, 200] {
        assert_eq!(site.ask("PATCH /map", &right, "{\"n\":1}").code, code);
    }
    assert_eq!(site.ask("PATCH /map", "", "{\"n\":2}").code, 401);

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    fs::write(&file, "correct-horse-battery-staple").unwrap();
    let site = Site::start(&["--http-token-file", file.to_str().unwrap()]);
    fs::remove_file(&file).unwrap();
    mkfifo(&file);
    assert_eq!(site.ask("PATCH /map", &right, "{\"n\":1}").code, 503);
    site.server.wait_log("cannot read the token: it is a FIFO, not a regular file");
    assert_eq!((site.get("/livez").code, site.get("/readyz").code), (200, 200));
}

#[test]
fn a_source_on_a_hung_file_system_is_down_and_delays_no_client() {
    let Some(files) = SlowFs::mount() else { return };
    let source = files.write("flags.json", "{\"n\":1}");
    let mut site = Site::start(&["--source", &source, "--interval", "100ms", "--drain-timeout", "1s"]);
    let mut reader = Reader::connect(site.server.addr());
    reader.payload();
    files.hang();
    wait_unready(&site, "thread source: stuck for 1");
    let status = site.json("/status");
    assert_eq!(status["source"]["up"], false);
    let problem = status["source"]["problem"].as_str().unwrap();
    assert!(problem.contains(" s while reading ") && problem.contains("flags.json"), "{problem}");
    assert!(site.get("/metrics").body.contains("\nmapcast_threads_unhealthy 1\n"));
    assert_eq!(site.get("/livez").code, 200, "a restart would begin without a map");
    reader.payload();
    files.go_on();
    wait_ready(&site);
    assert_eq!(site.json("/status")["source"]["up"], true);
    files.write("flags.json", "{\"n\":2}");
    eventually("the new map", || site.json("/map")["n"] == 2);
    files.hang();
    // The thread is reading the file.
    wait_unready(&site, "thread source: stuck for 1");
    site.server.signal(Signal::TERM);
    assert_eq!(site.server.exit_code(), 1);
    site.server.wait_log("thread source: did not end within 500ms; abandoned until the process exits");
}

#[test]
fn a_hung_token_or_state_file_delays_writers_only() {
    let Some(files) = SlowFs::mount() else { return };
    let secret = files.write("token", "correct-horse-battery-staple");
    let state = files.path("state.json");
    let (local, right) = token();
    let args = |token| ["--http-token-file", token, "--state", state.to_str().unwrap(), "--drain-timeout", "1s"];
    let mut site = Site::start(&args(path(&local)));
    let written = |n| site.ask("PATCH /map", &right, &format!("{{\"n\":{n}}}"));
    assert_eq!(written(1).code, 200);
    files.hang();
    let late = written(2);
    assert_eq!(late.code, 503);
    assert!(late.body.contains("it is not known whether the change is kept"), "{late:?}");
    site.server.wait_log("a change failed: it is not known whether the change is kept");
    let refused = written(3);
    assert!(refused.code == 503 && refused.body.contains("the map was not changed: writing "), "{refused:?}");
    wait_unready(&site, "thread state: stuck for 1");
    assert_eq!((site.get("/livez").code, site.get("/map").code), (200, 200));
    files.go_on();
    wait_ready(&site);
    eventually("the change is kept and published later", || site.json("/map")["n"] == 2);
    assert_eq!(written(4).code, 200);
    files.hang();
    assert_eq!(written(5).code, 503);
    site.server.signal(Signal::TERM);
    assert_eq!(site.server.exit_code(), 1);
    files.go_on();
    // A change that was answered with 200 is stored.
    let kept = fs::read_to_string(&state).unwrap();
    assert!(kept.contains("\"n\": 4") || kept.contains("\"n\": 5"), "{kept}");

    let site = Site::start(&["--http-token-file", &secret]);
    files.hang();
    let page = site.page;
    let write = |header: &str| ask(page, "PATCH /map", header, "{\"n\":1}").code;
    thread::scope(|scope| {
        let with: Vec<_> = (0..30).map(|_| scope.spawn(|| write(&right))).collect();
        let without: Vec<_> = (0..30).map(|_| scope.spawn(|| write(""))).collect();
        assert_eq!(site.get("/livez").code, 200);
        assert!(without.into_iter().all(|one| one.join().unwrap() == 401));
        assert!(with.into_iter().all(|one| one.join().unwrap() == 503));
    });
    files.go_on();
}

#[cfg(feature = "tls")]
#[test]
fn hung_certificate_files_delay_no_client_and_reload_afterwards() {
    use crate::support::authority::Authority;
    let Some(files) = SlowFs::mount() else { return };
    let authority = Authority::new();
    let place = |names: &[&str]| {
        let pair = authority.good("x", names);
        let text = |path: &Path| fs::read_to_string(path).unwrap();
        (files.write("cert.pem", &text(&pair.cert)), files.write("key.pem", &text(&pair.key)))
    };
    let (cert, key) = place(&["localhost"]);
    let mut server = Program::server(&["--tls-cert", &cert, "--tls-key", &key, "--drain-timeout", "1s"]);
    let address = format!("localhost:{}", server.addr_with_tls().port());
    let connect = || {
        let ca = authority.ca.to_str().unwrap();
        Program::client(&["--tls", "--tls-ca", ca, "-n", "1", &address]).finish()
    };
    connect().assert_exit(0);
    files.hang();
    server.wait_log("thread certificates: stuck for 10 s while reading the files of TLS");
    connect().assert_exit(0);
    files.go_on();
    server.wait_log("thread certificates: resumed");
    place(&["another.example"]);
    eventually("the new certificate", || connect().code() == 3);
    files.hang();
    let is_stuck = |line: &&String| line.contains("thread certificates: stuck for 10 s");
    eventually("it is stuck again", || server.log().iter().filter(is_stuck).count() == 2);
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), 1);
}

#[test]
fn a_frozen_publisher_is_detected_and_the_watchdog_not_fed() {
    if !rustix::process::geteuid().is_root() || !has_command("python3") {
        return skip("to freeze a thread takes root and python3");
    }
    let directory = tempfile::tempdir().unwrap();
    let manager = std::os::unix::net::UnixDatagram::bind(directory.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = clean(SERVER);
    command.args(["-l", "127.0.0.1:0", "--http", "127.0.0.1:0", "--drain-timeout", "1s", "--interval", "1h"]);
    command.env("NOTIFY_SOCKET", directory.path().join("notify")).env("WATCHDOG_USEC", "400000");
    let mut site = Site::of(Program::start(command));
    let wait_sign = || {
        let mut message = [0; 4096];
        while let Ok(length) = manager.recv(&mut message) {
            if message[..length].starts_with(b"WATCHDOG=1") {
                return true;
            }
        }
        false
    };
    assert!(wait_sign());
    let mut freezer = script("freeze_thread.py", &[&site.server.pid().to_string(), "publisher-0"]);
    freezer.wait_out("frozen");
    wait_unready(&site, "thread publisher-0: stuck for 1");
    let live = site.get("/livez");
    assert!(live.code == 503 && live.body.contains("while sending the map"), "{live:?}");
    // No watchdog message is sent during the freeze: none follows the 100 or so that may be in transit.
    manager.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    eventually("no more signs of life", || !wait_sign());
    drop(freezer.stdin());
    freezer.exit_code();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(wait_sign());
    wait_ready(&site);
    assert_eq!(site.get("/livez").code, 200);
    let mut freezer = script("freeze_thread.py", &[&site.server.pid().to_string(), "publisher-0"]);
    freezer.wait_out("frozen");
    site.server.signal(Signal::TERM);
    site.server.wait_log("thread publisher-0: did not end within 1s; abandoned until the process exits");
    // The exit code is decided by now: a publisher that resumed earlier would end in time.
    let running = site.server.wait_log("exiting with threads still running: ");
    assert!(running.contains("publisher-0"), "{running}");
    // A traced thread belongs to its process until the tracer has reaped it.
    drop(freezer.stdin());
    assert_eq!(site.server.exit_code(), 1);
}

#[test]
fn a_stop_that_hangs_unexpectedly_ends_the_process_in_time() {
    if !rustix::process::geteuid().is_root() || !has_command("python3") {
        return skip("to freeze a thread takes root and python3");
    }
    let mut site = Site::start(&["--drain-timeout", "1s"]);
    // The main thread waits for it without a time limit.
    let mut freezer = script("freeze_thread.py", &[&site.server.pid().to_string(), "http-accept"]);
    freezer.wait_out("frozen");
    site.server.signal(Signal::TERM);
    let line = site.server.wait_log("not stopped within 3 s; exiting with threads still running: ");
    assert!(line.contains("http-accept"), "{line}");
    drop(freezer.stdin());
    assert_eq!(site.server.exit_code(), 1);
}

#[test]
fn idle_threads_do_not_count_as_stuck() {
    let directory = tempfile::tempdir().unwrap();
    let (file, _) = token();
    let state = directory.path().join("state");
    let lines = ["--source", "-", "--interval", "1h", "--state", state.to_str().unwrap()];
    let written = ["--http-token-file", path(&file), "--interval", "1h", "--state", state.to_str().unwrap()];
    let sites = [Site::start(&["--interval", "1h"]), Site::start(&lines)];
    // Longer than the time after which a thread counts as stuck.
    thread::park_timeout(mapcast::threads::STUCK_AFTER + Duration::from_secs(3));
    for site in &sites {
        assert_eq!(site.get("/livez").code, 200);
        assert!(site.get("/metrics").body.contains("\nmapcast_threads_unhealthy 0\n"));
        assert!(!site.server.log().iter().any(|line| line.contains("stuck")), "{:?}", site.server.log());
    }
    drop(sites);
    let site = Site::start(&written);
    thread::park_timeout(mapcast::threads::STUCK_AFTER + Duration::from_secs(3));
    assert_eq!(site.get("/readyz").code, 200);
}

#[test]
fn a_panicking_thread_is_counted_and_shown_in_readyz() {
    let (threads, feed) = (Threads::default(), Arc::new(Feed::new(Format::Json, 1000)));
    feed.publish(&builtin_map()).unwrap();
    let mut clients = Server::new(ServerConfig { threads: threads.clone(), ..ServerConfig::default() });
    let here = [([127, 0, 0, 1], 0).into()];
    clients.bind(&here, Cast::new(Arc::clone(&feed), PATIENCE).with_threads(&threads)).unwrap();
    let mut server = Server::new(ServerConfig { threads: threads.clone(), ..ServerConfig::default() });
    let config = http::Config { interval: PATIENCE, threads: threads.clone(), ..http::Config::default() };
    let stop = Shutdown::new().unwrap();
    server.bind(&here, Http::new(config, feed, clients.monitor(), server.monitor(), stop)).unwrap();
    let running = server.spawn(Shutdown::new().unwrap()).unwrap();
    let get = |path: &str| ask(running.local_addrs()[0], &format!("GET {path}"), "", "");
    assert_eq!(get("/readyz").code, 200);

    let worker = threads.register("sorter", "sorting");
    let (release, paused) = mpsc::channel::<()>();
    let (done, ended) = mpsc::channel::<()>();
    let run = move || {
        let mut runs = 0;
        let pause = |pause: Duration| !pause.is_zero() && paused.recv().is_err();
        worker.run(pause, || {
            runs += 1;
            assert!(runs > 2, "as a fault of the work's own");
            worker.round();
            let _ = ended.recv();
        });
    };
    let thread = mapcast::threads::Thread::start("sorter", run).unwrap();
    eventually("two panics", || get("/metrics").body.contains("\nmapcast_thread_panics_total 2\n"));
    let answer = get("/readyz");
    assert!(answer.code == 503 && answer.body.contains("thread sorter: "), "{answer:?}");
    assert_eq!(get("/livez").code, 200);
    release.send(()).unwrap();
    eventually("ready again", || get("/readyz").code == 200);
    drop(done);
    assert!(thread.join(PATIENCE));
    running.stop().unwrap();
}

/// Returns a server that accepts writes and stores its map at `state`.
fn server(token: &Path, state: &Path) -> Command {
    let mut command = clean(SERVER);
    command.args(["-l", "127.0.0.1:0", "--http", "127.0.0.1:0", "--http-token-file", token.to_str().unwrap()]);
    command.args(["--state", state.to_str().unwrap()]);
    command
}

#[test]
fn a_file_that_is_a_mount_point_is_refused_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let (file, _) = token();
    let [state, elsewhere] = ["state.json", "elsewhere"].map(|name| directory.path().join(name));
    fs::write(&state, "{}").unwrap();
    fs::write(&elsewhere, "{}").unwrap();
    let mounted = clean("mount").arg("--bind").arg(&elsewhere).arg(&state).status();
    if !mounted.is_ok_and(|status| status.success()) {
        return skip("to mount a file takes root");
    }
    let mut check = server(file.path(), &state);
    check.arg("--check-config");
    let refusals = [run(server(file.path(), &state)), run(check)];
    assert!(clean("umount").arg(&state).status().unwrap().success());
    for refusal in refusals {
        let why =
            "the state cannot be written: it is a mount point, which cannot be replaced; mount its directory instead";
        refusal.assert_exit(2).assert_stderr(why);
    }
}

#[test]
fn a_state_above_the_file_size_limit_is_answered_with_500() {
    let directory = tempfile::tempdir().unwrap();
    let (file, right) = token();
    let state = directory.path().join("state.json");
    let site = Site::of(Program::start(server(file.path(), &state)));
    let limit = |current| {
        let pid = Pid::from_raw(i32::try_from(site.server.pid()).unwrap());
        prlimit(pid, Resource::Fsize, Rlimit { current, maximum: None }).unwrap();
    };
    limit(Some(200));
    let long = format!("{{\"long\":\"{}\"}}", "x".repeat(1000));
    let answer = site.ask("PATCH /map", &right, &long);
    assert_eq!(answer.code, 500);
    assert!(answer.body.contains("File too large"), "{answer:?}");
    assert_eq!(site.json("/map")["long"], serde_json::Value::Null);
    limit(None);
    assert_eq!(site.ask("PATCH /map", &right, &long).code, 200);
    assert!(
        !fs::read_dir(directory.path())
            .unwrap()
            .any(|entry| { entry.unwrap().file_name().to_string_lossy().ends_with(".tmp") })
    );
}

#[test]
fn a_client_file_above_the_file_size_limit_is_retried() {
    let directory = tempfile::tempdir().unwrap();
    let source = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    fs::write(source.path(), format!("{{\"long\":\"{}\"}}", "x".repeat(1000))).unwrap();
    let server = Program::server(&["--interval", "100ms", "--source", path(&source)]);
    let out = directory.path().join("map.json");
    let limited = |program: &[&str]| {
        let mut command = clean("prlimit");
        command.arg("--fsize=200:unlimited").args(program);
        command
    };
    if !has_command("prlimit") {
        return skip("no prlimit");
    }
    let address = server.addr().to_string();
    let args = [CLIENT, &address, "--write", out.to_str().unwrap()];
    let client = Program::start(limited(&args));
    client.wait_log("File too large");
    let pid = Pid::from_raw(i32::try_from(client.pid()).unwrap());
    prlimit(pid, Resource::Fsize, Rlimit { current: None, maximum: None }).unwrap();
    eventually("it is written", || fs::read_to_string(&out).is_ok_and(|text| text.len() > 1000));
    // The started program has the default action: the signal ends it, which a shell reports as 128 + 25.
    let small = Program::server(&[]);
    let sink = directory.path().join("sink");
    let command = format!("head -c 1000 /dev/zero > {}; test $? = 153 && echo by the signal >&2", sink.display());
    run(limited(&[CLIENT, &small.addr().to_string(), "-n", "1", "--exec", &command])).assert_stderr("by the signal");
}

#[cfg(feature = "tls")]
#[test]
fn a_timeout_exits_with_124_while_a_client_file_hangs() {
    let Some(files) = SlowFs::mount() else { return };
    let ca = files.write("ca.pem", "");
    files.hang();
    let client = Program::client(&["--tls", "--tls-ca", &ca, "-W", "500ms", "127.0.0.1:9"]).finish();
    client.assert_exit(124).assert_stderr("timed out");
}

#[cfg(feature = "tls")]
#[test]
fn a_fifo_as_a_tls_file_of_the_client_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    mkfifo(&fifo);
    let client = Program::client(&["--tls", "--tls-ca", fifo.to_str().unwrap(), "127.0.0.1:9"]).finish();
    client.assert_exit(2).assert_stderr("it is a FIFO, not a regular file");
    let client =
        Program::client_with(&["--tls", "127.0.0.1:9"], |command| command.env("SSL_CERT_FILE", &fifo)).finish();
    client.assert_exit(2).assert_stderr("it is a FIFO, not a regular file");
}
