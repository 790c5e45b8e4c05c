//! The source `redis://`, against a real `redis-server`.

mod fake;
mod migration;
mod outages;
mod sentinels;

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use mapcast::{Format, Key, Map, Value};
use rustix::process::Signal;

use crate::support::eventually;
use crate::support::free_port;
use crate::support::program::{Program, SERVER, clean, run};
use crate::support::reader::Reader;
use crate::support::redis_server::{RedisServer, redis_cli};

/// Starts a server that follows `source`, in JSON, with an interval longer than any test.
fn follow(source: &str) -> Program {
    follow_with(source, &["--interval", "60s"])
}

fn follow_with(source: &str, args: &[&str]) -> Program {
    Program::server(&[&["--source", source, "--format", "json"], args].concat())
}

/// Starts a server, and a client that has received the first map of the source.
fn followed(source: &str, args: &[&str]) -> (Program, Reader) {
    let server = follow_with(source, args);
    server.wait_log("source up");
    let mut client = Reader::connect(server.addr());
    client.map(Format::Json);
    (server, client)
}

/// Starts a Redis with the hash `flags`, whose `n` is 1; `None` if it is not installed.
fn start_with_flags(args: &[&str]) -> Option<RedisServer> {
    let redis = RedisServer::start(args)?;
    set_n(&redis, "1");
    Some(redis)
}

fn set_n(redis: &RedisServer, n: &str) {
    redis.run::<()>(&["HSET", "flags", "n", n]);
}

fn announce(redis: &RedisServer) {
    redis.run::<()>(&["PUBLISH", "mapcast:flags", ""]);
}

fn texts(entries: &[(&str, &str)]) -> Map {
    entries.iter().map(|(key, value)| (Key::from(*key), Value::from(*value))).collect()
}

/// Waits until the client receives `wanted`, skipping repeats of its last map.
#[track_caller]
fn wait_map(client: &mut Reader, wanted: &Map) {
    client.change(Format::Json, wanted);
}

#[test]
fn an_announced_change_reaches_the_clients_at_once() {
    let Some(redis) = RedisServer::start(&[]) else { return };
    redis.run::<()>(&["HSET", "flags", "dark", "false", "1", "one"]);
    let server = follow(&redis.source("key=flags"));
    server.wait_log("source up");
    let mut client = Reader::connect(server.addr());
    assert_eq!(client.map(Format::Json), texts(&[("dark", "false"), ("1", "one")]));
    redis.run::<()>(&["HSET", "flags", "dark", "true"]);
    announce(&redis);
    assert_eq!(client.map(Format::Json), texts(&[("dark", "true"), ("1", "one")]));
}

#[test]
fn keyspace_notifications_announce_changes() {
    let Some(redis) = start_with_flags(&["--notify-keyspace-events", "Khg"]) else { return };
    let server = follow(&redis.source("key=flags&json=true"));
    server.wait_log("source up");
    let mut client = Reader::connect(server.addr());
    assert_eq!(client.map(Format::Json), Map::from([("n".into(), 1.into())]));
    set_n(&redis, "2");
    assert_eq!(client.map(Format::Json), Map::from([("n".into(), 2.into())]));
}

#[test]
fn a_revision_announces_changes_of_other_writers() {
    let Some(redis) = start_with_flags(&[]) else { return };
    redis.run::<()>(&["INCR", "flags:revision"]);
    let (_server, mut client) = followed(&redis.source("key=flags"), &["--interval", "60s"]);
    set_n(&redis, "2");
    redis.run::<()>(&["INCR", "flags:revision"]);
    assert_eq!(client.map(Format::Json), texts(&[("n", "2")]));
}

#[test]
fn an_unannounced_change_is_published_within_the_interval() {
    let Some(redis) = start_with_flags(&[]) else { return };
    let (_server, mut client) = followed(&redis.source("key=flags"), &["--interval", "100ms"]);
    set_n(&redis, "2");
    wait_map(&mut client, &texts(&[("n", "2")]));
}

#[test]
fn an_infinite_interval_publishes_announced_changes() {
    let Some(redis) = start_with_flags(&[]) else { return };
    let (server, mut client) = followed(&redis.source("key=flags"), &["--interval", "1e19"]);
    set_n(&redis, "2");
    announce(&redis);
    wait_map(&mut client, &texts(&[("n", "2")]));
    assert!(!server.log().join("\n").contains("panicked"));
}

#[test]
fn a_paused_redis_delays_no_client_and_is_followed_again() {
    let Some(redis) = start_with_flags(&[]) else { return };
    let (mut server, mut client) = followed(&redis.source("key=flags"), &["--interval", "50ms"]);
    redis.program().signal(Signal::STOP);
    let down = server.wait_log("source down");
    assert!(down.contains(" within 2s; "), "{down}");
    // While Redis is paused.
    for _ in 0..5 {
        assert_eq!(client.map(Format::Json), texts(&[("n", "1")]));
        assert_eq!(Reader::connect(server.addr()).map(Format::Json), texts(&[("n", "1")]));
    }
    redis.program().signal(Signal::CONT);
    set_n(&redis, "2");
    wait_map(&mut client, &texts(&[("n", "2")]));
    let count = |what: &str| server.log().iter().filter(|line| line.contains(what)).count();
    eventually("up and down are logged once each", || (count("source up"), count("source down")) == (2, 1));
    // The stop does not wait for Redis either. After five repeats the source is waiting for a reply.
    redis.program().signal(Signal::STOP);
    (0..5).for_each(|_| drop(client.payload()));
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), 0);
    redis.program().signal(Signal::CONT);
}

#[test]
fn a_redis_restarted_without_the_key_keeps_the_last_good_map() {
    let Some(mut redis) = start_with_flags(&[]) else { return };
    let server = follow_with(&redis.source("key=flags"), &["--interval", "100ms"]);
    server.wait_log("source up");
    let mut client = Reader::connect(server.addr());
    assert_eq!(client.map(Format::Json), texts(&[("n", "1")]));
    redis.kill();
    server.wait_log("source down");
    redis.restart();
    server.wait_log("no such key; if a missing key means an empty map, add &missing=empty to the address");
    assert_eq!(Reader::connect(server.addr()).map(Format::Json), texts(&[("n", "1")]));
    set_n(&redis, "2");
    wait_map(&mut client, &texts(&[("n", "2")]));
    eventually("it is up again", || server.log().iter().filter(|line| line.contains("source up")).count() == 2);
}

#[test]
fn a_start_without_redis_publishes_the_last_good_map() {
    let Some(mut redis) = RedisServer::start(&[]) else { return };
    redis.run::<()>(&["HSET", "flags", "n", "1", "1", "a text key"]);
    let state = redis.directory().join("state");
    let args = ["--interval", "100ms", "--state", state.to_str().unwrap()];
    let mut first = follow_with(&redis.source("key=flags"), &args);
    first.wait_log("source up");
    redis.kill();
    // SIGKILL: only a map that is already on the disk survives.
    eventually("the map is kept", || state.exists());
    first.signal(Signal::KILL);
    first.exit_code();
    let second = follow_with(&redis.source("key=flags"), &args);
    let begun = second.wait_log("the last good map of redis://");
    assert!(begun.ends_with("?key=flags: 2 entries, version 1"), "{begun}");
    let mut client = Reader::connect(second.addr());
    assert_eq!(client.map(Format::Json), texts(&[("n", "1"), ("1", "a text key")]));
    let down = second.wait_log("source down");
    assert!(down.ends_with("; the last good map stays"), "{down}");
    redis.restart();
    set_n(&redis, "2");
    wait_map(&mut client, &texts(&[("n", "2")]));
}

#[test]
fn a_lost_subscription_is_made_again() {
    let Some(redis) = start_with_flags(&[]) else { return };
    let (server, mut client) = followed(&redis.source("key=flags"), &["-v", "--interval", "60s"]);
    assert_eq!(redis.run::<i64>(&["CLIENT", "KILL", "TYPE", "pubsub"]), 1);
    server.wait_log("the subscription was lost: Redis closed the connection");
    eventually("there is a new subscription", || redis.run::<i64>(&["PUBLISH", "mapcast:flags", ""]) == 1);
    set_n(&redis, "2");
    announce(&redis);
    assert_eq!(client.map(Format::Json), texts(&[("n", "2")]));
}

#[test]
fn a_redis_that_is_down_at_startup_is_retried() {
    let Some(mut redis) = RedisServer::start(&[]) else { return };
    redis.kill();
    let server = follow(&redis.source("key=flags"));
    let down = server.wait_log("source down");
    assert!(down.contains("cannot connect to 127.0.0.1:") && down.ends_with("; there is no map yet"), "{down}");
    let mut client = Reader::connect(server.addr());
    redis.restart();
    set_n(&redis, "1");
    announce(&redis);
    assert_eq!(client.map(Format::Json), texts(&[("n", "1")]));
}

#[test]
fn another_type_and_a_deleted_key_keep_the_last_good_map() {
    let Some(redis) = start_with_flags(&[]) else { return };
    let (server, mut client) = followed(&redis.source("key=flags"), &["--interval", "100ms"]);
    redis.run::<()>(&["SET", "flags", "text"]);
    server.wait_log("source down: redis://127.0.0.1");
    let line = server.wait_log("WRONGTYPE");
    assert!(line.contains("the key must be a hash") && line.ends_with("the last good map stays"), "{line}");
    (0..3).for_each(|_| assert_eq!(client.map(Format::Json), texts(&[("n", "1")])));
    redis.run::<()>(&["DEL", "flags"]);
    (0..3).for_each(|_| assert_eq!(client.map(Format::Json), texts(&[("n", "1")])));
    set_n(&redis, "2");
    wait_map(&mut client, &texts(&[("n", "2")]));
}

#[test]
fn with_missing_empty_a_deleted_key_is_an_empty_map() {
    let Some(redis) = start_with_flags(&["--notify-keyspace-events", "Khg"]) else { return };
    let (_server, mut client) = followed(&redis.source("key=flags&missing=empty"), &["--interval", "60s"]);
    redis.run::<()>(&["DEL", "flags"]);
    assert_eq!(client.map(Format::Json), Map::new());
}

#[test]
fn a_huge_hash_is_not_sent_and_takes_no_memory() {
    let Some(redis) = start_with_flags(&[]) else { return };
    let (server, mut client) =
        followed(&redis.source("key=flags"), &["-v", "--interval", "100ms", "--max-frame", "10KiB"]);
    // Above the limit for a frame, below that for a reply.
    redis.run::<()>(&["HSET", "flags", "large", &"x".repeat(100_000)]);
    server.wait_log("above the limit of 10240; raise --max-frame");
    let before = server.peak_memory();
    redis.run::<()>(&["HSET", "flags", "huge", &"x".repeat(64 << 20)]);
    // At level debug: the source is already down because of the size.
    server.wait_log("above the limit of 1048576 bytes for a reply");
    (0..5).for_each(|_| assert_eq!(client.map(Format::Json), texts(&[("n", "1")])));
    assert!(server.peak_memory() < before + 16 * 1024, "{} KiB from {before}", server.peak_memory());
    redis.run::<()>(&["HDEL", "flags", "large", "huge"]);
    set_n(&redis, "2");
    wait_map(&mut client, &texts(&[("n", "2")]));
}

#[test]
fn a_password_from_any_origin_works_and_is_never_shown() {
    // The permissions that docs/sources.md lists.
    let keys = ["~flags", "~flags:revision", "&mapcast:flags", "&__keyspace@0__:flags"];
    let rights = ["+@read", "+subscribe", "+ping", "+select", "+role"];
    let user = [&["--user", "ana", "on", ">s3cret"][..], &keys, &rights].concat();
    let Some(redis) = start_with_flags(&user) else { return };
    let port = redis.port();
    let file = redis.directory().join("password");
    std::fs::write(&file, "s3cret\n").unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let file = file.to_str().unwrap();
    let source = format!("redis://ana@127.0.0.1:{port}/0?key=flags");
    let in_address = format!("redis://ana:s3cret@127.0.0.1:{port}/0?key=flags");
    let start = |args: &[&str], variables: &[(&str, &str)]| {
        let mut command = clean(SERVER);
        command.args(["-vv", "--listen", "127.0.0.1:0", "--format", "json"]).args(args).envs(variables.iter().copied());
        Program::start(command)
    };
    let ways = [
        (vec!["--source", &in_address], vec![], true),
        (vec![], vec![("MAPCAST_SOURCE", in_address.as_str())], false),
        (vec!["--source", &source, "--redis-password-file", file], vec![], false),
        (vec!["--source", &source], vec![("MAPCAST_REDIS_PASSWORD", "s3cret")], false),
    ];
    for (args, variables, warns) in ways {
        let server = start(&args, &variables);
        server.wait_log("source up");
        let mut client = Reader::connect(server.addr());
        client.map(Format::Json);
        let n = redis.run::<i64>(&["HINCRBY", "flags", "n", "1"]).to_string();
        announce(&redis);
        assert_eq!(client.map(Format::Json), texts(&[("n", &n)]));
        let log = server.log().join("\n");
        assert!(!log.contains("no subscription"), "{log}");
        assert!(!log.contains("s3cret"), "{log}");
        assert_eq!(log.contains("ps shows the password"), warns, "{log}");
        assert_eq!(
            log.contains("password: everyone on this machine may read the password (chmod o-r)"),
            args.contains(&file)
        );
        set_n(&redis, "1");
    }
    let server = start(&["--source", &source], &[("MAPCAST_REDIS_PASSWORD", "wr0ng")]);
    let line = server.wait_log("source down");
    assert!(line.contains("WRONGPASS") && !line.contains("wr0ng"), "{line}");
    let mut command = clean(SERVER);
    command.args(["--source", "redis://ana:s3cret@127.0.0.1/x?key=flags"]);
    let refused = run(command);
    assert!(!refused.assert_exit(2).stderr.contains("s3cret"), "{}", refused.stderr);
}

/// A server without `AUTH`, or with another name for it, quotes the command.
#[test]
fn a_password_quoted_by_redis_is_not_logged() {
    let Some(redis) = RedisServer::start(&["--rename-command", "AUTH", "HIDDEN"]) else { return };
    let server = follow(&format!("redis://:s3cret@127.0.0.1:{}/0?key=flags", redis.port()));
    let line = server.wait_log("source down");
    assert!(line.contains("it does not know AUTH"), "{line}");
    assert!(!server.log().join("\n").contains("s3cret"));
}

#[test]
fn without_permission_to_subscribe_the_hash_is_polled() {
    let Some(redis) =
        RedisServer::start(&["--user", "ana", "on", ">pw", "~flags*", "resetchannels", "+@read", "+select"])
    else {
        return;
    };
    set_n(&redis, "1");
    let source = format!("redis://ana:pw@127.0.0.1:{}/0?key=flags", redis.port());
    let server = follow_with(&source, &["--interval", "100ms"]);
    server.wait_log("this user may not subscribe, so a change is seen after up to 100ms");
    let mut client = Reader::connect(server.addr());
    client.map(Format::Json);
    set_n(&redis, "2");
    wait_map(&mut client, &texts(&[("n", "2")]));
}

#[test]
fn a_hash_is_followed_over_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("redis.sock");
    let path = path.to_str().unwrap();
    let Some(redis) = start_with_flags(&["--unixsocket", path]) else { return };
    let (_server, mut client) = followed(&format!("redis+unix://{path}?key=flags"), &["--interval", "60s"]);
    set_n(&redis, "2");
    announce(&redis);
    assert_eq!(client.map(Format::Json), texts(&[("n", "2")]));
}

#[test]
fn after_a_failover_the_new_master_is_followed() {
    let Some(mut master) = RedisServer::start(&["--repl-diskless-sync-delay", "0"]) else { return };
    let replica = RedisServer::start(&["--replicaof", "127.0.0.1", &master.port().to_string()]).unwrap();
    master.run::<()>(&["HSET", "flags", "n", "1"]);
    eventually("the replica has the hash", || replica.run::<i64>(&["HLEN", "flags"]) == 1);
    let (directory, port) = (tempfile::tempdir().unwrap(), free_port());
    let config = directory.path().join("sentinel.conf");
    let mut file = std::fs::File::create(&config).unwrap();
    writeln!(
        file,
        "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor main 127.0.0.1 {} 1\n\
         sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000",
        directory.path().display(),
        master.port()
    )
    .unwrap();
    let mut command = clean("redis-server");
    command.args([config.to_str().unwrap(), "--sentinel"]);
    let sentinel = Program::start(command);
    sentinel.wait_out("+monitor master main");
    // Without a known replica there is no failover.
    sentinel.wait_out("+slave slave");
    // The first sentinel is down: the server uses the next one.
    let source = format!("redis+sentinel://127.0.0.1:{},127.0.0.1:{port}/0?master=main&key=flags", free_port());
    let server = follow_with(&source, &["--interval", "200ms"]);
    server.wait_log("source up");
    let mut client = Reader::connect(server.addr());
    assert_eq!(client.map(Format::Json), texts(&[("n", "1")]));
    master.kill();
    server.wait_log("source down");
    // The sentinel closes every connection of the replica that it promotes.
    let info = || replica.try_run::<String>(&["INFO", "replication"]);
    eventually("the replica is the master", || info().is_ok_and(|text| text.contains("role:master")));
    replica.run::<()>(&["HSET", "flags", "n", "2"]);
    wait_map(&mut client, &texts(&[("n", "2")]));
}

#[test]
fn a_cluster_redirects_to_the_node_with_the_hash() {
    let node = || RedisServer::start(&["--cluster-enabled", "yes", "--cluster-port", &free_port().to_string()]);
    let Some(first) = node() else { return };
    let nodes = [first, node().unwrap(), node().unwrap()];
    let addresses: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
    let create: Vec<&str> = ["--cluster", "create"]
        .into_iter()
        .chain(addresses.iter().map(String::as_str))
        .chain(["--cluster-replicas", "0", "--cluster-yes"])
        .collect();
    assert!(redis_cli(&create), "redis-cli {create:?}");
    let is_ready = |node: &RedisServer| node.run::<String>(&["CLUSTER", "INFO"]).contains("cluster_state:ok");
    eventually("the cluster is ready", || nodes.iter().all(is_ready));
    // The address is always that of the first node.
    for key in ["flags", "hosts", "rates"] {
        let takes = |node: &RedisServer| {
            redis::cmd("HSET").arg(key).arg("n").arg("1").query::<i64>(&mut node.connect()).is_ok()
        };
        let owner = nodes.iter().find(|node| takes(node)).expect("a node that has the slot");
        let server = follow(&format!("redis+cluster://{}?key={key}", addresses[0]));
        server.wait_log("source up");
        let mut client = Reader::connect(server.addr());
        assert_eq!(client.map(Format::Json), texts(&[("n", "1")]));
        owner.run::<()>(&["HSET", key, "n", "2"]);
        // On any node: the cluster forwards announcements.
        nodes[2].run::<()>(&["PUBLISH", &format!("mapcast:{key}"), ""]);
        assert_eq!(client.map(Format::Json), texts(&[("n", "2")]));
    }
    // The slot is on one node, so the other one redirects.
    let single = [&nodes[0], &nodes[1]].map(|node| follow(&node.source("key=flags")));
    eventually("the log of one names the fix", || {
        single.iter().any(|server| server.log().iter().any(|line| line.contains("name it redis+cluster://")))
    });
}

#[cfg(feature = "tls")]
mod encrypted {
    use std::path::Path;

    use super::*;
    use crate::support::authority::Authority;
    use crate::support::redis_server::has_tls;
    use crate::support::skip;

    fn text(path: &Path) -> &str {
        path.to_str().unwrap()
    }

    /// Starts a Redis with a TLS port in addition to the plain one; returns it and the address of a hash.
    fn start(authority: &Authority, clients: &str) -> Option<(RedisServer, String)> {
        if !has_tls() {
            skip("redis-server is built without TLS");
            return None;
        }
        let (files, port) = (authority.good("redis", &["localhost"]), free_port());
        let cert = ["--tls-cert-file", text(&files.cert), "--tls-key-file", text(&files.key)];
        let wanted = ["--tls-ca-cert-file", text(&authority.ca), "--tls-auth-clients", clients];
        let redis = RedisServer::start(&[&["--tls-port", &port.to_string()], &cert[..], &wanted].concat())?;
        set_n(&redis, "1");
        Some((redis, format!("rediss://localhost:{port}/0?key=flags")))
    }

    #[test]
    fn a_hash_is_followed_over_tls() {
        let authority = Authority::new();
        let Some((redis, source)) = start(&authority, "no") else { return };
        let server = follow_with(&source, &["--interval", "60s", "--source-tls-ca", text(&authority.ca)]);
        server.wait_log("source up: rediss://localhost:");
        let mut client = Reader::connect(server.addr());
        assert_eq!(client.map(Format::Json), texts(&[("n", "1")]));
        set_n(&redis, "2");
        announce(&redis);
        assert_eq!(client.map(Format::Json), texts(&[("n", "2")]));
        // Larger than one record and one read.
        let long = "x".repeat(200_000);
        set_n(&redis, &long);
        announce(&redis);
        assert_eq!(client.map(Format::Json), texts(&[("n", &long)]));
    }

    #[test]
    fn a_redis_that_requires_a_certificate_gets_one_or_is_refused() {
        let (authority, other) = (Authority::new(), Authority::new());
        let Some((_redis, source)) = start(&authority, "yes") else { return };
        let own = authority.good("mapcast", &["mapcast"]);
        let ca = text(&authority.ca);
        let identity = ["--source-tls-cert", text(&own.cert), "--source-tls-key", text(&own.key)];
        follow_with(&source, &[&["--source-tls-ca", ca], &identity[..]].concat()).wait_log("source up");
        let stranger = follow_with(&source, &["--source-tls-ca", ca]);
        stranger.wait_log("use --source-tls-cert FILE and --source-tls-key FILE");
        let distrustful = follow_with(&source, &["--source-tls-ca", text(&other.ca)]);
        distrustful.wait_log("pass the certificate of its CA with --source-tls-ca FILE");
        let plain = follow(&source.replace("rediss://", "redis://"));
        let down = plain.wait_log("source down");
        assert!(down.contains("rediss://") || down.contains("closed the connection"), "{down}");
    }
}
