//! What `--source` names, with what does not stand in it: the password for Redis, TLS's files, and the period.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use mapcast::source::Location;

use crate::tls::SourceTlsArgs;

/// Where the map comes from.
#[derive(Debug, Args)]
pub(crate) struct SourceArgs {
    /// Where the map comes from: FILE.json or FILE.toml, re-read when it changes; `-`, one JSON object a line on
    /// standard input; `tcp://HOST:PORT` or `tls://HOST:PORT`, another mapcast server; `redis://HOST/DB?key=NAME` or
    /// `rediss://`, a hash. Without it, the built-in map
    // Not parsed by clap, which would print a wrong one whole, with its password.
    #[arg(short, long, value_name = "SOURCE", env = "MAPCAST_SOURCE", hide_env_values = true)]
    source: Option<String>,
    /// Read the password for Redis from this file, at each connection
    #[arg(long, value_name = "FILE", env = "MAPCAST_REDIS_PASSWORD_FILE")]
    redis_password_file: Option<PathBuf>,
    #[command(flatten)]
    tls: SourceTlsArgs,
    /// Keep the last good map in this file, and start with it: what a source gave that is away now, or what was written
    #[arg(long, value_name = "FILE", env = "MAPCAST_STATE")]
    state: Option<PathBuf>,
}

/// The source that is named, if one is, and where its maps are kept, if they are.
pub(crate) type Located = (Option<Location>, Option<PathBuf>);

impl SourceArgs {
    /// Returns the source that is named and its state. A hash in Redis gets its password from the file, or else from the
    /// environment, or else from its address; it is read at least once every `interval`.
    pub(crate) fn locate(self, interval: Duration, is_writable: bool) -> anyhow::Result<Located> {
        let state = self.state.clone();
        let location = self.location(interval)?;
        match &location {
            _ if state.is_none() => {}
            Some(file @ (Location::Json(_) | Location::Toml(_))) => {
                bail!(
                    "--state: {file} is a file, which is there when the server starts, or is missed then; leave it out"
                )
            }
            None if !is_writable => {
                bail!("--state: there is nothing to keep; it is for --http-token-file, or a --source that is no file")
            }
            _ => {}
        }
        Ok((location, state))
    }

    fn location(self, interval: Duration) -> anyhow::Result<Option<Location>> {
        let location = self.source.as_ref().map(|text| text.parse::<Location>().context("--source")).transpose()?;
        let location = match (location, self.tls.chosen()) {
            (Some(location), Some(tls)) if location.is_encrypted() => Some(location.with_tls(tls)),
            (_, Some(_)) => bail!("--source-tls-ca and its kin belong to --source tls://HOST:PORT or rediss://HOST"),
            (location, None) => location,
        };
        match location {
            #[cfg(feature = "redis")]
            Some(Location::Redis(address)) => {
                let text = self.source.unwrap_or_default();
                let address = redis::complete(*address, &text, self.redis_password_file)?;
                Ok(Some(Location::Redis(Box::new(address.with_period(interval)))))
            }
            location => {
                // Without the feature nothing asks for it.
                let _ = interval;
                let why = "--redis-password-file: it belongs to --source redis://HOST/DB?key=NAME";
                ensure!(self.redis_password_file.is_none(), why);
                Ok(location)
            }
        }
    }
}

#[cfg(feature = "redis")]
mod redis {
    use std::env;
    use std::path::PathBuf;

    use anyhow::Context;
    use mapcast::source::{Password, RedisAddress};

    /// Where the password may stand. It has no option beside it: `ps` would show that to everyone.
    const VARIABLE: &str = "MAPCAST_REDIS_PASSWORD";

    /// Where the address itself may stand, which `ps` does not show either.
    const SOURCE_VARIABLE: &str = "MAPCAST_SOURCE";

    pub(super) fn complete(
        address: RedisAddress,
        text: &str,
        password_file: Option<PathBuf>,
    ) -> anyhow::Result<RedisAddress> {
        if address.has_password() && env::var(SOURCE_VARIABLE).as_deref() != Ok(text) {
            log::warn!("ps shows the password in --source to everyone: use --redis-password-file or {VARIABLE}");
        }
        let variable = env::var(VARIABLE).ok().filter(|password| !password.is_empty());
        let in_file = password_file.map(Password::in_file).transpose().context("--redis-password-file")?;
        Ok(match in_file.or(variable.map(Password::Text)) {
            Some(password) => address.with_password(password),
            None => address,
        })
    }
}
