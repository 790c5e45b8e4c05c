//! Durations on the command line.

use std::time::Duration;

use mapcast::display::units;

/// Parses a duration that must not be zero.
pub(crate) fn parse_nonzero(text: &str) -> Result<Duration, String> {
    let duration = units::parse_duration(text).map_err(|error| error.to_string())?;
    if duration.is_zero() {
        return Err("must be longer than 0".to_owned());
    }
    Ok(duration)
}
