//! Outages of Redis: lost connections that are none, temporary errors, and the reported reasons.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mapcast::Format;

use super::fake::{Act, Fake, hash};
use super::{announce, follow_with, followed, set_n, start_with_flags, texts, wait_map};
use crate::http::Site;
use crate::support::eventually;
use crate::support::program::Program;
use crate::support::reader::Reader;
use crate::support::redis_server::RedisServer;

/// An interval that does not end during a test.
const NEVER: [&str; 3] = ["-v", "--interval", "1h"];

fn count(server: &Program, text: &str) -> usize {
    server.log().iter().filter(|line| line.contains(text)).count()
}

#[test]
fn a_closed_idle_connection_is_reopened_without_an_outage() {
    let Some(redis) = start_with_flags(&["--timeout", "1"]) else { return };
    let (server, mut client) = followed(&redis.source("key=flags"), &NEVER);
    eventually("two connections were closed", || count(&server, "Redis closed the connection") >= 2);
    for n in 2..5 {
        set_n(&redis, &n.to_string());
        announce(&redis);
        // During a reconnection, the first read returns the change.
        wait_map(&mut client, &texts(&[("n", &n.to_string())]));
    }
    let before = count(&server, "the subscription was lost");
    assert_eq!(redis.run::<i64>(&["CLIENT", "KILL", "TYPE", "pubsub"]), 1);
    eventually("the loss is logged", || count(&server, "the subscription was lost") > before);
    set_n(&redis, "5");
    eventually("there is another", || redis.run::<i64>(&["PUBLISH", "mapcast:flags", ""]) == 1);
    wait_map(&mut client, &texts(&[("n", "5")]));
    assert_eq!((count(&server, "source down"), count(&server, "source up")), (0, 1));
}

#[test]
fn reconnections_after_each_read_are_limited() {
    let n = AtomicUsize::new(0);
    let fake = Fake::start(move |words| {
        let Act::Say(reply) = hash(&n.load(Ordering::SeqCst).to_string()) else { return None };
        (words[0] == "hgetall").then(|| {
            n.fetch_add(1, Ordering::SeqCst);
            Act::SayAndClose(reply)
        })
    });
    let started = Instant::now();
    let (server, mut client) = followed(&fake.source(), &NEVER);
    // Each read is a change, and a client may skip some.
    let is_early = |map: &mapcast::Map| ["0", "1", "2"].iter().any(|n| *map == texts(&[("n", n)]));
    while is_early(&client.map(Format::Json)) {}
    // Two connections per second, two immediate ones, and a margin for the scheduler.
    let most = 2 * (usize::try_from(started.elapsed().as_secs()).unwrap() + 3);
    assert!(fake.connections() <= most, "{} connections, {most} at most", fake.connections());
    assert_eq!(count(&server, "source down"), 0);
}

#[test]
fn a_failed_reconnection_is_an_outage() {
    let is_away = Arc::new(AtomicBool::new(false));
    let away = Arc::clone(&is_away);
    let fake = Fake::start(move |_| away.load(Ordering::SeqCst).then(|| Act::SayAndClose(Vec::new())));
    let (server, mut client) = followed(&fake.source(), &["--interval", "100ms"]);
    is_away.store(true, Ordering::SeqCst);
    assert!(server.wait_log("source down").contains("closed the connection"));
    assert_eq!(client.map(Format::Json), texts(&[("n", "1")]));
    is_away.store(false, Ordering::SeqCst);
    eventually("it is up again", || count(&server, "source up") == 2);
}

#[test]
fn an_announcement_above_every_limit_is_not_an_outage() {
    let Some(redis) = start_with_flags(&[]) else { return };
    let (server, mut client) = followed(&redis.source("key=flags"), &[&NEVER[..], &["--max-frame", "10KiB"]].concat());
    set_n(&redis, "2");
    redis.run::<()>(&["PUBLISH", "mapcast:flags", &"x".repeat(3 << 20)]);
    wait_map(&mut client, &texts(&[("n", "2")]));
    assert_eq!(count(&server, "source down"), 0);
}

#[test]
fn a_busy_redis_is_retried_soon_and_then_subscribed_to() {
    let is_busy = Arc::new(AtomicBool::new(true));
    let n = Arc::new(AtomicUsize::new(1));
    let (busy, value) = (Arc::clone(&is_busy), Arc::clone(&n));
    let fake = Fake::start(move |words| match words[0].as_str() {
        _ if busy.load(Ordering::SeqCst) => Some(Act::say("-BUSY Redis is busy running a script.\r\n")),
        "hgetall" => Some(hash(&value.load(Ordering::SeqCst).to_string())),
        _ => None,
    });
    let server = follow_with(&fake.source(), &NEVER);
    server.wait_log("source down");
    let before = fake.connections();
    eventually("it is tried again", || fake.connections() >= before + 4);
    is_busy.store(false, Ordering::SeqCst);
    server.wait_log("source up");
    let mut client = Reader::connect(server.addr());
    client.map(Format::Json);
    assert!(!server.log().join("\n").contains("subscribe"), "{:?}", server.log());
    // During a session, the server keeps its connections.
    let before = fake.connections();
    is_busy.store(true, Ordering::SeqCst);
    eventually("the announcement arrives", || fake.announce() >= 1);
    eventually("the source is down again", || count(&server, "source down") == 2);
    n.store(2, Ordering::SeqCst);
    is_busy.store(false, Ordering::SeqCst);
    wait_map(&mut client, &texts(&[("n", "2")]));
    assert_eq!(fake.connections(), before);
}

#[test]
fn a_redis_busy_with_a_script_recovers_when_it_is_killed() {
    let Some(redis) = start_with_flags(&["--busy-reply-threshold", "50"]) else { return };
    let mut script = redis.connect();
    let run = move || redis::cmd("EVAL").arg("while true do end").arg(0).query::<()>(&mut script).is_err();
    let script = std::thread::Builder::new().spawn(run).unwrap();
    eventually("it is busy", || {
        redis.try_run::<()>(&["GET", "flags"]).is_err_and(|error| error.code() == Some("BUSY"))
    });
    let server = follow_with(&redis.source("key=flags"), &NEVER);
    server.wait_log("Redis says BUSY");
    redis.run::<()>(&["SCRIPT", "KILL"]);
    assert!(script.join().unwrap());
    server.wait_log("source up");
    let mut client = Reader::connect(server.addr());
    client.map(Format::Json);
    set_n(&redis, "2");
    announce(&redis);
    wait_map(&mut client, &texts(&[("n", "2")]));
}

#[test]
fn a_refused_subscription_is_retried_and_reads_continue() {
    let is_refused = Arc::new(AtomicBool::new(true));
    let (readings, attempts) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (refused, read, attempted) = (Arc::clone(&is_refused), Arc::clone(&readings), Arc::clone(&attempts));
    let fake = Fake::start(move |words| match words[0].as_str() {
        "subscribe" if refused.load(Ordering::SeqCst) => {
            attempted.fetch_add(1, Ordering::SeqCst);
            Some(Act::say("-ERR not now\r\n"))
        }
        "hgetall" => Some(hash(&read.fetch_add(1, Ordering::SeqCst).to_string())),
        _ => None,
    });
    let (server, mut client) = followed(&fake.source(), &NEVER);
    server.wait_log("cannot subscribe, so a change is seen after up to 3600s: Redis says ERR: not now");
    // Two channels per attempt. The working connection is kept: there is no first read of a new one.
    eventually("another attempt has ended", || attempts.load(Ordering::SeqCst) >= 4);
    assert_eq!(readings.load(Ordering::SeqCst), 1);
    is_refused.store(false, Ordering::SeqCst);
    server.wait_log("subscribed again");
    wait_map(&mut client, &texts(&[("n", "1")]));
    assert_eq!(fake.announce(), 1);
    wait_map(&mut client, &texts(&[("n", "2")]));
    assert_eq!(count(&server, "source down"), 0);
}

#[test]
fn the_reason_of_a_closed_connection_is_in_log_and_status() {
    let replies = [
        ("-ERR max number of clients reached\r\n", "ERR: max number of clients reached"),
        ("-DENIED Redis is running in protected mode\r\n", "DENIED: Redis is running in protected mode"),
    ];
    for (reply, wanted) in replies {
        // As a real Redis, for any first command.
        let fake = Fake::start(move |_| Some(Act::SayAndClose(reply.as_bytes().to_vec())));
        let server = follow_with(&fake.source(), &["--http", "127.0.0.1:0"]);
        let down = server.wait_log("source down");
        assert!(down.contains(wanted), "{down}");
        assert!(!server.log().join("\n").contains("subscribe"), "{:?}", server.log());
        let status = Site::of(server).json("/status");
        assert!(status["source"]["problem"].as_str().is_some_and(|problem| problem.contains(wanted)), "{status}");
    }
}

#[test]
fn a_redis_at_maxclients_is_down_until_a_client_leaves() {
    let Some(redis) = start_with_flags(&[]) else { return };
    let mut only = redis.connect();
    let mut set_max = |clients: &str| {
        redis::cmd("CONFIG").arg(&["SET", "maxclients", clients]).query::<()>(&mut only).unwrap();
    };
    set_max("1");
    let server = follow_with(&redis.source("key=flags"), &["--interval", "1s"]);
    let down = server.wait_log("source down");
    assert!(down.contains("max number of clients reached"), "{down}");
    set_max("10");
    server.wait_log("source up");
}

#[test]
fn a_flood_of_announcements_limits_the_reads_of_the_hash() {
    let readings = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&readings);
    let fake = Fake::start(move |words| {
        (words[0] == "hgetall").then(|| hash(&counted.fetch_add(1, Ordering::SeqCst).to_string()))
    });
    let started = Instant::now();
    let (server, mut client) = followed(&fake.source(), &["--interval", "1s"]);
    let has_ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| fake.flood(|| has_ended.load(Ordering::SeqCst)));
        let wanted = readings.load(Ordering::SeqCst) + 20;
        // Not an assertion here: after a panic the flood would continue.
        let seen = eventually_within(|| readings.load(Ordering::SeqCst) >= wanted);
        let map = client.map(Format::Json);
        has_ended.store(true, Ordering::SeqCst);
        assert!(seen && map.len() == 1, "the hash was read {} times", readings.load(Ordering::SeqCst));
    });
    let most = started.elapsed().as_millis() / 10 + 2;
    assert!(
        readings.load(Ordering::SeqCst) as u128 <= most,
        "{} readings, {most} at most",
        readings.load(Ordering::SeqCst)
    );
    assert_eq!(count(&server, "source down"), 0);
}

/// Returns true if and only if `holds` returns true within 20 s.
fn eventually_within(mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        if Instant::now() >= deadline {
            return false;
        }
        crate::support::pause();
    }
    true
}

#[test]
fn a_changed_password_file_is_used_by_the_next_connection() {
    let Some(redis) = RedisServer::start(&["--user", "ana", "on", ">first", "~*", "&*", "+@all"]) else { return };
    set_n(&redis, "1");
    let file = redis.directory().join("password");
    std::fs::write(&file, "first\n").unwrap();
    let source = format!("redis://ana@127.0.0.1:{}/0?key=flags", redis.port());
    let password = ["--redis-password-file", file.to_str().unwrap()];
    let (server, mut client) = followed(&source, &[&NEVER[..], &password].concat());
    redis.run::<()>(&["ACL", "SETUSER", "ana", "resetpass", ">second"]);
    redis.run::<i64>(&["CLIENT", "KILL", "USER", "ana"]);
    let down = server.wait_log("source down");
    assert!(down.contains("WRONGPASS") && !down.contains("first"), "{down}");
    std::fs::write(&file, "second\n").unwrap();
    eventually("it is up again", || count(&server, "source up") == 2);
    set_n(&redis, "2");
    announce(&redis);
    wait_map(&mut client, &texts(&[("n", "2")]));
}
