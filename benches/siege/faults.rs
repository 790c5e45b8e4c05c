//! The phases in which the environment fails: an unread log, files that hang, system limits.

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, mkfifoat};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection};

use crate::feed::Lines;
use crate::http;
use crate::observers::Observers;
use crate::probes;
use crate::server::{Plan, Server, try_start};
use crate::site::{self, ENCRYPTED, FILE, STALE, Site, WRITTEN, Writes, replace};
use crate::storm::{Closing, Port, Storm};
use crate::support::checks::Scope;
use crate::support::map::{self, Published};

/// The number of short connections, enough to fill a pipe of 4 KiB many times.
const SHORT_LIVED: usize = 200;

/// How long they wait for a map.
const SHORT_LIVED_PATIENCE: Duration = Duration::from_secs(2);

/// How long a file hangs before it is replaced by a good one.
const HANG: Duration = Duration::from_millis(2500);

/// The longest time for a server to exit or listen if a file hangs from the start. It waits 10 s for the writer of a pipe that may
/// be its token.
const START: Duration = Duration::from_secs(13);

/// Concurrent requests without a valid token.
const UNAUTHORIZED: usize = 30;

/// The number of clients of a server before its limits are exceeded.
const ESTABLISHED: usize = 20;

/// The number of connections above the limit.
const EXCESS_CLIENTS: usize = 600;

/// The period of the changes that the established clients receive.
const CHANGES: Duration = Duration::from_millis(200);

/// Stops reading the log, while clients connect and disconnect.
pub fn unread_log(site: &mut Site, phase: &'static str, time: Duration) -> anyhow::Result<()> {
    let until = Instant::now() + time;
    let subject = site.subject_mut(WRITTEN)?;
    subject.server.log.pause();
    let mut storm = Storm::new(subject.server.addr, Port::Map, SHORT_LIVED, None)?;
    let mut ignored = 0;
    while Instant::now() < until && !crate::interrupt::is_requested() && subject.server.exit().is_none() {
        storm.cycle(Closing::Together, SHORT_LIVED_PATIENCE, &mut || false)?;
        ignored += storm.unsettled() as u64;
        let deadline = until.min(Instant::now() + Duration::from_millis(300));
        thread::park_timeout(deadline.saturating_duration_since(Instant::now()));
    }
    drop(storm);
    let scope = Scope { phase, server: WRITTEN };
    let what = format!("of {SHORT_LIVED} clients at once: neither served nor refused within {SHORT_LIVED_PATIENCE:?}");
    site.checks.zero(scope, what, ignored, "");
    stop_unread(site, phase)?;
    // Check before the log is read again.
    site.judge(phase, &[WRITTEN], Writes::Steady);
    site.subject_mut(WRITTEN)?.server.log.resume();
    site.settle(phase, &[WRITTEN]);
    Ok(())
}

/// Checks that a server with an unread log exits on SIGTERM.
fn stop_unread(site: &Site, phase: &'static str) -> anyhow::Result<()> {
    let scope = Scope { phase, server: "unread" };
    let plan = Plan { name: scope.server, drain: Duration::from_secs(2), ..Plan::default() };
    let mut server = Server::start(plan, &site.sampler)?;
    server.log.pause();
    let mut storm = Storm::new(server.addr, Port::Map, SHORT_LIVED, None)?;
    storm.cycle(Closing::Together, SHORT_LIVED_PATIENCE, &mut || false)?;
    site::stop(&mut server, scope, &site.checks, Some(0));
    Ok(())
}

/// Replaces the source, the state, the token and a TLS key by a FIFO without a writer, and then by good files again.
pub fn hung_files(site: &mut Site, phase: &'static str) -> anyhow::Result<()> {
    start_with_hung_files(site, phase)?;
    hung_source(site, phase)?;
    hung_key(site, phase)?;
    hung_token(site, phase)?;
    hung_state(site, phase)?;
    let attacked = [WRITTEN, ENCRYPTED, FILE];
    site.judge(phase, &attacked, Writes::MayPause);
    site.settle(phase, &attacked);
    Ok(())
}

fn start_with_hung_files(site: &Site, phase: &'static str) -> anyhow::Result<()> {
    let (fifo, cert) = (site.path("fifo.json"), site.certificates.file("cert.pem"));
    put_fifo(&fifo)?;
    let fifo = fifo.display();
    let cases = [
        ("--source", vec![format!("--source={fifo}")]),
        ("--state", vec![format!("--http-token-file={}", site.path("token").display()), format!("--state={fifo}")]),
        ("--tls-key", vec![format!("--tls-cert={}", cert.display()), format!("--tls-key={fifo}")]),
        ("--http-token-file", vec![format!("--http-token-file={fifo}")]),
    ];
    for (option, args) in cases {
        let has_page = args.iter().any(|arg| arg.starts_with("--http-token-file"));
        let args = args.into_iter().map(Into::into).collect();
        let plan = Plan { name: "hung", args, has_page, drain: Duration::from_secs(1), ..Plan::default() };
        let (exit, is_listening, last) = try_start(plan, &site.sampler, START)?;
        let holds = is_listening || exit.is_some_and(|it| it.status.code() == Some(2) && !last.is_empty());
        let figure = match exit {
            Some(exit) => format!("{exit}: {last}"),
            None if is_listening => "listens".to_owned(),
            None => "neither".to_owned(),
        };
        let bound = format!("listens, or exit code 2 with a message, within {START:?}");
        let scope = Scope { phase, server: "hung" };
        site.checks.holds(scope, format!("{option} is a FIFO at startup"), holds, figure, bound);
    }
    Ok(())
}

fn hung_source(site: &mut Site, phase: &'static str) -> anyhow::Result<()> {
    let scope = Scope { phase, server: FILE };
    put_fifo(&site.path("map.json"))?;
    let page = site.subject_mut(FILE)?.server.page;
    let began = Instant::now();
    let is_up = || {
        let answer = page.and_then(|page| http::request(page, &http::get("/status"), START).ok());
        let status: Option<serde_json::Value> = answer.and_then(|answer| serde_json::from_slice(&answer.body).ok());
        status.and_then(|status| status["source"]["up"].as_bool())
    };
    // The server reads the file once a second.
    while is_up() != Some(false) && began.elapsed() < 2 * HANG {
        thread::park_timeout(Duration::from_millis(100));
    }
    let (up, took) = (is_up(), began.elapsed());
    let figure = format!("up: {up:?} after {:.1} s", took.as_secs_f64());
    site.checks.holds(scope, "/status reports that the source hangs", up == Some(false), figure, "up: Some(false)");
    thread::park_timeout(HANG.saturating_sub(took));
    site.write_file()?;
    let number = site.subject_mut(FILE)?.published.newest().unwrap_or(0);
    let addr = site.subject_mut(FILE)?.server.addr;
    let took = wait(STALE, || probes::first_map(addr).is_ok_and(|first| first == Some(number)));
    holds_in_time(site, scope, "a good source file is read again", took);
    Ok(())
}

fn hung_key(site: &mut Site, phase: &'static str) -> anyhow::Result<()> {
    let scope = Scope { phase, server: ENCRYPTED };
    let (addr, tls) = (site.subject_mut(ENCRYPTED)?.server.addr, Arc::clone(&site.tls));
    put_fifo(&site.certificates.file("key.pem"))?;
    thread::park_timeout(HANG);
    let served = shown_certificate(addr, &tls);
    let figure = served.as_ref().map_or_else(ToString::to_string, |_| "a handshake".to_owned());
    site.checks.holds(scope, "new clients while the key hangs", served.is_ok(), figure, "a handshake");
    site.certificates.rotate()?;
    let new = CertificateDer::from_pem_file(site.certificates.file("cert.pem"))?;
    let took = wait(STALE, || shown_certificate(addr, &tls).is_ok_and(|shown| shown == new));
    holds_in_time(site, scope, "a good key is loaded again", took);
    Ok(())
}

fn hung_token(site: &mut Site, phase: &'static str) -> anyhow::Result<()> {
    let scope = Scope { phase, server: WRITTEN };
    let Some(writer) = &site.subject_mut(WRITTEN)?.writer else { return Ok(()) };
    let token = writer.token().clone();
    let secret = fs::read(&token)?;
    put_fifo(&token)?;
    let began = Instant::now();
    let answered = thread::scope(|scope| {
        let asked: Vec<_> = (0..UNAUTHORIZED)
            .filter_map(|_| {
                let ask = || writer.ask_without_token(HANG).is_ok();
                thread::Builder::new().spawn_scoped(scope, ask).ok()
            })
            .collect();
        asked.into_iter().filter_map(|asked| asked.join().ok()).filter(|is_answered| *is_answered).count()
    });
    let detail = format!(" of {UNAUTHORIZED} within {HANG:?}");
    thread::park_timeout(HANG.saturating_sub(began.elapsed()));
    replace(&token, &secret)?;
    let Some(writer) = &site.subject_mut(WRITTEN)?.writer else { return Ok(()) };
    let took = writer.wait(STALE);
    let unanswered = (UNAUTHORIZED - answered) as u64;
    site.checks.zero(scope, "requests unanswered while the token hangs", unanswered, detail);
    holds_in_time(site, scope, "changes are acknowledged again after the token hung", took);
    Ok(())
}

fn hung_state(site: &mut Site, phase: &'static str) -> anyhow::Result<()> {
    let scope = Scope { phase, server: WRITTEN };
    let path = site.path("state.json");
    let good = fs::read(&path)?;
    put_fifo(&path)?;
    thread::park_timeout(HANG);
    // Unless the server has replaced the FIFO.
    if !fs::metadata(&path).is_ok_and(|kind| kind.is_file()) {
        replace(&path, &good)?;
    }
    let Some(writer) = &site.subject_mut(WRITTEN)?.writer else { return Ok(()) };
    let took = writer.wait(STALE);
    let acknowledged = writer.acknowledged();
    holds_in_time(site, scope, "changes are acknowledged again after the state hung", took);
    crate::attacks::check_kept(site, scope, acknowledged);
    Ok(())
}

/// Runs servers with few descriptors, little address space, and small files.
pub fn limits(site: &mut Site, phase: &'static str, time: Duration) -> anyhow::Result<()> {
    small_files(site, phase)?;
    for (name, limit) in [("few-files", "nofile=128"), ("small-space", "as=200000000")] {
        exceed_limit(site, Scope { phase, server: name }, limit, time / 2)?;
    }
    site.judge(phase, &[], Writes::Steady);
    Ok(())
}

/// Connects many more clients than the limit allows. Established clients must get every change, and new clients must be served when
/// the others have disconnected.
fn exceed_limit(site: &Site, scope: Scope, limit: &str, time: Duration) -> anyhow::Result<()> {
    let until = Instant::now() + time;
    let plan = Plan {
        name: scope.server,
        args: vec!["--source=-".into(), format!("--interval={}s", site::INTERVAL.as_secs()).into()],
        has_input: true,
        has_page: false,
        drain: Duration::from_secs(5),
        limits: vec![limit.to_owned()],
    };
    let checks = &site.checks;
    let mut server = match Server::start(plan, &site.sampler) {
        Ok(server) => server,
        Err(error) => {
            checks.holds(scope, format!("starts under {limit}"), false, format!("{error:#}"), "starts");
            return Ok(());
        }
    };
    let published = Arc::new(Published::default());
    let input = server.take_input().into_iter();
    let _lines: Vec<_> = input.map(|input| Lines::start(input, &published, 100, CHANGES)).collect::<Result<_, _>>()?;
    let observers = Observers::start(server.addr, ESTABLISHED, None, &published, false)?;
    wait(START, || observers.ready() == ESTABLISHED);
    observers.take();
    let mut storm = Storm::new(server.addr, Port::Map, EXCESS_CLIENTS, None)?;
    let mut cycles = 0_u32;
    while (Instant::now() < until || cycles == 0) && server.exit().is_none() && !crate::interrupt::is_requested() {
        // At least twice in this time: the second time, others have just disconnected.
        storm.cycle(Closing::OneByOne, time / 3, &mut || server.exit().is_some())?;
        cycles += 1;
    }
    let figures = storm.figures();
    let exit = server.wait_exit();
    let figure = exit.map_or_else(|| "running".to_owned(), |exit| exit.to_string());
    checks.holds(scope, format!("survives under {limit}"), exit.is_none(), figure, "running");
    checks.note(scope, "most threads", server.gauge.threads() as f64, "");
    let seen = observers.take();
    drop(storm);
    if exit.is_none() {
        let what = format!("{ESTABLISHED} clients: longest without the newest map");
        checks.at_most(scope, what, seen.longest_stale.as_secs_f64(), STALE.as_secs_f64(), "s");
        checks.zero(scope, format!("{ESTABLISHED} clients: lost"), seen.lost, "");
        checks.zero(
            scope,
            format!("{ESTABLISHED} clients: maps torn, backwards or wrong"),
            seen.faults(),
            &seen.last_fault,
        );
        checks.at_least(scope, "other clients served", figures.served as f64, 1.0, "");
        let took = wait(STALE, || probes::first_map(server.addr).is_ok_and(|first| first.is_some()));
        holds_in_time(site, scope, "a new client is served after the others have disconnected", took);
        site::stop(&mut server, scope, checks, Some(0));
    }
    checks.zero(scope, "log lines with \"panicked\"", server.panics(), "");
    Ok(())
}

/// Checks a state file above `RLIMIT_FSIZE`, whose signal kills a process that does not handle it (setrlimit(2)).
fn small_files(site: &Site, phase: &'static str) -> anyhow::Result<()> {
    const MOST: usize = 4096;
    let scope = Scope { phase, server: "small-files" };
    let option = |name: &str, file: &str| format!("--{name}={}", site.path(file).display()).into();
    let plan = Plan {
        name: scope.server,
        args: vec![option("http-token-file", "token"), option("state", "small.json")],
        has_page: true,
        drain: Duration::from_secs(5),
        limits: vec![format!("fsize={MOST}")],
        ..Plan::default()
    };
    // The file of an earlier round.
    let _ = fs::remove_file(site.path("small.json"));
    let mut server = Server::start(plan, &site.sampler)?;
    let Some(page) = server.page else { return Ok(()) };
    let token = fs::read_to_string(site.path("token"))?;
    let write = |number: u64, len: usize| -> anyhow::Result<u16> {
        let body = serde_json::to_vec(&map::entries(number, len))?;
        Ok(http::request(page, &http::send("PUT", "/map", token.trim(), &body), START)?.status)
    };
    for (number, len, expected) in [(1, 100, 200), (2, 2 * MOST, 500), (3, 100, 200)] {
        let answer = write(number, len);
        let figure = answer.as_ref().map_or_else(ToString::to_string, u16::to_string);
        let holds = answer.is_ok_and(|status| status == expected);
        site.checks.holds(scope, format!("change {number}, {len} bytes of padding"), holds, figure, expected);
    }
    // A process needs a moment to handle a signal.
    thread::park_timeout(Duration::from_millis(300));
    let exit = server.wait_exit();
    let figure = exit.map_or_else(|| "running".to_owned(), |exit| exit.to_string());
    site.checks.holds(scope, format!("survives under fsize={MOST}"), exit.is_none(), figure, "running");
    if exit.is_none() {
        site::stop(&mut server, scope, &site.checks, Some(0));
    }
    let kept = crate::feed::kept(&site.path("small.json"));
    let figure = kept.as_ref().map_or_else(|error| format!("{error:#}"), |number| format!("change {number}"));
    site.checks.holds(
        scope,
        "the state file has the last change",
        kept.is_ok_and(|kept| kept == 3),
        figure,
        "change 3",
    );
    site.checks.zero(scope, "log lines with \"panicked\"", server.panics(), "");
    Ok(())
}

/// Returns the certificate of the server, after the first byte of its map has arrived.
fn shown_certificate(addr: std::net::SocketAddr, tls: &Arc<ClientConfig>) -> anyhow::Result<CertificateDer<'static>> {
    let mut socket = TcpStream::connect_timeout(&addr, START)?;
    socket.set_read_timeout(Some(START))?;
    socket.set_write_timeout(Some(START))?;
    let mut session = ClientConnection::new(Arc::clone(tls), "localhost".try_into()?)?;
    rustls::Stream::new(&mut session, &mut socket).read_exact(&mut [0])?;
    let shown = session.peer_certificates().and_then(<[_]>::first).map(|shown| shown.clone().into_owned());
    shown.ok_or_else(|| anyhow::anyhow!("no certificate"))
}

fn holds_in_time(site: &Site, scope: Scope, what: &'static str, took: Option<Duration>) {
    let figure = took.map_or_else(|| "not yet".to_owned(), |took| format!("after {:.1} s", took.as_secs_f64()));
    site.checks.holds(scope, what, took.is_some(), figure, format!("within {STALE:?}"));
}

/// Waits at most `patience` until `is_so`. Returns how long it took; `None` after a timeout.
fn wait(patience: Duration, is_so: impl Fn() -> bool) -> Option<Duration> {
    let began = Instant::now();
    while !is_so() {
        if began.elapsed() > patience || crate::interrupt::is_requested() {
            return None;
        }
        thread::park_timeout(Duration::from_millis(50));
    }
    Some(began.elapsed())
}

/// Replaces `path` by a FIFO, or creates it.
fn put_fifo(path: &Path) -> anyhow::Result<()> {
    let new = path.with_extension("fifo");
    mkfifoat(CWD, &new, Mode::RUSR | Mode::WUSR)?;
    Ok(fs::rename(&new, path)?)
}
