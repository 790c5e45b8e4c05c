//! The frames that the clients have received.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use mapcast::frame::HEADER_LEN;

use crate::support::sample::Sample;
use crate::support::swarm::Arrival;

/// Changes that are remembered, for clients that lag: more than a socket's buffer lets a client lag if changes come faster than
/// it reads.
const REMEMBERED: usize = 16;

/// Counts the frames of all clients, with their times.
#[derive(Debug)]
pub struct Arrivals {
    clients: Vec<Seen>,
    /// The newest at the back.
    recent: VecDeque<Change>,
    /// The number of the last change; 0 before the first.
    last: u64,
    /// Changes before the window.
    before: u64,
    /// Frames in the window.
    pub frames: u64,
    /// Their bytes, headers and payloads.
    pub bytes: u64,
    /// From the start of a connection to its first map.
    pub greetings: Sample,
    /// From one frame to the next at the same client.
    pub gaps: Sample,
    /// From a change's arrival at the first client to its arrival at each: the first one's own is zero.
    pub spread: Sample,
}

/// A map that differs from the one before.
#[derive(Debug)]
struct Change {
    number: u64,
    payload: Vec<u8>,
    /// When the first client had it.
    first: Instant,
}

/// The newest change that one client has, and when it had a frame last.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    newest: u64,
    at: Option<Instant>,
}

impl Arrivals {
    /// Returns the counts of `clients` that have received nothing.
    pub fn new(clients: usize) -> Self {
        Self {
            clients: vec![Seen::default(); clients],
            recent: VecDeque::with_capacity(REMEMBERED),
            last: 0,
            before: 0,
            frames: 0,
            bytes: 0,
            greetings: Sample::default(),
            gaps: Sample::default(),
            spread: Sample::default(),
        }
    }

    /// Forgets what has come so far, except for the first maps.
    pub fn open_window(&mut self) {
        (self.frames, self.bytes, self.before) = (0, 0, self.last);
        self.gaps.clear();
        self.spread.clear();
    }

    /// How many changes began in the window.
    pub fn changes(&self) -> u64 {
        self.last - self.before
    }

    /// The longest time that a client has now been without a frame; zero if no client has had one.
    pub fn longest_silence(&self) -> Duration {
        self.clients.iter().filter_map(|seen| seen.at).min().map_or(Duration::ZERO, |at| at.elapsed())
    }

    /// Counts one frame.
    pub fn take(&mut self, arrival: &Arrival<'_>) {
        self.frames += 1;
        self.bytes += (HEADER_LEN + arrival.payload.len()) as u64;
        let had = self.clients[arrival.client];
        let (number, first) = self.number(arrival, had.newest);
        self.clients[arrival.client] = Seen { newest: number, at: Some(arrival.at) };
        match had.at {
            // Its first map is as late as the client, not as the change.
            None => self.greetings.add(arrival.at - arrival.begun),
            Some(last) => {
                self.gaps.add(arrival.at - last);
                if number > had.newest {
                    self.spread.add(arrival.at - first);
                }
            }
        }
    }

    /// Returns the change's number, and when the first client had it. The server never goes back: bytes that are neither what this
    /// client had nor anything newer are a new change, even if an earlier map was the same.
    fn number(&mut self, arrival: &Arrival<'_>, had: u64) -> (u64, Instant) {
        let mut newer = self.recent.iter().rev().take_while(|change| change.number >= had);
        if let Some(change) = newer.find(|change| change.payload == arrival.payload) {
            return (change.number, change.first);
        }
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.last += 1;
        self.recent.push_back(Change { number: self.last, payload: arrival.payload.to_vec(), first: arrival.at });
        (self.last, arrival.at)
    }
}
