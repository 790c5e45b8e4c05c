//! What a source has to say in the log: each problem once, once that it is over, and each change.

use std::error::Error;

use log::Level;

use super::Published;
use crate::display::error_chain::ErrorChain;

/// A line for the log. Returned rather than written, so that what is said can be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) level: Level,
    pub(super) text: String,
}

/// How a source fares, and so what is news about it.
#[derive(Debug)]
pub(super) struct SourceLog {
    /// The source, escaped.
    name: String,
    /// The problem that was told last and is not over, with the content it was found in.
    problem: Option<(String, Option<u64>)>,
}

impl Notice {
    pub(super) fn new(level: Level, text: String) -> Self {
        Self { level, text }
    }

    pub(super) fn log(&self) {
        log::log!(self.level, "{}", self.text);
    }
}

impl SourceLog {
    pub(super) fn new(name: String) -> Self {
        Self { name, problem: None }
    }

    /// The source, escaped.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Ends the problem, if there was one. Returns a notice if and only if it did, or the map has changed.
    pub(super) fn recovered(&mut self, published: Published) -> Option<Notice> {
        let was_bad = self.problem.take().is_some();
        if !was_bad && !published.changed {
            return None;
        }
        let again = if was_bad { "good again, " } else { "" };
        Some(Notice::new(Level::Info, format!("{}: {again}{published}", self.name)))
    }

    /// Begins a problem. Returns a notice if and only if it is another one than the last, or was found in another
    /// content: whoever saves a file again wants to know that it is still wrong.
    pub(super) fn failed(&mut self, error: &dyn Error, content: Option<u64>) -> Option<Notice> {
        let problem = (ErrorChain(error).to_string(), content);
        if self.problem.as_ref() == Some(&problem) {
            return None;
        }
        let notice = Notice::new(Level::Warn, format!("{}; the last good map stays", problem.0));
        self.problem = Some(problem);
        Some(notice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn published(changed: bool, version: u64) -> Published {
        Published { changed, entries: 12, version }
    }

    fn text(notice: Option<Notice>) -> Option<String> {
        notice.map(|notice| notice.text)
    }

    #[test]
    fn a_change_is_told_and_no_change_is_not() {
        let mut report = SourceLog::new("flags.json".to_owned());
        assert_eq!(text(report.recovered(published(true, 3))).as_deref(), Some("flags.json: 12 entries, version 3"));
        assert_eq!(report.recovered(published(false, 3)), None);
    }

    #[test]
    fn a_problem_is_told_once_and_its_end_once() {
        let mut report = SourceLog::new("flags.json".to_owned());
        let error = super::super::Error::Unreadable {
            name: "flags.json".to_owned(),
            source: io::Error::from(io::ErrorKind::PermissionDenied),
        };
        let notice = report.failed(&error, None).unwrap();
        assert_eq!(notice.level, Level::Warn);
        assert_eq!(notice.text, "flags.json: cannot be read: permission denied; the last good map stays");
        assert_eq!(report.failed(&error, None), None);
        assert_eq!(
            text(report.recovered(published(false, 3))).as_deref(),
            Some("flags.json: good again, 12 entries, version 3")
        );
        assert_eq!(report.recovered(published(false, 3)), None);
        assert!(report.failed(&error, None).is_some());
        let again = text(report.recovered(published(true, 4)));
        assert_eq!(again.as_deref(), Some("flags.json: good again, 12 entries, version 4"));
    }

    #[test]
    fn the_same_problem_in_another_content_is_told_again() {
        let mut report = SourceLog::new("flags.json".to_owned());
        let error = io::Error::from(io::ErrorKind::InvalidData);
        assert!(report.failed(&error, Some(1)).is_some());
        assert!(report.failed(&error, Some(1)).is_none());
        assert!(report.failed(&error, Some(2)).is_some());
    }
}
