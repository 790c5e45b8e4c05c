//! A map that never changes.

use std::time::Duration;

use super::Source;
use super::error::Error;
use super::sink::Sink;
use crate::map::{self, Map};
use crate::shutdown::Shutdown;

/// A map that is published once and never changes.
#[derive(Debug, Clone)]
pub struct Fixed {
    map: Map,
    /// How long ago the map changed.
    age: Duration,
}

impl Fixed {
    /// Returns a source of `map` only.
    pub fn new(map: Map) -> Self {
        Self::kept(map, Duration::ZERO)
    }

    /// As [`new`](Self::new), for a map that an earlier server published `age` ago.
    pub fn kept(map: Map, age: Duration) -> Self {
        Self { map, age }
    }
}

/// The built-in map, which is sent without a source.
impl Default for Fixed {
    fn default() -> Self {
        Self::new(map::builtin())
    }
}

impl Source for Fixed {
    fn load(&mut self, sink: &Sink, _stop: &Shutdown) -> Result<(), Error> {
        match sink.publish_kept(self.map.clone(), self.age) {
            Ok(_) => Ok(()),
            Err(source) => Err(Error::Refused { name: "the fixed map".to_owned(), source }),
        }
    }

    /// Returns at once: the map does not change.
    fn follow(&mut self, _sink: &Sink, _stop: &Shutdown) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::Feed;
    use crate::format::Format;
    use std::sync::Arc;

    fn sink(max_frame: usize) -> Sink {
        Sink::new(Arc::new(Feed::new(Format::Json, max_frame)), vec![(2.into(), "Adios".into())])
    }

    #[test]
    fn the_map_is_published_once_with_the_overlay() {
        let (sink, stop) = (sink(100), Shutdown::new().unwrap());
        let mut fixed = Fixed::default();
        fixed.load(&sink, &stop).unwrap();
        fixed.follow(&sink, &stop);
        let latest = sink.feed().latest().unwrap();
        assert_eq!(latest.version, 1);
        assert_eq!(latest.frame.payload(), br#"{"1":"Hola","2":"Adios","3":"Al","4":"Servidor"}"#);
    }

    #[test]
    fn a_map_above_the_limit_is_an_error_for_the_caller() {
        let loaded = Fixed::default().load(&sink(10), &Shutdown::new().unwrap());
        assert!(matches!(loaded, Err(Error::Refused { .. })), "{loaded:?}");
    }
}
