//! Durations and sizes as people write them: `5s`, `500ms`, `64KiB`.

use std::time::Duration;

/// Text that is no duration or size; says what would be.
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
/// `kb` and `mb`: nobody who types a frame limit means 1000.
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

/// Returns the duration that `text` names: `5s`, `500ms`, `1m30s`, or a bare number of seconds, `2` or `0.5`.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(mapcast::display::units::parse_duration("1m30s")?, Duration::from_secs(90));
/// assert_eq!(mapcast::display::units::parse_duration("0.5")?, Duration::from_millis(500));
/// # Ok::<(), mapcast::display::units::Error>(())
/// ```
///
/// # Errors
/// `Duration` if it names none; a negative number, NaN and infinity name none.
pub fn parse_duration(text: &str) -> Result<Duration, Error> {
    let refused = || Error::Duration(text.to_owned());
    let trimmed = text.trim();
    match trimmed.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|_| refused()),
        Err(_) => humantime::parse_duration(trimmed).map_err(|_| refused()),
    }
}

/// Returns the bytes that `text` names: `64KiB`, `1MiB`, `1GiB`, or a bare number of bytes. `K`, `KB` and `KiB` are
/// all 1024 bytes; upper and lower case are the same.
///
/// # Errors
/// `Size` if it names none, or more than this machine can address.
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

/// Returns the size as people write it: `1MiB`, `64KiB`, or bytes where it is no integer of those.
pub fn format_size(bytes: usize) -> String {
    let whole = |(_, factor): &&(&str, usize)| bytes != 0 && bytes.is_multiple_of(*factor);
    let names = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match names.iter().find(whole) {
        Some((name, factor)) => format!("{}{name}", bytes / factor),
        None => format!("{bytes}"),
    }
}

/// Returns the duration as people write it, to the millisecond: `5s`, `1m 30s`, `500ms`.
pub fn format_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    humantime::format_duration(Duration::from_millis(millis)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, millis) in
            [("5", 5000), ("0.25", 250), ("5s", 5000), ("500ms", 500), ("1m30s", 90_000), (" 2 ", 2000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_an_example() {
        for text in ["", "-1", "nan", "inf", "5 parsecs", "1e300", "s"] {
            let error = parse_duration(text).unwrap_err();
            assert!(error.to_string().contains("500ms"), "{text}: {error}");
        }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in
            [("10", 10), ("64KiB", 65_536), ("64k", 65_536), ("1MiB", 1 << 20), ("1 gib", 1 << 30), ("7b", 7)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_an_example() {
        for text in ["", "KiB", "-1", "1.5MiB", "1TiB", "99999999999999999999", "18446744073709551615k"] {
            let error = parse_size(text).unwrap_err();
            assert!(error.to_string().contains("64KiB"), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for bytes in [0, 1, 1000, 1024, 65_536, 1 << 20, 3 << 30] {
            assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }
        assert_eq!(format_duration(Duration::from_secs(90)), "1m 30s");
    }
}
