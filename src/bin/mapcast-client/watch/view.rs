//! The content of the screen: the map, its recent changes, and the state of the connection.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mapcast::client::Connectivity;
use mapcast::{Format, Key, Map, Value};
use unicode_width::UnicodeWidthStr;

use super::line::{Line, Style, fit};

/// How long a changed entry is highlighted: long enough to look up and find it.
const HIGHLIGHT: Duration = Duration::from_secs(3);

/// Lines that are not entries: two of status and an empty one above, one below.
const FIXED_LINES: usize = 4;

/// The longest value that is kept, in characters: more than any terminal has columns.
const MAX_VALUE_CHARS: usize = 2000;

/// The server, its map, and the position of the view.
#[derive(Debug)]
pub(super) struct View {
    /// The server's address.
    address: String,
    /// The format of its maps.
    format: Option<Format>,
    map: Map,
    rows: BTreeMap<Key, Row>,
    connection: ConnectionState,
    frames: u64,
    changes: u64,
    reconnects: u64,
    last_frame: Option<Instant>,
    /// The time between the last two frames, including a lost connection.
    last_gap: Option<Duration>,
    longest_gap: Option<Duration>,
    /// The first visible entry.
    top: usize,
    /// How many entries fitted into the last drawing.
    visible_rows: usize,
}

#[derive(Debug)]
struct Row {
    value: String,
    change: Option<(Change, Instant)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Added,
    Changed,
    /// Stays on the screen while it is highlighted.
    Removed,
}

/// The current state of the connection.
#[derive(Debug)]
enum ConnectionState {
    Connecting,
    Connected,
    Lost { reason: String, retry_at: Instant },
}

/// A movement through a map that is larger than the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scroll {
    LineUp,
    LineDown,
    PageUp,
    PageDown,
    Top,
    Bottom,
}

impl View {
    pub(super) fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            format: None,
            map: Map::new(),
            rows: BTreeMap::new(),
            connection: ConnectionState::Connecting,
            frames: 0,
            changes: 0,
            reconnects: 0,
            last_frame: None,
            last_gap: None,
            longest_gap: None,
            top: 0,
            visible_rows: 0,
        }
    }

    /// Shows the format of the server's maps; `None` while it is not known.
    pub(super) fn show_format(&mut self, format: Option<Format>) {
        self.format = format;
    }

    /// True if and only if a map has been received.
    pub(super) fn has_map(&self) -> bool {
        self.frames > 0
    }

    /// Records a map received at `now`. The first map is not a change.
    pub(super) fn map_came(&mut self, map: Map, now: Instant) {
        let first = self.frames == 0;
        self.frames += 1;
        if let Some(last) = self.last_frame.replace(now) {
            let gap = now.saturating_duration_since(last);
            self.last_gap = Some(gap);
            self.longest_gap = self.longest_gap.max(self.last_gap);
        }
        let mut changed = false;
        for (key, value) in &map {
            let change = match self.map.get(key) {
                // NaN differs even from itself, but looks the same.
                Some(old) if old == value || json(old) == json(value) => continue,
                Some(_) => Change::Changed,
                None => Change::Added,
            };
            changed = true;
            let value = json(value).chars().take(MAX_VALUE_CHARS).collect();
            let change = (!first).then_some((change, now));
            self.rows.insert(key.clone(), Row { value, change });
        }
        for key in self.map.keys().filter(|key| !map.contains_key(key)) {
            changed = true;
            self.rows.entry(key.clone()).and_modify(|row| row.change = Some((Change::Removed, now)));
        }
        self.changes += u64::from(changed && !first);
        self.map = map;
    }

    /// Records a change of the connection at `now`.
    pub(super) fn connection_changed(&mut self, news: Connectivity, now: Instant) {
        self.connection = match news {
            Connectivity::Connected { .. } => {
                self.reconnects += u64::from(matches!(self.connection, ConnectionState::Lost { .. }));
                ConnectionState::Connected
            }
            Connectivity::Lost { reason, retry_in } => ConnectionState::Lost { reason, retry_at: now + retry_in },
            _ => return,
        };
    }

    /// Scrolls; the next drawing keeps the position within the map.
    pub(super) fn scroll(&mut self, scroll: Scroll) {
        let page = self.visible_rows.max(1);
        self.top = match scroll {
            Scroll::LineUp => self.top.saturating_sub(1),
            Scroll::LineDown => self.top.saturating_add(1),
            Scroll::PageUp => self.top.saturating_sub(page),
            Scroll::PageDown => self.top.saturating_add(page),
            Scroll::Top => 0,
            Scroll::Bottom => usize::MAX,
        };
    }

    /// Returns the screen at `now`: at most `height` lines of at most `width` columns.
    pub(super) fn draw(&mut self, now: Instant, width: usize, height: usize) -> Vec<Line> {
        self.rows.retain(|_, row| match row.change {
            Some((change, at)) => change != Change::Removed || is_highlighted(at, now),
            None => true,
        });
        self.visible_rows = height.saturating_sub(FIXED_LINES).max(1);
        self.top = self.top.min(self.rows.len().saturating_sub(self.visible_rows));
        let mut lines = vec![self.title_line(now, width), self.counts_line(now, width), Line::new("", Style::Plain, 0)];
        lines.extend(self.entry_lines(now, width));
        lines.push(self.footer_line(width));
        lines.truncate(height);
        lines
    }

    fn title_line(&self, now: Instant, width: usize) -> Line {
        let (state, style) = match &self.connection {
            ConnectionState::Connecting => ("connecting".to_owned(), Style::Strong),
            ConnectionState::Connected => ("connected".to_owned(), Style::Strong),
            ConnectionState::Lost { reason, retry_at } => {
                let left = retry_at.saturating_duration_since(now);
                (format!("{reason}; next attempt in {}", seconds(left)), Style::Error)
            }
        };
        let format = self.format.map_or_else(String::new, |format| format!(", {format}"));
        Line::new(&format!("{}{format}: {state}", self.address), style, width)
    }

    fn counts_line(&self, now: Instant, width: usize) -> Line {
        let age = self.last_frame.map_or_else(
            || "no frame yet".to_owned(),
            |last| format!("frame {} ago", seconds(now.saturating_duration_since(last))),
        );
        let gap = |gap: Option<Duration>| gap.map_or_else(|| "-".to_owned(), seconds);
        let text = format!(
            "{age} | {} frames | {} changes | {} reconnects | gap {}, longest {}",
            self.frames,
            self.changes,
            self.reconnects,
            gap(self.last_gap),
            gap(self.longest_gap)
        );
        Line::new(&text, Style::Plain, width)
    }

    fn entry_lines(&self, now: Instant, width: usize) -> impl Iterator<Item = Line> {
        let names: Vec<String> = self.rows.keys().map(|key| fit(&key.to_string(), (width / 3).max(8))).collect();
        let column = names.iter().map(|name| name.width()).max().unwrap_or(0);
        let rows = self.rows.values().zip(names).skip(self.top).take(self.visible_rows);
        rows.map(move |(row, name)| {
            let change = row.change.filter(|(_, at)| is_highlighted(*at, now)).map(|(change, _)| change);
            let mark = match change {
                None => ' ',
                Some(Change::Added) => '+',
                Some(Change::Changed) => '*',
                Some(Change::Removed) => '-',
            };
            let padding = " ".repeat(column.saturating_sub(name.width()));
            let style = if change.is_some() { Style::Highlighted } else { Style::Plain };
            Line::new(&format!("{mark} {name}{padding}  {}", row.value), style, width)
        })
    }

    fn footer_line(&self, width: usize) -> Line {
        let entries = self.rows.len();
        let plural = if entries == 1 { "entry" } else { "entries" };
        let text = match entries.checked_sub(self.visible_rows) {
            None | Some(0) => format!("{entries} {plural}; q quits"),
            Some(more) => {
                let (first, last) = (self.top + 1, self.top + self.visible_rows);
                format!("… {more} more: {first} to {last} of {entries} {plural}; arrows, PgUp, PgDn; q quits")
            }
        };
        Line::new(&text, Style::Faint, width)
    }
}

fn is_highlighted(changed: Instant, now: Instant) -> bool {
    now.saturating_duration_since(changed) < HIGHLIGHT
}

fn seconds(duration: Duration) -> String {
    format!("{:.1}s", duration.as_secs_f64())
}

/// Returns a value as JSON on one line.
fn json(value: &Value) -> String {
    // Formats encode only whole maps: the value is the only entry, between `{"":` and `}`.
    let map = Map::from([(Key::from(""), value.clone())]);
    let json = Format::Json.encode_map(&map).ok().and_then(|json| String::from_utf8(json).ok());
    let inner = json.as_deref().and_then(|json| json.strip_prefix("{\"\":")?.strip_suffix('}'));
    inner.unwrap_or("(cannot be shown as JSON)").to_owned()
}

#[cfg(test)]
mod tests;
