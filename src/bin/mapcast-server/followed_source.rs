//! The source of the map: opened, its first map published, and followed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use mapcast::source::{Fixed, Location, Sink, Source};
use mapcast::state::StateFile;
use mapcast::threads::{Thread, Threads};
use mapcast::{Backlog, Feed, Map, Shutdown};

use crate::advice::advice;
use crate::args::MapTask;
use crate::tls;

/// A source, the sink for its maps, and a description of its task.
pub(crate) struct FollowedSource {
    pub(crate) source: Box<dyn Source>,
    pub(crate) sink: Sink,
    task: String,
}

impl FollowedSource {
    /// Follows the source in a thread of its own until the stop; restarts it after a panic.
    pub(crate) fn start(self, threads: &Threads, stop: &Shutdown) -> anyhow::Result<Thread> {
        let Self { mut source, sink, task } = self;
        let worker = threads.register_io("source", &task);
        sink.health().watch(&worker);
        let stop = stop.for_worker(&worker);
        let follow = move || worker.run(|pause| stop.wait(pause), || source.follow(&sink, &stop));
        Thread::start("source", follow).context("cannot start the thread for the source")
    }
}

/// The last good map of an earlier server.
pub(crate) enum LastMap<'a> {
    /// In the state file, if it exists; later maps are stored there.
    Kept(&'a StateFile),
    /// Already read, if it exists. Nothing is stored.
    Read(Option<Map>),
}

/// Opens the source, or takes the last written map, and publishes the first map. For a source that may be unreachable,
/// that is its last good map.
pub(crate) fn first_map(
    map: &MapTask,
    last: LastMap<'_>,
    threads: &Threads,
    stop: &Shutdown,
) -> anyhow::Result<(Arc<Feed>, FollowedSource)> {
    let backlog = Backlog::new(map.max_backlog).with_limit_name("--max-backlog");
    let feed = Feed::new(map.format, map.max_frame).with_formats(&map.formats).with_backlog(backlog);
    let feed = Arc::new(feed);
    let sink = Sink::new(Arc::clone(&feed), map.set.clone());
    let mut sink = sink.with_advice(|error| advice(error, &tls::SOURCE_ADVICE)).with_threads(threads);
    let initial = || if map.has_entries() { Fixed::new(Map::new()) } else { Fixed::default() };
    let fixed = |last: Option<Map>, age| Box::new(last.map_or_else(initial, |last| Fixed::kept(last, age)));
    let mut source: Box<dyn Source> = match (&map.source, last) {
        (Some(at), LastMap::Kept(state)) => {
            let source = at.open()?;
            if let Some(published) = sink.keep(state, threads)? {
                log::info!("{}: the last good map of {at}: {published}", state.name());
            }
            source
        }
        (Some(at), LastMap::Read(last)) => {
            let source = at.open()?;
            last.map(|last| sink.publish(last)).transpose().context("--state: cannot send the map")?;
            source
        }
        (None, LastMap::Kept(state)) => fixed(state.load(map.max_frame)?, state.age().unwrap_or_default()),
        (None, LastMap::Read(last)) => fixed(last, Duration::ZERO),
    };
    source.load(&sink, stop)?;
    let task = match &map.source {
        Some(Location::StandardInput) => "reading standard input".to_owned(),
        Some(at @ (Location::Json(_) | Location::Toml(_))) => format!("reading {at}"),
        Some(at) => format!("following {at}"),
        None => "publishing the map".to_owned(),
    };
    Ok((feed, FollowedSource { source, sink, task }))
}
