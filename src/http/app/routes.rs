//! Which path is what, and what may be done with it.

use percent_encoding::percent_decode_str;

use crate::map::{Key, number_key};

/// What a path stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    Page,
    /// The page's event stream.
    Live,
    /// Everybody's event stream.
    Events,
    Map,
    Entry(Key),
    Status,
    Clients,
    Metrics,
    /// It runs.
    Livez,
    /// It has a map, and does not stop.
    Readyz,
}

impl Route {
    /// Returns what `path` stands for, if it stands for anything.
    pub(crate) fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/" => Self::Page,
            "/live" => Self::Live,
            "/events" => Self::Events,
            "/map" => Self::Map,
            "/status" => Self::Status,
            "/clients" => Self::Clients,
            "/metrics" => Self::Metrics,
            "/livez" => Self::Livez,
            "/readyz" => Self::Readyz,
            path => Self::Entry(number_key(Key::Text(decode(path.strip_prefix("/map/")?)?))),
        })
    }

    /// The methods that are taken here, as `Allow` has them.
    pub(crate) fn methods(&self, is_writable: bool) -> &'static str {
        match self {
            Self::Map if is_writable => "GET, HEAD, PUT, PATCH, OPTIONS",
            Self::Entry(_) if is_writable => "GET, HEAD, PUT, DELETE, OPTIONS",
            _ => "GET, HEAD, OPTIONS",
        }
    }

    /// The parameters that are taken here.
    pub(crate) fn parameters(&self) -> &'static [&'static str] {
        match self {
            Self::Events => &["keys"],
            Self::Clients => &["limit"],
            _ => &[],
        }
    }

    /// True if and only if parameters called `name` are ignored here: those that stand-ins for a browser's `EventSource` add
    /// of themselves. The map comes at once, whichever event was the last one.
    pub(crate) fn ignores(&self, name: &str) -> bool {
        // event-source-polyfill, reconnecting-eventsource and Mercure's clients, each with its own spelling.
        let is_last_id = || name.replace(['-', '_'], "").eq_ignore_ascii_case("lastEventId");
        // eventsource-polyfill; event-source-polyfill 0.0.9 and ng-event-source (`r`); with XDomainRequest (`padding`);
        // what else keeps caches away (`t`).
        let is_other = || name.starts_with("evs_") || ["r", "t", "padding"].contains(&name);
        *self == Self::Events && (is_last_id() || is_other())
    }

    /// True if and only if this is answered to a client that exceeds a limit: what says how the server is.
    pub(crate) fn is_health(&self) -> bool {
        matches!(self, Self::Livez | Self::Readyz | Self::Status | Self::Metrics)
    }

    /// True if and only if `method` is taken here.
    pub(crate) fn takes(&self, method: &str, is_writable: bool) -> bool {
        self.methods(is_writable).split(", ").any(|taken| taken == method)
    }
}

/// In a path a `+` is a plus.
fn decode(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_decoded_and_spell_numbers() {
        assert_eq!(Route::of("/map/a%2Fb/%C3%B1"), Some(Route::Entry("a/b/ñ".into())));
        assert_eq!(Route::of("/map/1"), Some(Route::Entry(Key::Int(1))));
        assert_eq!(Route::of("/map/a+b"), Some(Route::Entry("a+b".into())));
        assert_eq!(Route::of("/map/%ff"), None);
        assert_eq!(Route::of("/mapp"), None);
        assert_eq!(Route::of("/../etc/passwd"), None);
    }

    #[test]
    fn what_stand_ins_for_event_sources_add_is_ignored_for_events_alone() {
        for name in
            ["lastEventId", "Last-Event-ID", "last_event_id", "evs_last_event_id", "evs_preamble", "r", "t", "padding"]
        {
            assert!(Route::Events.ignores(name) && !Route::Map.ignores(name) && !Route::Live.ignores(name), "{name}");
        }
        for name in ["key", "Keys", "evs", "last", "id", "R", "limit", ""] {
            assert!(!Route::Events.ignores(name), "{name}");
        }
    }

    #[test]
    fn writing_is_taken_only_where_it_is_on() {
        assert!(Route::Map.takes("PATCH", true) && !Route::Map.takes("PATCH", false));
        let entry = Route::of("/map/x").unwrap();
        for method in ["PUT", "DELETE"] {
            assert!(entry.takes(method, true) && !entry.takes(method, false), "{method}");
        }
        assert!(entry.takes("GET", false) && !entry.takes("PATCH", true));
        assert!(!Route::Page.takes("POST", true) && !Route::Page.takes("get", true) && !Route::Page.takes("", true));
    }
}
