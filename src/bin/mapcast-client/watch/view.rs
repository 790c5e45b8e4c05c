//! The content of the screen: the map, its recent changes, and the state of the connection.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mapcast::client::Connectivity;
use mapcast::{Format, Key, Map, Value};
use unicode_width::UnicodeWidthStr;

use super::filter::{Edit, Filter};
use super::help::HELP;
use super::line::{Line, Style, fit, fit_middle};
use super::text::{age, counted, seconds};

/// How long a changed entry is highlighted: long enough to look up and find it.
const HIGHLIGHT: Duration = Duration::from_secs(3);

/// Lines that are not entries: two of status and an empty one above, one below.
const FIXED_LINES: usize = 4;

/// The widest old value beside a new one, in columns.
const OLD_COLUMNS: usize = 20;

/// The narrowest value beside which its last change is shown, in columns.
const MIN_VALUE_COLUMNS: usize = 12;

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
    last_change: Option<Instant>,
    last_frame: Option<Instant>,
    /// The time between the last two frames, including a lost connection.
    last_gap: Option<Duration>,
    longest_gap: Option<Duration>,
    /// The first visible entry.
    top: usize,
    /// How many entries fitted into the last drawing.
    visible_rows: usize,
    filter: Filter,
    is_help_shown: bool,
}

#[derive(Debug)]
struct Row {
    value: String,
    /// The last change after the first map.
    change: Option<(Change, Instant)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Added,
    /// With the old value, cut to [`OLD_COLUMNS`].
    Changed(String),
    /// Stays on the screen while it is highlighted.
    Removed,
}

/// The current state of the connection.
#[derive(Debug)]
enum ConnectionState {
    Connecting,
    Connected,
    Lost { reason: String, since: Instant, retry_at: Instant },
}

/// What a key acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyTarget {
    Map,
    /// The text of the filter.
    Filter,
    Help,
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
            last_change: None,
            last_frame: None,
            last_gap: None,
            longest_gap: None,
            top: 0,
            visible_rows: 0,
            filter: Filter::default(),
            is_help_shown: false,
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
                Some(old) => Change::Changed(fit(&json(old), OLD_COLUMNS)),
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
        if changed && !first {
            self.changes += 1;
            self.last_change = Some(now);
        }
        self.map = map;
    }

    /// Records a change of the connection at `now`.
    pub(super) fn connection_changed(&mut self, news: Connectivity, now: Instant) {
        self.connection = match news {
            Connectivity::Connected { .. } => {
                self.reconnects += u64::from(matches!(self.connection, ConnectionState::Lost { .. }));
                ConnectionState::Connected
            }
            Connectivity::Lost { reason, retry_in } => {
                let since = match self.connection {
                    // A failed attempt prolongs the loss.
                    ConnectionState::Lost { since, .. } => since,
                    _ => now,
                };
                ConnectionState::Lost { reason, since, retry_at: now + retry_in }
            }
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

    pub(super) fn edit_filter(&mut self, edit: Edit) {
        self.filter.edit(edit);
        self.top = 0;
    }

    pub(super) fn toggle_help(&mut self) {
        self.is_help_shown = !self.is_help_shown;
    }

    /// Returns what the next key acts on.
    pub(super) fn key_target(&self) -> KeyTarget {
        if self.is_help_shown {
            KeyTarget::Help
        } else if self.filter.is_typing() {
            KeyTarget::Filter
        } else {
            KeyTarget::Map
        }
    }

    /// Returns the screen at `now`: at most `height` lines of at most `width` columns.
    pub(super) fn draw(&mut self, now: Instant, width: usize, height: usize) -> Vec<Line> {
        self.rows.retain(|_, row| match row.change {
            Some((Change::Removed, at)) => is_recent(at, now),
            _ => true,
        });
        self.visible_rows = height.saturating_sub(FIXED_LINES).max(1);
        let mut lines = self.status_lines(now, width);
        if self.is_help_shown {
            lines.extend(HELP.map(|line| Line::new(line, Style::Plain, width)));
        } else {
            let shown: Vec<(String, &Row)> = self.rows.iter().map(|(key, row)| (key.to_string(), row)).collect();
            let shown: Vec<_> = shown.into_iter().filter(|(key, row)| self.filter.admits(key, &row.value)).collect();
            let top = self.top.min(shown.len().saturating_sub(self.visible_rows));
            lines.extend(entry_lines(&shown, top, self.visible_rows, now, width));
            lines.push(self.footer_line(&shown, top, now, width));
            self.top = top;
        }
        lines.truncate(height);
        lines
    }

    /// Returns the state of the connection, the counts, and an empty line; after a lost connection the reason instead of it.
    fn status_lines(&self, now: Instant, width: usize) -> Vec<Line> {
        let format = self.format.map_or_else(String::new, |format| format!(", {format}"));
        let title = |state: &str, style| Line::new(&format!("{}{format}: {state}", self.address), style, width);
        let counts = self.counts_line(now, width);
        match &self.connection {
            ConnectionState::Connecting => vec![title("connecting", Style::Strong), counts, empty_line()],
            ConnectionState::Connected => vec![title("connected", Style::Strong), counts, empty_line()],
            ConnectionState::Lost { reason, since, retry_at } => {
                let cut = age(now.saturating_duration_since(*since));
                // Rounded up: it counts down to 1.
                let left = retry_at.saturating_duration_since(now).as_millis().div_ceil(1000);
                let state = format!("cut off {cut}, next try in {left} s");
                let reason = Line { text: fit_middle(reason, width), style: Style::Error };
                vec![title(&state, Style::Error), reason, counts]
            }
        }
    }

    fn counts_line(&self, now: Instant, width: usize) -> Line {
        let since = |at: Instant| now.saturating_duration_since(at);
        let mut parts = match (self.last_frame, self.last_change) {
            (None, _) => vec!["no map yet".to_owned()],
            (Some(_), None) => vec!["no change yet".to_owned()],
            (Some(_), Some(at)) => {
                vec![format!("changed {} ago", age(since(at))), counted(self.changes, "change", "changes")]
            }
        };
        if let Some(last) = self.last_frame {
            parts.push(format!("{}, {} ago", counted(self.frames, "frame", "frames"), seconds(since(last))));
        }
        if let (Some(last), Some(longest)) = (self.last_gap, self.longest_gap) {
            parts.push(format!("gap {}, longest {}", seconds(last), seconds(longest)));
        }
        if self.reconnects > 0 {
            parts.push(counted(self.reconnects, "reconnect", "reconnects"));
        }
        Line::new(&parts.join(" | "), Style::Plain, width)
    }

    /// Returns the number of entries, which ones are visible, and the keys. Changes outside of the screen come first.
    fn footer_line(&self, shown: &[(String, &Row)], top: usize, now: Instant, width: usize) -> Line {
        if self.filter.is_typing() {
            let text = format!("filter: {}_ (Enter keeps it, Esc removes it)", self.filter.text());
            return Line::new(&text, Style::Strong, width);
        }
        let bottom = (top + self.visible_rows).min(shown.len());
        let recent = |rows: &[(String, &Row)]| rows.iter().filter(|(_, row)| row.recent_change(now).is_some()).count();
        let (above, below) = (recent(&shown[..top]), recent(&shown[bottom..]));
        let mut parts = Vec::new();
        if above > 0 {
            parts.push(format!("{above} changed above"));
        }
        if below > 0 {
            parts.push(format!("{below} changed below"));
        }
        let is_quiet = parts.is_empty();
        let style = if is_quiet { Style::Faint } else { Style::Strong };
        // Without those that are gone, and still on the screen.
        let all = counted(self.map.len() as u64, "entry", "entries");
        let matching = shown.iter().filter(|(_, row)| !matches!(row.change, Some((Change::Removed, _)))).count();
        let entries = if self.filter.text().is_empty() {
            all
        } else {
            format!("{matching} of {all} with \"{}\"", self.filter.text())
        };
        match shown.len().checked_sub(self.visible_rows) {
            None | Some(0) => parts.push(entries),
            Some(more) => {
                parts.push(format!("… {more} more: {} to {bottom} of {entries}", top + 1));
                if is_quiet {
                    parts.push("arrows, PgUp, PgDn".to_owned());
                }
            }
        }
        parts.push("? help, q quits".to_owned());
        Line::new(&parts.join("; "), style, width)
    }
}

impl Row {
    /// Returns the last change while it is highlighted.
    fn recent_change(&self, now: Instant) -> Option<&Change> {
        self.change.as_ref().filter(|(_, at)| is_recent(*at, now)).map(|(change, _)| change)
    }

    /// Returns the value in at most `columns`, followed by the old value and the age of the last change: by the age alone, or
    /// by neither, if fewer than [`MIN_VALUE_COLUMNS`] were left for the value.
    fn describe(&self, now: Instant, columns: usize) -> String {
        let Some((change, at)) = &self.change else { return self.value.clone() };
        let ago = age(now.saturating_duration_since(*at));
        let what = match change {
            Change::Added => "new".to_owned(),
            Change::Changed(old) => format!("was {old}"),
            Change::Removed => "removed".to_owned(),
        };
        for note in [format!("  ({what}, {ago} ago)"), format!("  ({ago} ago)")] {
            let room = columns.saturating_sub(note.width());
            if room >= MIN_VALUE_COLUMNS {
                return fit(&self.value, room) + &note;
            }
        }
        self.value.clone()
    }
}

/// Returns the visible ones of `shown` in two columns.
fn entry_lines(shown: &[(String, &Row)], top: usize, visible: usize, now: Instant, width: usize) -> Vec<Line> {
    let names: Vec<String> = shown.iter().map(|(key, _)| fit_middle(key, (width * 2 / 5).max(8))).collect();
    let column = names.iter().map(|name| name.width()).max().unwrap_or(0);
    let rows = shown.iter().map(|(_, row)| *row).zip(names).skip(top).take(visible);
    let line = |(row, name): (&Row, String)| {
        let change = row.recent_change(now);
        let mark = match change {
            None => ' ',
            Some(Change::Added) => '+',
            Some(Change::Changed(_)) => '*',
            Some(Change::Removed) => '-',
        };
        let padding = " ".repeat(column.saturating_sub(name.width()));
        let style = if change.is_some() { Style::Highlighted } else { Style::Plain };
        // The mark, a space, and two between the columns.
        let value = row.describe(now, width.saturating_sub(column + 4));
        Line::new(&format!("{mark} {name}{padding}  {value}"), style, width)
    };
    rows.map(line).collect()
}

fn empty_line() -> Line {
    Line::new("", Style::Plain, 0)
}

fn is_recent(changed: Instant, now: Instant) -> bool {
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

#[cfg(test)]
mod tests;
