//! The phases with attacking clients: churn, mass reconnection, stalled peers, key filters.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustls::ClientConfig;

use crate::feed;
use crate::http;
use crate::server::{Plan, Server, descriptors};
use crate::site::{self, ENCRYPTED, FILE, HTTP_MAX, LARGE_PLAIN, LARGE_TLS, OTHER_THREADS, Site, WRITTEN, Writes, mib};
use crate::stalled::{PeerKind, StalledPeers};
use crate::storm::{self, Closing, CpuLoad, Figures, Port, Storm, client_hello};
use crate::streams::Streams;
use crate::support::checks::Scope;

/// Connections of a storm, if the limits of the server and of this process allow it.
const WIDTH: u64 = 9_000;

/// Connections that a storm leaves free, in addition to those of well-behaved clients and probes.
const SPARE: u64 = 100;

/// Descriptors of this process for other purposes.
const OWN_DESCRIPTORS: u64 = 2_000;

/// Connections of an HTTP storm: many more than its limit of 256, and fewer.
const HTTP_WIDE: usize = 3_000;
const HTTP_NARROW: usize = 200;

/// How long a cycle of a storm waits for the first byte of its connections.
const WAIT: Duration = Duration::from_millis(1500);

/// How long it waits if the server does not send first.
const SILENCE: Duration = Duration::from_millis(300);

/// The number of clients that reconnect at once.
const RECONNECTING: usize = 2_000;

/// The limit of their server is higher by this.
const RECONNECT_SPARE: usize = 16;

/// The longest wait of the last one for a map.
const RECONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// The maximum resident memory of a server for all stalled peers, in MiB. It was 884 MiB before the maps kept for them were
/// bounded.
const STALLED_MEMORY: f64 = 160.0;

/// The maximum CPU time of an event of a stream with a key filter, in milliseconds, including all other work of the server. With
/// 30,000 entries and 7,900 keys it was five seconds when each entry was compared with each key.
const FILTER_CPU: f64 = 100.0;

/// The longest time to the first event, with all filters opened at once.
const FIRST_EVENT: Duration = Duration::from_secs(5);

/// The number of streams with the same filter, and of streams with different filters.
const FILTERS: u8 = 16;

/// The number of keys of a filter.
const KEYS: usize = 7_900;

/// Runs a storm on one port, with every core busy.
pub fn storm(site: &mut Site, phase: &'static str, port: Port, time: Duration) -> anyhow::Result<()> {
    let until = Instant::now() + time;
    let name = if port == Port::Tls { ENCRYPTED } else { WRITTEN };
    let tls = Arc::clone(&site.tls);
    let subject = site.subject_mut(name)?;
    let server = &mut subject.server;
    let limit = server.log.allowed().unwrap_or(10_000).saturating_sub(subject.observers.wanted() as u64 + SPARE);
    let width = usize::try_from(WIDTH.min(limit).min(descriptors().saturating_sub(OWN_DESCRIPTORS)))?;
    let (lines, bytes, threads) = (server.log.lines(), server.log.bytes(), subject.baseline.threads);
    let figures = run(server, port, width, until, &tls)?;
    let scope = Scope { phase, server: name };
    let seconds = time.as_secs_f64();
    if port == Port::Http {
        // The clients of the map do not reconnect meanwhile.
        let (most, limit) = (site.subject_mut(name)?.server.gauge.threads(), threads + HTTP_MAX + OTHER_THREADS);
        site.checks.at_most(scope, "most threads, including only those of HTTP", most as f64, limit as f64, "");
    }
    let at_once = if port == Port::Http { HTTP_WIDE } else { width };
    site.checks.note(scope, format!("connections, {at_once} at once"), figures.opened as f64, "");
    site.checks.note(scope, "connections served", figures.served as f64, "");
    site.checks.note(scope, "connections closed without a byte", figures.refused as f64, "");
    let log = &site.subject_mut(name)?.server.log;
    let (lines, bytes) = ((log.lines() - lines) as f64 / seconds, (log.bytes() - bytes) as f64 / seconds);
    site.checks.note(scope, "log lines per second", lines.round(), "");
    site.checks.note(scope, "log bytes per second", bytes.round(), "");
    site.judge(phase, &[name], if port == Port::Http { Writes::MayPause } else { Writes::Steady });
    site.settle(phase, &[name]);
    Ok(())
}

/// Runs a storm on `server` until `until`, or until it exits, with every core busy. A storm on the HTTP port has more connections
/// than the limit for a quarter of the time, fewer for another quarter, so that none is refused, and then one connection at a
/// time. The last is fastest if only the attack itself keeps a core busy.
pub fn run(
    server: &mut Server,
    port: Port,
    width: usize,
    until: Instant,
    tls: &Arc<ClientConfig>,
) -> anyhow::Result<Figures> {
    let cpu_load = CpuLoad::start()?;
    if port != Port::Http {
        let patience = if port == Port::Map { WAIT } else { SILENCE };
        return churn(server, Storm::new(server.addr, port, width, Some(tls))?, patience, until);
    }
    let page = server.page.context("the server has no HTTP")?;
    let quarter = until.saturating_duration_since(Instant::now()) / 4;
    let mut figures = Figures::default();
    for (width, patience) in [(HTTP_WIDE, SILENCE), (HTTP_NARROW, Duration::ZERO)] {
        let storm = Storm::new(page, port, width, None)?;
        figures += churn(server, storm, patience, Instant::now() + quarter)?;
    }
    drop(cpu_load);
    figures.opened += storm::one_at_a_time(page, &mut over(server, until));
    Ok(figures)
}

/// Closes and reopens all connections of `storm` repeatedly.
fn churn(server: &mut Server, mut storm: Storm, patience: Duration, until: Instant) -> anyhow::Result<Figures> {
    for closing in [Closing::OneByOne, Closing::OneByOne, Closing::Together].into_iter().cycle() {
        storm.cycle(closing, patience, &mut over(server, until))?;
        if Instant::now() >= until || server.exit().is_some() || crate::interrupt::is_requested() {
            break;
        }
    }
    Ok(storm.figures())
}

/// Returns a condition that is true after `until`, after the server has exited, or if the siege should stop.
fn over(server: &mut Server, until: Instant) -> impl FnMut() -> bool {
    let mut next_check = Instant::now();
    move || {
        let now = Instant::now();
        if now < next_check {
            return false;
        }
        // Called after every few connections, so ask the system less often.
        next_check = now + Duration::from_millis(20);
        now >= until || server.exit().is_some() || crate::interrupt::is_requested()
    }
}

/// Almost as many clients as the limit of a server close and reconnect at once. None may be refused.
pub fn reconnect(site: &mut Site, phase: &'static str, time: Duration) -> anyhow::Result<()> {
    let until = Instant::now() + time;
    let scope = Scope { phase, server: "limited" };
    let plan = Plan {
        name: scope.server,
        args: vec![format!("--max-connections={}", RECONNECTING + RECONNECT_SPARE).into()],
        drain: Duration::from_secs(10),
        ..Plan::default()
    };
    let mut server = Server::start(plan, &site.sampler)?;
    let mut storm = Storm::new(server.addr, Port::Map, RECONNECTING, None)?;
    let (mut refused, mut ignored, mut cycles) = (0, 0, 0_u32);
    for closing in [Closing::Together, Closing::OneByOne].into_iter().cycle() {
        let before = storm.figures().refused;
        storm
            .cycle(closing, RECONNECT_PATIENCE, &mut || server.exit().is_some() || crate::interrupt::is_requested())?;
        refused += storm.figures().refused - before;
        ignored += storm.unsettled() as u64;
        cycles += 1;
        if Instant::now() >= until || server.exit().is_some() || crate::interrupt::is_requested() {
            break;
        }
    }
    let detail = format!(" of {} reconnections of {RECONNECTING} clients at once", cycles - 1);
    site.checks.zero(scope, "clients refused", refused, &detail);
    let what = format!("clients without a map for {RECONNECT_PATIENCE:?}");
    site.checks.zero(scope, what, ignored, detail);
    let limit = (RECONNECTING + RECONNECT_SPARE) as f64 + OTHER_THREADS as f64;
    site.checks.at_most(scope, "most threads", server.gauge.threads() as f64, limit, "");
    // Connected clients do not delay a shutdown.
    site::stop(&mut server, scope, &site.checks, Some(0));
    site.checks.zero(scope, "log lines with \"panicked\"", server.panics(), "");
    drop(storm);
    site.judge(phase, &[], Writes::Steady);
    Ok(())
}

/// Runs stalled peers of every kind, while a large map changes 20 times a second.
pub fn stalled(site: &mut Site, phase: &'static str, time: Duration) -> anyhow::Result<()> {
    let until = Instant::now() + time;
    let servers = [LARGE_PLAIN, LARGE_TLS, WRITTEN];
    let mut peers = StalledPeers::new(kinds(site)?)?;
    for name in [LARGE_PLAIN, LARGE_TLS] {
        site.subject_mut(name)?.lines.iter().for_each(|lines| lines.pace(Duration::from_millis(50)));
    }
    while Instant::now() < until && !crate::interrupt::is_requested() {
        peers.poll()?;
    }
    for name in servers {
        let subject = site.subject_mut(name)?;
        subject.slow_down();
        let grown = subject.server.gauge.resident().saturating_sub(subject.baseline.resident);
        let scope = Scope { phase, server: name };
        site.checks.at_most(scope, "resident memory grew by", mib(grown), STALLED_MEMORY, "MiB");
    }
    site.checks.note(Scope { phase, server: "all" }, "peers disconnected and replaced", peers.cut() as f64, "");
    drop(peers);
    site.judge(phase, &servers, Writes::Steady);
    site.settle(phase, &servers);
    Ok(())
}

/// Returns the kinds of stalled peers. Those of HTTP stay below its limit of 256 connections per server.
fn kinds(site: &mut Site) -> anyhow::Result<Vec<PeerKind>> {
    let (tls, hello) = (Arc::clone(&site.tls), client_hello(&site.tls)?);
    let mut at = |name| -> anyhow::Result<(SocketAddr, SocketAddr)> {
        let server = &site.subject_mut(name)?.server;
        Ok((server.addr, server.page.unwrap_or(server.addr)))
    };
    let ((large, page), (encrypted, _), (written, writable)) = (at(LARGE_PLAIN)?, at(LARGE_TLS)?, at(WRITTEN)?);
    let half_body = &http::send("PUT", "/map", "open-sesame", &[b'x'; 100])[..150];
    let half_large_body = format!(
        "PUT /map HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer open-sesame\r\nContent-Length: 900000\r\n\r\n{}",
        "x".repeat(1000)
    );
    Ok(vec![
        PeerKind::silent(large, [], 200),
        PeerKind::dripping(large, [], 20),
        PeerKind::silent(page, http::get("/events"), 60),
        PeerKind::silent(page, http::get("/events?keys=number,padding"), 40),
        PeerKind::silent(page, http::get("/events?keys=sum"), 10),
        PeerKind::silent(page, http::get("/map"), 60),
        PeerKind::silent(page, http::get("/live"), 30),
        PeerKind::dripping(page, http::get("/events"), 5),
        PeerKind::dripping(page, http::get("/map"), 5),
        PeerKind::silent(page, "GET /map HTTP/1.1\r\nHost:", 10),
        PeerKind::encrypted(encrypted, &tls, 60),
        // Handshakes that never begin, stop in the middle, or are not TLS.
        PeerKind::silent(encrypted, [], 20),
        PeerKind::silent(encrypted, &hello[..hello.len() / 2], 20),
        PeerKind::silent(encrypted, hello, 20),
        PeerKind::silent(encrypted, http::get("/"), 5),
        PeerKind::silent(written, [], 100),
        PeerKind::silent(writable, http::get("/events"), 40),
        PeerKind::silent(writable, http::get("/live"), 20),
        PeerKind::silent(writable, half_body, 40),
        PeerKind::silent(writable, half_large_body, 40),
        PeerKind::silent(writable, "PATCH /map HTTP/1.1\r\nHost", 20),
    ])
}

/// Runs event streams with thousands of keys each, equal and different ones, of a map with 30,000 entries.
pub fn filters(site: &mut Site, phase: &'static str, time: Duration) -> anyhow::Result<()> {
    let began = Instant::now();
    let subject = site.subject_mut(FILE)?;
    let (page, cpu) = (subject.server.page.context("the server has no HTTP")?, subject.server.cpu()?);
    let mut streams = Streams::default();
    let mut failed = 0;
    for number in 0..2 * FILTERS {
        // Half of them have filter 0; each of the others begins with a different letter.
        let first = number.saturating_sub(FILTERS);
        let keys: Vec<_> =
            (0..10).cycle().take(KEYS).map(|key: u8| char::from(b'a' + first + key).to_string()).collect();
        failed += u64::from(streams.open(page, &format!("/events?keys={}", keys.join(","))).is_err());
    }
    let mut changed = began;
    while began.elapsed() < time.max(FIRST_EVENT) && !crate::interrupt::is_requested() {
        streams.poll_once(Duration::from_millis(50), began)?;
        if changed.elapsed() > Duration::from_secs(1) && began.elapsed() + Duration::from_secs(1) < time {
            changed = Instant::now();
            site.write_file()?;
        }
    }
    let scope = Scope { phase, server: FILE };
    let subject = site.subject_mut(FILE)?;
    if let Ok(now) = subject.server.cpu() {
        let each = now.saturating_sub(cpu).as_secs_f64() * 1000.0 / streams.events().max(1) as f64;
        site.checks.at_most(scope, "CPU per event with 7,900 keys", each, FILTER_CPU, "ms");
    }
    let what = format!("streams without an event after {FIRST_EVENT:?}");
    let detail = format!(", the last one started after {:.2} s", streams.slowest_first().as_secs_f64());
    site.checks.zero(scope, what, failed + streams.without_event() as u64, detail);
    site.checks.note(scope, "fewest events of a stream", streams.fewest() as f64, "");
    drop(streams);
    site.judge(phase, &[FILE], Writes::Steady);
    site.settle(phase, &[FILE]);
    Ok(())
}

/// Checks that the map in the state file is complete, and not older than the last acknowledged one.
pub fn check_kept(site: &Site, scope: Scope, acknowledged: u64) {
    let kept = feed::kept(&site.path("state.json"));
    let figure = kept.as_ref().map_or_else(|error| format!("{error:#}"), |number| format!("change {number}"));
    let holds = kept.is_ok_and(|number| number >= acknowledged);
    site.checks.holds(
        scope,
        "the state file has the acknowledged change",
        holds,
        figure,
        format!("change {acknowledged}"),
    );
}

/// Checks that a new client gets the acknowledged change.
pub fn check_first_map(site: &Site, scope: Scope, server: SocketAddr, acknowledged: u64) {
    let first = crate::probes::first_map(server);
    let figure = match &first {
        Ok(Some(number)) => format!("change {number}"),
        Ok(None) => "refused".to_owned(),
        Err(error) => error.to_string(),
    };
    let holds = first.is_ok_and(|number| number.is_some_and(|number| number >= acknowledged));
    site.checks.holds(
        scope,
        "a new client gets the acknowledged change",
        holds,
        figure,
        format!("change {acknowledged}"),
    );
}
