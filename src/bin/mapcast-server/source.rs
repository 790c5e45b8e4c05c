//! `--source` and its settings: the password for Redis, TLS files, the period and the state.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{anyhow, bail, ensure};
use clap::Args;
use mapcast::source::{self, Location};

use crate::tips;
use crate::tls::SourceTlsArgs;

/// The source of the map.
#[derive(Debug, Args)]
pub(crate) struct SourceArgs {
    /// The same as --source FILE
    #[arg(value_name = "FILE")]
    file: Option<String>,
    /// Source of the map [default: the built-in map]: FILE.json or FILE.toml, read again when it changes; `-`, one
    /// JSON object per line on standard input; `tcp://HOST:PORT` or `tls://HOST:PORT`, another mapcast server;
    /// `redis://HOST/DB?key=NAME` or `rediss://`, a hash
    // Not parsed by clap: its error would print the whole value, with its password.
    #[arg(short, long, value_name = "SOURCE", env = "MAPCAST_SOURCE", hide_env_values = true)]
    source: Option<String>,
    /// Read the password for Redis from this file at each connection
    #[arg(long, value_name = "FILE", env = "MAPCAST_REDIS_PASSWORD_FILE")]
    redis_password_file: Option<PathBuf>,
    #[command(flatten)]
    tls: SourceTlsArgs,
    /// Store the last good map in this file and start with it: for a source that may be unreachable, or for writing
    /// over HTTP
    #[arg(long, value_name = "FILE", env = "MAPCAST_STATE")]
    state: Option<PathBuf>,
}

/// The source, if there is one, and the path of the state, if there is one.
pub(crate) type Located = (Option<Location>, Option<PathBuf>);

impl SourceArgs {
    /// Returns the source and its state. The password for a Redis hash comes from the file, otherwise from the
    /// environment, otherwise from the address. The hash is read at least once every `interval`.
    pub(crate) fn locate(self, interval: Duration, is_writable: bool) -> anyhow::Result<Located> {
        let state = self.state.clone();
        let location = self.location(interval)?;
        match &location {
            _ if state.is_none() => {}
            Some(file @ (Location::Json(_) | Location::Toml(_))) => {
                bail!("--state has no effect with the file {file}, which is read at startup anyway; remove --state")
            }
            None if !is_writable => {
                bail!(
                    "--state has nothing to store; use it with --http-token-file, or with a --source that is not a file"
                )
            }
            _ => {}
        }
        Ok((location, state))
    }

    fn location(self, interval: Duration) -> anyhow::Result<Option<Location>> {
        let source = self.file.or(self.source);
        let location = source.as_ref().map(|text| parse(text)).transpose()?;
        let location = match (location, self.tls.chosen()) {
            (Some(location), Some(tls)) if location.is_encrypted() => Some(location.with_tls(tls)),
            (_, Some(_)) => bail!("--source-tls-* options need --source tls://HOST:PORT or rediss://HOST"),
            (location, None) => location,
        };
        match location {
            #[cfg(feature = "redis")]
            Some(Location::Redis(address)) => {
                let text = source.unwrap_or_default();
                let address = redis::complete(*address, &text, self.redis_password_file)?;
                Ok(Some(Location::Redis(Box::new(address.with_period(interval)))))
            }
            location => {
                // Unused without the feature.
                let _ = interval;
                let why = "--redis-password-file needs --source redis://HOST/DB?key=NAME";
                ensure!(self.redis_password_file.is_none(), why);
                Ok(location)
            }
        }
    }
}

/// Parses the text of a source.
///
/// # Errors
/// If it names none; with advice on what it may be instead.
fn parse(text: &str) -> anyhow::Result<Location> {
    text.parse::<Location>().map_err(|error| match (&error, tips::on_source(text)) {
        (source::Error::Unknown(shown), Some(advice)) => {
            anyhow!("--source: {}: {advice}", shown.escape_debug())
        }
        _ => anyhow::Error::new(error).context("--source"),
    })
}

#[cfg(feature = "redis")]
mod redis {
    use std::env;
    use std::path::PathBuf;

    use anyhow::Context;
    use mapcast::source::{Password, RedisAddress};

    /// The variable for the password. It has no option: `ps` would show that to every user.
    const VARIABLE: &str = "MAPCAST_REDIS_PASSWORD";

    /// The variable for the address, which `ps` does not show either.
    const SOURCE_VARIABLE: &str = "MAPCAST_SOURCE";

    pub(super) fn complete(
        address: RedisAddress,
        text: &str,
        password_file: Option<PathBuf>,
    ) -> anyhow::Result<RedisAddress> {
        if address.has_password() && env::var(SOURCE_VARIABLE).as_deref() != Ok(text) {
            log::warn!("ps shows the password in --source to every user; use --redis-password-file or {VARIABLE}");
        }
        let variable = env::var(VARIABLE).ok().filter(|password| !password.is_empty());
        let in_file = password_file.map(Password::in_file).transpose().context("--redis-password-file")?;
        Ok(match in_file.or(variable.map(Password::Text)) {
            Some(password) => address.with_password(password),
            None => address,
        })
    }
}
