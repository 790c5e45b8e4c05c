//! A cluster that migrates the slot of the hash, key by key, while the server follows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use mapcast::Format;
use redis::Value;

use super::fake::{Act, Fake};
use super::{follow_with, texts, wait_map};
use crate::support::eventually;
use crate::support::free_port;
use crate::support::reader::Reader;
use crate::support::redis_server::RedisServer;

/// Starts two nodes; the first one has all slots.
fn start() -> Option<[RedisServer; 2]> {
    let node = || {
        let bus = free_port().to_string();
        RedisServer::start(&["--cluster-enabled", "yes", "--cluster-port", &bus, "--notify-keyspace-events", "Khg"])
    };
    let nodes = [node()?, node()?];
    nodes[0].run::<()>(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    let bus: String = nodes[1].run::<Vec<String>>(&["CONFIG", "GET", "cluster-port"]).remove(1);
    nodes[0].run::<()>(&["CLUSTER", "MEET", "127.0.0.1", &nodes[1].port().to_string(), &bus]);
    let knows = |node: &RedisServer| {
        let info = node.run::<String>(&["CLUSTER", "INFO"]);
        info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:2")
    };
    eventually("the cluster is ready", || nodes.iter().all(knows));
    Some(nodes)
}

fn id(node: &RedisServer) -> String {
    node.run(&["CLUSTER", "MYID"])
}

/// Runs a command on the importing node, as a client does after an ASK redirection.
fn run_asking(node: &RedisServer, words: &[&str]) {
    let mut connection = node.connect();
    for words in [&["ASKING"][..], words] {
        let answer: redis::RedisResult<Value> = redis::cmd(words[0]).arg(&words[1..]).query(&mut connection);
        assert!(answer.is_ok(), "{words:?}: {answer:?}");
    }
}

#[test]
fn a_hash_is_followed_during_and_after_a_slot_migration() {
    let Some([from, to]) = start() else { return };
    from.run::<()>(&["HSET", "flags", "n", "1"]);
    let source = format!("redis+cluster://127.0.0.1:{}?key=flags", from.port());
    let args = ["-v", "--interval", "1h"];
    let server = follow_with(&source, &args);
    server.wait_log("source up");
    let mut client = Reader::connect(server.addr());
    assert_eq!(client.map(Format::Json), texts(&[("n", "1")]));
    let slot = from.run::<i64>(&["CLUSTER", "KEYSLOT", "flags"]).to_string();
    to.run::<()>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(&from)]);
    from.run::<()>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(&to)]);
    // The hash has not moved yet. Its revision does not exist, so the node redirects to the other one.
    from.run::<()>(&["HSET", "flags", "n", "2"]);
    assert_eq!(client.map(Format::Json), texts(&[("n", "2")]));
    from.run::<()>(&["MIGRATE", "127.0.0.1", &to.port().to_string(), "flags", "0", "10000"]);
    // Only the importing node announces the change, to its own subscribers.
    let is_subscribed =
        || to.run::<Vec<Value>>(&["PUBSUB", "NUMSUB", "__keyspace@0__:flags"]).last() == Some(&Value::Int(1));
    eventually("it is subscribed to the importing node", is_subscribed);
    run_asking(&to, &["HSET", "flags", "n", "3"]);
    wait_map(&mut client, &texts(&[("n", "3")]));
    // A server that starts during the migration.
    let late = follow_with(&source, &args);
    late.wait_log("source up");
    let mut late_client = Reader::connect(late.addr());
    assert_eq!(late_client.map(Format::Json), texts(&[("n", "3")]));
    for node in [&to, &from] {
        node.run::<()>(&["CLUSTER", "SETSLOT", &slot, "NODE", &id(&to)]);
    }
    to.run::<()>(&["HSET", "flags", "n", "4"]);
    for (server, client) in [(&server, &mut client), (&late, &mut late_client)] {
        wait_map(client, &texts(&[("n", "4")]));
        let log = server.log().join("\n");
        assert!(!log.contains("source down"), "{log}");
    }
}

#[test]
fn a_hash_and_its_revision_on_two_nodes_are_followed() {
    let Some([from, to]) = start() else { return };
    for node in [&from, &to] {
        node.run::<()>(&["CONFIG", "SET", "notify-keyspace-events", ""]);
    }
    from.run::<()>(&["HSET", "{flags}", "n", "1"]);
    from.run::<()>(&["INCR", "{flags}:revision"]);
    let source = format!("redis+cluster://127.0.0.1:{}?key=%7Bflags%7D", from.port());
    let server = follow_with(&source, &["-v", "--interval", "1h"]);
    server.wait_log("source up");
    let mut client = Reader::connect(server.addr());
    assert_eq!(client.map(Format::Json), texts(&[("n", "1")]));
    let slot = from.run::<i64>(&["CLUSTER", "KEYSLOT", "{flags}"]).to_string();
    to.run::<()>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(&from)]);
    from.run::<()>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(&to)]);
    let move_key = |key: &str| from.run::<()>(&["MIGRATE", "127.0.0.1", &to.port().to_string(), key, "0", "10000"]);
    move_key("{flags}:revision");
    from.run::<()>(&["HSET", "{flags}", "n", "2"]);
    run_asking(&to, &["INCR", "{flags}:revision"]);
    assert_eq!(client.map(Format::Json), texts(&[("n", "2")]));
    move_key("{flags}");
    run_asking(&to, &["HSET", "{flags}", "n", "3"]);
    run_asking(&to, &["INCR", "{flags}:revision"]);
    assert_eq!(client.map(Format::Json), texts(&[("n", "3")]));
    assert!(!server.log().join("\n").contains("source down"), "{:?}", server.log());
}

#[test]
fn a_cluster_without_the_slot_is_retried_soon() {
    let replies =
        ["-CLUSTERDOWN Hash slot not served\r\n", "-TRYAGAIN Multiple keys request during rehashing of slot\r\n"];
    for reply in replies {
        let is_lost = Arc::new(AtomicBool::new(true));
        let lost = Arc::clone(&is_lost);
        let fake = Fake::start(move |words| match words[0].as_str() {
            "exists" | "hgetall" | "get" if lost.load(Ordering::SeqCst) => Some(Act::say(reply)),
            "exists" => Some(Act::say(":1\r\n")),
            _ => None,
        });
        let source = format!("redis+cluster://127.0.0.1:{}?key=flags", fake.port());
        let server = follow_with(&source, &["--interval", "1h"]);
        server.wait_log("source down");
        // With a pause that doubles, ten attempts would exceed the time limit.
        eventually("it is tried again soon", || fake.connections() >= 10);
        is_lost.store(false, Ordering::SeqCst);
        server.wait_log("source up");
    }
}

#[test]
fn nodes_that_redirect_to_each_other_have_their_own_error() {
    let other = Arc::new(AtomicU16::new(0));
    let named = Arc::clone(&other);
    let fake = Fake::start(move |words| {
        (words[0] == "exists").then(|| Act::say(format!("-MOVED 1 127.0.0.1:{}\r\n", named.load(Ordering::SeqCst))))
    });
    other.store(fake.port(), Ordering::SeqCst);
    let server = follow_with(&format!("redis+cluster://127.0.0.1:{}?key=flags", fake.port()), &["--interval", "1h"]);
    let down = server.wait_log("source down");
    assert!(down.contains("redirect to each other"), "{down}");
    assert!(!down.contains("it is a cluster"), "{down}");
}
