//! The framing of server-sent events (WHATWG HTML, section 9.2).

use std::time::Duration;

/// Sets the time after which a browser reconnects: 1 s. The default of browsers is 3 to 5 s.
pub(crate) const RETRY: &str = "retry: 1000\n\n";

/// The longest silence of a stream: 15 s, as the WHATWG advises (HTML, section 9.2.7). Proxies close connections that are
/// silent for longer: nginx after 60 s (`proxy_read_timeout`).
pub(crate) const MAX_SILENCE: Duration = Duration::from_secs(15);

/// Sent by a stream without news: a comment, which no client reports as an event.
pub(crate) const COMMENT: &[u8] = b":\n\n";

/// Returns one event. `data` must be one line: JSON escapes line ends inside its strings.
pub(crate) fn event(name: &str, id: Option<u64>, data: &str) -> String {
    let name = if name.is_empty() { String::new() } else { format!("event: {name}\n") };
    let id = id.map_or_else(String::new, |id| format!("id: {id}\n"));
    format!("{name}{id}data: {data}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_its_fields_and_an_empty_line() {
        assert_eq!(event("", Some(7), "{}"), "id: 7\ndata: {}\n\n");
        assert_eq!(event("status", None, "{}"), "event: status\ndata: {}\n\n");
    }
}
