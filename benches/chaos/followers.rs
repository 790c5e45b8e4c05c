//! Clients that are followers of the library, with its idle timeouts and reconnection.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mapcast::client::{Connectivity, Error, FollowConfig, Follower};
use mapcast::{ClientConfig, Format, Shutdown};

use crate::records::Records;

/// The stack of a follower's thread in bytes, enough for a small map in a debug build.
const STACK: usize = 256 * 1024;

/// The followers of one leaf, each on its own thread.
#[derive(Default)]
struct Group {
    size: usize,
    /// The time and the client of each lost connection. Locked for one change or query.
    losses: Arc<Mutex<Vec<(Instant, usize)>>>,
}

/// All followers.
pub struct Followers {
    groups: Vec<Group>,
    threads: Vec<JoinHandle<()>>,
    stop: Shutdown,
}

impl Followers {
    /// Starts `each` followers of every leaf.
    pub fn start(leaves: &[SocketAddr], each: usize, records: &Arc<Records>) -> anyhow::Result<Self> {
        let mut followers = Self { groups: Vec::new(), threads: Vec::new(), stop: Shutdown::new()? };
        for (leaf, addr) in leaves.iter().enumerate() {
            let group = Group { size: each, ..Group::default() };
            for _ in 0..each {
                let client = records.add(leaf, false);
                let (addr, records) = (addr.to_string(), Arc::clone(records));
                let (losses, stop) = (Arc::clone(&group.losses), followers.stop.clone());
                let run = move || follow(&addr, leaf, client, &records, &losses, &stop);
                followers.threads.push(thread::Builder::new().stack_size(STACK).spawn(run)?);
            }
            followers.groups.push(group);
        }
        Ok(followers)
    }

    /// Returns for each follower of `leaf` the time from `since` to its first lost connection, the longest first; `None` for those
    /// that lost none.
    pub fn lost_since(&self, leaf: usize, since: Instant) -> Vec<Option<Duration>> {
        let group = &self.groups[leaf];
        let losses = group.losses.lock().unwrap_or_else(PoisonError::into_inner);
        let mut first: Vec<(usize, Duration)> = Vec::new();
        for (at, client) in losses.iter().filter(|(at, _)| *at >= since) {
            if first.iter().all(|(known, _)| known != client) {
                first.push((*client, *at - since));
            }
        }
        let mut lost: Vec<_> = first.into_iter().map(|(_, after)| Some(after)).collect();
        lost.resize(group.size, None);
        lost.sort_by(|a, b| b.cmp(a));
        lost
    }
}

impl Drop for Followers {
    fn drop(&mut self) {
        self.stop.trigger();
        for thread in self.threads.drain(..) {
            // The panic was reported where it happened.
            let _ = thread.join();
        }
    }
}

/// Runs one follower until the stop.
fn follow(
    addr: &str,
    leaf: usize,
    client: usize,
    records: &Arc<Records>,
    losses: &Arc<Mutex<Vec<(Instant, usize)>>>,
    stop: &Shutdown,
) {
    let client_config = ClientConfig { format: Some(Format::Json), ..ClientConfig::default() };
    let config = FollowConfig { client: client_config, wait: Duration::MAX, ..FollowConfig::default() };
    let mut follower = Follower::new(addr, config, stop);
    let (observed, lost) = (Arc::clone(records), Arc::clone(losses));
    let mut is_connected = false;
    follower.on_connectivity(move |connectivity| match connectivity {
        Connectivity::Connected { .. } => {
            observed.began(client, leaf);
            is_connected = true;
        }
        _ if is_connected => {
            observed.ended(client);
            lost.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), client));
            is_connected = false;
        }
        _ => {}
    });
    loop {
        match follower.next_payload() {
            Ok(Some(payload)) => records.received(client, &payload),
            Ok(None) => {}
            Err(Error::Stopped) => return,
            Err(error) => records.broke(format!("follower {client}: {error}")),
        }
    }
}
