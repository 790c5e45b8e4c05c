//! One entry on the screen: its value, its last change, and its line.

use std::time::{Duration, Instant};

use mapcast::{Format, Key, Map, Value};
use unicode_width::UnicodeWidthStr;

use super::line::{Line, Style, fit, fit_middle};
use super::text::age;

/// How long a changed entry is highlighted: long enough to look up and find it.
pub(super) const HIGHLIGHT: Duration = Duration::from_secs(3);

/// The widest old value beside a new one, in columns.
const OLD_COLUMNS: usize = 20;

/// The narrowest value beside which its last change is shown, in columns.
pub(super) const MIN_VALUE_COLUMNS: usize = 12;

/// The longest value that is kept, in characters: more than any terminal has columns.
const MAX_VALUE_CHARS: usize = 2000;

/// The value of an entry, and its last change.
#[derive(Debug)]
pub(super) struct Row {
    /// As JSON, cut to [`MAX_VALUE_CHARS`].
    pub(super) value: String,
    /// The last change after the first map.
    pub(super) change: Option<(Change, Instant)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    Added,
    /// With the old value, cut to [`OLD_COLUMNS`].
    Changed(String),
    /// Stays on the screen while it is highlighted.
    Removed,
}

impl Row {
    /// Returns the row of `value`, which had the value `old` before; `None` if the two look the same. Without `old` the entry is
    /// new.
    pub(super) fn changed(old: Option<&Value>, value: &Value, now: Instant) -> Option<Self> {
        let change = match old {
            // NaN differs even from itself, but looks the same.
            Some(old) if old == value || json(old) == json(value) => return None,
            Some(old) => Change::Changed(fit(&json(old), OLD_COLUMNS)),
            None => Change::Added,
        };
        let value = json(value).chars().take(MAX_VALUE_CHARS).collect();
        Some(Self { value, change: Some((change, now)) })
    }

    pub(super) fn is_removed(&self) -> bool {
        matches!(self.change, Some((Change::Removed, _)))
    }

    /// The time of the last change.
    pub(super) fn changed_at(&self) -> Option<Instant> {
        self.change.as_ref().map(|(_, at)| *at)
    }

    /// Returns the last change while it is highlighted.
    pub(super) fn recent_change(&self, now: Instant) -> Option<&Change> {
        self.change.as_ref().filter(|(_, at)| is_recent(*at, now)).map(|(change, _)| change)
    }

    /// Returns the value in at most `columns`, followed by the old value and the age of the last change: by the age alone, or
    /// by neither, if fewer than [`MIN_VALUE_COLUMNS`] were left for the value. A value that does not fit is moved by `left`
    /// characters, at most to its end.
    fn describe(&self, now: Instant, columns: usize, left: usize) -> String {
        let Some((change, at)) = &self.change else { return moved(&self.value, columns, left) };
        let ago = age(now.saturating_duration_since(*at));
        let what = match change {
            Change::Added => "new".to_owned(),
            Change::Changed(old) => format!("was {old}"),
            Change::Removed => "removed".to_owned(),
        };
        for note in [format!("  ({what}, {ago} ago)"), format!("  ({ago} ago)")] {
            let room = columns.saturating_sub(note.width());
            if room >= MIN_VALUE_COLUMNS {
                return moved(&self.value, room, left) + &note;
            }
        }
        moved(&self.value, columns, left)
    }

    /// Returns the line of the entry `name`, whose column has `column` columns.
    fn line(&self, name: &str, column: usize, now: Instant, width: usize, left: usize) -> Line {
        let (mark, style) = match self.recent_change(now) {
            None => (' ', Style::Plain),
            Some(Change::Added) => ('+', Style::Added),
            Some(Change::Changed(_)) => ('*', Style::Changed),
            Some(Change::Removed) => ('-', Style::Removed),
        };
        let padding = " ".repeat(column.saturating_sub(name.width()));
        // The mark, a space, and two between the columns.
        let value = self.describe(now, width.saturating_sub(column + 4), left);
        Line::new(&format!("{mark} {name}{padding}  {value}"), style, width).with_key(2..2 + name.len())
    }
}

/// Returns the visible ones of `shown` in two columns. Values that do not fit are moved by `left` characters.
pub(super) fn entry_lines(
    shown: &[(String, &Row)],
    top: usize,
    visible: usize,
    now: Instant,
    width: usize,
    left: usize,
) -> Vec<Line> {
    let names: Vec<String> = shown.iter().map(|(key, _)| fit_middle(key, (width * 2 / 5).max(8))).collect();
    let column = names.iter().map(|name| name.width()).max().unwrap_or(0);
    let rows = shown.iter().map(|(_, row)| *row).zip(&names).skip(top).take(visible);
    rows.map(|(row, name)| row.line(name, column, now, width, left)).collect()
}

/// Returns `text` in at most `columns`. If it does not fit, it begins after `left` characters, or at its last columns.
fn moved(text: &str, columns: usize, left: usize) -> String {
    if left == 0 || fit(text, columns) == fit(text, usize::MAX) {
        return fit(text, columns);
    }
    let begin = left.min(text.chars().count().saturating_sub(columns.saturating_sub(1)));
    fit(&format!("…{}", text.chars().skip(begin).collect::<String>()), columns)
}

pub(super) fn is_recent(changed: Instant, now: Instant) -> bool {
    now.saturating_duration_since(changed) < HIGHLIGHT
}

/// Returns a value as JSON on one line.
fn json(value: &Value) -> String {
    // Formats encode only whole maps: the value is the only entry, between `{"":` and `}`.
    let map = Map::from([(Key::from(""), value.clone())]);
    let json = Format::Json.encode_map(&map).ok().and_then(|json| String::from_utf8(json).ok());
    let inner = json.as_deref().and_then(|json| json.strip_prefix("{\"\":")?.strip_suffix('}'));
    inner.unwrap_or("(cannot be shown as JSON)").to_owned()
}
