//! What the thread that runs programs is told, and the newest map for when it has time.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::object::Object;

/// What there is to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunnerEvent {
    /// There is another map in [`LatestMap`]; told once, however many follow until it is taken.
    Map,
    /// The process has ended.
    Exited,
    /// This signal came.
    Signal(i32),
    /// No more maps come: finish what there is.
    Finish,
    /// Begin nothing more.
    Stop,
}

/// The newest map that nobody has taken. A newer one takes its place.
#[derive(Debug, Clone)]
pub(super) struct LatestMap {
    /// Guards the map alone; held only to put it there and to take it.
    map: Arc<Mutex<Option<Object>>>,
    events: Sender<RunnerEvent>,
}

impl LatestMap {
    pub(super) fn new(events: Sender<RunnerEvent>) -> Self {
        Self { map: Arc::default(), events }
    }

    /// Puts a map there.
    pub(super) fn put(&self, object: Object) {
        let before = self.map.lock().unwrap_or_else(PoisonError::into_inner).replace(object);
        if before.is_none() {
            // Nobody listens only if nobody will run anything any more.
            let _ = self.events.send(RunnerEvent::Map);
        }
    }

    /// True if and only if there is a map to take.
    pub(super) fn is_some(&self) -> bool {
        self.map.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Takes the map, if there is one.
    pub(super) fn take(&self) -> Option<Object> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Waits for the next_event event, until `deadline`; `None` never comes. Returns `None` if and only if the deadline has come:
/// who tells us is gone only when there is nothing more to do.
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
    fn maps_that_nobody_takes_are_one_event_and_the_newest() {
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
