//! Redis with a replica, and three sentinels that promote the replica when the master fails.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use redis::{Connection, FromRedisValue, Value, cmd};
use rustix::process::{Pid, Signal, kill_process};

use crate::network::{DIRECTORY, HUB, Host, tied_command};

/// The name of the master at the sentinels, and of the hash.
pub const NAME: &str = "chaos";

/// The ports of the sentinels.
const SENTINELS: [u16; 3] = [26_379, 26_380, 26_381];

/// The port of each Redis; each has its own host.
const PORT: u16 = 6379;

/// The silence after which the sentinels consider a Redis down, and the time limit of a failover, in milliseconds.
const DOWN_AFTER: u32 = 2_000;
const FAILOVER: u32 = 6_000;

/// The time limit for replies of Redis and the sentinels.
pub const TIMEOUT: Duration = Duration::from_secs(1);

/// The longest time for the replica and the sentinels to find each other at the start.
const PATIENCE: Duration = Duration::from_secs(40);

/// A Redis on its own host.
struct Node {
    host: Host,
    child: Child,
}

/// Both Redis nodes and the sentinels. Killed on drop.
pub struct Store {
    nodes: [Node; 2],
    sentinels: Vec<Child>,
}

/// The addresses of both Redis nodes.
#[derive(Debug, Clone, Copy)]
pub struct Addrs([Ipv4Addr; 2]);

impl Store {
    /// Starts all processes, the first Redis as the master, and waits until a failover is possible.
    pub fn start() -> anyhow::Result<Self> {
        let hosts = [Host::new("redis-1", 31)?, Host::new("redis-2", 32)?];
        let [first, second] = hosts;
        let master = first.addr;
        let nodes = [start_redis(&first, None)?, start_redis(&second, Some(master))?];
        let [one, two] = nodes;
        let mut store = Self {
            nodes: [Node { host: first, child: one }, Node { host: second, child: two }],
            sentinels: Vec::new(),
        };
        store.wait("the replica", || is_replicated(master))?;
        for port in SENTINELS {
            store.sentinels.push(start_sentinel(port, master)?);
        }
        store.wait("the sentinels", || Ok(SENTINELS.iter().all(|port| knows_all(*port).unwrap_or(false))))?;
        Ok(store)
    }

    /// Returns the `--source` value for it.
    pub fn as_source() -> String {
        let sentinels: Vec<_> = SENTINELS.iter().map(|port| format!("{HUB}:{port}")).collect();
        format!("redis+sentinel://{}/0?master={NAME}&key={NAME}&json=true", sentinels.join(","))
    }

    /// Returns the addresses of both nodes.
    pub fn addrs(&self) -> Addrs {
        Addrs([self.nodes[0].host.addr, self.nodes[1].host.addr])
    }

    /// Returns the addresses that a follower of it connects to.
    pub fn hosts(&self) -> [Ipv4Addr; 3] {
        [HUB, self.nodes[0].host.addr, self.nodes[1].host.addr]
    }

    /// Returns true if and only if `master` is the master, its replica follows it, and the sentinels know both.
    pub fn can_fail_over(&self, master: usize) -> bool {
        let addr = self.nodes[master].host.addr;
        let knows = |port: &u16| knows_all(*port).unwrap_or(false) && master_by(*port).ok() == Some(addr);
        is_replicated(addr).unwrap_or(false) && SENTINELS.iter().all(knows)
    }

    /// Sends `signal` to a node.
    pub fn signal(&self, node: usize, signal: Signal) -> anyhow::Result<()> {
        Ok(kill_process(Pid::from_child(&self.nodes[node].child), signal)?)
    }

    /// Restarts a killed node as the replica of the other.
    pub fn restart(&mut self, node: usize) -> anyhow::Result<()> {
        let master = self.nodes[1 - node].host.addr;
        let node = &mut self.nodes[node];
        node.child.kill()?;
        node.child.wait()?;
        node.child = start_redis(&node.host, Some(master))?;
        Ok(())
    }

    /// Partitions a node from everything except `peer`.
    pub fn split(&self, node: usize, peer: Ipv4Addr) -> anyhow::Result<()> {
        self.nodes[node].host.cut_from_all_but(&[peer])
    }

    /// Ends [`split`](Self::split).
    pub fn reconnect(&self, node: usize) -> anyhow::Result<()> {
        self.nodes[node].host.reconnect()
    }

    /// Returns the name of a process that exited unexpectedly; `killed` is a node that was killed.
    pub fn ended(&mut self, killed: Option<usize>) -> anyhow::Result<Option<String>> {
        for (index, node) in self.nodes.iter_mut().enumerate() {
            if killed != Some(index) && node.child.try_wait()?.is_some() {
                return Ok(Some(format!("redis-{}", index + 1)));
            }
        }
        for (index, child) in self.sentinels.iter_mut().enumerate() {
            if child.try_wait()?.is_some() {
                return Ok(Some(format!("sentinel {}", index + 1)));
            }
        }
        Ok(None)
    }

    fn wait(&mut self, what: &str, is_there: impl Fn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !is_there().unwrap_or(false) {
            if let Some(name) = self.ended(None)? {
                bail!("{name} has exited");
            }
            ensure!(Instant::now() < deadline, "{what} does not become ready within {PATIENCE:?}");
            thread::park_timeout(Duration::from_millis(100));
        }
        Ok(())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        for child in self.nodes.iter_mut().map(|node| &mut node.child).chain(&mut self.sentinels) {
            // Both fail only if it has exited and was waited for.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Addrs {
    /// Asks the sentinels for the master and connects to it. Returns its index.
    pub fn connect_master(self) -> anyhow::Result<(usize, Connection)> {
        let mut failure = anyhow::anyhow!("no sentinel");
        for port in SENTINELS {
            match master_by(port).and_then(|addr| self.connect(addr)) {
                Ok(found) => return Ok(found),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn connect(self, addr: Ipv4Addr) -> anyhow::Result<(usize, Connection)> {
        let node = self.0.iter().position(|known| *known == addr).context("an unknown master")?;
        let mut connection = connect(addr, PORT)?;
        let role: Vec<Value> = cmd("ROLE").query(&mut connection)?;
        ensure!(role.first() == Some(&Value::BulkString(b"master".to_vec())), "it is not a master");
        Ok((node, connection))
    }
}

fn start_redis(host: &Host, master: Option<Ipv4Addr>) -> anyhow::Result<Child> {
    let mut command = host.command(Path::new("redis-server"));
    command.args(["--bind", &host.addr.to_string(), "--port", &PORT.to_string(), "--protected-mode", "no"]);
    command.args(["--save", "", "--appendonly", "no", "--dir", DIRECTORY, "--repl-diskless-sync-delay", "0"]);
    if let Some(master) = master {
        command.args(["--replicaof", &master.to_string(), &PORT.to_string()]);
    }
    command.spawn().context("cannot run redis-server")
}

/// Starts a sentinel. It writes its state into its own configuration file.
fn start_sentinel(port: u16, master: Ipv4Addr) -> anyhow::Result<Child> {
    let path = format!("{DIRECTORY}/sentinel-{port}.conf");
    let config = format!(
        "bind {HUB}\n\
         port {port}\n\
         protected-mode no\n\
         dir {DIRECTORY}\n\
         sentinel monitor {NAME} {master} {PORT} 2\n\
         sentinel down-after-milliseconds {NAME} {DOWN_AFTER}\n\
         sentinel failover-timeout {NAME} {FAILOVER}\n\
         sentinel parallel-syncs {NAME} 1\n"
    );
    fs::write(&path, config)?;
    tied_command("redis-server").args([&path, "--sentinel"]).spawn().context("cannot run redis-server")
}

fn connect(addr: Ipv4Addr, port: u16) -> anyhow::Result<Connection> {
    let connection = redis::Client::open((addr.to_string(), port))?.get_connection_with_timeout(TIMEOUT)?;
    connection.set_read_timeout(Some(TIMEOUT))?;
    connection.set_write_timeout(Some(TIMEOUT))?;
    Ok(connection)
}

fn ask_sentinel<T: FromRedisValue>(port: u16, words: &[&str]) -> anyhow::Result<T> {
    Ok(cmd("SENTINEL").arg(words).query(&mut connect(HUB, port)?)?)
}

/// Returns the address of the master according to a sentinel.
fn master_by(port: u16) -> anyhow::Result<Ipv4Addr> {
    let (host, _): (String, u16) = ask_sentinel(port, &["GET-MASTER-ADDR-BY-NAME", NAME])?;
    Ok(host.parse()?)
}

/// Returns true if and only if a sentinel knows the two others and a healthy replica.
fn knows_all(port: u16) -> anyhow::Result<bool> {
    let master: std::collections::HashMap<String, String> = ask_sentinel(port, &["MASTER", NAME])?;
    let replicas: Vec<std::collections::HashMap<String, String>> = ask_sentinel(port, &["REPLICAS", NAME])?;
    let is_healthy = |replica: &std::collections::HashMap<String, String>| {
        replica.get("flags").is_some_and(|flags| flags == "slave")
            && replica.get("master-link-status").is_some_and(|status| status == "ok")
    };
    let others = master.get("num-other-sentinels").is_some_and(|number| number == "2");
    let is_master = master.get("flags").is_some_and(|flags| flags == "master");
    Ok(others && is_master && replicas.iter().any(is_healthy))
}

/// Returns true if and only if the replica of the master at `addr` is in sync.
fn is_replicated(addr: Ipv4Addr) -> anyhow::Result<bool> {
    let info: String = cmd("INFO").arg("replication").query(&mut connect(addr, PORT)?)?;
    Ok(info.contains("role:master") && info.contains("state=online"))
}
