//! A program with feature flags: `cargo run --example feature_flags -- 127.0.0.1:8080`.
//!
//! Start a server first: `mapcast-server --format json --source flags.json`, with `{"dark": false, "limit": 10}` in that
//! file. One thread follows the server for as long as the program runs; all others read the flags from memory, at any
//! rate and without waiting. Edit the file, and the program prints the new flags.

use std::sync::{Arc, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mapcast::client::Error;
use mapcast::{ClientConfig, FollowConfig, Follower, Format, Shutdown};
use serde::Deserialize;

/// The flags that this program knows. It ignores other keys of the map, and a missing key has its default: neither an older
/// nor a newer server breaks it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Flags {
    dark: bool,
    limit: u32,
}

/// The current flags. Clones share them.
#[derive(Debug, Clone, Default)]
struct LiveFlags {
    /// Held to copy or to replace the pointer, never longer.
    current: Arc<RwLock<Arc<Flags>>>,
}

impl LiveFlags {
    fn current(&self) -> Arc<Flags> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, flags: Flags) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(flags);
    }

    /// Starts a thread that keeps the flags up to date until `shutdown` is triggered. The last good ones stay while the
    /// server is away.
    fn follow(&self, address: String, shutdown: Shutdown) -> std::io::Result<JoinHandle<()>> {
        let flags = self.clone();
        thread::Builder::new().name("flags".to_owned()).spawn(move || {
            let client = ClientConfig { format: Some(Format::Json), ..ClientConfig::default() };
            let config = FollowConfig { client, ..FollowConfig::default() };
            let mut follower = Follower::new(&address, config, &shutdown);
            for received in follower.typed_maps() {
                match received {
                    Ok(received) => flags.replace(received),
                    Err(Error::Stopped) => return,
                    // The program goes on with the flags it has; a service would retry here, after a while.
                    Err(error) => return log::error!("the flags stay as they are: {error}"),
                }
            }
        })
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let shutdown = Shutdown::new()?;
    let on_signal = shutdown.clone();
    ctrlc::set_handler(move || {
        on_signal.trigger();
    })?;

    let flags = LiveFlags::default();
    let following = flags.follow(address, shutdown.clone())?;

    // The program's own work: here, printing the flags when they have changed.
    let mut shown = None;
    while !shutdown.is_triggered() {
        let current = flags.current();
        if shown.as_ref() != Some(&current) {
            println!("{current:?}");
            shown = Some(current);
        }
        shutdown.wait(Duration::from_millis(100));
    }
    following.join().map_err(|_| "the flags' thread panicked")?;
    Ok(())
}
