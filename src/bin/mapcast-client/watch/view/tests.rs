use super::*;
use crate::watch::row::HIGHLIGHT;
use mapcast::Value;
use mapcast::client::LossCause;
use unicode_width::UnicodeWidthStr;

/// A new view, and the instant of its creation.
fn view() -> (View, Instant) {
    let mut view = View::new("host:1");
    view.show_format(Some(Format::Json));
    (view, Instant::now())
}

fn lost(reason: &str, retry_in: Duration) -> Connectivity {
    Connectivity::Lost { cause: LossCause::Failed, reason: reason.to_owned(), retry_in }
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
        ["host:1, json: connecting", "no map yet", "", "0 entries; ? help, q quits"]
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
            "no change yet | 3 frames, 1.5 s ago | gap 2.0 s, longest 5.0 s",
            "",
            "  a     1",
            "  long  2",
            "2 entries; ? help, q quits"
        ][..]
    );
}

#[test]
fn changes_after_the_first_map_are_highlighted_for_3_s() {
    let (mut view, now) = view();
    view.map_came(map(&[("gone", 1), ("new value", 1), ("same", 1)]), now);
    assert!(view.draw(now, 80, 24)[3..6].iter().all(|line| line.style == Style::Plain));
    view.map_came(map(&[("added", 1), ("new value", 2), ("same", 1)]), now);
    let lines = view.draw(now + Duration::from_millis(2900), 80, 24);
    let shown = [
        "+ added      1  (new, 2 s ago)",
        "- gone       1  (removed, 2 s ago)",
        "* new value  2  (was 1, 2 s ago)",
        "  same       1",
    ];
    assert_eq!(text(&lines)[3..7], shown);
    let styles: Vec<Style> = lines[3..7].iter().map(|line| line.style).collect();
    assert_eq!(styles, [Style::Added, Style::Removed, Style::Changed, Style::Plain]);
    assert_eq!(&lines[6].text[lines[6].key.clone()], "same");
    assert_eq!(text(&lines)[7], "3 entries; ? help, q quits", "without the one that is gone");
    let lines = view.draw(now + Duration::from_secs(200), 80, 24);
    let shown = ["  added      1  (new, 3 min ago)", "  new value  2  (was 1, 3 min ago)", "  same       1"];
    assert_eq!(text(&lines)[3..6], shown);
    assert!(lines[3..6].iter().all(|line| line.style == Style::Plain));
}

#[test]
fn an_entry_removed_and_added_again_is_marked_as_added() {
    let (mut view, now) = view();
    for entries in [&[("a", 1)][..], &[], &[("a", 1)]] {
        view.map_came(map(entries), now);
    }
    assert_eq!(text(&view.draw(now, 80, 24))[3], "+ a  1  (new, 0 s ago)");
    assert_eq!(text(&view.draw(now + HIGHLIGHT, 80, 24))[3], "  a  1  (new, 3 s ago)");
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
fn a_lost_connection_shows_its_age_the_next_try_and_the_reason() {
    let (mut view, now) = view();
    let connected = Connectivity::Connected { peer: ([127, 0, 0, 1], 1).into() };
    let lost = |reason: &str| lost(reason, Duration::from_secs(2));
    view.map_came(map(&[("a", 1)]), now);
    view.connection_changed(connected.clone(), now);
    view.connection_changed(lost("closed"), now);
    let reason = "cannot connect to 127.0.0.1:8080 (is the server running there?): Connection refused (os error 111)";
    let later = now + Duration::from_secs(12);
    view.connection_changed(lost(reason), later);
    let lines = view.draw(later + Duration::from_millis(500), 80, 24);
    assert_eq!(
        text(&lines)[..3],
        [
            "host:1, json: cut off 12 s, next try in 2 s",
            "cannot connect to 127.0.0.1:8080 (is the…re?): Connection refused (os error 111)",
            "no change yet | 1 frame, 12.5 s ago",
        ]
    );
    assert_eq!((lines[0].style, lines[1].style), (Style::Error, Style::Error));
    view.connection_changed(connected, later);
    let lines = view.draw(later, 80, 24);
    assert_eq!(text(&lines)[..3], ["host:1, json: connected", "no change yet | 1 frame, 12.0 s ago | 1 reconnect", ""]);
}

#[test]
fn the_age_of_the_last_change_and_singulars_are_shown() {
    let (mut view, now) = view();
    for (number, seconds) in [(1, 0), (2, 5)] {
        view.map_came(map(&[("a", number)]), now + Duration::from_secs(seconds));
    }
    let lines = view.draw(now + Duration::from_secs(17), 80, 24);
    assert_eq!(lines[1].text, "changed 12 s ago | 1 change | 2 frames, 12.0 s ago | gap 5.0 s, longest 5.0 s");
    assert_eq!(lines[4].text, "1 entry; ? help, q quits");
}

#[test]
fn a_long_value_leaves_room_for_the_old_one_except_when_narrow() {
    let (mut view, now) = view();
    for end in ["a", "b"] {
        view.map_came(Map::from([("sensor/0001/temperature/degrees".into(), Value::Text("x".repeat(100) + end))]), now);
    }
    let line = |view: &mut View, width| view.draw(now, width, 24)[3].text.clone();
    let key = "sensor/0001/temperature/degrees";
    let old = "\"xxxxxxxxxxxxxxxxxx…";
    assert_eq!(line(&mut view, 100), format!("* {key}  \"{}…  (was {old}, 0 s ago)", "x".repeat(26)));
    assert_eq!(line(&mut view, 80), format!("* {key}  \"{}…  (0 s ago)", "x".repeat(32)));
    assert_eq!(line(&mut view, 40), "* sensor/0…degrees  \"xxxxxxxxxxxxxxxxxx…");
}

#[test]
fn a_filter_shows_matching_entries_and_their_number() {
    let (mut view, now) = view();
    view.map_came(map(&[("alpha", 1), ("beta", 22), ("gamma", 2)]), now);
    view.edit_filter(Edit::Begin);
    view.edit_filter(Edit::Insert('2'));
    assert_eq!(view.key_target(), KeyTarget::Filter);
    let lines = view.draw(now, 80, 24);
    assert_eq!(text(&lines)[3..], ["  beta   22", "  gamma  2", "filter: 2_ (Enter keeps it, Esc removes it)"]);
    view.edit_filter(Edit::Accept);
    assert_eq!(view.key_target(), KeyTarget::Map);
    assert_eq!(view.draw(now, 80, 24)[5].text, "2 of 3 entries with \"2\"; ? help, q quits");
    view.edit_filter(Edit::Clear);
    assert_eq!(view.draw(now, 80, 24).len(), 7);
}

#[test]
fn the_help_replaces_the_entries_and_fits_a_small_terminal() {
    let (mut view, now) = view();
    view.map_came(map(&[("alpha", 1)]), now);
    view.toggle_help();
    assert_eq!(view.key_target(), KeyTarget::Help);
    let lines = view.draw(now, 80, 12);
    assert!(lines.len() <= 12 && lines.iter().all(|line| !line.text.contains('…')), "{lines:?}");
    assert!(lines[4].text.starts_with("  /  ") && !text(&lines).contains(&"  alpha  1"));
    view.toggle_help();
    assert_eq!(view.draw(now, 80, 24)[3].text, "  alpha  1");
}

#[test]
fn a_change_outside_of_the_screen_is_counted_in_the_last_line() {
    let (mut view, now) = view();
    let numbered = |changed: &[i64]| -> Map {
        (0..30).map(|number| (Key::Int(number), Value::Int(i64::from(changed.contains(&number))))).collect()
    };
    view.map_came(numbered(&[]), now);
    view.map_came(numbered(&[0, 1, 20]), now);
    let foot = |view: &mut View, now| {
        let line = view.draw(now, 80, 14).pop().unwrap();
        (line.text, line.style)
    };
    let entries = "… 20 more: 1 to 10 of 30 entries; arrows, PgUp, PgDn; ? help, q quits";
    let changed = "1 changed below; … 20 more: 1 to 10 of 30 entries; ? help, q quits";
    assert_eq!(foot(&mut view, now), (changed.to_owned(), Style::Strong));
    view.scroll(Scroll::Bottom);
    assert!(foot(&mut view, now).0.starts_with("2 changed above; … 20 more: 21 to 30 of 30 entries;"));
    view.scroll(Scroll::Top);
    assert_eq!(foot(&mut view, now + HIGHLIGHT), (entries.to_owned(), Style::Faint));
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
    let foot = "… 40 more: 1 to 10 of 50 entries; arrows, PgUp, PgDn; ? help, q quits";
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
    let changed = wide.keys().map(|key| (key.clone(), Value::Text("\x1b[2J".to_owned()))).collect();
    for map in [wide, changed] {
        view.map_came(map, now);
    }
    view.edit_filter(Edit::Begin);
    view.edit_filter(Edit::Insert('J'));
    view.edit_filter(Edit::Accept);
    let reason = "\x1b]0;title\x07".to_owned();
    view.connection_changed(lost(&reason, Duration::ZERO), now);
    for (width, height) in [(0, 0), (1, 1), (7, 3), (20, 5), (80, 24)] {
        let lines = view.draw(now, width, height);
        assert!(lines.len() <= height);
        for line in lines {
            assert!(line.text.width() <= width && !line.text.contains(char::is_control), "{width}: {line:?}");
        }
    }
}

#[test]
fn a_server_that_was_never_there_is_not_a_lost_connection() {
    let (mut view, now) = view();
    let lost = lost("refused", Duration::from_secs(2));
    view.connection_changed(lost, now);
    let later = now + Duration::from_millis(1500);
    assert_eq!(
        text(&view.draw(later, 80, 24))[..3],
        ["host:1, json: no server for 1 s, next try in 1 s", "refused", "no map yet"]
    );
    view.connection_changed(Connectivity::Connected { peer: ([127, 0, 0, 1], 1).into() }, later);
    view.map_came(map(&[("a", 1)]), later);
    assert_eq!(view.draw(later, 80, 24)[1].text, "no change yet | 1 frame, 0.0 s ago");
}

#[test]
fn a_paused_view_keeps_its_map_and_then_shows_the_newest() {
    let (mut view, now) = view();
    view.map_came(map(&[("a", 1)]), now);
    view.toggle_pause(now);
    for number in 2..=4 {
        view.map_came(map(&[("a", number)]), now);
    }
    let lines = view.draw(now, 80, 24);
    assert_eq!(lines[0].text, "host:1, json: connecting, paused with 3 newer maps");
    assert_eq!(
        (lines[1].text.as_str(), lines[3].text.as_str()),
        ("no change yet | 4 frames, 0.0 s ago | gap 0.0 s, longest 0.0 s", "  a  1")
    );
    let later = now + Duration::from_mins(1);
    view.toggle_pause(later);
    assert_eq!(text(&view.draw(later, 80, 24))[0], "host:1, json: connecting");
    assert_eq!(text(&view.draw(later, 80, 24))[3], "* a  4  (was 1, 0 s ago)");
    assert_eq!(view.changes, 1);
    view.toggle_pause(later);
    view.toggle_pause(later);
    assert_eq!(view.changes, 1, "nothing came while it was paused");
}

#[test]
fn entries_are_sorted_by_their_last_change() {
    let (mut view, now) = view();
    for (seconds, entries) in [
        (0, [("a", 1), ("b", 1), ("c", 1), ("d", 1)]),
        (1, [("a", 1), ("b", 1), ("c", 2), ("d", 1)]),
        (2, [("a", 1), ("b", 2), ("c", 2), ("d", 1)]),
    ] {
        view.map_came(map(&entries), now + Duration::from_secs(seconds));
    }
    let later = now + Duration::from_mins(1);
    let keys =
        |view: &mut View| -> String { view.draw(later, 80, 24)[3..7].iter().map(|line| &line.text[2..3]).collect() };
    assert_eq!(keys(&mut view), "abcd");
    view.toggle_order();
    assert_eq!(keys(&mut view), "bcad");
    assert_eq!(view.draw(later, 80, 24)[7].text, "4 entries; by change; ? help, q quits");
    view.toggle_order();
    assert_eq!(keys(&mut view), "abcd");
}

#[test]
fn long_values_move_to_their_end_and_back() {
    let (mut view, now) = view();
    let long = (0..30).map(|number| format!("{number:02} ")).collect::<Vec<_>>().concat();
    view.map_came(Map::from([("a".into(), Value::Text(long)), ("b".into(), Value::Text("short".to_owned()))]), now);
    let lines = |view: &mut View| -> Vec<String> {
        view.draw(now, 40, 24)[3..5].iter().map(|line| line.text.clone()).collect()
    };
    assert_eq!(lines(&mut view), ["  a  \"00 01 02 03 04 05 06 07 08 09 10 …", "  b  \"short\""]);
    view.scroll(Scroll::Right);
    assert_eq!(lines(&mut view), ["  a  …05 06 07 08 09 10 11 12 13 14 15 …", "  b  \"short\""]);
    for _ in 0..20 {
        view.scroll(Scroll::Right);
        lines(&mut view);
    }
    assert_eq!(lines(&mut view)[0], "  a  …19 20 21 22 23 24 25 26 27 28 29 \"");
    for _ in 0..6 {
        view.scroll(Scroll::Left);
    }
    assert_eq!(lines(&mut view)[0], "  a  \"00 01 02 03 04 05 06 07 08 09 10 …");
}
