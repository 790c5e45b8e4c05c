//! Prints a source's map, and again whenever it changes: `cargo run --example follow_source -- flags.json`.
//!
//! No server and no sockets: a source publishes to a feed, and this thread waits for the next map there. Ctrl-C ends it.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mapcast::source::{Location, Sink};
use mapcast::{DEFAULT_MAX_FRAME, Feed, Format, Shutdown};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let location: Location = std::env::args().nth(1).unwrap_or_else(|| "-".to_owned()).parse()?;
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let feed = Arc::new(Feed::new(Format::Json, DEFAULT_MAX_FRAME));
    // Set in every map, as with the server's `--set shown=true`.
    let sink = Sink::new(Arc::clone(&feed), vec![("shown".into(), true.into())]);
    let stop = Shutdown::new()?;

    let mut source = location.open()?;
    source.load(&sink, &stop)?;
    thread::Builder::new().name("source".to_owned()).spawn(move || source.follow(&sink, &stop))?;

    let mut version = 0;
    loop {
        if let Some(snapshot) = feed.wait(version, Duration::from_mins(1)) {
            println!("{}", String::from_utf8_lossy(snapshot.frame.payload()));
            version = snapshot.version;
        }
    }
}
