//! `mapcast-server` as a program: its log, its exit codes, its signals.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::net::{Shutdown as Direction, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use mapcast::client::Connectivity;
use mapcast::{FollowConfig, Follower, Format, Shutdown, builtin_map};
use rustix::process::{Resource, Rlimit, Signal};

use crate::http::Site;
use crate::support::program::{CLIENT, Program, SERVER, clean, run};
use crate::support::reader::{Reader, ends_in_order};
use crate::support::{PATIENCE, connect, eventually, skip, thread_names};

/// Returns how often the threads of a process have gone to sleep, which is how often they were woken.
fn wakings(pid: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a process of ours");
    let status = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("status")).ok());
    let counts = |status: String| -> u64 {
        let lines = status.lines().filter_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        lines.filter_map(|count| count.trim().parse::<u64>().ok()).sum()
    };
    status.map(counts).sum()
}

/// Returns how many descriptors a process has open.
fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("a process of ours").count()
}

#[test]
fn the_log_has_the_stable_lines() {
    let mut server = Program::server(&["--interval", "60s"]);
    let line = server.wait_log("listening on");
    let addr = server.addr();
    let pid = server.pid();
    assert!(line.ends_with(&format!("listening on {addr}: the map as bincode every 1m, pid {pid}")), "{line}");
    let mut first = Reader::connect(addr);
    assert_eq!(first.map(Format::Bincode), builtin_map());
    let local = first.socket().local_addr().unwrap();
    server.wait_log(&format!("client 1 connected from {local} (active connections: 1)"));
    let second = Reader::connect(addr);
    server.wait_log("client 2 connected from");
    first.socket().shutdown(Direction::Write).unwrap();
    let line = server.wait_log("client 1 disconnected after");
    assert!(line.contains("s and 1 frame: closed by the client (active connections: 1)"), "{line}");
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), 0);
    server.wait_log("stopping: 1 active connection");
    server.wait_log("stopped: 2 clients served, 0 cut");
    drop(second);
}

#[test]
fn a_killed_client_is_removed_before_the_next_frame() {
    let server = Program::server(&["--interval", "1h"]);
    let addr = server.addr().to_string();
    for number in 1..=5 {
        let mut command = clean(CLIENT);
        command.arg(&addr);
        let client = Program::start(command);
        client.wait_out("Servidor");
        server.wait_log(&format!("client {number} connected"));
        // The accept loop has sent the map, and the thread may not run yet.
        let is_served = || thread_names(server.pid()).contains(&format!("client-{number}"));
        eventually("its thread runs", is_served);
        let open = descriptors(server.pid());
        let killed = Instant::now();
        client.signal(Signal::KILL);
        let line = server.wait_log(&format!("client {number} disconnected"));
        eprintln!("gone {:?} after its kill", killed.elapsed());
        assert!(line.contains(" and 1 frame: "), "{line}");
        eventually("its thread is gone", || !is_served());
        eventually("its descriptor is gone", || descriptors(server.pid()) < open);
    }
    let above_info: Vec<_> =
        server.log().into_iter().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
    assert!(above_info.is_empty(), "{above_info:?}");
}

#[test]
fn a_stopped_client_is_closed_and_reconnects() {
    let source = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    std::fs::write(source.path(), format!(r#"{{"text":"{}"}}"#, "x".repeat(900_000))).unwrap();
    let path = source.path().to_str().unwrap();
    let server = Program::server(&["--interval", "100ms", "--write-timeout", "1s", "--source", path]);
    let mut command = clean(CLIENT);
    command.args(["--output", "none", &server.addr().to_string()]);
    let client = Program::start(command);
    client.wait_log("connected to");
    client.signal(Signal::STOP);
    let cut = server.wait_log("client 1 disconnected");
    // TCP_USER_TIMEOUT would end it later.
    assert!(cut.contains("not taken within 1s: too slow"), "{cut}");
    client.signal(Signal::CONT);
    server.wait_log("client 2 connected");
}

#[test]
fn silent_clients_cost_no_cpu() {
    let server = Program::server(&["--interval", "1h"]);
    let addr = server.addr();
    let mut silent: Vec<_> = (0..500).map(|_| Reader::connect(addr)).collect();
    for client in &mut silent {
        client.payload();
    }
    eventually("their threads wait", || {
        let before = wakings(server.pid());
        std::thread::park_timeout(Duration::from_millis(200));
        wakings(server.pid()) < before + 50
    });
    let before = wakings(server.pid());
    std::thread::park_timeout(Duration::from_secs(5));
    let wakings = wakings(server.pid()).saturating_sub(before);
    eprintln!("500 silent clients for 5 s: {wakings} wakings");
    // The server's own threads wake once or twice in 2 s each, whatever the clients do.
    assert!(wakings < 250, "{wakings} wakings in 5 s");
    drop(silent);
}

#[test]
fn ten_thousand_idle_clients_see_a_clean_end() {
    // The test holds the other ends.
    let room = rustix::process::getrlimit(Resource::Nofile).maximum.unwrap_or(20_000);
    let wanted = usize::try_from(room.saturating_sub(500).min(10_000)).unwrap();
    let mine = Rlimit { current: Some(room), maximum: Some(room) };
    rustix::process::setrlimit(Resource::Nofile, mine).unwrap();
    let mut server = Program::server(&["--interval", "1h", "--drain-timeout", "1h"]);
    let addr = server.addr();
    let mut clients: Vec<_> = (0..wanted).map(|_| connect(addr)).collect();
    // In a line of its own, or in the summary of the last second.
    server.wait_log(&format!("(active connections: {wanted})"));
    let began = Instant::now();
    server.signal(Signal::INT);
    assert_eq!(server.exit_code(), 0);
    eprintln!("{wanted} idle clients were gone {:?} after the signal", began.elapsed());
    let reset = clients.iter_mut().filter_map(|socket| (!ends_in_order(socket)).then_some(())).count();
    assert_eq!(reset, 0, "of {wanted}");
    server.wait_log(&format!("stopped: {wanted} clients served, 0 cut"));
}

#[test]
fn stalled_clients_are_cut_after_the_drain_with_exit_code_1() {
    let source = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    std::fs::write(source.path(), format!(r#"{{"text":"{}"}}"#, "x".repeat(8_000_000))).unwrap();
    let path = source.path().to_str().unwrap();
    let limits = ["--max-frame", "16MiB", "--drain-timeout", "500ms", "--write-timeout", "1h"];
    let mut server = Program::server(&[&limits[..], &["--source", path]].concat());
    let addr = server.addr();
    let stalled: Vec<_> = (0..100).map(|_| TcpStream::connect(addr).unwrap()).collect();
    for client in &stalled {
        // A frame of 8 MB is being sent.
        assert_eq!(client.peek(&mut [0]).unwrap(), 1);
    }
    let began = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), 1);
    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
    server.wait_log("stopped: 100 clients served, 100 cut");
    drop(stalled);
}

#[test]
fn a_second_signal_exits_at_once() {
    let source = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    std::fs::write(source.path(), format!(r#"{{"text":"{}"}}"#, "x".repeat(8_000_000))).unwrap();
    let path = source.path().to_str().unwrap();
    let limits = ["--max-frame", "16MiB", "--drain-timeout", "1h", "--write-timeout", "1h"];
    let mut server = Program::server(&[&limits[..], &["--source", path]].concat());
    let stalled = TcpStream::connect(server.addr()).unwrap();
    assert_eq!(stalled.peek(&mut [0]).unwrap(), 1, "the frame's first byte");
    server.signal(Signal::INT);
    server.wait_log("stopping: 1 active connection");
    server.signal_again(Signal::INT);
    let second = Instant::now();
    assert_eq!(server.exit_code(), 130);
    eprintln!("gone {:?} after the second signal", second.elapsed());
    drop(stalled);
}

#[test]
fn a_duplicate_signal_within_100_ms_counts_once() {
    // As from timeout(1), which signals the program and then its group. A stopped process receives both at the same
    // moment.
    for _ in 0..20 {
        let mut server = Program::server(&[]);
        let mut reader = Reader::connect(server.addr());
        reader.payload();
        for signal in [Signal::STOP, Signal::TERM, Signal::INT, Signal::CONT] {
            server.signal(signal);
        }
        assert_eq!(server.exit_code(), 0);
        assert_eq!(reader.drain(), 0);
    }
}

#[test]
fn clients_of_a_restarted_server_reconnect_one_by_one() {
    let mut server = Program::server(&["--interval", "60s"]);
    let addr = server.addr();
    let (stop, (came, comes), (delays, delayed)) = (Shutdown::new().unwrap(), mpsc::channel(), mpsc::channel());
    std::thread::scope(|scope| {
        for _ in 0..100 {
            let (came, stop, delays) = (came.clone(), stop.clone(), delays.clone());
            scope.spawn(move || {
                let mut follower = Follower::new(&addr.to_string(), FollowConfig::default(), &stop);
                follower.on_connectivity(move |news| {
                    if let Connectivity::Lost { retry_in, .. } = news {
                        delays.send(retry_in).unwrap();
                    }
                });
                while let Ok(Some(map)) = follower.next_map() {
                    assert_eq!(map, builtin_map());
                    came.send(Instant::now()).unwrap();
                }
            });
        }
        let arrivals = || -> Vec<_> { (0..100).map(|_| comes.recv_timeout(PATIENCE).expect("a map")).collect() };
        arrivals();
        server.signal(Signal::KILL);
        assert_eq!(server.exit_code(), 128 + 9);
        let mut command = clean(SERVER);
        command.args(["--interval", "60s", "--listen", &addr.to_string()]);
        let began = Instant::now();
        let again = Program::start(command);
        assert_eq!(again.addr(), addr, "the port is free at once");
        let mut arrivals = arrivals();
        stop.trigger();
        arrivals.sort_unstable();
        let over = arrivals[99].duration_since(arrivals[0]);
        eprintln!("100 clients are back {:?} after the restart, over {over:?}", arrivals[99].duration_since(began));
        let delays: HashSet<_> = delayed.try_iter().collect();
        assert!(delays.len() >= 90, "all at once, or after one of {} delays", delays.len());
    });
}

/// The error, and what its one line must contain.
#[test]
fn a_failed_start_is_one_clear_line_and_code_2() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (args, wanted) in [
        (vec!["--listen", &taken], "stop the other program or use --listen 127.0.0.1:"),
        (vec!["--listen", "192.0.2.1:8080"], "this machine has no such address"),
        (vec!["--listen", "nonsense"], "write PORT, :PORT or ADDR:PORT"),
        (vec!["--listen", "127.0.0.1:99999"], "99999 is not a port; the highest is 65535"),
        (vec!["--format", "yaml"], "use bincode, json, msgpack, pickle or text"),
        (vec!["--interval", "soon"], "write 5s, 500ms"),
        (vec!["--interval", "0"], "must be at least 1ms"),
        (vec!["--interval", "1us"], "must be at least 1ms"),
        (vec!["--max-frame", "big"], "write 64KiB"),
        (vec!["--max-connections", "200000"], "this machine can hold"),
        (vec!["--max-connections", "200000"], "(raise: "),
        (vec!["--max-connections-per-ip", "0"], "--max-connections-per-ip"),
        (vec!["--allow", "10.0.0.0/33"], "10.0.0.0/8"),
        (vec!["--keepalive", "soon"], "write 5s, 500ms"),
        (vec!["--set", "novalue"], "KEY=VALUE"),
        (vec!["--source", "/nowhere/flags.json"], "/nowhere/flags.json"),
        (vec!["--source", "flags.yaml"], "YAML is not supported"),
        (vec!["--no-such-option"], "--no-such-option"),
        (vec!["greet"], "required arguments were not provided"),
    ] {
        let mut command = clean(SERVER);
        command.args(&args);
        let ended = run(command);
        ended.assert_exit(2).assert_stdout("");
        let (line, hint) = ended.stderr.split_once('\n').unwrap();
        let is_clear = line.strip_prefix("mapcast-server: ").map_or_else(
            // The command line parser adds a hint below.
            || line.starts_with("error: ") && hint.ends_with("\nFor more information, try '--help'.\n"),
            |_| hint.is_empty(),
        );
        assert!(is_clear && line.contains(wanted), "{args:?}: {}", ended.stderr);
    }
}

/// Every write to `/dev/full` fails with ENOSPC.
#[test]
fn an_exit_code_does_not_depend_on_standard_error() {
    if !Path::new("/dev/full").exists() {
        return skip("no /dev/full");
    }
    let full = || File::options().write(true).open("/dev/full").unwrap();
    for (program, args, wanted) in [
        (SERVER, vec!["--listen", "192.0.2.1:8080"], 2),
        (SERVER, vec!["--check-config", "--source", "/nowhere/flags.json"], 2),
        (SERVER, vec!["--no-such-option"], 2),
        (SERVER, vec!["--check-config"], 1),
        (SERVER, vec!["--help"], 0),
        (CLIENT, vec!["--no-such-option"], 2),
        (CLIENT, vec!["127.0.0.1:1"], 3),
        (CLIENT, vec!["check", "127.0.0.1:1"], 3),
        (CLIENT, vec!["--help"], 0),
        (CLIENT, vec!["--version"], 0),
    ] {
        let mut command = clean(program);
        command.args(&args).stdout(full()).stderr(full());
        assert_eq!(Program::start(command).exit_code(), wanted, "{program} {args:?}");
    }
}

#[test]
fn a_privileged_port_is_refused_with_advice() {
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    if first.trim() == "0" {
        return skip("every user may listen on any port here");
    }
    let directory = tempfile::tempdir().unwrap();
    let mut command = clean(SERVER);
    if rustix::process::geteuid().is_root() {
        // Root may listen on any port; an otherwise unused user may not.
        let user = 54_322;
        let program = directory.path().join("mapcast-server");
        std::fs::copy(SERVER, &program).unwrap();
        std::os::unix::fs::chown(directory.path(), Some(user), Some(user)).unwrap();
        command = clean(program.to_str().unwrap());
        command.uid(user).gid(user);
    }
    command.args(["--listen", "127.0.0.1:1"]);
    let ended = run(command);
    ended.assert_exit(2).assert_stderr("ports below 1024");
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
}

#[test]
fn a_variable_that_is_the_cause_is_named() {
    for (name, value, wanted) in [
        (
            "MAPCAST_INTERVAL",
            "foo",
            "invalid value 'foo' for 'MAPCAST_INTERVAL, the variable of --interval <DURATION>'",
        ),
        ("MAPCAST_HTTP_HOST", "h", "tip: MAPCAST_HTTP_HOST is set in the environment"),
    ] {
        let mut command = clean(SERVER);
        command.arg("--check-config").env(name, value);
        run(command).assert_exit(2).assert_stderr(wanted);
    }
    let mut command = clean(SERVER);
    command.arg("--check-config").env("MAPCAST_INTERVALL", "3s");
    run(command).assert_exit(0).assert_stderr("MAPCAST_INTERVALL has no effect; did you mean MAPCAST_INTERVAL?");
}

#[test]
fn the_environment_sets_missing_options() {
    let mut command = clean(SERVER);
    command.env("MAPCAST_LISTEN", "127.0.0.1:0").env("MAPCAST_FORMAT", "text").env("MAPCAST_INTERVAL", "250ms");
    command.env("MAPCAST_SET", "1=Buenas\nport=8080");
    let server = Program::start(command);
    assert!(server.wait_log("listening on").contains("the map as text every 250ms"));
    let payload = Reader::connect(server.addr()).payload();
    assert_eq!(String::from_utf8(payload).unwrap(), "1=Buenas\nport=8080\n");
}

#[test]
fn several_addresses_are_one_server() {
    let mut command = clean(SERVER);
    command.args(["-l", "127.0.0.1:0", "-l", "127.0.0.2:0"]);
    let server = Program::start(command);
    let (first, second) = (server.wait_log("on 127.0.0.1:"), server.wait_log("on 127.0.0.2:"));
    for (line, ip) in [(first, "127.0.0.1"), (second, "127.0.0.2")] {
        let port = line.split(&format!("{ip}:")).nth(1).and_then(|rest| rest.split(':').next()).unwrap().to_owned();
        Reader::connect(format!("{ip}:{port}").parse().unwrap()).payload();
    }
    server.wait_log("(active connections: ");
}

#[test]
fn an_edited_file_reaches_the_clients() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flags.json");
    std::fs::write(&path, r#"{"dark": false}"#).unwrap();
    let server = Program::server(&["--interval", "1h", "--format", "json", "--source", path.to_str().unwrap()]);
    let mut reader = Reader::connect(server.addr());
    assert_eq!(reader.payload(), br#"{"dark":false}"#);
    std::fs::write(&path, r#"{"dark": true}"#).unwrap();
    assert_eq!(reader.payload(), br#"{"dark":true}"#);
    std::fs::write(&path, r#"{"dark": tr"#).unwrap();
    server.wait_log("WARN");
    let next = directory.path().join("next.json");
    std::fs::write(&next, r#"{"dark": "both"}"#).unwrap();
    std::fs::rename(&next, &path).unwrap();
    assert_eq!(reader.payload(), br#"{"dark":"both"}"#);
    assert_eq!(server.log().iter().filter(|line| line.contains("WARN")).count(), 1, "{:?}", server.log());
}

#[test]
fn a_missing_source_file_is_reported_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flags.json");
    std::fs::write(&path, r#"{"n": 0}"#).unwrap();
    let site = Site::start(&["--source", path.to_str().unwrap()]);
    let count = |text: &str| site.server.log().iter().filter(|line| line.contains(text)).count();
    for round in 1..=2 {
        std::fs::remove_file(&path).unwrap();
        // Each check of the file fails.
        eventually("three looks", || {
            site.json("/status")["source"]["errors"]["unreachable"].as_u64() >= Some(round as u64 * 3)
        });
        std::fs::write(&path, format!(r#"{{"n": {round}}}"#)).unwrap();
        eventually("the end of the problem is reported", || count("good again") == round);
        assert_eq!(count("WARN"), round, "{:?}", site.server.log());
    }
}

#[test]
fn each_line_of_standard_input_is_the_new_map() {
    let mut server = Program::server(&["--interval", "1h", "--format", "json", "--source", "-", "--set", "x=1"]);
    let mut reader = Reader::connect(server.addr());
    let mut input = server.stdin();
    writeln!(input, r#"{{"n": 1}}"#).unwrap();
    assert_eq!(reader.payload(), br#"{"n":1,"x":1}"#);
    writeln!(input, "no map").unwrap();
    server.wait_log("WARN");
    writeln!(input, r#"{{"n": 2}}"#).unwrap();
    assert_eq!(reader.payload(), br#"{"n":2,"x":1}"#);
    drop(input);
    server.wait_log("the last map stays");
    assert_eq!(Reader::connect(server.addr()).payload(), br#"{"n":2,"x":1}"#);
}

#[test]
fn a_sources_control_characters_are_escaped() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("\u{1b}[2J\n.json");
    std::fs::write(&path, r#"{"a": 1}"#).unwrap();
    let server =
        Program::server(&["--source", path.to_str().unwrap(), "--format", "json", "--set", "\u{1b}[2J=\u{9b}2J"]);
    let payload = Reader::connect(server.addr()).payload();
    assert!(
        !payload.contains(&0x1b) && !payload.windows(2).any(|two| two == [0xc2, 0x9b]),
        "{}",
        payload.escape_ascii()
    );
    std::fs::write(&path, "{\"\u{1b}[2J\": \u{1b}").unwrap();
    let line = server.wait_log("WARN");
    // Without a terminal, env_logger omits escape sequences itself.
    assert!(line.contains(r"\u{1b}[2J\n.json"), "{line}");
    assert!(server.log().iter().all(|line| !line.contains('\u{1b}')), "{:?}", server.log());
}

#[test]
fn echo_and_greet_accept_the_common_options() {
    let echo = {
        let mut command = clean(SERVER);
        command.args(["echo", "--listen", "127.0.0.1:0", "--max-connections", "5"]);
        Program::start(command)
    };
    assert!(echo.wait_log("listening on").contains("an echo, pid"));
    let mut command = clean(CLIENT);
    command.args(["echo", &echo.addr().to_string(), "Hello, world"]);
    run(command).assert_exit(0).assert_stdout("Hello, world");
    let line = echo.wait_log("client 1 disconnected");
    assert!(line.contains("and 12 bytes: closed by the client (active connections: 0)"), "{line}");

    let mut command = clean(SERVER);
    command.args(["greet", "Hola, ¿qué tal?", "--listen", "127.0.0.1:0"]);
    let greet = Program::start(command);
    let mut command = clean(CLIENT);
    command.args(["greet", &greet.addr().to_string()]);
    run(command).assert_exit(0).assert_stdout("Hola, ¿qué tal?");
    greet.wait_log("client 1 disconnected");
}
