use super::*;

/// A new view, and the instant of its creation.
fn view() -> (View, Instant) {
    let mut view = View::new("host:1");
    view.show_format(Some(Format::Json));
    (view, Instant::now())
}

fn map(entries: &[(&str, i64)]) -> Map {
    entries.iter().map(|(key, number)| (Key::from(*key), Value::Int(*number))).collect()
}

/// The lines of the screen as text.
fn text(lines: &[Line]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}

#[test]
fn the_first_screen_says_connecting() {
    let (mut view, now) = view();
    assert_eq!(
        text(&view.draw(now, 80, 24)),
        [
            "host:1, json: connecting",
            "no frame yet | 0 frames | 0 changes | 0 reconnects | gap -, longest -",
            "",
            "0 entries; q quits"
        ]
    );
}

#[test]
fn the_map_is_in_columns_with_its_age_and_gaps() {
    let (mut view, now) = view();
    view.connection_changed(Connectivity::Connected { peer: ([127, 0, 0, 1], 1).into() }, now);
    for seconds in [0, 5, 7] {
        view.map_came(map(&[("a", 1), ("long", 2)]), now + Duration::from_secs(seconds));
    }
    assert_eq!(
        text(&view.draw(now + Duration::from_millis(8500), 80, 24)),
        [
            "host:1, json: connected",
            "frame 1.5s ago | 3 frames | 0 changes | 0 reconnects | gap 2.0s, longest 5.0s",
            "",
            "  a     1",
            "  long  2",
            "2 entries; q quits"
        ][..]
    );
}

#[test]
fn changes_after_the_first_map_are_highlighted_for_3_s() {
    let (mut view, now) = view();
    view.map_came(map(&[("gone", 1), ("new value", 1), ("same", 1)]), now);
    assert!(view.draw(now, 80, 24)[3..].iter().all(|line| line.style != Style::Highlighted));
    view.map_came(map(&[("added", 1), ("new value", 2), ("same", 1)]), now);
    let lines = view.draw(now + Duration::from_millis(2900), 80, 24);
    assert_eq!(text(&lines)[3..7], ["+ added      1", "- gone       1", "* new value  2", "  same       1"]);
    let highlighted: Vec<bool> = lines[3..7].iter().map(|line| line.style == Style::Highlighted).collect();
    assert_eq!(highlighted, [true, true, true, false]);
    let lines = view.draw(now + Duration::from_secs(3), 80, 24);
    assert_eq!(text(&lines)[3..6], ["  added      1", "  new value  2", "  same       1"]);
    assert!(lines[3..6].iter().all(|line| line.style == Style::Plain));
}

#[test]
fn an_entry_removed_and_added_again_is_marked_as_added() {
    let (mut view, now) = view();
    for entries in [&[("a", 1)][..], &[], &[("a", 1)]] {
        view.map_came(map(entries), now);
    }
    assert_eq!(text(&view.draw(now, 80, 24))[3], "+ a  1");
    assert_eq!(text(&view.draw(now + HIGHLIGHT, 80, 24))[3], "  a  1");
}

#[test]
fn an_unchanged_nan_is_not_a_change() {
    let (mut view, now) = view();
    for _ in 0..2 {
        view.map_came(Map::from([("n".into(), Value::Float(f64::NAN))]), now);
    }
    assert_eq!(view.changes, 0);
}

#[test]
fn a_change_after_the_cut_of_a_long_value_counts() {
    let (mut view, now) = view();
    for end in ["a", "b"] {
        view.map_came(Map::from([("t".into(), Value::Text("x".repeat(5000) + end))]), now);
    }
    assert_eq!(view.changes, 1);
}

#[test]
fn a_lost_connection_shows_the_delay_and_is_then_counted() {
    let (mut view, now) = view();
    let connected = Connectivity::Connected { peer: ([127, 0, 0, 1], 1).into() };
    view.connection_changed(connected.clone(), now);
    let lost = Connectivity::Lost { reason: "closed".to_owned(), retry_in: Duration::from_secs(2) };
    view.connection_changed(lost, now);
    let lines = view.draw(now + Duration::from_millis(500), 80, 24);
    assert_eq!((lines[0].text.as_str(), lines[0].style), ("host:1, json: closed; next attempt in 1.5s", Style::Error));
    view.connection_changed(connected, now);
    assert!(view.draw(now, 80, 24)[1].text.contains(" 1 reconnects "));
}

#[test]
fn a_large_map_is_scrolled_and_the_rest_is_counted() {
    let (mut view, now) = view();
    view.map_came((0..50).map(|number| (Key::Int(number), Value::Null)).collect(), now);
    let shown = |view: &mut View| {
        let lines = view.draw(now, 80, 14);
        assert_eq!(lines.len(), 14);
        (lines[3].text.trim().to_owned(), lines[13].text.clone())
    };
    let foot = "… 40 more: 1 to 10 of 50 entries; arrows, PgUp, PgDn; q quits";
    assert_eq!(shown(&mut view), ("0   null".to_owned(), foot.to_owned()));
    for (scroll, first) in [
        (Scroll::LineDown, "1"),
        (Scroll::PageDown, "11"),
        (Scroll::PageUp, "1"),
        (Scroll::LineUp, "0"),
        (Scroll::LineUp, "0"),
        (Scroll::Bottom, "40"),
        (Scroll::PageDown, "40"),
        (Scroll::LineUp, "39"),
        (Scroll::Top, "0"),
    ] {
        view.scroll(scroll);
        assert!(shown(&mut view).0.starts_with(first), "{scroll:?}");
    }
}

#[test]
fn the_screen_never_exceeds_the_terminal() {
    let (mut view, now) = view();
    let wide = Map::from([("日本語\x1b[2J".repeat(20).into(), Value::Text("日本語\x1b[2J\n".repeat(50)))]);
    view.map_came(wide, now);
    let reason = "\x1b]0;title\x07".to_owned();
    view.connection_changed(Connectivity::Lost { reason, retry_in: Duration::ZERO }, now);
    for (width, height) in [(0, 0), (1, 1), (7, 3), (20, 5), (80, 24)] {
        let lines = view.draw(now, width, height);
        assert!(lines.len() <= height);
        for line in lines {
            assert!(line.text.width() <= width && !line.text.contains(char::is_control), "{width}: {line:?}");
        }
    }
}
