//! Counts, times and ages as text.

use std::time::Duration;

/// Returns `1 frame`, `4 frames`.
pub(super) fn counted(number: u64, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}

/// Returns a time with a tenth of a second: `1.5 s`.
pub(super) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// Returns an age in its largest unit: `12 s`, `3 min`, `2 h`, `4 d`.
pub(super) fn age(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..86400 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_in_its_largest_unit() {
        for (seconds, wanted) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3599, "59 min"),
            (3600, "1 h"),
            (86399, "23 h"),
            (180_000, "2 d"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), wanted);
        }
    }

    #[test]
    fn one_is_singular() {
        let counts = [0, 1, 2].map(|number| counted(number, "entry", "entries"));
        assert_eq!(counts, ["0 entries", "1 entry", "2 entries"]);
    }
}
