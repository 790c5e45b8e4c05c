//! Clients that are the library's own followers, with its rules of silence and of reconnecting.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mapcast::client::{Connectivity, Error, FollowConfig, Follower};
use mapcast::{ClientConfig, Format, Shutdown};

use crate::records::Records;

/// Enough for a connection and a small map in a debug build.
const STACK: usize = 256 * 1024;

/// The followers of one leaf, each on a thread of its own.
#[derive(Default)]
struct Group {
    size: usize,
    /// When a connection was lost, and by which client. Held for one change or look.
    losses: Arc<Mutex<Vec<(Instant, usize)>>>,
}

/// All of them.
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

    /// Returns how long after `since` each follower of `leaf` lost its connection for the first time, the longest first, or
    /// `None` for those that did not.
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
            // A panic has been reported where it happened.
            let _ = thread.join();
        }
    }
}

/// One follower's life, until the stop.
fn follow(
    addr: &str,
    leaf: usize,
    client: usize,
    records: &Arc<Records>,
    losses: &Arc<Mutex<Vec<(Instant, usize)>>>,
    stop: &Shutdown,
) {
    let client_config = ClientConfig { format: Format::Json, ..ClientConfig::default() };
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
