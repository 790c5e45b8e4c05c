//! The servers that run for the whole siege, their clients, and their checks after every phase.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustls::ClientConfig;
use rustls::RootCertStore;
#[cfg(feature = "tls-aws-lc")]
use rustls::crypto::aws_lc_rs::default_provider;
#[cfg(not(feature = "tls-aws-lc"))]
use rustls::crypto::ring::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;

use crate::certificates::Certificates;
use crate::feed::{Lines, Writer};
use crate::gauge::{Gauge, Reading, Sampler};
use crate::observers::Observers;
use crate::probes::Probes;
use crate::server::{POLL_PERIOD, Plan, Server};
use crate::support::checks::{Checks, Scope};
use crate::support::map::{self, Published};

/// N, the interval of every server.
pub const INTERVAL: Duration = Duration::from_secs(2);

/// The longest time that a well-behaved client may be without the newest map, and the writer without an acknowledgement: three
/// intervals, after which a client considers its connection stale.
pub const STALE: Duration = Duration::from_secs(6);

/// The limit on HTTP connections, `--http-max-connections`.
pub const HTTP_MAX: u64 = 256;

/// The maximum number of threads of a server in addition to one per connection. The table in docs/design.md lists 24, and threads
/// of closed connections need a moment to end.
pub const OTHER_THREADS: u64 = 64;

/// How long a server may take to return to its usage before an attack: `--write-timeout` disconnects the last stalled peer after
/// 10 s.
const SETTLE: Duration = Duration::from_secs(20);

/// How much more resident memory a server may have than before an attack, in KiB, plus half of its growth in the attack. malloc
/// keeps pages that are partly in use: after 10,000 handshakes at once 100 of 340 MiB (measured). The baseline is the same in all
/// rounds, so that growth from round to round is detected.
const MORE_MEMORY: u64 = 24 * 1024;

/// How many more memory maps a server may have. glibc keeps up to 40 MiB of stacks of ended threads, two maps each (`pthread_create`).
const MORE_MAPS: u64 = 700;

/// How much longer than `--drain-timeout` a shutdown may take.
pub const STOP: Duration = Duration::from_secs(2);

/// The longest time for all connections at the start.
const CONNECT: Duration = Duration::from_secs(20);

/// The size of the large map in bytes.
const LARGE: usize = 1_000_000;

/// The padding of the other maps in bytes.
const SMALL: usize = 1024;

/// The period of a map outside of its own phase.
const SLOW_PERIOD: Duration = Duration::from_millis(500);

/// Entries of the map in the file, in addition to those of all maps.
const ENTRIES: usize = 30_000;

/// The names of the servers.
pub const WRITTEN: &str = "written";
pub const ENCRYPTED: &str = "encrypted";
pub const LARGE_PLAIN: &str = "large";
pub const LARGE_TLS: &str = "large-tls";
pub const FILE: &str = "file";

/// A server, its clients, and the origin of its map.
pub struct Subject {
    pub server: Server,
    pub published: Arc<Published>,
    /// The padding of its map, if it reads lines.
    padding: usize,
    pub lines: Option<Lines>,
    pub observers: Observers,
    pub writer: Option<Writer>,
    probes: Option<Probes>,
    /// Its usage before the attack.
    pub baseline: Reading,
}

/// All servers of the siege, and what they share.
pub struct Site {
    pub subjects: Vec<Subject>,
    pub certificates: Certificates,
    /// The TLS configuration of clients.
    pub tls: Arc<ClientConfig>,
    pub sampler: Sampler,
    pub checks: Arc<Checks>,
    pub progress: Arc<Progress>,
    directory: TempDir,
}

/// The data for progress lines.
#[derive(Debug, Default)]
pub struct Progress {
    /// Locked for one change or one line.
    pub now: Mutex<(&'static str, Vec<Arc<Gauge>>)>,
}

impl Site {
    /// Starts the servers, and connects `clients` well-behaved clients, a fifth of them over TLS.
    pub fn start(clients: usize, checks: Arc<Checks>, progress: Arc<Progress>) -> anyhow::Result<Self> {
        let (certificates, directory, sampler) = (Certificates::new()?, tempfile::tempdir()?, Sampler::start()?);
        let tls = trust(&certificates)?;
        let mut site = Self { subjects: Vec::new(), certificates, tls, sampler, checks, progress, directory };
        fs::write(site.path("token"), "open-sesame")?;
        fs::write(site.path("map.json"), file_map(0))?;
        let encrypted = clients / 5;
        let args: [(&'static str, Vec<String>, usize, u64); 5] = [
            (WRITTEN, site.writable_args(), clients - encrypted, 10),
            (ENCRYPTED, [vec!["--source=-".to_owned()], site.tls_args()].concat(), encrypted, 10),
            (LARGE_PLAIN, vec!["--source=-".to_owned()], 2, 3),
            (LARGE_TLS, [vec!["--source=-".to_owned()], site.tls_args()].concat(), 1, 3),
            (FILE, vec![format!("--source={}", site.path("map.json").display())], 5, 10),
        ];
        for (name, args, clients, drain) in args {
            let subject = site.subject(name, &args, clients, Duration::from_secs(drain))?;
            site.subjects.push(subject);
        }
        site.wait_ready(CONNECT);
        Ok(site)
    }

    fn subject(&self, name: &'static str, args: &[String], clients: usize, drain: Duration) -> anyhow::Result<Subject> {
        let is_encrypted = args.iter().any(|arg| arg.starts_with("--tls-cert"));
        let has_input = args.iter().any(|arg| arg == "--source=-");
        let plan = Plan {
            name,
            args: args.iter().cloned().chain([format!("--interval={}s", INTERVAL.as_secs())]).map(Into::into).collect(),
            has_page: !is_encrypted,
            has_input,
            drain,
            limits: Vec::new(),
        };
        let server = Server::start(plan, &self.sampler)?;
        let published = Arc::new(Published::default());
        let writer = match server.page {
            Some(page) if name == WRITTEN => Some(Writer::start(page, self.path("token"), &published)?),
            _ => None,
        };
        if name == FILE {
            published.record(0);
        }
        let tls = is_encrypted.then(|| Arc::clone(&self.tls));
        let observers = Observers::start(server.addr, clients, tls, &published, writer.is_some())?;
        let map = writer.is_some().then(|| (server.addr, Arc::clone(&published)));
        let probes = server.page.map(|page| Probes::start(Some(page), map)).transpose()?;
        let padding = if name == LARGE_PLAIN || name == LARGE_TLS { LARGE } else { SMALL };
        let baseline = Reading::default();
        let mut subject = Subject { server, published, padding, lines: None, observers, writer, probes, baseline };
        subject.feed()?;
        Ok(subject)
    }

    /// Returns the path of a file of this run.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns the options of a server whose map is written over HTTP.
    pub fn writable_args(&self) -> Vec<String> {
        let option = |name: &str, file: &str| format!("--{name}={}", self.path(file).display());
        vec![option("http-token-file", "token"), option("state", "state.json")]
    }

    /// Returns the options of a server with TLS.
    pub fn tls_args(&self) -> Vec<String> {
        let option = |name: &str, file: &str| format!("--{name}={}", self.certificates.file(file).display());
        vec![option("tls-cert", "cert.pem"), option("tls-key", "key.pem")]
    }

    /// Returns the subject with this name.
    pub fn subject_mut(&mut self, name: &'static str) -> anyhow::Result<&mut Subject> {
        self.subjects.iter_mut().find(|subject| subject.server.name() == name).context("no such server")
    }

    /// Writes the next map into the file, by a rename.
    pub fn write_file(&mut self) -> anyhow::Result<()> {
        let path = self.path("map.json");
        let subject = self.subject_mut(FILE)?;
        let number = subject.published.newest().map_or(0, |number| number + 1);
        replace(&path, file_map(number).as_bytes())?;
        subject.published.record(number);
        Ok(())
    }

    /// Sets the data for progress lines.
    pub fn report(&mut self, phase: &'static str) {
        let gauges = self.subjects.iter().map(|it| Arc::clone(&it.server.gauge)).collect();
        *self.progress.now.lock().unwrap_or_else(PoisonError::into_inner) = (phase, gauges);
    }

    /// Restarts servers that have exited, waits until all clients are connected, and reads the usage with which the next phase is
    /// compared.
    pub fn prepare(&mut self, phase: &'static str) -> anyhow::Result<()> {
        for subject in &mut self.subjects {
            if subject.server.wait_exit().is_some() {
                subject.server.restart()?;
                subject.feed()?;
                subject.baseline = Reading::default();
            }
        }
        self.report(phase);
        if self.subjects.iter().any(|subject| subject.baseline.threads == 0) {
            self.wait_ready(CONNECT);
            for subject in self.subjects.iter_mut().filter(|subject| subject.baseline.threads == 0) {
                subject.discard_observations();
                subject.baseline = subject.server.read().unwrap_or_default();
            }
        }
        self.subjects.iter().for_each(|subject| subject.server.gauge.reset());
        Ok(())
    }

    /// Waits until all clients are connected and have a map, and one second more.
    fn wait_ready(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let is_ready = |subject: &mut Subject| {
            subject.observers.ready() >= subject.observers.wanted() || subject.server.exit().is_some()
        };
        while !self.subjects.iter_mut().all(is_ready) && Instant::now() < deadline {
            thread::park_timeout(POLL_PERIOD);
        }
        thread::park_timeout(Duration::from_secs(1));
    }

    /// Waits until each server of `attacked` has returned to its usage before, and checks it.
    pub fn settle(&mut self, phase: &'static str, attacked: &[&'static str]) {
        let began = Instant::now();
        for subject in self.subjects.iter_mut().filter(|subject| attacked.contains(&subject.server.name())) {
            if subject.server.wait_exit().is_some() {
                continue;
            }
            let scope = Scope { phase, server: subject.server.name() };
            let (before, most) = (subject.baseline, subject.most_memory());
            let mut now = subject.server.read().unwrap_or_default();
            while !is_settled(&before, most, &now) && began.elapsed() < SETTLE && subject.server.exit().is_none() {
                thread::park_timeout(5 * POLL_PERIOD);
                now = subject.server.read().unwrap_or_default();
            }
            if subject.server.wait_exit().is_some() {
                continue;
            }
            let holds = is_settled(&before, most, &now);
            let figure = format!("{now} after {:.1} s", began.elapsed().as_secs_f64());
            let bound = format!("{before}; memory at most {most} KiB, {MORE_MAPS} more maps");
            self.checks.holds(scope, "returns to its usage before", holds, figure, bound);
            if !holds {
                // The next phase needs a healthy server.
                subject.stop(scope, &self.checks, Some(0));
            }
        }
    }

    /// Checks the results of the clients of every server in this phase. Servers that are not `attacked` are listed under `meanwhile`.
    pub fn judge(&mut self, phase: &'static str, attacked: &[&'static str], writes: Writes) {
        for subject in &mut self.subjects {
            let server = subject.server.name();
            let phase = if attacked.contains(&server) { phase } else { "meanwhile" };
            subject.judge(Scope { phase, server }, &self.checks, writes);
        }
    }
}

/// The expectation for the writer in a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// It always gets acknowledgements in time.
    Steady,
    /// It may be refused for a while. Acknowledged changes must still be kept.
    MayPause,
}

impl Subject {
    /// Starts to write lines to its input, if it reads lines. Called once per start.
    fn feed(&mut self) -> anyhow::Result<()> {
        if let Some(input) = self.server.take_input() {
            self.lines = Some(Lines::start(input, &self.published, self.padding, SLOW_PERIOD)?);
        }
        Ok(())
    }

    /// Sets the rate of its changes to that between phases.
    pub fn slow_down(&self) {
        self.lines.iter().for_each(|lines| lines.pace(SLOW_PERIOD));
    }

    /// Returns the maximum resident memory after an attack, in KiB. It includes memory that the allocator keeps since an earlier
    /// attack.
    fn most_memory(&self) -> u64 {
        let before = self.baseline.resident;
        before + MORE_MEMORY + self.server.gauge.resident_ever().saturating_sub(before) / 2
    }

    /// Discards the results of its clients so far.
    fn discard_observations(&mut self) {
        self.observers.take();
        self.writer.iter().for_each(|writer| drop(writer.take()));
        self.probes.iter().for_each(|probes| drop(probes.take()));
    }

    fn judge(&mut self, scope: Scope, checks: &Checks, expected: Writes) {
        let exit = self.server.wait_exit();
        let http = self.server.page.map_or(0, |_| HTTP_MAX);
        let limit = self.server.log.allowed().unwrap_or(10_000) + http + OTHER_THREADS;
        let threads = self.server.gauge.threads();
        let figure = exit.map_or_else(|| "running".to_owned(), |exit| exit.to_string());
        checks.holds(scope, "survives", exit.is_none(), figure, "running");
        checks.at_most(scope, "most threads", threads as f64, limit as f64, "");
        checks.note(scope, "most resident memory", mib(self.server.gauge.resident()), "MiB");
        if exit.is_some() {
            // The results of clients of an exited server add nothing.
            return self.discard_observations();
        }
        let seen = self.observers.take();
        let clients = match self.observers.wanted() {
            1 => "1 client".to_owned(),
            many => format!("{many} clients"),
        };
        let longest = seen.longest_stale.as_secs_f64();
        let what = format!("{clients}: longest without the newest map");
        checks.at_most(scope, what, longest, STALE.as_secs_f64(), "s");
        checks.zero(scope, format!("{clients}: lost"), seen.lost, "");
        let detail = if seen.faults() > 0 { format!(", the last: {}", seen.last_fault) } else { String::new() };
        checks.zero(scope, format!("{clients}: maps torn, backwards or wrong"), seen.faults(), detail);
        if let Some(writer) = &self.writer {
            let writes = writer.take();
            let what = "longest without an acknowledged change";
            let longest = writes.longest.as_secs_f64();
            match expected {
                Writes::Steady => checks.at_most(scope, what, longest, STALE.as_secs_f64(), "s"),
                Writes::MayPause => checks.note(scope, what, longest, "s"),
            }
            checks.note(scope, "changes acknowledged", writes.acknowledged as f64, "");
            if writes.failed > 0 {
                let what = format!("changes retried, the last: {}", writes.last_failure);
                checks.note(scope, what, writes.failed as f64, "");
            }
        }
        if let Some(probes) = &self.probes {
            let asked = probes.take();
            let mut detail = format!(" of {}, the longest took {:.2} s", asked.asked, asked.longest.as_secs_f64());
            if asked.unanswered > 0 {
                detail = format!("{detail}, the last: {}", asked.last_failure);
            }
            checks.zero(scope, "/livez and /metrics: status other than 200", asked.unanswered, detail);
            if self.writer.is_some() {
                let detail = format!(", {} were served, {} refused", asked.served, asked.refused);
                checks.zero(scope, "new clients: no complete map, and not refused", asked.ignored, detail);
                checks.zero(scope, "new clients: without an acknowledged change", asked.behind, "");
            }
        }
    }

    /// Stops it with SIGTERM, and checks that it exits in time, with `code` if given.
    pub fn stop(&mut self, scope: Scope, checks: &Checks, code: Option<i32>) {
        stop(&mut self.server, scope, checks, code);
    }
}

/// Stops a server with SIGTERM, and checks that it exits in time, with `code` if given.
pub fn stop(server: &mut Server, scope: Scope, checks: &Checks, code: Option<i32>) {
    let patience = server.drain() + STOP;
    let bound = code.map_or_else(String::new, |code| format!("exit code {code} "));
    let bound = format!("{bound}within {:.0} s", patience.as_secs_f64());
    // Wait longer than allowed, to learn how long it takes.
    let (holds, figure) = match server.terminate(patience + STOP) {
        None => (false, "was killed, did not exit".to_owned()),
        Some((exit, took)) => {
            let holds = took <= patience && code.is_none_or(|code| exit.status.code() == Some(code));
            (holds, format!("{exit}, {:.1} s after SIGTERM", took.as_secs_f64()))
        }
    };
    checks.holds(scope, "exits on SIGTERM", holds, figure, bound);
}

fn is_settled(before: &Reading, most_memory: u64, now: &Reading) -> bool {
    now.threads <= before.threads
        && now.descriptors <= before.descriptors
        && now.maps <= before.maps + MORE_MAPS
        && now.resident <= most_memory
}

/// Returns KiB as MiB, for the table.
pub fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// Replaces the file `path` atomically.
pub fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, bytes)?;
    Ok(fs::rename(new, path)?)
}

/// Returns the map in the file: tens of thousands of entries, and some with keys of one character.
fn file_map(number: u64) -> String {
    let mut map = map::entries(number, SMALL);
    for index in 0..ENTRIES {
        map.insert(format!("entry-{index}"), index.into());
    }
    for key in 'a'..='z' {
        map.insert(key.to_string(), number.into());
    }
    serde_json::Value::Object(map).to_string()
}

/// Returns the configuration of clients that trust the servers of `certificates`.
pub fn trust(certificates: &Certificates) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificates.file("ca.pem"))?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let config = config.with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config))
}
