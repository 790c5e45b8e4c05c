//! Paths, and the methods and parameters that each accepts.

use percent_encoding::percent_decode_str;

use crate::map::{Key, number_key};

/// The resource that a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    Page,
    /// The page's event stream.
    Live,
    /// The map's event stream.
    Events,
    Map,
    Entry(Key),
    Status,
    Clients,
    Metrics,
    /// The server runs.
    Livez,
    /// The server has a map and is not stopping.
    Readyz,
}

impl Route {
    /// Returns the route of `path`; `None` for an unknown path.
    pub(super) fn of(path: &str) -> Option<Self> {
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

    /// Returns the allowed methods as the value of `Allow`.
    pub(super) fn methods(&self, is_writable: bool) -> &'static str {
        match self {
            Self::Map if is_writable => "GET, HEAD, PUT, PATCH, OPTIONS",
            Self::Entry(_) if is_writable => "GET, HEAD, PUT, DELETE, OPTIONS",
            _ => "GET, HEAD, OPTIONS",
        }
    }

    /// Returns the accepted parameters.
    pub(super) fn parameters(&self) -> &'static [&'static str] {
        match self {
            Self::Events => &["keys"],
            Self::Clients => &["limit"],
            _ => &[],
        }
    }

    /// True if and only if the parameter `name` is ignored: polyfills of `EventSource` add it. A stream sends the map at once,
    /// so the last event's id is not needed.
    pub(super) fn ignores(&self, name: &str) -> bool {
        // event-source-polyfill, reconnecting-eventsource and Mercure's clients, each with a different spelling.
        let is_last_id = || name.replace(['-', '_'], "").eq_ignore_ascii_case("lastEventId");
        // eventsource-polyfill; event-source-polyfill 0.0.9 and ng-event-source (`r`); with XDomainRequest (`padding`);
        // others that defeat caches (`t`).
        let is_other = || name.starts_with("evs_") || ["r", "t", "padding"].contains(&name);
        *self == Self::Events && (is_last_id() || is_other())
    }

    /// True if and only if this reports the server's health: it is served to clients above a limit, too.
    pub(super) fn is_health(&self) -> bool {
        matches!(self, Self::Livez | Self::Readyz | Self::Status | Self::Metrics)
    }

    /// True if and only if `method` is allowed.
    pub(super) fn accepts(&self, method: &str, is_writable: bool) -> bool {
        self.methods(is_writable).split(", ").any(|allowed| allowed == method)
    }
}

/// Decodes a part of a path, in which a `+` is a plus.
fn decode(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_decoded_and_may_be_integers() {
        assert_eq!(Route::of("/map/a%2Fb/%C3%B1"), Some(Route::Entry("a/b/ñ".into())));
        assert_eq!(Route::of("/map/1"), Some(Route::Entry(Key::Int(1))));
        assert_eq!(Route::of("/map/a+b"), Some(Route::Entry("a+b".into())));
        assert_eq!(Route::of("/map/%ff"), None);
        assert_eq!(Route::of("/mapp"), None);
        assert_eq!(Route::of("/../etc/passwd"), None);
    }

    #[test]
    fn parameters_of_polyfills_are_ignored_for_events_only() {
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
    fn methods_that_write_need_a_token_file() {
        assert!(Route::Map.accepts("PATCH", true) && !Route::Map.accepts("PATCH", false));
        let entry = Route::of("/map/x").unwrap();
        for method in ["PUT", "DELETE"] {
            assert!(entry.accepts(method, true) && !entry.accepts(method, false), "{method}");
        }
        assert!(entry.accepts("GET", false) && !entry.accepts("PATCH", true));
        assert!(
            !Route::Page.accepts("POST", true) && !Route::Page.accepts("get", true) && !Route::Page.accepts("", true)
        );
    }
}
