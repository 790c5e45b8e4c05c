//! The content of the screen: the map, its recent changes, and the state of the connection.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mapcast::client::Connectivity;
use mapcast::{Format, Key, Map};

use super::filter::{Edit, Filter};
use super::help::HELP;
use super::line::{Line, Style, fit_middle};
use super::row::{Change, MIN_VALUE_COLUMNS, Row, entry_lines, is_recent};
use super::text::{age, counted, seconds};

/// Lines that are not entries: two of status and an empty one above, one below.
const FIXED_LINES: usize = 4;

/// How far a key moves long values, in characters.
const MOVE: usize = 16;

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
    /// True once a connection was made.
    ever_connected: bool,
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
    /// How many characters of long values are left of the screen.
    left: usize,
    filter: Filter,
    order: Order,
    /// The view shows the map of the time when it was paused.
    pause: Option<Pause>,
    is_help_shown: bool,
}

/// The order of the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Key,
    /// By the last change, the newest first.
    Change,
}

/// What has come while the view was paused.
#[derive(Debug, Default)]
struct Pause {
    newest: Option<Map>,
    /// The number of maps, each of which replaced the one before.
    maps: u64,
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
    /// To the begin or the end of long values.
    Left,
    Right,
}

impl View {
    pub(super) fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            format: None,
            map: Map::new(),
            rows: BTreeMap::new(),
            connection: ConnectionState::Connecting,
            ever_connected: false,
            frames: 0,
            changes: 0,
            reconnects: 0,
            last_change: None,
            last_frame: None,
            last_gap: None,
            longest_gap: None,
            top: 0,
            visible_rows: 0,
            left: 0,
            filter: Filter::default(),
            order: Order::Key,
            pause: None,
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

    /// Records a map received at `now`. The first map is not a change. A paused view keeps only the newest map.
    pub(super) fn map_came(&mut self, map: Map, now: Instant) {
        self.frames += 1;
        if let Some(last) = self.last_frame.replace(now) {
            let gap = now.saturating_duration_since(last);
            self.last_gap = Some(gap);
            self.longest_gap = self.longest_gap.max(self.last_gap);
        }
        match &mut self.pause {
            Some(pause) if self.frames > 1 => {
                pause.newest = Some(map);
                pause.maps += 1;
            }
            _ => self.show(map, now),
        }
    }

    /// Shows `map` at `now`, with its differences to the one before.
    fn show(&mut self, map: Map, now: Instant) {
        let first = self.frames == 1;
        let mut changed = false;
        for (key, value) in &map {
            if let Some(mut row) = Row::changed(self.map.get(key), value, now) {
                changed = true;
                row.change = row.change.filter(|_| !first);
                self.rows.insert(key.clone(), row);
            }
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

    /// Pauses the view, or shows the newest map at `now`.
    pub(super) fn toggle_pause(&mut self, now: Instant) {
        match self.pause.take() {
            None => self.pause = Some(Pause::default()),
            Some(Pause { newest, .. }) => {
                if let Some(map) = newest {
                    self.show(map, now);
                }
            }
        }
    }

    /// Sorts the entries by key, or by their last change.
    pub(super) fn toggle_order(&mut self) {
        self.order = if self.order == Order::Key { Order::Change } else { Order::Key };
        self.top = 0;
    }

    /// Records a change of the connection at `now`.
    pub(super) fn connection_changed(&mut self, news: Connectivity, now: Instant) {
        self.connection = match news {
            Connectivity::Connected { .. } => {
                let is_again = self.ever_connected && matches!(self.connection, ConnectionState::Lost { .. });
                self.reconnects += u64::from(is_again);
                self.ever_connected = true;
                ConnectionState::Connected
            }
            Connectivity::Lost { reason, retry_in, .. } => {
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
            Scroll::Left | Scroll::Right => self.top,
        };
        self.left = match scroll {
            Scroll::Left => self.left.saturating_sub(MOVE),
            Scroll::Right => self.left + MOVE,
            _ => self.left,
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
            let mut shown: Vec<_> =
                shown.into_iter().filter(|(key, row)| self.filter.admits(key, &row.value)).collect();
            if self.order == Order::Change {
                // Stable: entries with one change stay in the order of their keys. Without a change they are the last.
                shown.sort_by_key(|(_, row)| Reverse(row.changed_at()));
            }
            let top = self.top.min(shown.len().saturating_sub(self.visible_rows));
            let visible = shown.iter().skip(top).take(self.visible_rows);
            let longest = visible.map(|(_, row)| row.value.chars().count()).max().unwrap_or(0);
            let left = self.left.min(longest.saturating_sub(MIN_VALUE_COLUMNS));
            lines.extend(entry_lines(&shown, top, self.visible_rows, now, width, left));
            lines.push(self.footer_line(&shown, top, now, width));
            (self.top, self.left) = (top, left);
        }
        lines.truncate(height);
        lines
    }

    /// Returns the state of the connection, the counts, and an empty line; after a lost connection the reason instead of it.
    fn status_lines(&self, now: Instant, width: usize) -> Vec<Line> {
        let format = self.format.map_or_else(String::new, |format| format!(", {format}"));
        let paused = match &self.pause {
            None => String::new(),
            Some(pause) => format!(", paused with {}", counted(pause.maps, "newer map", "newer maps")),
        };
        let title = |state: &str, style| Line::new(&format!("{}{format}: {state}{paused}", self.address), style, width);
        let counts = self.counts_line(now, width);
        match &self.connection {
            ConnectionState::Connecting => vec![title("connecting", Style::Strong), counts, empty_line()],
            ConnectionState::Connected => vec![title("connected", Style::Strong), counts, empty_line()],
            ConnectionState::Lost { reason, since, retry_at } => {
                let cut = age(now.saturating_duration_since(*since));
                // Rounded up: it counts down to 1.
                let left = retry_at.saturating_duration_since(now).as_millis().div_ceil(1000);
                let what = if self.ever_connected { "cut off" } else { "no server for" };
                let state = format!("{what} {cut}, next try in {left} s");
                let reason = Line::new(&fit_middle(reason, width), Style::Error, width);
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
        let matching = shown.iter().filter(|(_, row)| !row.is_removed()).count();
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
        if self.order == Order::Change {
            parts.push("by change".to_owned());
        }
        parts.push("? help, q quits".to_owned());
        Line::new(&parts.join("; "), style, width)
    }
}

fn empty_line() -> Line {
    Line::new("", Style::Plain, 0)
}

#[cfg(test)]
mod tests;
