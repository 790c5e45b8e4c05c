//! Sentinels: the server follows the master that they report, and leaves a deposed one.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use mapcast::Format;

use super::fake::{Act, Fake};
use super::{follow_with, set_n, start_with_flags, texts, wait_map};
use crate::support::eventually;
use crate::support::free_port;
use crate::support::program::{Program, clean};
use crate::support::reader::Reader;
use crate::support::redis_server::RedisServer;

/// A sentinel that reports a master on a port of loopback, with a configuration epoch.
struct FakeSentinel {
    fake: Fake,
    master: Arc<AtomicU16>,
}

impl FakeSentinel {
    /// With port 0 it does not answer; with port 1 it does not know the master.
    fn start(master: u16, epoch: u64) -> Self {
        let master = Arc::new(AtomicU16::new(master));
        let named = Arc::clone(&master);
        let fake = Fake::start(move |words| {
            let port = named.load(Ordering::SeqCst).to_string();
            let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
            Some(match words.get(1).map(String::as_str) {
                _ if port == "0" => Act::Hang,
                Some("get-master-addr-by-name") if port == "1" => Act::say("*-1\r\n"),
                Some("get-master-addr-by-name") => Act::say(format!("*2\r\n{}{}", bulk("127.0.0.1"), bulk(&port))),
                Some("master") => Act::say(format!("*2\r\n{}{}", bulk("config-epoch"), bulk(&epoch.to_string()))),
                _ => return None,
            })
        });
        Self { fake, master }
    }

    fn name(&self, master: u16) {
        self.master.store(master, Ordering::SeqCst);
    }
}

fn source(ports: &[u16]) -> String {
    let sentinels: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    format!("redis+sentinel://{}/0?master=main&key=flags", sentinels.join(","))
}

/// An hour: the hash is read only after an announcement or a new connection.
const NEVER: [&str; 2] = ["--interval", "1h"];

fn two_masters() -> Option<[RedisServer; 2]> {
    let first = start_with_flags(&[])?;
    let second = RedisServer::start(&[])?;
    set_n(&second, "2");
    Some([first, second])
}

/// Otherwise a removed configuration, with a higher epoch, would win over a new one.
#[test]
fn a_sentinel_that_no_longer_knows_the_master_is_ignored() {
    let Some([old, new]) = two_masters() else { return };
    let (removed, anew) = (FakeSentinel::start(old.port(), 5), FakeSentinel::start(old.port(), 0));
    let server = follow_with(&source(&[removed.fake.port(), anew.fake.port()]), &NEVER);
    server.wait_log("source up");
    let mut client = Reader::connect(server.addr());
    assert_eq!(client.map(Format::Json), texts(&[("n", "1")]));
    anew.name(new.port());
    removed.name(1);
    assert_eq!(client.map(Format::Json), texts(&[("n", "2")]));
}

/// A network partition: the old master still answers mapcast.
#[test]
fn a_deposed_master_is_left_although_it_still_answers() {
    let Some([old, new]) = two_masters() else { return };
    let sentinel = FakeSentinel::start(old.port(), 1);
    let server = follow_with(&source(&[sentinel.fake.port()]), &NEVER);
    server.wait_log("source up");
    let mut client = Reader::connect(server.addr());
    assert_eq!(client.map(Format::Json), texts(&[("n", "1")]));
    sentinel.name(new.port());
    assert_eq!(client.map(Format::Json), texts(&[("n", "2")]));
    server.wait_log(&format!("following 127.0.0.1:{} in place of 127.0.0.1:{}", new.port(), old.port()));
    // Later writes to the old master are not published.
    set_n(&old, "3");
    eventually("it has no subscriber", || old.run::<i64>(&["PUBLISH", "mapcast:flags", ""]) == 0);
    set_n(&new, "4");
    assert_eq!(new.run::<i64>(&["PUBLISH", "mapcast:flags", ""]), 1);
    assert_eq!(client.map(Format::Json), texts(&[("n", "4")]));
    assert!(!server.log().join("\n").contains("source down"), "{:?}", server.log());
}

#[test]
fn of_disagreeing_sentinels_the_newer_configuration_wins() {
    let Some([old, new]) = two_masters() else { return };
    let (behind, ahead) = (FakeSentinel::start(old.port(), 1), FakeSentinel::start(new.port(), 2));
    let server = follow_with(&source(&[behind.fake.port(), ahead.fake.port()]), &NEVER);
    server.wait_log("source up");
    let mut client = Reader::connect(server.addr());
    assert_eq!(client.map(Format::Json), texts(&[("n", "2")]));
    // The other sentinel is not used either when this one is silent.
    ahead.name(0);
    set_n(&new, "3");
    new.run::<()>(&["PUBLISH", "mapcast:flags", ""]);
    assert_eq!(client.map(Format::Json), texts(&[("n", "3")]));
}

#[test]
fn a_hung_or_missing_sentinel_delays_no_change() {
    let Some(redis) = start_with_flags(&[]) else { return };
    let (hung, good) = (FakeSentinel::start(0, 1), FakeSentinel::start(redis.port(), 1));
    let server = follow_with(&source(&[hung.fake.port(), free_port(), good.fake.port()]), &NEVER);
    server.wait_log("source up");
    let mut client = Reader::connect(server.addr());
    assert_eq!(client.map(Format::Json), texts(&[("n", "1")]));
    for n in 2..5 {
        set_n(&redis, &n.to_string());
        redis.run::<()>(&["PUBLISH", "mapcast:flags", ""]);
        assert_eq!(client.map(Format::Json), texts(&[("n", &n.to_string())]));
    }
    assert!(!server.log().join("\n").contains("source down"), "{:?}", server.log());
}

#[test]
fn an_unconfirmed_master_is_left_until_a_sentinel_answers() {
    let Some(redis) = start_with_flags(&[]) else { return };
    let sentinel = FakeSentinel::start(redis.port(), 1);
    let server = follow_with(&source(&[sentinel.fake.port()]), &["--interval", "200ms"]);
    server.wait_log("source up");
    let mut client = Reader::connect(server.addr());
    sentinel.name(0);
    let down = server.wait_log("source down");
    assert!(down.contains("no sentinel has answered for 10s"), "{down}");
    set_n(&redis, "2");
    for _ in 0..5 {
        assert_eq!(client.map(Format::Json), texts(&[("n", "1")]));
    }
    sentinel.name(redis.port());
    wait_map(&mut client, &texts(&[("n", "2")]));
}

#[test]
fn a_replica_is_not_followed_as_a_master() {
    let Some([redis, other]) = two_masters() else { return };
    let sentinel = FakeSentinel::start(redis.port(), 1);
    let server = follow_with(&source(&[sentinel.fake.port()]), &["--interval", "200ms"]);
    server.wait_log("source up");
    let mut client = Reader::connect(server.addr());
    assert_eq!(client.map(Format::Json), texts(&[("n", "1")]));
    // A manual REPLICAOF keeps connections open, unlike a sentinel's failover.
    redis.run::<()>(&["REPLICAOF", "127.0.0.1", &other.port().to_string()]);
    server.wait_log("source down");
    eventually("it has the hash of the other server", || {
        redis.try_run::<String>(&["HGET", "flags", "n"]).is_ok_and(|n| n == "2")
    });
    for _ in 0..5 {
        assert_eq!(client.map(Format::Json), texts(&[("n", "1")]));
    }
    redis.run::<()>(&["REPLICAOF", "NO", "ONE"]);
    wait_map(&mut client, &texts(&[("n", "2")]));
}

/// Starts a real sentinel for the master on this port, with additional lines of configuration.
fn start_sentinel(master: u16, lines: &str) -> (Program, u16, tempfile::TempDir) {
    let (directory, port) = (tempfile::tempdir().unwrap(), free_port());
    let config = directory.path().join("sentinel.conf");
    let mut file = std::fs::File::create(&config).unwrap();
    let directory_name = directory.path().display();
    write!(
        file,
        "port {port}\nbind 127.0.0.1\ndir {directory_name}\nsentinel monitor main 127.0.0.1 {master} 1\n{lines}"
    )
    .unwrap();
    let mut command = clean("redis-server");
    command.args([config.to_str().unwrap(), "--sentinel"]);
    let sentinel = Program::start(command);
    sentinel.wait_out("+monitor master main");
    (sentinel, port, directory)
}

#[test]
fn sentinels_that_require_a_password_get_it() {
    let Some(redis) = start_with_flags(&[]) else { return };
    redis.run::<()>(&["ACL", "SETUSER", "ana", "on", ">s3cret", "~*", "&*", "+@all"]);
    let directory = redis.directory().to_owned();
    let file = directory.join("password");
    std::fs::write(&file, "s3cret\n").unwrap();
    let password = ["--redis-password-file", file.to_str().unwrap()];
    let with_user = |port: u16| source(&[port]).replace("://", "://ana@");
    // With a user, with the password of the default user, and without a password.
    for lines in [
        "user ana on >s3cret +@all\nuser default off\n",
        "requirepass s3cret\n",
        "sentinel down-after-milliseconds main 5000\n",
    ] {
        let (_sentinel, port, _directory) = start_sentinel(redis.port(), lines);
        let server = follow_with(&with_user(port), &[&NEVER[..], &password].concat());
        server.wait_log("source up");
    }
    let (_sentinel, port, _directory) = start_sentinel(redis.port(), "requirepass an0ther\n");
    let server = follow_with(&with_user(port), &[&NEVER[..], &password].concat());
    let down = server.wait_log("source down");
    let wanted = format!("the sentinel 127.0.0.1:{port} refuses the password: WRONGPASS");
    assert!(down.contains(&wanted) && down.contains("give the sentinels the user and the password"), "{down}");
    assert!(!server.log().join("\n").contains("s3cret"));
    let server = follow_with(&source(&[port]), &NEVER);
    let down = server.wait_log("source down");
    let wanted = format!("the sentinel 127.0.0.1:{port} refuses: NOAUTH");
    assert!(down.contains(&wanted) && down.contains("--redis-password-file"), "{down}");
}
