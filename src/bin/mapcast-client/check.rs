//! `check`: receives one map and reports on the server.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::bail;
use mapcast::client::{ClientConfig, Connectivity, Error, FollowConfig, Follower};
use mapcast::{Format, Shutdown};

use crate::exit::Exit;
use crate::{logging, refusal, timeout_hint};

/// Receives one map from the server at `address` by `deadline`. If `is_verbose`, prints one line about it on standard
/// error. A timeout without a connection is a connection error.
pub(crate) fn check(
    address: &str,
    client: ClientConfig,
    is_verbose: bool,
    shutdown: &Shutdown,
    deadline: Option<Instant>,
) -> anyhow::Result<Exit> {
    let started = Instant::now();
    let is_encrypted = client.tls.is_some();
    let follow = FollowConfig { client, reconnect: false, ..FollowConfig::default() };
    let mut follower = Follower::new(address, follow, shutdown);
    follower.set_deadline(deadline);
    let connected = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&connected);
    follower.on_connectivity(move |news| {
        seen.fetch_or(matches!(news, Connectivity::Connected { .. }), Ordering::Relaxed);
    });
    let payload = match follower.next_payload() {
        Ok(Some(payload)) => payload,
        Ok(None) => bail!("{}", refusal::text(address, is_encrypted)),
        Err(Error::TimedOut) if !connected.load(Ordering::Relaxed) => {
            let source = io::Error::new(io::ErrorKind::TimedOut, "timed out");
            return Err(Error::Connect { address: address.to_owned(), source }.into());
        }
        Err(error) => return Err(timeout_hint::explain(error.into(), &follower, is_encrypted)),
    };
    let map = follower.decode_map(&payload)?;
    if is_verbose {
        let (entries, plural) = (map.len(), if map.len() == 1 { "entry" } else { "entries" });
        let (bytes, took) = (payload.len(), started.elapsed().as_secs_f64() * 1000.0);
        let format = follower.format().map_or("", Format::name);
        logging::write_line(&format!("{address}: good: {format}, {entries} {plural}, {bytes} bytes, {took:.1} ms"));
    }
    Ok(Exit::Done)
}
