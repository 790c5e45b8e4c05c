//! Relays: one server that follows another.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mapcast::source::{Relay, Sink, Source};
use mapcast::{Cast, Feed, Format, ServerConfig, Shutdown};

use crate::support::eventually;
use crate::support::reader::Reader;
use crate::support::server::{MapServer, Running, numbered};

/// A relay in this process, in JSON from and to.
struct Tier {
    feed: Arc<Feed>,
    running: Running,
    sink: Sink,
}

impl Tier {
    /// Serves a feed that no source publishes in yet.
    fn start() -> Self {
        let feed = Arc::new(Feed::new(Format::Json, 1 << 20));
        let running = Running::start(Cast::new(Arc::clone(&feed), Duration::from_millis(200)), ServerConfig::default());
        Self { sink: Sink::new(Arc::clone(&feed), vec![]), feed, running }
    }

    /// Follows `parent` until the test ends.
    fn follow(&self, parent: SocketAddr, stop: &Shutdown) {
        let mut relay = Relay::new(format!("tcp://{parent}?format=json").parse().unwrap());
        relay.listening_on(&[self.running.addr]);
        let (sink, stop) = (self.sink.clone(), stop.clone());
        thread::Builder::new().spawn(move || relay.follow(&sink, &stop)).unwrap();
    }
}

/// Ends the relays, also when the test fails.
struct StopOnDrop(Shutdown);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.trigger();
    }
}

#[test]
fn a_change_at_the_root_reaches_the_clients_of_the_lowest_relay() {
    let stop = StopOnDrop(Shutdown::new().unwrap());
    let root = MapServer::start(Duration::from_mins(1));
    let tiers: Vec<_> = (0..3).map(|_| Tier::start()).collect();
    let mut parent = root.running.addr;
    for tier in &tiers {
        tier.follow(parent, &stop.0);
        parent = tier.running.addr;
    }
    eventually("the map is there", || tiers.iter().all(|tier| tier.feed.version() == 1));
    let mut client = Reader::connect(parent);
    assert_eq!(client.map(Format::Json), numbered(0));
    root.feed.publish(&numbered(1)).unwrap();
    client.change(Format::Json, &numbered(1));
    assert!(tiers.iter().all(|tier| tier.sink.health().state().up));
    // Equal maps are not a change: a relay does not forward the repeats of its parent as changes.
    let versions: Vec<_> = tiers.iter().map(|tier| tier.feed.version()).collect();
    (0..5).for_each(|_| assert_eq!(client.map(Format::Json), numbered(1)));
    assert_eq!(versions, tiers.iter().map(|tier| tier.feed.version()).collect::<Vec<_>>());
}

/// Returns the address of a proxy that delays the data of `server` by 20 ms, for one client.
fn long_link(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let carry = move || {
        let mut client = listener.accept().unwrap().0;
        let mut server = TcpStream::connect(server).unwrap();
        let mut chunk = [0; 4096];
        // Ends when one of the two connections ends.
        while let Ok(read @ 1..) = server.read(&mut chunk) {
            let arrival = Instant::now() + Duration::from_millis(20);
            while let Some(left) = arrival.checked_duration_since(Instant::now()) {
                thread::park_timeout(left);
            }
            if client.write_all(&chunk[..read]).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().spawn(carry).unwrap();
    address
}

/// A ring has no root. Relays that start with different maps would forward them in circles for ever: if a link is slower than
/// a relay, no map overtakes the one before it.
#[test]
fn relays_in_a_ring_settle_on_one_map() {
    let stop = StopOnDrop(Shutdown::new().unwrap());
    let tiers: Vec<_> = (0..3).map(|_| Tier::start()).collect();
    for (number, tier) in (0..).zip(&tiers) {
        tier.feed.publish(&numbered(number)).unwrap();
    }
    for (index, tier) in tiers.iter().enumerate() {
        tier.follow(long_link(tiers[(index + 1) % tiers.len()].running.addr), &stop.0);
    }
    eventually("all follow", || tiers.iter().all(|tier| tier.sink.health().state().up));
    let versions = || tiers.iter().map(|tier| tier.feed.version()).collect::<Vec<_>>();
    let maps = || tiers.iter().map(|tier| tier.feed.latest().unwrap().frame.payload().to_vec()).collect::<Vec<_>>();
    let (mut before, mut since) = (versions(), Instant::now());
    eventually("one map, and no other one for a second", || {
        if versions() != before || maps().iter().any(|map| *map != maps()[0]) {
            (before, since) = (versions(), Instant::now());
        }
        since.elapsed() >= Duration::from_secs(1)
    });
}

#[test]
fn relays_in_a_ring_without_a_map_stay_without_one() {
    let stop = StopOnDrop(Shutdown::new().unwrap());
    let (one, other) = (Tier::start(), Tier::start());
    one.follow(other.running.addr, &stop.0);
    other.follow(one.running.addr, &stop.0);
    one.running.wait_active(1);
    other.running.wait_active(1);
    assert_eq!((one.feed.version(), other.feed.version()), (0, 0));
    assert!(!one.sink.health().state().up);
}

#[cfg(feature = "cli")]
mod programs {
    use super::*;
    use crate::support::free_port;
    use crate::support::program::{Program, SERVER, clean, run};
    use rustix::process::Signal;

    #[test]
    fn a_relay_with_another_format_keeps_the_map_of_a_lost_parent() {
        let port = free_port().to_string();
        let root = || {
            let mut command = clean(SERVER);
            command.args(["--listen", &format!("127.0.0.1:{port}"), "--interval", "60s", "--set", "who=root"]);
            Program::start(command)
        };
        let parent = format!("tcp://127.0.0.1:{port}");
        let first = root();
        first.addr();
        let mut relay = Program::server(&["--source", &parent, "--format", "json", "--interval", "100ms"]);
        let up = relay.wait_log("source up");
        let mut client = Reader::connect(relay.addr());
        let map = client.map(Format::Json);
        assert_eq!(map[&"who".into()], "root".into());
        assert!(up.ends_with(&format!("source up: {parent}: 1 entry, version 1")), "{up}");
        drop(first);
        let down = relay.wait_log("source down");
        assert!(
            down.contains(&format!("source down: {parent}: ")) && down.ends_with("; the last good map stays"),
            "{down}"
        );
        (0..3).for_each(|_| assert_eq!(client.map(Format::Json), map));
        assert_eq!(Reader::connect(relay.addr()).map(Format::Json), map);
        let _second = root();
        eventually("it is up again", || relay.log().iter().filter(|line| line.contains("source up")).count() == 2);
        assert_eq!(relay.log().iter().filter(|line| line.contains("source down")).count(), 1, "{:?}", relay.log());
        relay.signal(Signal::TERM);
        assert_eq!(relay.exit_code(), 0);
    }

    #[test]
    fn a_relay_without_its_parent_starts_with_the_exact_last_map() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let root = Program::server(&["--set", "bytes=1.5"]);
        let source = format!("tcp://{}", root.addr());
        let args = ["--source", &source, "--state", state.to_str().unwrap(), "--set", "own=true"];
        let mut relay = Program::server(&args);
        relay.wait_log("source up");
        // In bincode, where an integer and a string are different keys.
        let map = Reader::connect(relay.addr()).payload();
        relay.signal(Signal::TERM);
        assert_eq!(relay.exit_code(), 0);
        drop(root);
        let relay = Program::server(&args);
        assert_eq!(Reader::connect(relay.addr()).payload(), map);
        relay.wait_log("source down");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2, "nothing is left beside it and its lock");
    }

    #[test]
    fn a_state_is_refused_for_a_file_source() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let state = state.to_str().unwrap();
        let mut lines = Program::server(&["--source", "-", "--state", state, "--format", "json"]);
        lines.stdin().write_all(b"{\"n\":7}\n").unwrap();
        lines.wait_log("1 entry, version 1");
        lines.signal(Signal::TERM);
        assert_eq!(lines.exit_code(), 0);
        let lines = Program::server(&["--source", "-", "--state", state, "--format", "json"]);
        assert_eq!(Reader::connect(lines.addr()).map(Format::Json), numbered(7));
        for (args, wanted) in [
            (&["--source", "flags.json"][..], "no effect with the file flags.json"),
            (&[], "--http-token-file, or with a --source that is not a file"),
            (&["--source", "tcp://127.0.0.1:1", "--check-config"], "kept in "),
        ] {
            let mut command = clean(SERVER);
            command.args(["--state", state]).args(args);
            let finished = run(command);
            let said = String::from_utf8_lossy(&finished.stdout).into_owned() + &finished.stderr;
            assert!(said.contains(wanted), "{said}");
            finished.assert_exit(if args.contains(&"--check-config") { 0 } else { 2 });
        }
    }

    #[test]
    fn a_server_that_follows_itself_is_refused_with_the_reason() {
        let line = loop {
            let port = free_port();
            let mut command = clean(SERVER);
            command.args(["--listen", &format!("0.0.0.0:{port}"), "--source", &format!("tcp://127.0.0.1:{port}")]);
            let server = Program::start(command);
            let line = |text| server.log().into_iter().find(|line| line.contains(text));
            // Another program may have bound the port in the meantime.
            eventually("its fate", || line("source down").or_else(|| line("cannot listen")).is_some());
            if let Some(line) = line("source down") {
                break line;
            }
        };
        assert!(line.contains("is this server itself") && line.ends_with("there is no map yet"), "{line}");
    }

    #[test]
    fn a_parent_may_have_any_format() {
        for format in Format::ALL {
            let root = Program::server(&["--format", format.name()]);
            let relay = Program::server(&["--source", &format!("tcp://{}", root.addr())]);
            relay.wait_log(": 4 entries, version 1");
        }
    }

    #[test]
    fn a_parent_with_another_format_is_logged() {
        let root = Program::server(&["--format", "json"]);
        let relay = Program::server(&["--source", &format!("tcp://{}?format=text", root.addr())]);
        relay.wait_log("the server sends json, not text: write ?format=json or leave format out");
    }

    #[test]
    fn an_invalid_address_of_a_parent_is_a_usage_error() {
        for (source, wanted) in [
            ("tcp://127.0.0.1", "write tcp://HOST:PORT"),
            ("tls://127.0.0.1", "write tcp://HOST:PORT or tls://HOST:PORT"),
            ("tcp://h:1?format=yaml", "yaml"),
        ] {
            let mut command = clean(SERVER);
            command.args(["--source", source]);
            run(command).assert_exit(2).assert_stderr(wanted);
        }
    }
}

#[cfg(all(feature = "cli", feature = "tls"))]
mod encrypted {
    use std::path::Path;

    use super::*;
    use crate::support::authority::{Authority, Files};
    use crate::support::program::{Program, SERVER, clean, run};

    fn text(path: &Path) -> &str {
        path.to_str().unwrap()
    }

    /// Starts a parent with TLS and `args`, and returns its address by name.
    fn parent(files: &Files, args: &[&str]) -> (Program, String) {
        let server =
            Program::server(&[args, &["--tls-cert", text(&files.cert), "--tls-key", text(&files.key)]].concat());
        let source = format!("tls://localhost:{}", server.addr_with_tls().port());
        (server, source)
    }

    #[test]
    fn a_relay_follows_over_tls_with_a_client_certificate() {
        let authority = Authority::new();
        let (files, own) = (authority.good("root", &["localhost"]), authority.good("relay", &["relay"]));
        let ca = text(&authority.ca);
        let (_root, source) = parent(&files, &["--tls-client-ca", ca, "--set", "who=root"]);
        let identity = ["--source-tls-cert", text(&own.cert), "--source-tls-key", text(&own.key)];
        let trust = ["--source", &source, "--source-tls-ca", ca, "--format", "json"];
        let relay = Program::server(&[&trust[..], &identity].concat());
        let up = relay.wait_log("source up");
        assert!(up.contains(&source), "{up}");
        assert_eq!(Reader::connect(relay.addr()).map(Format::Json)[&"who".into()], "root".into());
        let stranger = Program::server(&trust);
        let down = stranger.wait_log("source down");
        assert!(down.contains("use --source-tls-cert FILE and --source-tls-key FILE"), "{down}");
    }

    #[test]
    fn a_failed_relay_connection_names_the_servers_options() {
        let (authority, other) = (Authority::new(), Authority::new());
        let (_root, source) = parent(&authority.good("root", &["root.example"]), &[]);
        let plain = Program::server(&[]);
        let (ca, stranger) = (text(&authority.ca), text(&other.ca));
        for (source, args, wanted) in [
            (
                source.clone(),
                &["--source-tls-ca", stranger][..],
                "pass the certificate of its CA with --source-tls-ca FILE",
            ),
            (source.clone(), &["--source-tls-ca", ca], "use --source-tls-name root.example"),
            (source.replace("tls://", "tcp://"), &[], "write tls:// for tcp://"),
            (format!("tls://{}", plain.addr()), &["--source-tls-ca", ca], "write tcp:// or redis://"),
        ] {
            let relay = Program::server(&[&["--source", &source], args].concat());
            let down = relay.wait_log("source down");
            assert!(down.contains(wanted), "{down}");
        }
        let name = ["--source-tls-ca", ca, "--source-tls-name", "root.example"];
        Program::server(&[&["--source", &source], &name[..]].concat()).wait_log("source up");
    }

    #[test]
    fn invalid_tls_options_or_files_are_a_usage_error() {
        let authority = Authority::new();
        let (ca, files) = (text(&authority.ca), authority.good("relay", &["relay"]));
        for (args, wanted) in [
            (&["--source", "tcp://127.0.0.1:1", "--source-tls-ca", ca][..], "tls://HOST:PORT"),
            (&["--source-tls-name", "x"], "tls://HOST:PORT"),
            (&["--source", "tls://h:1", "--source-tls-ca", "/nowhere/x"], "/nowhere/x: cannot be read"),
            (&["--source", "tls://h:1", "--source-tls-cert", text(&files.cert)], "--source-tls-key"),
        ] {
            let mut command = clean(SERVER);
            command.args(args);
            run(command).assert_exit(2).assert_stderr(wanted);
        }
    }
}
