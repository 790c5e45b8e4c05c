//! Counts and times of the messages that clients received.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::change::Change;
use crate::support::sample::Sample;
use crate::support::swarm::Arrival;

/// Counts received messages and records their times. Messages before the window was opened are warm-up.
#[derive(Debug)]
pub struct Tally {
    epoch: Instant,
    size: usize,
    clients: Vec<ClientState>,
    /// The last change before the window.
    before: u64,
    /// The number of clients that received each change since, the first change at index 0.
    had: Vec<usize>,
    /// Frames in the window.
    pub frames: u64,
    /// Deliveries in the window: changes that reached a client for the first time.
    pub deliveries: u64,
    /// Payloads that are not a change, or older than the client's newest one.
    pub wrong: u64,
    /// Times of the deliveries from publication to arrival.
    pub latency: Sample,
    /// Times between two frames at the same client.
    pub gaps: Sample,
    /// All deliveries of the window.
    pub arrived: Vec<Arrived>,
}

/// One delivery.
#[derive(Debug, Clone, Copy)]
pub struct Arrived {
    /// The client.
    pub client: usize,
    /// The number of the change.
    pub number: u64,
    /// The arrival time.
    pub at: Instant,
    /// The time since publication.
    pub latency: Duration,
}

/// The newest change of one client.
#[derive(Debug, Clone, Copy, Default)]
struct ClientState {
    newest: u64,
    at: Option<Instant>,
}

impl Tally {
    /// Returns a tally of `clients`, for payloads of `size` bytes with times since `epoch`.
    pub fn new(clients: usize, size: usize, epoch: Instant) -> Self {
        Self {
            epoch,
            size,
            clients: vec![ClientState::default(); clients],
            before: 0,
            had: Vec::new(),
            frames: 0,
            deliveries: 0,
            wrong: 0,
            latency: Sample::default(),
            gaps: Sample::default(),
            arrived: Vec::new(),
        }
    }

    /// Returns the number of clients.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Adds `clients` clients.
    pub fn add_clients(&mut self, clients: usize) {
        self.clients.resize(self.clients.len() + clients, ClientState::default());
    }

    /// Resets all counts; changes up to `before` are warm-up.
    pub fn open_window(&mut self, before: u64) {
        self.before = before;
        self.had.clear();
        (self.frames, self.deliveries) = (0, 0);
        self.latency.clear();
        self.gaps.clear();
        self.arrived.clear();
    }

    /// Counts one message.
    pub fn take(&mut self, arrival: &Arrival<'_>) {
        let seen = &mut self.clients[arrival.client];
        self.frames += 1;
        if let Some(last) = seen.at.replace(arrival.at) {
            self.gaps.add(arrival.at - last);
        }
        let Some(change) = Change::from_payload(arrival.payload, self.size).filter(|it| it.number >= seen.newest)
        else {
            self.wrong += 1;
            return;
        };
        let is_news = change.number > seen.newest;
        seen.newest = change.number;
        if !is_news || change.number <= self.before {
            return;
        }
        self.deliveries += 1;
        let latency = arrival.at.saturating_duration_since(self.epoch + change.published);
        self.latency.add(latency);
        self.arrived.push(Arrived { client: arrival.client, number: change.number, at: arrival.at, latency });
        // Numbers are consecutive from `before`.
        let index = usize::try_from(change.number - self.before - 1).unwrap_or(usize::MAX);
        if index >= self.had.len() {
            self.had.resize(index + 1, 0);
        }
        self.had[index] += 1;
    }

    /// Returns the number of clients that have change `number` or a newer one.
    pub fn count_with(&self, number: u64) -> usize {
        self.clients.iter().filter(|seen| seen.newest >= number).count()
    }

    /// Returns how many of the clients `among` have change `number` or a newer one.
    pub fn count_with_among(&self, among: Range<usize>, number: u64) -> usize {
        self.clients[among].iter().filter(|seen| seen.newest >= number).count()
    }

    /// Returns the number of changes of the window that reached `readers` clients.
    pub fn changes_with_all(&self, readers: usize) -> usize {
        self.had.iter().filter(|had| **had >= readers).count()
    }

    /// Returns the longest time that a client has now been without a frame; zero if no client has received one.
    pub fn longest_silence(&self) -> Duration {
        self.clients.iter().filter_map(|seen| seen.at).min().map_or(Duration::ZERO, |at| at.elapsed())
    }
}
