//! Parsing and formatting of durations and sizes: `5s`, `500ms`, `64KiB`.

use std::time::Duration;

/// Why a text is not a duration or a size, with valid examples.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not a duration.
    #[error("\"{}\" is not a duration: write 5s, 500ms, 1m30s or a number of seconds", .0.escape_debug())]
    Duration(String),
    /// Not a size.
    #[error("\"{}\" is not a size: write 64KiB, 1MiB, 1GiB or a number of bytes", .0.escape_debug())]
    Size(String),
}

/// The units of a size and their bytes, longest suffix first. `K`, `KB` and `KiB` are all 1024, as in `redis.conf`'s
/// `kb` and `mb`: a frame limit is never meant in units of 1000.
const SIZE_UNITS: [(&str, usize); 10] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("kb", 1 << 10),
    ("mb", 1 << 20),
    ("gb", 1 << 30),
    ("k", 1 << 10),
    ("m", 1 << 20),
    ("g", 1 << 30),
    ("b", 1),
];

/// Parses a duration: `5s`, `500ms`, `1m30s`, or a bare number of seconds, `2` or `0.5`.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(mapcast::display::units::parse_duration("1m30s")?, Duration::from_secs(90));
/// assert_eq!(mapcast::display::units::parse_duration("0.5")?, Duration::from_millis(500));
/// # Ok::<(), mapcast::display::units::Error>(())
/// ```
///
/// # Errors
/// `Duration` if `text` is not a duration; negative numbers, NaN and infinity are not.
pub fn parse_duration(text: &str) -> Result<Duration, Error> {
    let refused = || Error::Duration(text.to_owned());
    let trimmed = text.trim();
    match trimmed.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|_| refused()),
        Err(_) => humantime::parse_duration(trimmed).map_err(|_| refused()),
    }
}

/// Parses a size and returns it in bytes: `64KiB`, `1MiB`, `1GiB`, or a bare number of bytes. `K`, `KB` and `KiB` all mean
/// 1024 bytes; case is ignored.
///
/// # Errors
/// `Size` if `text` is not a size, or exceeds this machine's address space.
pub fn parse_size(text: &str) -> Result<usize, Error> {
    let refused = || Error::Size(text.to_owned());
    let lower = text.trim().to_ascii_lowercase();
    let split = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
    let (number, unit) = lower.split_at(split);
    let number: usize = number.parse().map_err(|_| refused())?;
    let unit = unit.trim_start();
    if unit.is_empty() {
        return Ok(number);
    }
    let (_, factor) = SIZE_UNITS.iter().find(|(suffix, _)| *suffix == unit).ok_or_else(refused)?;
    number.checked_mul(*factor).ok_or_else(refused)
}

/// Formats a size: `1MiB`, `64KiB`, or a number of bytes if it is not a multiple of a unit.
pub fn format_size(bytes: usize) -> String {
    let whole = |(_, factor): &&(&str, usize)| bytes != 0 && bytes.is_multiple_of(*factor);
    let names = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match names.iter().find(whole) {
        Some((name, factor)) => format!("{}{name}", bytes / factor),
        None => format!("{bytes}"),
    }
}

/// Formats a duration to the millisecond: `5s`, `1m 30s`, `500ms`.
pub fn format_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    humantime::format_duration(Duration::from_millis(millis)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::check_texts;

    #[test]
    fn durations_in_every_form_are_parsed() {
        for (text, millis) in
            [("5", 5000), ("0.25", 250), ("5s", 5000), ("500ms", 500), ("1m30s", 90_000), (" 2 ", 2000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn an_invalid_duration_is_refused() {
        for text in ["", "-1", "nan", "inf", "5 parsecs", "1e300", "s"] {
            assert_eq!(parse_duration(text), Err(Error::Duration(text.to_owned())));
        }
    }

    #[test]
    fn sizes_in_every_form_are_parsed() {
        for (text, bytes) in
            [("10", 10), ("64KiB", 65_536), ("64k", 65_536), ("1MiB", 1 << 20), ("1 gib", 1 << 30), ("7b", 7)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn an_invalid_size_is_refused() {
        for text in ["", "KiB", "-1", "1.5MiB", "1TiB", "99999999999999999999", "18446744073709551615k"] {
            assert_eq!(parse_size(text), Err(Error::Size(text.to_owned())));
        }
    }

    #[test]
    fn a_formatted_size_parses_to_the_same_value() {
        for bytes in [0, 1, 1000, 1024, 65_536, 1 << 20, 3 << 30] {
            assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }
        assert_eq!(format_duration(Duration::from_secs(90)), "1m 30s");
    }

    #[test]
    fn every_error_has_its_text() {
        check_texts!(Error {
            Duration("\n".to_owned()) =>
                "\"\\n\" is not a duration: write 5s, 500ms, 1m30s or a number of seconds";
            Size("\n".to_owned()) => "\"\\n\" is not a size: write 64KiB, 1MiB, 1GiB or a number of bytes";
        });
    }
}
