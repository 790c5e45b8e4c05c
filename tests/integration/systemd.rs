//! systemd's protocols, tested without systemd: notifications to a socket of the test, and inherited listeners; and its
//! units, checked with its own tool.

use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mapcast::{Cast, Feed, Format, Server, ServerConfig, Shutdown, builtin_map};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::program::{Program, SERVER, clean, run};
use crate::support::reader::Reader;
use crate::support::{PATIENCE, free_port, has_command, skip};

/// A service manager's notification socket.
struct Manager {
    socket: UnixDatagram,
    directory: TempDir,
}

impl Manager {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, directory }
    }

    /// Starts a supervised server on a free port, with a pipe as standard input.
    fn start(&self, args: &[&str], variables: &[(&str, &str)]) -> Program {
        let mut command = clean(SERVER);
        command.args(args).args(["--listen", "127.0.0.1:0"]).stdin(Stdio::piped());
        command.env("NOTIFY_SOCKET", self.directory.path().join("notify")).envs(variables.iter().copied());
        Program::start(command)
    }

    /// Receives the next message.
    #[track_caller]
    fn message(&self) -> String {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).expect("a message in time");
        String::from_utf8(bytes[..length].to_vec()).expect("UTF-8")
    }

    /// Skips messages until one contains `text`. Returns that one.
    #[track_caller]
    fn wait(&self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let message = self.message();
            if message.contains(text) {
                return message;
            }
        }
        panic!("no message with {text:?}");
    }
}

#[test]
fn a_server_notifies_its_manager_of_ready_clients_and_stopping() {
    let manager = Manager::new();
    let mut server = manager.start(&["--drain-timeout", "7s"], &[]);
    assert_eq!(manager.message(), "READY=1\nSTATUS=0 active connections, 4 entries");
    let mut reader = Reader::connect(server.addr());
    reader.payload();
    assert_eq!(manager.message(), "STATUS=1 active connection, 4 entries");
    server.signal(Signal::TERM);
    // The drain, and 5 s for cut connections.
    assert_eq!(manager.message(), "STOPPING=1\nSTATUS=stopping\nEXTEND_TIMEOUT_USEC=12000000");
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn a_server_is_ready_once_it_has_its_first_map() {
    let manager = Manager::new();
    let mut server = manager.start(&["--source", "-"], &[]);
    assert_eq!(manager.message(), "STATUS=waiting for the first map");
    let mut reader = Reader::connect(server.addr());
    server.wait_log("client 1 connected");
    let mut stdin = server.stdin();
    stdin.write_all(b"{\"n\": 1}\n").unwrap();
    assert_eq!(manager.message(), "READY=1\nSTATUS=1 active connection, 1 entry");
    reader.payload();
    stdin.write_all(b"{\"n\": 1, \"m\": 2}\n").unwrap();
    assert_eq!(manager.message(), "STATUS=1 active connection, 2 entries");
}

#[test]
fn a_server_that_stops_before_its_first_map_is_never_ready() {
    let manager = Manager::new();
    let mut server = manager.start(&["--source", "-"], &[]);
    assert_eq!(manager.message(), "STATUS=waiting for the first map");
    server.signal(Signal::TERM);
    assert!(manager.message().starts_with("STOPPING=1\n"));
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn an_echo_is_ready_at_once() {
    let manager = Manager::new();
    let mut command = clean(SERVER);
    command.args(["echo", "--listen", "127.0.0.1:0"]).env("NOTIFY_SOCKET", manager.directory.path().join("notify"));
    let _server = Program::start(command);
    assert_eq!(manager.message(), "READY=1\nSTATUS=0 active connections");
}

#[test]
fn an_idle_server_sends_watchdog_messages_and_a_paused_one_none() {
    let manager = Manager::new();
    let server = manager.start(&["--interval", "1h"], &[("WATCHDOG_USEC", "400000")]);
    for _ in 0..5 {
        manager.wait("WATCHDOG=1");
    }
    server.signal(Signal::STOP);
    manager.socket.set_read_timeout(Some(Duration::from_millis(800))).unwrap();
    let silent = (0..100).any(|_| manager.socket.recv(&mut [0; 4096]).is_err());
    assert!(silent, "signs of life from a process that stands still");
    manager.socket.set_read_timeout(Some(PATIENCE)).unwrap();
    server.signal(Signal::CONT);
    manager.wait("WATCHDOG=1");
}

#[test]
fn a_missing_manager_is_logged_once_and_the_server_serves() {
    let manager = Manager::new();
    std::fs::remove_file(manager.directory.path().join("notify")).unwrap();
    let server = manager.start(&[], &[("WATCHDOG_USEC", "400000")]);
    server.wait_log("cannot reach the service manager (NOTIFY_SOCKET): No such file");
    Reader::connect(server.addr()).payload();
}

/// Returns a command for a server that inherits `socket` as descriptors 3 and 4, as from systemd. The process id is known
/// only to the child: the shell sets it before it executes the server.
fn activated(socket: impl Into<OwnedFd>, args: &[&str]) -> Command {
    let mut command = clean("sh");
    let script = r#"export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=map:again; exec "$0" "$@" 3<&0 4<&0 </dev/null"#;
    command.args(["-c", script, SERVER]).args(args).stdin(Stdio::from(socket.into()));
    command
}

#[test]
fn inherited_listeners_are_served_instead_of_listen() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    // A client that connects before the server starts waits for it.
    let mut early = Reader::connect(addr);
    let unused = format!("127.0.0.1:{}", free_port());
    let mut server =
        Program::start(activated(listener.try_clone().unwrap(), &["--listen", &unused, "--format", "json"]));
    assert_eq!(
        early.map(Format::Json),
        Format::Json.decode_map(&Format::Json.encode_map(&builtin_map()).unwrap()).unwrap()
    );
    server.wait_log("using the inherited socket map");
    server.wait_log("using the inherited socket again");
    assert_eq!(server.addr(), addr);
    assert!(std::net::TcpStream::connect(&unused).is_err(), "it listens on --listen as well");
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), 0);
    assert_eq!(early.drain(), 0);
}

#[test]
fn listeners_meant_for_another_process_are_ignored() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = clean("sh");
    let script = r#"export LISTEN_PID=1 LISTEN_FDS=1; exec "$0" --listen 127.0.0.1:0 3<&0 </dev/null"#;
    command.args(["-c", script, SERVER]).stdin(Stdio::from(OwnedFd::from(listener.try_clone().unwrap())));
    let server = Program::start(command);
    assert_ne!(server.addr(), listener.local_addr().unwrap());
}

#[test]
fn an_unusable_inherited_descriptor_is_one_line_and_exit_code_2() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    run(activated(udp, &[])).assert_exit(2).assert_stderr("the inherited socket map is not a TCP socket");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    run(activated(connected, &[])).assert_exit(2).assert_stderr("Accept=no): the socket does not listen");
}

#[test]
fn clients_queued_at_a_shared_listener_outlive_the_server() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let feed = Arc::new(Feed::new(Format::Json, 1000));
    feed.publish(&builtin_map()).unwrap();
    let serve = |stop: &Shutdown| {
        let mut server = Server::new(ServerConfig::default());
        let cast = Arc::new(Cast::new(Arc::clone(&feed), PATIENCE));
        server.take_over(listener.try_clone().unwrap(), cast).unwrap();
        server.spawn(stop.clone()).unwrap()
    };
    let mut waiting: Vec<_> = (0..10).map(|_| Reader::connect(listener.local_addr().unwrap())).collect();
    let stopped = Shutdown::new().unwrap();
    stopped.trigger();
    assert_eq!(serve(&stopped).join().unwrap().served, 0);
    let next = serve(&Shutdown::new().unwrap());
    for reader in &mut waiting {
        reader.payload();
    }
    assert_eq!(next.stop().unwrap().served, 10);
}

fn packaged(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(file)
}

#[test]
fn systemd_analyze_accepts_the_units() {
    if !has_command("systemd-analyze") {
        return skip("no systemd-analyze");
    }
    let directory = tempfile::tempdir().unwrap();
    let mut command = clean("systemd-analyze");
    command.args(["verify", "--man=no"]);
    for name in ["mapcast.service", "mapcast.socket", "mapcast@.service"] {
        // The program must exist, so its path is that of the build.
        let unit = std::fs::read_to_string(packaged("systemd").join(name)).unwrap();
        let unit = unit.replace("ExecStart=/usr/bin/mapcast-server", &format!("ExecStart={SERVER}"));
        std::fs::write(directory.path().join(name), unit).unwrap();
        command.arg(directory.path().join(name));
    }
    let finished = run(command);
    assert_eq!(finished.assert_exit(0).stderr, "");
}

#[test]
fn the_template_equals_the_service_for_one_instance() {
    let service = std::fs::read_to_string(packaged("systemd/mapcast.service")).unwrap();
    let template = std::fs::read_to_string(packaged("systemd/mapcast@.service")).unwrap();
    let of_an_instance = service
        .replace("Description=mapcast:", "Description=mapcast %i:")
        .replace("EnvironmentFile=-/etc/default/mapcast", "EnvironmentFile=/etc/default/mapcast-%i")
        .replace("StateDirectory=mapcast", "StateDirectory=mapcast-%i");
    assert_eq!(template, of_an_instance);
}
