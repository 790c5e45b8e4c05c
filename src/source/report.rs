//! The log of a file source: each problem once, the end of a problem once, and each change.

use super::sink::Published;
use crate::display::notice::Notice;

/// Filters the log lines of a source.
#[derive(Debug)]
pub(super) struct SourceLog {
    /// The source, escaped.
    name: String,
    /// The last problem that was logged and is not over, with the hash of the content that has it.
    problem: Option<(String, Option<u64>)>,
}

impl SourceLog {
    pub(super) fn new(name: String) -> Self {
        Self { name, problem: None }
    }

    /// The source, escaped.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Ends the current problem. Returns a notice if and only if there was one, or the map has changed.
    pub(super) fn recovered(&mut self, published: Published) -> Option<Notice> {
        let was_bad = self.problem.take().is_some();
        if !was_bad && !published.changed {
            return None;
        }
        let again = if was_bad { "good again, " } else { "" };
        Some(Notice::info(format!("{}: {again}{published}", self.name)))
    }

    /// Records a problem. Returns a notice if and only if the text or the content differs from the last one: a user who saves
    /// a file again wants to know that it is still wrong.
    pub(super) fn failed(&mut self, text: String, content: Option<u64>) -> Option<Notice> {
        let problem = (text, content);
        if self.problem.as_ref() == Some(&problem) {
            return None;
        }
        let notice = Notice::warning(format!("{}; the last good map stays", problem.0));
        self.problem = Some(problem);
        Some(notice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(changed: bool, version: u64) -> Published {
        Published { changed, entries: 12, version }
    }

    fn text(notice: Option<Notice>) -> Option<String> {
        notice.map(|notice| notice.text)
    }

    #[test]
    fn only_a_change_is_logged() {
        let mut log = SourceLog::new("flags.json".to_owned());
        assert_eq!(text(log.recovered(published(true, 3))).as_deref(), Some("flags.json: 12 entries, version 3"));
        assert_eq!(log.recovered(published(false, 3)), None);
    }

    #[test]
    fn a_problem_and_its_end_are_logged_once_each() {
        let mut log = SourceLog::new("flags.json".to_owned());
        let problem = || "flags.json: cannot be read: permission denied".to_owned();
        let notice = log.failed(problem(), None).unwrap();
        assert_eq!(notice.level, log::Level::Warn);
        assert_eq!(notice.text, "flags.json: cannot be read: permission denied; the last good map stays");
        assert_eq!(log.failed(problem(), None), None);
        assert_eq!(
            text(log.recovered(published(false, 3))).as_deref(),
            Some("flags.json: good again, 12 entries, version 3")
        );
        assert_eq!(log.recovered(published(false, 3)), None);
        assert!(log.failed(problem(), None).is_some());
        let again = text(log.recovered(published(true, 4)));
        assert_eq!(again.as_deref(), Some("flags.json: good again, 12 entries, version 4"));
    }

    #[test]
    fn the_same_problem_in_new_content_is_logged_again() {
        let mut log = SourceLog::new("flags.json".to_owned());
        let mut failed = |content| log.failed("invalid".to_owned(), Some(content));
        assert!(failed(1).is_some());
        assert!(failed(1).is_none());
        assert!(failed(2).is_some());
    }
}
