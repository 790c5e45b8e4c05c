//! Warnings that are logged once.

use log::warn;

/// The longest key in a message, in characters.
const LONGEST_KEY: usize = 64;

/// The last warning, until it is cleared.
#[derive(Debug, Default)]
pub(super) struct LogOnce(Option<String>);

impl LogOnce {
    /// Logs a warning, unless it equals the last one.
    pub(super) fn warn(&mut self, text: String) {
        if self.0.as_ref() != Some(&text) {
            warn!("{text}");
            self.0 = Some(text);
        }
    }

    /// Clears the last warning. Returns true if and only if there was one.
    pub(super) fn clear(&mut self) -> bool {
        self.0.take().is_some()
    }
}

/// Returns keys as a list for a message: the first three, escaped and cut, and the number of the others.
pub(super) fn list(keys: &[impl AsRef<str>]) -> String {
    let quote = |key: &str| format!("\"{}\"", key.chars().take(LONGEST_KEY).collect::<String>().escape_debug());
    let mut names: Vec<String> = keys.iter().take(3).map(|key| quote(key.as_ref())).collect();
    if let Some(more) = keys.len().checked_sub(3).filter(|more| *more > 0) {
        names.push(format!("{more} more"));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_three_keys_and_counts_the_rest() {
        assert_eq!(list(&["a\x1b", "b"]), "\"a\\u{1b}\", \"b\"");
        assert_eq!(list(&["a", "b", "c", "d", "e"]), "\"a\", \"b\", \"c\", 2 more");
    }

    #[test]
    fn clear_returns_true_once() {
        let mut log_once = LogOnce::default();
        log_once.warn("full".to_owned());
        assert!(log_once.clear());
        assert!(!log_once.clear());
    }
}
