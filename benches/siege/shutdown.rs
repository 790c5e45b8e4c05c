//! The shutdown of every server: by SIGTERM, and by SIGKILL during writes.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::attacks::{check_first_map, check_kept};
use crate::feed::Writer;
use crate::site::{ENCRYPTED, FILE, LARGE_PLAIN, LARGE_TLS, STALE, Site, WRITTEN, Writes};
use crate::stalled::{PeerKind, StalledPeers};
use crate::support::checks::Scope;

/// The number of stalled peers during a shutdown.
const STALLED: usize = 5;

/// The time until their buffers are full, with a large map 20 times a second.
const FILL: Duration = Duration::from_secs(2);

/// How long the writer writes before the server is killed.
const WRITE: Duration = Duration::from_secs(2);

/// Stops every server and checks its exit.
pub fn run(site: &mut Site, phase: &'static str) -> anyhow::Result<()> {
    // Check first: clients are disconnected while the servers stop.
    site.judge(phase, &[], Writes::Steady);
    end_written(site, phase)?;
    let mut kinds = Vec::new();
    for name in [LARGE_PLAIN, LARGE_TLS] {
        let tls = Arc::clone(&site.tls);
        let subject = site.subject_mut(name)?;
        subject.lines.iter().for_each(|lines| lines.pace(Duration::from_millis(50)));
        let addr = subject.server.addr;
        let kind = if name == LARGE_TLS {
            PeerKind::encrypted(addr, &tls, STALLED)
        } else {
            PeerKind::silent(addr, [], STALLED)
        };
        kinds.push(kind);
    }
    let (mut peers, began) = (StalledPeers::new(kinds)?, Instant::now());
    while began.elapsed() < FILL {
        peers.poll()?;
    }
    let checks = Arc::clone(&site.checks);
    // Stalled peers cause exit code 1; clients that read are closed cleanly.
    for (name, code) in [(LARGE_PLAIN, 1), (LARGE_TLS, 1), (ENCRYPTED, 0), (FILE, 0)] {
        let subject = site.subject_mut(name)?;
        subject.stop(Scope { phase, server: name }, &checks, Some(code));
    }
    for subject in &site.subjects {
        let scope = Scope { phase, server: subject.server.name() };
        checks.zero(scope, "log lines with \"panicked\", in the whole run", subject.server.panics(), "");
    }
    Ok(())
}

/// Stops and kills the server whose map is written over HTTP, during writes.
fn end_written(site: &mut Site, phase: &'static str) -> anyhow::Result<()> {
    let (scope, checks) = (Scope { phase, server: WRITTEN }, Arc::clone(&site.checks));
    let subject = site.subject_mut(WRITTEN)?;
    let addr = subject.server.addr;
    subject.stop(scope, &checks, Some(0));
    check_kept(site, Scope { phase: "after SIGTERM", ..scope }, acknowledged(site));

    let killed = Scope { phase: "after SIGKILL", ..scope };
    site.subject_mut(WRITTEN)?.server.restart()?;
    check_first_map(site, Scope { phase: "after SIGTERM", ..scope }, addr, acknowledged(site));
    let subject = site.subject_mut(WRITTEN)?;
    let is_writing = subject.writer.as_ref().and_then(|writer| writer.wait(STALE)).is_some();
    checks.holds(killed, "changes are acknowledged after the restart", is_writing, is_writing, true);
    thread::park_timeout(WRITE);
    subject.server.kill();
    check_kept(site, killed, acknowledged(site));

    site.subject_mut(WRITTEN)?.server.restart()?;
    check_first_map(site, killed, addr, acknowledged(site));
    let is_writing = site.subject_mut(WRITTEN)?.writer.as_ref().and_then(|writer| writer.wait(STALE)).is_some();
    checks.holds(killed, "changes are acknowledged after the restart", is_writing, is_writing, true);
    site.subject_mut(WRITTEN)?.stop(killed, &checks, Some(0));
    check_kept(site, killed, acknowledged(site));
    Ok(())
}

fn acknowledged(site: &Site) -> u64 {
    let written = site.subjects.iter().find(|subject| subject.server.name() == WRITTEN);
    written.and_then(|written| written.writer.as_ref()).map_or(0, Writer::acknowledged)
}
