//! What the thread that runs programs is told, and the newest map for when it has time.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::object::Object;

/// What there is to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// There is another map in [`Latest`]; told once, however many follow until it is taken.
    Map,
    /// The process has ended.
    Ended,
    /// This signal came.
    Signal(i32),
    /// No more maps come: finish what there is.
    Finish,
    /// Begin nothing more.
    Stop,
}

/// The newest map that nobody has taken. A newer one takes its place.
#[derive(Debug, Clone)]
pub(super) struct Latest {
    /// Guards the map alone; held only to put it there and to take it.
    map: Arc<Mutex<Option<Object>>>,
    events: Sender<Event>,
}

impl Latest {
    pub(super) fn new(events: Sender<Event>) -> Self {
        Self { map: Arc::default(), events }
    }

    /// Puts a map there.
    pub(super) fn put(&self, object: Object) {
        let before = self.map.lock().unwrap_or_else(PoisonError::into_inner).replace(object);
        if before.is_none() {
            // Nobody listens only if nobody will run anything any more.
            let _ = self.events.send(Event::Map);
        }
    }

    /// True if and only if there is a map to take.
    pub(super) fn is_there(&self) -> bool {
        self.map.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Takes the map, if there is one.
    pub(super) fn take(&self) -> Option<Object> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Waits for the next event, until `deadline`; `None` never comes. Returns `None` if and only if the deadline has come:
/// who tells us is gone only when there is nothing more to do.
pub(super) fn next(events: &Receiver<Event>, deadline: Option<Instant>) -> Option<Event> {
    let Some(deadline) = deadline else { return Some(events.recv().unwrap_or(Event::Stop)) };
    match events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(event) => Some(event),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => Some(Event::Stop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn maps_that_nobody_takes_are_one_event_and_the_newest() {
        let (sender, events) = mpsc::channel();
        let latest = Latest::new(sender);
        for number in [1, 2, 3] {
            latest.put(Object::from_iter([("n".to_owned(), number.into())]));
        }
        assert_eq!(next(&events, None), Some(Event::Map));
        assert_eq!(next(&events, Some(Instant::now())), None);
        assert_eq!(latest.take().and_then(|map| map["n"].as_i64()), Some(3));
        latest.put(Object::new());
        assert_eq!(next(&events, None), Some(Event::Map));
    }
}
