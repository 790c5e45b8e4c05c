//! Events for the thread that runs programs, and the newest map.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::object::Object;

/// An event for the thread that runs programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunnerEvent {
    /// [`LatestMap`] has a map; sent once until the map is taken, even if newer ones replace it.
    Map,
    /// A process has exited.
    Exited,
    /// This process has received a signal.
    Signal(i32),
    /// No more maps come: deliver the pending one, then end.
    Finish,
    /// Start nothing more.
    Stop,
}

/// The newest map that has not been taken. A newer one replaces it.
#[derive(Debug, Clone)]
pub(super) struct LatestMap {
    /// Guards the map alone; held only to store and to take it.
    map: Arc<Mutex<Option<Object>>>,
    events: Sender<RunnerEvent>,
}

impl LatestMap {
    pub(super) fn new(events: Sender<RunnerEvent>) -> Self {
        Self { map: Arc::default(), events }
    }

    /// Stores a map.
    pub(super) fn put(&self, object: Object) {
        let before = self.map.lock().unwrap_or_else(PoisonError::into_inner).replace(object);
        if before.is_none() {
            // The receiver is gone only if no program will be started any more.
            let _ = self.events.send(RunnerEvent::Map);
        }
    }

    /// True if and only if there is a map to take.
    pub(super) fn is_some(&self) -> bool {
        self.map.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Takes the map.
    pub(super) fn take(&self) -> Option<Object> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Waits for the next event until `deadline`; `None` never comes. Returns `None` if and only if the deadline has
/// passed. If all senders are gone, returns `Stop`.
pub(super) fn next_event(events: &Receiver<RunnerEvent>, deadline: Option<Instant>) -> Option<RunnerEvent> {
    let Some(deadline) = deadline else { return Some(events.recv().unwrap_or(RunnerEvent::Stop)) };
    match events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(event) => Some(event),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => Some(RunnerEvent::Stop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn maps_not_taken_are_one_event_with_the_newest() {
        let (sender, events) = mpsc::channel();
        let latest = LatestMap::new(sender);
        for number in [1, 2, 3] {
            latest.put(Object::from_iter([("n".to_owned(), number.into())]));
        }
        assert_eq!(next_event(&events, None), Some(RunnerEvent::Map));
        assert_eq!(next_event(&events, Some(Instant::now())), None);
        assert_eq!(latest.take().and_then(|map| map["n"].as_i64()), Some(3));
        latest.put(Object::new());
        assert_eq!(next_event(&events, None), Some(RunnerEvent::Map));
    }
}
