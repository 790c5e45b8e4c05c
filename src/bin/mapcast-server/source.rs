//! What `--source` names, with what does not stand in it: the password for Redis, and the period.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use mapcast::source::Location;

/// Returns what `text` names. A hash in Redis gets its password from `password_file`, or else from the environment, or
/// else from `text`; it is read at least once every `interval`.
pub(crate) fn locate(text: &str, password_file: Option<PathBuf>, interval: Duration) -> anyhow::Result<Location> {
    let location = text.parse::<Location>().context("--source")?;
    match location {
        #[cfg(feature = "redis")]
        Location::Redis(address) => {
            Ok(Location::Redis(Box::new(redis::complete(*address, text, password_file).with_period(interval))))
        }
        location => {
            // Without the feature nothing asks for it.
            let _ = interval;
            ensure!(password_file.is_none(), "--redis-password-file: it belongs to --source redis://HOST/DB?key=NAME");
            Ok(location)
        }
    }
}

#[cfg(feature = "redis")]
mod redis {
    use std::env;
    use std::path::PathBuf;

    use mapcast::source::{Password, RedisAddress};

    /// Where the password may stand. It has no option beside it: `ps` would show that to everyone.
    const VARIABLE: &str = "MAPCAST_REDIS_PASSWORD";

    /// Where the address itself may stand, which `ps` does not show either.
    const SOURCE_VARIABLE: &str = "MAPCAST_SOURCE";

    pub(super) fn complete(address: RedisAddress, text: &str, password_file: Option<PathBuf>) -> RedisAddress {
        if address.has_password() && env::var(SOURCE_VARIABLE).as_deref() != Ok(text) {
            log::warn!("ps shows the password in --source to everyone: use --redis-password-file or {VARIABLE}");
        }
        let variable = env::var(VARIABLE).ok().filter(|password| !password.is_empty());
        match password_file.map(Password::File).or(variable.map(Password::Text)) {
            Some(password) => address.with_password(password),
            None => address,
        }
    }
}
