use super::*;
use crate::feed::Feed;
use crate::format::Format;
use crate::source::tests::StopOnDrop;
use crate::stats::health::Failure;
use std::io::{PipeReader, PipeWriter, Write, pipe};
use std::sync::Arc;
use std::thread;

/// The time limit of a wait: long enough for any machine.
const PATIENCE: Duration = Duration::from_mins(1);

fn sink() -> Sink {
    Sink::new(Arc::new(Feed::new(Format::Json, 100)), vec![])
}

fn payload(sink: &Sink) -> String {
    String::from_utf8(sink.feed().latest().expect("a map").frame.payload().to_vec()).unwrap()
}

/// Returns a source whose input is not read: the tests call `take`.
fn unread() -> Lines<PipeReader> {
    Lines::new(pipe().unwrap().0, "standard input")
}

fn texts(news: &[Notice]) -> Vec<&str> {
    news.iter().map(|notice| notice.text.as_str()).collect()
}

/// Runs `write` while a thread follows the input, until `write` returns.
fn while_following(write: impl FnOnce(&mut PipeWriter, &Sink)) -> Sink {
    let (sink, stop, (reader, mut writer)) = (sink(), Shutdown::new().unwrap(), pipe().unwrap());
    let mut lines = Lines::new(reader, "standard input");
    thread::scope(|scope| {
        let follower = scope.spawn(|| lines.follow(&sink, &stop));
        write(&mut writer, &sink);
        drop(writer);
        follower.join().unwrap();
    });
    sink
}

#[test]
fn before_the_first_line_the_feed_has_no_map() {
    let sink = sink();
    unread().load(&sink, &Shutdown::new().unwrap()).unwrap();
    assert!(sink.feed().latest().is_none());
}

#[test]
fn a_line_is_published_while_the_writer_stays() {
    while_following(|writer, sink| {
        for number in 1..=3 {
            // One line and a half in the first write: each complete line is published at once.
            write!(writer, "{{\"n\":0}}\n{{\"n\"").unwrap();
            writeln!(writer, ":{number}}}").unwrap();
            let wanted = format!("{{\"n\":{number}}}");
            let mut version = 0;
            while payload_after(sink, &mut version) != wanted {}
        }
    });
}

fn payload_after(sink: &Sink, version: &mut u64) -> String {
    let snapshot = sink.feed().wait(*version, PATIENCE).expect("a newer map");
    *version = snapshot.version;
    String::from_utf8(snapshot.frame.payload().to_vec()).unwrap()
}

#[test]
fn a_last_line_without_a_line_feed_is_published() {
    let sink = while_following(|writer, _| writer.write_all(b"{\"n\":1}\n{\"n\":2}").unwrap());
    assert_eq!((payload(&sink), sink.feed().version()), (r#"{"n":2}"#.to_owned(), 2));
}

#[test]
fn lines_may_end_in_cr_lf_and_blank_lines_are_skipped() {
    let (sink, mut lines) = (sink(), unread());
    let news = lines.take(b"\r\n{\"n\":1}\r\n\n  \t\n{\"n\":2}\r\nx\n", &sink);
    assert_eq!(sink.feed().version(), 2);
    let [first, bad] = &news[..] else { panic!("{:?}", texts(&news)) };
    assert_eq!(first.text, "standard input: 1 entry, version 1");
    assert!(bad.level == log::Level::Warn && bad.text.contains("line 6,"), "{}", bad.text);
}

#[test]
fn an_invalid_line_is_logged_with_its_position_and_skipped() {
    let large = format!("{{\"n\":\"{}\"}}", "x".repeat(100));
    let huge = "x".repeat(MIN_MAX_LINE + 1);
    for (bad, place, kind) in [
        (b"{\"n\": \"\xff\"}".as_slice(), "line 2, column 8: ", Failure::Invalid),
        (b"{\"n\": 1", "line 2, column 7: ", Failure::Invalid),
        (b"[1]", "line 2: ", Failure::Invalid),
        (b"{\"n\":1} {\"n\":2}", "line 2, column 9: ", Failure::Invalid),
        (b"\x1b[2J", "line 2, column 1: ", Failure::Invalid),
        (large.as_bytes(), "line 2: ", Failure::TooLarge),
        (huge.as_bytes(), "line 2: ", Failure::TooLarge),
    ] {
        let (sink, mut lines) = (sink(), unread());
        lines.take(b"{\"n\":1}\n", &sink);
        let news = lines.take(&[bad, b"\n"].concat(), &sink);
        let [notice] = news.as_slice() else { panic!("{place}: {:?}", texts(&news)) };
        assert_eq!((notice.level, sink.health().state().failures(kind)), (log::Level::Warn, 1));
        assert!(notice.text.starts_with("standard input") && notice.text.contains(place), "{}", notice.text);
        assert!(!notice.text.contains('\x1b'));
        assert_eq!(payload(&sink), r#"{"n":1}"#);
        assert_eq!(texts(&lines.take(b"{\"n\":3}\n", &sink)), [""; 0]);
        assert_eq!(payload(&sink), r#"{"n":3}"#);
    }
}

#[test]
fn a_line_of_the_maximum_length_is_read() {
    let (sink, mut lines) = (sink(), unread());
    let line = format!("{{\"n\":1{}}}\n", " ".repeat(MIN_MAX_LINE - 7));
    assert_eq!(line.len(), MIN_MAX_LINE + 1);
    for part in line.as_bytes().chunks(1000) {
        lines.take(part, &sink);
    }
    assert_eq!(payload(&sink), r#"{"n":1}"#);
}

#[test]
fn errors_are_logged_once_a_period_with_the_suppressed_count() {
    let (sink, mut lines, idle) = (sink(), unread(), Shutdown::new().unwrap());
    lines.throttle = Throttle::new(Duration::from_millis(300));
    assert_eq!(lines.take(b"x\n", &sink).len(), 1);
    let mut suppressed = 0;
    let text = loop {
        match lines.take(b"x\n", &sink).pop() {
            None => suppressed += 1,
            // On a busy machine a period may end before the next line.
            Some(_) if suppressed == 0 => {}
            Some(notice) => break notice.text,
        }
        idle.wait(Duration::from_millis(10));
    };
    assert!(text.ends_with(&format!(" ({suppressed} more held back)")), "{text}");
}

#[test]
fn suppressed_errors_are_logged_at_the_end() {
    for is_stopped in [false, true] {
        let (sink, stop, (reader, mut writer)) = (sink(), Shutdown::new().unwrap(), pipe().unwrap());
        let mut lines = Lines::new(reader, "standard input");
        lines.throttle = Throttle::new(Duration::from_hours(1));
        assert_eq!(lines.take(b"x\nx\nx\n", &sink).len(), 1);
        if is_stopped {
            stop.trigger();
        } else {
            // The last line, without a line feed, is invalid as well.
            writer.write_all(b"x").unwrap();
            drop(writer);
        }
        lines.follow(&sink, &stop);
        assert_eq!(lines.throttle.due(), None, "{is_stopped}");
    }
}

#[test]
fn the_memory_for_a_long_line_is_bounded() {
    let (sink, mut lines) = (sink(), unread());
    let part = vec![b'x'; CHUNK];
    for _ in 0..64 {
        lines.take(&part, &sink);
        assert!(lines.line.capacity() <= 2 * MIN_MAX_LINE);
    }
    assert_eq!(lines.line.capacity(), 0);
}

#[test]
fn a_stop_ends_follow_while_the_writer_is_silent() {
    let (sink, stop, (reader, mut writer)) = (sink(), Shutdown::new().unwrap(), pipe().unwrap());
    let mut lines = Lines::new(reader, "standard input");
    thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        scope.spawn(|| lines.follow(&sink, &stop));
        writer.write_all(b"{\"n\":1}\n{\"n\":").unwrap();
        assert!(sink.feed().wait(0, PATIENCE).is_some());
    });
    assert_eq!(payload(&sink), r#"{"n":1}"#);
}

#[test]
fn a_stop_takes_precedence_over_unread_input() {
    let (sink, stop, (reader, mut writer)) = (sink(), Shutdown::new().unwrap(), pipe().unwrap());
    writer.write_all(b"{\"n\":1}\n").unwrap();
    stop.trigger();
    Lines::new(reader, "standard input").follow(&sink, &stop);
    assert!(sink.feed().latest().is_none());
}

#[test]
fn after_a_read_error_the_last_map_stays() {
    let (sink, stop) = (sink(), Shutdown::new().unwrap());
    sink.publish([("n".into(), 1.into())].into()).unwrap();
    let directory = std::fs::File::open("/").unwrap();
    Lines::new(directory, "standard input").follow(&sink, &stop);
    assert_eq!(payload(&sink), r#"{"n":1}"#);
}

#[test]
fn standard_input_is_read_from_a_duplicate_descriptor() {
    use std::os::fd::AsRawFd;
    assert!(Lines::standard_input().unwrap().input.as_raw_fd() > 2);
}
