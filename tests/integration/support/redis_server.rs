//! A Redis server for a test: on a free loopback port, in a temporary directory, without persistence.

use std::process::Command;

use redis::{Cmd, Connection, FromRedisValue, RedisResult};
use tempfile::TempDir;

use super::program::{Program, clean};
use super::{eventually, has_command, skip};

use crate::support::free_port;

pub struct RedisServer {
    program: Option<Program>,
    port: u16,
    directory: TempDir,
    args: Vec<String>,
}

impl RedisServer {
    /// Starts a server with additional `args`; `None`, and a skipped test, without Redis.
    pub fn start(args: &[&str]) -> Option<Self> {
        if !has_command("redis-server") {
            skip("no redis-server (package redis-server)");
            return None;
        }
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let directory = tempfile::tempdir().unwrap();
        let mut server = Self { program: None, port: free_port(), directory, args };
        // Another process may take the port first.
        for _ in 0..5 {
            if server.try_start() {
                return Some(server);
            }
            server.port = free_port();
        }
        panic!("it does not start: {:?}", server.program().out());
    }

    /// Restarts it on the same port, empty.
    #[track_caller]
    pub fn restart(&mut self) {
        self.kill();
        assert!(self.try_start(), "its port is taken");
    }

    /// Returns true if and only if it listens.
    fn try_start(&mut self) -> bool {
        let mut command = clean("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", "", "--appendonly", "no"]);
        command.args(["--dir", self.directory.path().to_str().unwrap()]).args(&self.args);
        let program = self.program.insert(Program::start(command));
        let listens = |program: &Program| program.out().iter().any(|line| line.contains("Ready to accept connections"));
        eventually("redis-server listens, or not", || listens(program) || !program.is_running());
        listens(program)
    }

    pub fn kill(&mut self) {
        self.program = None;
    }

    /// The running process.
    pub fn program(&self) -> &Program {
        self.program.as_ref().expect("it runs")
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// The address of a hash in it.
    pub fn source(&self, options: &str) -> String {
        format!("redis://127.0.0.1:{}/0?{options}", self.port)
    }

    /// Returns a connection of the crate's own, as the default user.
    pub fn connect(&self) -> Connection {
        self.try_connect().unwrap()
    }

    fn try_connect(&self) -> RedisResult<Connection> {
        redis::Client::open(("127.0.0.1", self.port))?.get_connection()
    }

    /// Runs one command there and returns the reply.
    #[track_caller]
    pub fn run<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_run(words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// The same, while other clients end its connections.
    pub fn try_run<T: FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        let mut command = Cmd::new();
        for word in words {
            command.arg(word);
        }
        command.query(&mut self.try_connect()?)
    }
}

/// True if and only if Redis is built with TLS: its client, of the same build, then has TLS options.
#[cfg(feature = "tls")]
pub fn has_tls() -> bool {
    let help = Command::new("redis-cli").arg("--help").output();
    help.is_ok_and(|help| [help.stdout, help.stderr].concat().windows(5).any(|text| text == b"--tls"))
}

/// Runs `redis-cli` until it exits.
pub fn redis_cli(args: &[&str]) -> bool {
    Command::new("redis-cli").args(args).output().is_ok_and(|output| output.status.success())
}
