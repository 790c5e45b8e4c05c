//! Serves a part of another server's map:
//! `cargo run --example narrow -- 127.0.0.1:8080 app. 127.0.0.1:8091`.
//!
//! Follows a server, keeps the entries whose key begins with a prefix, without it, and serves them as JSON:
//! `mapcast-client 127.0.0.1:8091`. While the server is away its last good map stays.

use std::sync::Arc;
use std::time::Duration;

use mapcast::client::Error;
use mapcast::{Cast, Feed, FollowConfig, Follower, Format, Key, Map, Server, ServerConfig, Shutdown};

const REPEAT: Duration = Duration::from_secs(5);

/// Returns the entries of `map` whose key is text that begins with `prefix`, without the prefix.
fn narrow(map: &Map, prefix: &str) -> Map {
    let narrowed = map.iter().filter_map(|(key, value)| match key {
        Key::Text(key) => Some((Key::Text(key.strip_prefix(prefix)?.to_owned()), value.clone())),
        Key::Int(_) => None,
    });
    narrowed.collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let mut args = std::env::args().skip(1);
    let (Some(from), Some(prefix), Some(to)) = (args.next(), args.next(), args.next()) else {
        return Err("usage: narrow FROM:PORT PREFIX TO:PORT".into());
    };
    let shutdown = Shutdown::new()?;
    let on_signal = shutdown.clone();
    ctrlc::set_handler(move || {
        on_signal.trigger();
    })?;

    let feed = Arc::new(Feed::new(Format::Json, mapcast::DEFAULT_MAX_FRAME));
    let mut server = Server::new(ServerConfig::default());
    server.bind(&[to.parse()?], Cast::new(Arc::clone(&feed), REPEAT))?;
    let running = server.spawn(shutdown.clone())?;

    let mut follower = Follower::new(&from, FollowConfig::default(), &shutdown);
    let end = loop {
        match follower.next_map() {
            // An equal map is not a change, and wakes no thread.
            Ok(Some(map)) => drop(feed.publish(&narrow(&map, &prefix))?),
            Ok(None) | Err(Error::Stopped) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    running.stop()?;
    Ok(end?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_entries_under_the_prefix_are_left_without_it() {
        let map = Map::from([("app.dark".into(), true.into()), ("db.host".into(), "h".into()), (1.into(), 2.into())]);
        assert_eq!(narrow(&map, "app."), Map::from([("dark".into(), true.into())]));
    }
}
