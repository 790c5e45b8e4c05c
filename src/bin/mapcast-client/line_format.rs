//! The form of a line that the user defines.

use std::time::{SystemTime, UNIX_EPOCH};

use mapcast::{Key, Value, format};

use crate::changes::Change;
use crate::hidden;
use crate::raw_value::raw;

/// A line for each entry, with sequences that stand for its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LineFormat(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Key,
    /// As [`raw`] has it; empty for a removed entry.
    Value,
    /// Empty for a removed entry.
    Json,
    /// As JSON; empty for an added entry.
    OldJson,
    /// `~`, `+` or `-`.
    Mark,
    /// The number of the printed map, from 1.
    Number,
    IsoTime,
    UnixTime,
}

/// What the entries of one map have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PrintedMap {
    /// The number of the map among those printed, from 1.
    pub(crate) number: u64,
    pub(crate) time: SystemTime,
    /// Text with hidden characters is escaped.
    pub(crate) is_terminal: bool,
}

/// The sequences, for messages.
const SEQUENCES: &str = "%k key, %v value, %j value as JSON, %n number of the map, %I time, %U Unix time, %%; with \
                         --output diff also %c mark and %o old value; \\n, \\t and \\\\";

impl LineFormat {
    /// Parses a format. The line's end is not part of it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (mut parts, mut plain, mut characters) = (Vec::new(), String::new(), text.chars());
        while let Some(character) = characters.next() {
            let sequence = matches!(character, '%' | '\\').then(|| characters.next());
            let part = match (character, sequence) {
                ('%', Some(Some('k'))) => Part::Key,
                ('%', Some(Some('v'))) => Part::Value,
                ('%', Some(Some('j'))) => Part::Json,
                ('%', Some(Some('o'))) => Part::OldJson,
                ('%', Some(Some('c'))) => Part::Mark,
                ('%', Some(Some('n'))) => Part::Number,
                ('%', Some(Some('I'))) => Part::IsoTime,
                ('%', Some(Some('U'))) => Part::UnixTime,
                ('%', Some(Some('%'))) | (_, None) => {
                    plain.push(character);
                    continue;
                }
                ('\\', Some(Some(escaped @ ('n' | 't' | '\\')))) => {
                    plain.push(match escaped {
                        'n' => '\n',
                        't' => '\t',
                        other => other,
                    });
                    continue;
                }
                (first, Some(next)) => {
                    let unknown: String = [Some(first), next].into_iter().flatten().collect();
                    return Err(format!("unknown sequence {unknown:?}; write {SEQUENCES}"));
                }
            };
            parts.extend((!plain.is_empty()).then(|| Part::Text(std::mem::take(&mut plain))));
            parts.push(part);
        }
        parts.extend((!plain.is_empty()).then_some(Part::Text(plain)));
        Ok(Self(parts))
    }

    /// True if and only if a part has a meaning only for changes.
    pub(crate) fn needs_changes(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Mark | Part::OldJson))
    }

    /// Returns the line of an entry, with its end.
    ///
    /// # Errors
    /// If a map in a value has two keys that JSON cannot distinguish.
    pub(crate) fn line(&self, change: Change<'_>, map: PrintedMap) -> Result<String, format::Error> {
        let json = |value: Option<&Value>| value.map_or(Ok(String::new()), |value| hidden::to_json(value.clone()));
        let mut line = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => line.push_str(text),
                Part::Key => line.push_str(&show_key(change.key, map.is_terminal)),
                Part::Value => {
                    line.push_str(&change.new.map_or(Ok(String::new()), |value| raw(value, map.is_terminal))?);
                }
                Part::Json => line.push_str(&json(change.new)?),
                Part::OldJson => line.push_str(&json(change.old)?),
                Part::Mark => line.push(change.mark()),
                Part::Number => line.push_str(&map.number.to_string()),
                Part::IsoTime => line.push_str(&iso_time(map.time)),
                Part::UnixTime => {
                    let time = map.time.duration_since(UNIX_EPOCH).unwrap_or_default();
                    line.extend([time.as_secs().to_string(), format!(".{:03}", time.subsec_millis())]);
                }
            }
        }
        Ok(line + "\n")
    }
}

/// Returns a time in UTC to the millisecond (RFC 3339).
pub(crate) fn iso_time(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

fn show_key(key: &Key, is_terminal: bool) -> String {
    let text = key.to_string();
    if is_terminal { hidden::show(&text) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn line(format: &str, old: Option<&Value>, new: Option<&Value>, is_terminal: bool) -> String {
        let time = UNIX_EPOCH + Duration::from_millis(1_795_330_059_053);
        let map = PrintedMap { number: 3, time, is_terminal };
        LineFormat::parse(format).unwrap().line(Change { key: &"k".into(), old, new }, map).unwrap()
    }

    #[test]
    fn each_sequence_has_its_text() {
        let (old, new) = (Value::from("a"), Value::from("x \"y\""));
        for (format, wanted) in [
            ("", "\n"),
            ("%k=%v", "k=x \"y\"\n"),
            ("%k\\t%j%%", "k\t\"x \\\"y\\\"\"%\n"),
            ("%c %o -> %j #%n", "~ \"a\" -> \"x \\\"y\\\"\" #3\n"),
            ("%I %U\\\\n", "2026-11-22T06:47:39.053Z 1795330059.053\\n\n"),
        ] {
            assert_eq!(line(format, Some(&old), Some(&new), false), wanted, "{format}");
        }
        assert_eq!(line("%c[%o][%v][%j]", Some(&old), None, false), "-[\"a\"][][]\n");
        assert_eq!(line("%c[%o][%v]", None, Some(&old), false), "+[][a]\n");
    }

    #[test]
    fn hidden_characters_are_escaped_on_a_terminal() {
        assert_eq!(line("%v", None, Some(&"\u{1b}[2J".into()), true), "\"\\u001b[2J\"\n");
    }

    #[test]
    fn an_unknown_sequence_is_refused_with_the_known_ones() {
        for format in ["%x", "%", "a\\", "\\q"] {
            assert!(LineFormat::parse(format).unwrap_err().contains("%k key"), "{format}");
        }
        assert!(LineFormat::parse("%c").unwrap().needs_changes() && !LineFormat::parse("%k").unwrap().needs_changes());
    }
}
