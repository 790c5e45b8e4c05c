//! Admission: allowed networks, limits on connections, and their log lines.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use mapcast::server::IpNet;
use mapcast::{Cast, Feed, Format, Server, ServerConfig, Shutdown};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::support::eventually;
use crate::support::reader::{Reader, ends_in_order};
use crate::support::server::{MapServer, numbered};

const HOUR: Duration = Duration::from_hours(1);

/// Connects from the address `source`.
pub fn connect_from(source: &str, addr: SocketAddr) -> TcpStream {
    let source = SocketAddr::new(source.parse().unwrap(), 0);
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.bind(&SockAddr::from(source)).unwrap();
    socket.connect(&SockAddr::from(addr)).unwrap();
    socket.into()
}

/// True if and only if a client from `source` gets a map.
fn is_served(source: &str, addr: SocketAddr) -> bool {
    Reader::over(connect_from(source, addr)).is_served()
}

fn per_ip(limit: u64) -> ServerConfig {
    ServerConfig { max_connections_per_ip: Some(limit), admission_timeout: Duration::ZERO, ..ServerConfig::default() }
}

fn allowing(network: &str) -> ServerConfig {
    ServerConfig { allow: vec![network.parse::<IpNet>().unwrap()], ..ServerConfig::default() }
}

#[test]
fn an_address_at_its_limit_is_refused_and_others_are_served() {
    let server = MapServer::with(HOUR, per_ip(3));
    let addr = server.running.addr;
    let mut greedy: Vec<_> = (0..3).map(|_| Reader::over(connect_from("127.0.0.2", addr))).collect();
    for reader in &mut greedy {
        assert_eq!(reader.map(Format::Json), numbered(0));
    }
    for _ in 0..20 {
        assert!(ends_in_order(&mut connect_from("127.0.0.2", addr)));
    }
    assert!(is_served("127.0.0.3", addr));
    let stats = server.running.stats();
    assert_eq!((stats.refused_per_ip(), stats.refused(), stats.denied(), stats.served()), (20, 0, 0, 4));
    // The permit is free once the count has decreased.
    greedy.pop();
    server.running.wait_active(2);
    assert!(is_served("127.0.0.2", addr));
}

#[test]
fn a_thousand_short_connections_leave_the_addresss_permit_free() {
    let server = MapServer::with(HOUR, ServerConfig { admission_timeout: Duration::from_millis(100), ..per_ip(1) });
    for _ in 0..1000 {
        let socket = connect_from("127.0.0.2", server.running.addr);
        // A reset, so that no port stays in TIME-WAIT.
        socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
    }
    let stats = server.running.stats();
    eventually("all are served or refused", || stats.served() + stats.refused_per_ip() == 1000);
    server.running.wait_active(0);
    assert!(is_served("127.0.0.2", server.running.addr));
}

#[test]
fn a_client_outside_the_allowed_networks_gets_no_thread() {
    let server = MapServer::with(HOUR, allowing("127.0.0.2/31"));
    let addr = server.running.addr;
    for _ in 0..20 {
        assert!(ends_in_order(&mut connect_from("127.0.0.4", addr)));
    }
    assert_eq!((server.running.stats().denied(), server.running.stats().served()), (20, 0));
    assert!(is_served("127.0.0.2", addr) && is_served("127.0.0.3", addr));
}

#[test]
fn an_ipv4_mapped_client_counts_as_ipv4() {
    let feed = std::sync::Arc::new(Feed::new(Format::Json, 1000));
    feed.publish(&numbered(0)).unwrap();
    let mut server = Server::new(ServerConfig { max_connections_per_ip: Some(1), ..allowing("127.0.0.0/8") });
    if server.bind(&["[::]:0".parse().unwrap()], Cast::new(feed, HOUR)).is_err() {
        return crate::support::skip("this machine has no IPv6");
    }
    let port = server.local_addrs()[0].port();
    let running = server.spawn(Shutdown::new().unwrap()).unwrap();
    let (v4, v6) = (SocketAddr::from(([127, 0, 0, 1], port)), SocketAddr::new("::1".parse().unwrap(), port));
    let mut reader = Reader::over(connect_from("127.0.0.2", v4));
    assert_eq!(reader.map(Format::Json), numbered(0));
    assert!(!is_served("127.0.0.2", v4) && is_served("127.0.0.3", v4) && !is_served("::1", v6));
    assert_eq!((running.stats().refused_per_ip(), running.stats().denied()), (1, 1));
    running.stop().unwrap();
}

#[cfg(feature = "cli")]
mod programs {
    use std::net::TcpStream;
    use std::time::Instant;

    use super::is_served;
    use crate::support::program::{Program, SERVER, clean};
    use crate::support::reader::ends_in_order;
    use crate::support::{eventually, has_command, skip};

    #[test]
    fn refusals_log_one_line_a_second_for_each_reason() {
        for (options, reason) in [
            (&["--max-connections", "1"][..], "refused: the limit is 1 connection (--max-connections)"),
            (
                &["--max-connections-per-ip", "1"],
                "refused: the limit is 1 connection per address (--max-connections-per-ip)",
            ),
            (&["--allow", "127.0.0.2"], "refused: the address is not in an allowed network (--allow)"),
        ] {
            let server = Program::server(options);
            let addr = server.addr();
            let (kept, began, mut refused) = (TcpStream::connect(addr).unwrap(), Instant::now(), 0);
            let lines = || server.log().into_iter().filter(|line| line.contains(reason)).collect::<Vec<_>>();
            eventually("three lines", || {
                assert!(ends_in_order(&mut TcpStream::connect(addr).unwrap()));
                refused += 1;
                lines().len() >= 3
            });
            if options[0] == "--allow" {
                refused += 1;
            }
            // The last refusals are logged although no client follows.
            eventually("each refusal is logged", || {
                lines().iter().map(|line| refusals_in(line)).sum::<u64>() == refused
            });
            let (lines, elapsed) = (lines(), usize::try_from(began.elapsed().as_secs()).unwrap());
            assert!(lines.len() <= elapsed + 1, "in {elapsed} s: {lines:?}");
            assert!(lines.iter().all(|line| line.contains("WARN")), "{lines:?}");
            drop(kept);
        }
    }

    /// Returns how many refusals a line represents: `client A refused: …`, that `(and 3 more like this)`, or `4 more clients
    /// refused: …`.
    fn refusals_in(line: &str) -> u64 {
        let (before, _) = line.split_once(" more ").unwrap_or_default();
        let number = before.rsplit([' ', '(']).next().and_then(|word| word.parse::<u64>().ok());
        number.unwrap_or(0) + u64::from(!line.contains("more client"))
    }

    #[test]
    fn allow_takes_several_networks_and_an_environment_variable() {
        let mut command = clean(SERVER);
        command.args(["--listen", "127.0.0.1:0"]).env("MAPCAST_ALLOW", "127.0.0.2,127.0.0.8/30,2001:db8::/32");
        let server = Program::start(command);
        let comes_in = |source| is_served(source, server.addr());
        assert!(comes_in("127.0.0.2") && comes_in("127.0.0.11"));
        assert!(!comes_in("127.0.0.3") && !comes_in("127.0.0.12"));
    }

    #[test]
    fn the_start_logs_the_capacity_and_its_limit() {
        let line = Program::server(&["--max-connections", "5"]).wait_log("room for ");
        assert!(line.contains("INFO") && line.ends_with("), 5 allowed (--max-connections)"), "{line}");
        if !has_command("prlimit") {
            return skip("no prlimit");
        }
        // Many listeners use the descriptors of clients, not those of the source and the state.
        for (listeners, clients) in [(1, 32), (20, 20)] {
            let mut command = clean("prlimit");
            command.args(["--nofile=64", SERVER]).args(["--listen", "127.0.0.1:0"].repeat(listeners));
            let line = Program::start(command).wait_log("room for ");
            let room = format!("room for {clients} clients (RLIMIT_NOFILE), {clients} allowed (--max-connections)");
            assert!(line.ends_with(&room), "{line}");
        }
    }

    #[test]
    fn a_server_reachable_by_other_hosts_warns_once_without_a_list() {
        // The warning precedes a client's line, for which the test waits.
        let warnings = |options: &[&str]| {
            let mut command = clean(SERVER);
            command.args(options);
            let server = Program::start(command);
            let port = server.addr().port();
            let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
            server.wait_log("client 1 connected");
            drop(client);
            server.log().iter().filter(|line| line.contains("WARN") && line.contains("any host that reaches")).count()
        };
        let beyond = ["--listen", "0.0.0.0:0", "--listen", "0.0.0.0:0"];
        assert_eq!(warnings(&beyond), 1);
        assert_eq!(warnings(&["--listen", "0.0.0.0:0", "--allow", "127.0.0.0/8"]), 0);
        assert_eq!(warnings(&["--listen", "127.0.0.1:0"]), 0);
    }
}
