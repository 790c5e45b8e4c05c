//! The logs of the sources: each problem and its end are logged once.

use std::time::{Duration, Instant};

use super::error::Error;
use super::sink::{Published, Sink};
use crate::display::notice::Notice;
use crate::stats::health::Failure;

/// Filters the log lines of a file source: each problem once, its end once, and each change.
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

/// How often another reason of the same kind is logged: every 30 s. An unreachable server refuses, resets and times out in
/// turn.
const REASON_PERIOD: Duration = Duration::from_secs(30);

/// Filters the log lines of a source across a network: up once, and down with each reason once, within [`REASON_PERIOD`] with
/// one reason of each kind.
#[derive(Debug)]
pub(super) struct ConnectionLog {
    /// The source, escaped and without its password.
    name: String,
    reported: Reported,
}

/// The state that was logged last.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reported {
    Nothing,
    Up,
    Down { kind: Failure, problem: String, at: Instant },
}

impl ConnectionLog {
    pub(super) fn new(name: String) -> Self {
        Self { name, reported: Reported::Nothing }
    }

    /// The source, escaped and without its password.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Records a published map. Returns a notice if and only if the source was not up before; each later map is logged at
    /// level debug, as there may be thousands a second.
    pub(super) fn up(&mut self, published: Published) -> Option<Notice> {
        if self.reported == Reported::Up {
            if published.changed {
                log::debug!("{}: {published}", self.name);
            }
            return None;
        }
        self.reported = Reported::Up;
        Some(Notice::info(format!("source up: {}: {published}", self.name)))
    }

    /// Records a failure, also in the sink's health. Returns a notice if and only if there was none before, the last logged
    /// one was of another kind, or it had another text and was logged [`REASON_PERIOD`] ago.
    pub(super) fn down(&mut self, error: &Error, sink: &Sink) -> Option<Notice> {
        self.down_at(error, sink, Instant::now())
    }

    fn down_at(&mut self, error: &Error, sink: &Sink, now: Instant) -> Option<Notice> {
        let kind = error.kind();
        sink.fail(error, |problem| {
            let is_known = match &self.reported {
                Reported::Down { kind: known, problem: logged, at } => {
                    *known == kind && (logged == problem || now.saturating_duration_since(*at) < REASON_PERIOD)
                }
                Reported::Nothing | Reported::Up => false,
            };
            if is_known {
                log::debug!("{problem}");
                return None;
            }
            self.reported = Reported::Down { kind, problem: problem.to_owned(), at: now };
            let kept = if sink.feed().version() == 0 { "there is no map yet" } else { "the last good map stays" };
            Some(Notice::warning(format!("source down: {problem}; {kept}")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::Feed;
    use crate::format::Format;
    use crate::map::builtin;
    use std::io;
    use std::sync::Arc;

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

    fn failure(kind: Failure, text: &str) -> Error {
        Error::Upstream { name: "tcp://h:1".to_owned(), kind, source: io::Error::other(text).into() }
    }

    #[test]
    fn up_and_down_are_logged_once_each() {
        let sink = Sink::new(Arc::new(Feed::new(Format::Json, 100)), vec![]);
        let mut upstream = ConnectionLog::new("tcp://h:1".to_owned());
        let refused = failure(Failure::Unreachable, "refused");
        let first = text(upstream.down(&refused, &sink));
        assert_eq!(first.as_deref(), Some("source down: tcp://h:1: refused; there is no map yet"));
        assert_eq!(upstream.down(&failure(Failure::Unreachable, "no answer"), &sink), None);
        let published = sink.publish(builtin()).unwrap();
        let up = text(upstream.up(published));
        assert_eq!(up.as_deref(), Some("source up: tcp://h:1: 4 entries, version 1"));
        assert_eq!(upstream.up(published), None);
        assert!(sink.health().state().up);
        let again = text(upstream.down(&refused, &sink));
        assert_eq!(again.as_deref(), Some("source down: tcp://h:1: refused; the last good map stays"));
        assert_eq!(sink.health().state().failures(Failure::Unreachable), 3);
    }

    #[test]
    fn a_failure_of_another_kind_is_logged() {
        let sink = Sink::new(Arc::new(Feed::new(Format::Json, 100)), vec![]);
        let mut upstream = ConnectionLog::new("tcp://h:1".to_owned());
        assert!(upstream.down(&failure(Failure::Unreachable, "refused"), &sink).is_some());
        assert!(upstream.down(&failure(Failure::Invalid, "no map"), &sink).is_some());
        assert!(upstream.down(&failure(Failure::Invalid, "no map either"), &sink).is_none());
    }

    #[test]
    fn the_problem_in_the_health_is_the_one_in_the_log() {
        let sink = Sink::new(Arc::new(Feed::new(Format::Json, 100)), vec![]);
        let (mut upstream, now) = (ConnectionLog::new("tcp://h:1".to_owned()), Instant::now());
        for (seconds, reason, is_logged, wanted) in [
            (0, "refused", true, "refused"),
            (29, "no answer", false, "refused"),
            (30, "refused", false, "refused"),
            (31, "no answer", true, "no answer"),
            (32, "refused", false, "no answer"),
            (300, "no answer", false, "no answer"),
        ] {
            let error = failure(Failure::Unreachable, reason);
            let notice = upstream.down_at(&error, &sink, now + Duration::from_secs(seconds));
            assert_eq!(notice.is_some(), is_logged, "{seconds}");
            assert_eq!(sink.health().state().problem, Some(format!("tcp://h:1: {wanted}")), "{seconds}");
        }
        assert_eq!(sink.health().state().failures(Failure::Unreachable), 6);
    }
}
