//! The table of the map, and the list of changes.

use std::io::Write as _;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::Visit;
use crate::support::{has_command, skip};

impl Visit {
    /// Returns the shown keys of the map, in order.
    #[track_caller]
    fn keys(&self) -> Value {
        self.browser.run("return [...document.querySelectorAll('#entries th')].map((cell) => cell.textContent)")
    }

    #[track_caller]
    fn wait_keys(&self, keys: &[&str]) {
        self.browser.wait(&format!(
            "JSON.stringify([...document.querySelectorAll('#entries th')].map((cell) => cell.textContent)) === {}",
            json!(json!(keys).to_string())
        ));
    }

    #[track_caller]
    fn sort_map_by(&self, column: usize) {
        self.browser.run(&format!("document.querySelectorAll('#map thead button')[{column}].click()"));
    }

    #[track_caller]
    fn filter(&self, text: &str) {
        self.browser.run(&format!(
            "const filter = document.getElementById('filter');
             filter.value = {};
             filter.dispatchEvent(new Event('input'));",
            json!(text)
        ));
    }

    /// Presses a key where the focus is.
    #[track_caller]
    fn press(&self, key: &str, text: &str) {
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let code = if key.len() > 1 { key } else { "" };
            self.browser
                .command("Input.dispatchKeyEvent", &json!({ "type": kind, "key": key, "code": code, "text": text }));
        }
    }
}

#[test]
fn the_map_sorts_by_key_value_and_last_change() {
    let Some((visit, mut source)) = Visit::fed(r#"{"a": 10, "b": 9, "c": "x"}"#) else { return };
    visit.wait_keys(&["a", "b", "c"]);
    visit.sort_map_by(0);
    visit.wait_keys(&["c", "b", "a"]);
    visit.sort_map_by(1);
    visit.wait_keys(&["c", "b", "a"]);
    visit.sort_map_by(1);
    visit.wait_keys(&["a", "b", "c"]);
    writeln!(source, r#"{{"a": 10, "b": 8, "c": "x"}}"#).expect("a server that reads");
    visit.browser.wait("document.getElementById('entries').rows[1].cells[2].textContent.endsWith(' ago')");
    visit.sort_map_by(2);
    visit.wait_keys(&["b", "a", "c"]);
    let sorted =
        "[...document.querySelectorAll('#map th[aria-sort]')].map((head) => [head.textContent, head.ariaSort])";
    assert_eq!(visit.browser.run(&format!("return {sorted}")), json!([["changed", "descending"]]));
}

#[test]
fn the_filter_has_a_key_a_count_and_a_place_in_the_address() {
    let Some((visit, mut source)) = Visit::fed(r#"{"alpha": 1, "beta": 2, "gamma": 3}"#) else { return };
    visit.press("/", "/");
    visit.browser.wait("document.activeElement.id === 'filter' && document.activeElement.value === ''");
    // In the filter it is a character.
    visit.press("/", "/");
    visit.browser.wait("document.getElementById('filter').value === '/'");
    visit.browser.wait("document.getElementById('hits').textContent === '0 hits'");
    visit.browser.run(
        "const filter = document.getElementById('filter');
         filter.value = 'LP';
         filter.dispatchEvent(new Event('input'));",
    );
    visit.wait_keys(&["alpha"]);
    visit.browser.wait("document.getElementById('hits').textContent === '1 hit'");
    visit.sort_map_by(0);
    visit.browser.wait("location.hash === '#filter=LP&sort=-key'");
    visit.browser.run("location.reload()");
    visit.browser.wait("document.getElementById('filter').value === 'LP'");
    visit.wait_keys(&["alpha"]);
    // A changed address is obeyed.
    visit.browser.run("location.hash = '#filter=a&sort=-key'");
    visit.wait_keys(&["gamma", "beta", "alpha"]);
    writeln!(source, r#"{{"alpha": 1}}"#).expect("a server that reads");
    visit.wait_keys(&["alpha"]);
}

#[test]
fn hits_of_the_filter_are_marked_in_keys_and_values() {
    let map = r#"{"sensor/0001/temp": "one 1/T two 1/t", "<b>1/t</b>": 1, "İ1/t": 2, "other": 3}"#;
    let Some((visit, mut source)) = Visit::fed(map) else { return };
    let hits = "[...(CSS.highlights.get('hit') || [])].map((hit) => hit.toString()).sort()";
    visit.filter("1/T");
    // İ is longer in lower case: its hits are not marked.
    visit.browser.wait(&format!("{hits}.join(' ') === '1/T 1/t 1/t 1/t'"));
    assert_eq!(visit.browser.run("return document.querySelectorAll('#entries b').length"), 0);
    writeln!(source, r#"{{"a1/ta": 1}}"#).expect("a server that reads");
    visit.browser.wait(&format!("{hits}.join(' ') === '1/t'"));
    visit.filter("");
    visit.browser.wait(&format!("{hits}.length === 0"));
}

#[test]
fn the_shown_map_is_copied_and_the_whole_one_downloaded() {
    let Some((visit, _source)) = Visit::fed(r#"{"a\"<": 9223372036854775807, "b": "x\ny", "c": {"a": [1.50]}}"#) else {
        return;
    };
    visit.browser.run("Object.defineProperty(navigator, 'clipboard', { value: { writeText: async (text) => { window.copied = text; } } })");
    visit.browser.run("document.getElementById('copy-map').click()");
    visit.browser.wait("document.getElementById('copy-map').textContent === 'Copied'");
    let copied = visit.browser.run("return window.copied");
    assert_eq!(copied, "{\n  \"a\\\"<\": 9223372036854775807,\n  \"b\": \"x\\ny\",\n  \"c\": {\"a\":[1.5]}\n}\n");
    visit.filter("9223");
    visit.browser.run("document.getElementById('copy-map').click()");
    visit.browser.wait("window.copied === '{\\n  \"a\\\\\"<\": 9223372036854775807\\n}\\n'");
    let link =
        visit.browser.run("const { href, download } = document.getElementById('download'); return [href, download]");
    assert_eq!(link, json!([format!("http://{}/map", visit.site.page), "map.json"]));
}

#[test]
fn a_changing_number_has_a_line_of_its_last_30_values() {
    let Some((visit, mut source)) = Visit::fed(r#"{"n": 0, "t": "x"}"#) else { return };
    assert_eq!(visit.browser.run("return document.querySelectorAll('.trend').length"), 0);
    for number in 1..=35 {
        writeln!(source, r#"{{"n": {number}, "t": "{number}"}}"#).expect("a server that reads");
        visit.browser.wait(&format!("document.querySelector('#entries td').textContent === '{number}'"));
    }
    let line = "document.querySelector('.trend path').getAttribute('d').split('L')";
    let shown = visit.browser.run(&format!("return [{line}.length, {line}[0], {line}[29]]"));
    assert_eq!(shown, json!([30, "M0.0 100.0", "100.0 0.0"]));
    assert_eq!(visit.browser.run("return document.querySelectorAll('.trend').length"), 1, "numbers alone");
    writeln!(source, r#"{{"n": "text", "t": "x"}}"#).expect("a server that reads");
    visit.browser.wait("document.querySelectorAll('.trend').length === 0");
}

#[test]
fn a_change_of_another_day_is_listed_with_its_date() {
    let Some((visit, mut source)) = Visit::fed(r#"{"n": 0}"#) else { return };
    writeln!(source, r#"{{"n": 1}}"#).expect("a server that reads");
    visit.browser.wait("/^\\d\\d:\\d\\d:\\d\\d$/.test(document.querySelector('#changes time')?.textContent)");
    // The page runs on into another day.
    visit
        .browser
        .run("Date.prototype.toDateString = function () { return Date.now() - this > 1000 ? 'a day' : 'another'; }");
    visit
        .browser
        .wait("/^\\d+ [A-Z][a-z]+, \\d\\d:\\d\\d$/.test(document.querySelector('#changes time')?.textContent)");
}

#[test]
fn the_focus_stays_on_a_row_that_moves_and_on_its_buttons() {
    let Some((visit, mut source)) = Visit::fed(r#"{"a": 0, "b": 0, "c": 0}"#) else { return };
    visit.sort_map_by(2);
    visit.browser.run("document.querySelectorAll('#entries th button')[2].click()");
    visit.browser.wait("document.querySelector('.detail .push')");
    visit.browser.run("document.querySelectorAll('#entries th button')[2].focus()");
    writeln!(source, r#"{{"a": 0, "b": 0, "c": 1}}"#).expect("a server that reads");
    visit.wait_keys(&["c", "a", "b"]);
    assert_eq!(visit.browser.run("return document.activeElement.textContent"), "c");
    visit.browser.run("document.querySelector('.detail .push').focus()");
    writeln!(source, r#"{{"a": 0, "b": 0, "c": 22}}"#).expect("a server that reads");
    visit.browser.wait("document.querySelector('.detail pre').textContent === '22'");
    assert_eq!(visit.browser.run("return document.activeElement.textContent"), "Copy value");
}

#[test]
fn the_arrow_keys_read_the_line_of_the_clients() {
    let Some(visit) = Visit::start(&[]) else { return };
    let _client = visit.client();
    visit.browser.wait("document.getElementById('readout').textContent === 'least 0, most 1'");
    let text = "document.getElementById('plot').ariaValueText";
    visit.browser.wait(&format!("{text} === 'least 0, most 1'"));
    visit.browser.run("document.getElementById('plot').focus()");
    visit.press("End", "");
    visit.browser.wait(&format!("/^1 client at \\d\\d:\\d\\d:\\d\\d$/.test({text})"));
    visit.press("Home", "");
    visit.browser.wait(&format!("/^0 clients at /.test({text})"));
    visit.browser.run("document.getElementById('plot').blur()");
    visit.browser.wait(&format!("{text} === 'least 0, most 1'"));
}

#[test]
fn the_curl_line_of_a_key_of_dots_gets_its_value() {
    let Some((visit, _source)) = Visit::fed(r#"{".": 1, "..": 2, "...": 3}"#) else { return };
    visit.browser.run("document.querySelectorAll('#entries th button').forEach((button) => button.click())");
    visit.browser.wait("document.querySelectorAll('.detail code').length === 3");
    let lines =
        visit.browser.run("return [...document.querySelectorAll('.detail code')].map((part) => part.textContent)");
    if !has_command("curl") {
        return skip("no curl");
    }
    for (line, value) in lines.as_array().unwrap().iter().zip(["1\n", "2\n", "3\n"]) {
        let line = line.as_str().unwrap();
        let output = Command::new("sh").args(["-c", line]).stdin(Stdio::null()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), value, "{line}: {output:?}");
    }
}

#[test]
fn an_opened_entry_shows_the_whole_value_and_the_old_one() {
    let Some((visit, mut source)) = Visit::fed(r#"{"<b>/x": {"n":1}, "t": "old"}"#) else { return };
    let opened = format!(
        r#"{{"<b>/x": {{"big":9223372036854775807,"list":["<img src=x>",[]],"s":"a,b:{{"}}, "t": "one\ntwo {}"}}"#,
        "x".repeat(3000)
    );
    writeln!(source, "{opened}").expect("a server that reads");
    visit.browser.wait("document.getElementById('entries').rows[1].cells[2].textContent.endsWith(' ago')");
    visit.browser.run("document.querySelectorAll('#entries th button').forEach((button) => button.click())");
    visit.browser.wait("document.querySelectorAll('.detail pre').length === 2");
    let shown = |of: &str| {
        visit
            .browser
            .run(&format!("return [...document.querySelectorAll('.detail {of}')].map((part) => part.textContent)"))
    };
    let values = shown("pre");
    assert_eq!(
        values[0],
        "{\n  \"big\": 9223372036854775807,\n  \"list\": [\n    \"<img src=x>\",\n    []\n  ],\n  \"s\": \"a,b:{\"\n}"
    );
    assert_eq!(values[1], format!("one\ntwo {}", "x".repeat(3000)));
    assert_eq!(shown("code")[0], format!("curl 'http://{}/map/%3Cb%3E%2Fx'", visit.site.page));
    let notes = shown(".note");
    assert!(notes[0].as_str().unwrap().ends_with(r#", before: {"n":1}"#), "{notes}");
    assert!(notes[1].as_str().unwrap().starts_with("text, 3,008 characters, changed "), "{notes}");
    assert_eq!(visit.browser.run("return document.querySelectorAll('img, #entries b').length"), 0);
    // Closed again, with the keyboard.
    visit.browser.run("document.querySelectorAll('#entries th button')[0].focus()");
    visit.press("ArrowDown", "");
    visit.press("Enter", "\r");
    visit.browser.wait("document.querySelectorAll('.detail').length === 1");
    assert_eq!(visit.browser.run("return document.querySelectorAll('#entries [tabindex=\"0\"]').length"), 1);
}

#[test]
fn a_button_copies_the_value() {
    let Some((visit, _source)) = Visit::fed(r#"{"t": "one\ntwo"}"#) else { return };
    visit.browser.run("document.addEventListener('copy', () => { window.copied = getSelection().toString() || document.activeElement.value; });");
    // As without TLS on another host: the page then copies a selection.
    visit.browser.run("Object.defineProperty(navigator, 'clipboard', { value: undefined })");
    visit.browser.run("document.querySelector('#entries th button').click()");
    visit.browser.wait("document.querySelector('.detail .push')");
    // A click of a user: browsers let no other script copy.
    let click = json!({ "expression": "document.querySelector('.detail .push').click()", "userGesture": true });
    visit.browser.command("Runtime.evaluate", &click);
    visit.browser.wait("window.copied === 'one\\ntwo'");
}

#[test]
fn keys_break_after_separators_only() {
    let Some((visit, _source)) = Visit::fed(r#"{"sensor/0001/temperature_of.the-room": 1}"#) else { return };
    let parts = "[...document.querySelector('#entries th bdi').childNodes].map((part) => part.textContent || 'wbr')";
    let wanted = json!(["sensor/", "wbr", "0001/", "wbr", "temperature_", "wbr", "of.", "wbr", "the-", "wbr", "room"]);
    assert_eq!(visit.browser.run(&format!("return {parts}")), wanted);
    assert_eq!(visit.keys(), json!(["sensor/0001/temperature_of.the-room"]));
}

#[test]
fn the_last_50_changes_are_listed_with_old_and_new_values() {
    let Some((visit, mut source)) = Visit::fed(r#"{"n": 0, "t": "x"}"#) else { return };
    assert!(visit.text("changes-note").starts_with("No change since "), "{}", visit.text("changes-note"));
    let list = "[...document.querySelectorAll('#changes li > span')].map((change) => change.textContent)";
    writeln!(source, r#"{{"n": 1, "<i>": "1"}}"#).expect("a server that reads");
    visit.browser.wait("document.querySelectorAll('#changes li').length === 3");
    let changes = visit.browser.run(&format!("return {list}"));
    assert_eq!(changes, json!(["<i> added: 1", "n 0 → 1", "t removed: x"]));
    for number in 2..60 {
        writeln!(source, r#"{{"n": {number}, "<i>": "1"}}"#).expect("a server that reads");
        visit
            .browser
            .wait(&format!("document.querySelector('#changes li > span').textContent.endsWith(' → {number}')"));
    }
    assert_eq!(visit.browser.run("return document.querySelectorAll('#changes li').length"), 50);
    assert!(
        visit.text("changes-note").starts_with("the last 50 of 61 changes since "),
        "{}",
        visit.text("changes-note")
    );
    assert_eq!(visit.browser.run("return document.querySelector('#changes time').title.includes('20')"), true);
}

#[test]
fn a_page_shows_its_changes_also_after_the_server_stopped() {
    let Some((visit, mut source)) = Visit::fed(r#"{"n": 0}"#) else { return };
    writeln!(source, r#"{{"n": 1}}"#).expect("a server that reads");
    visit.browser.wait("document.querySelectorAll('#changes li').length === 1");
    visit.site.server.signal(Signal::STOP);
    visit.browser.wait("document.body.classList.contains('cut')");
    assert_eq!(visit.browser.run("return document.querySelectorAll('#changes li').length"), 1);
    visit.site.server.signal(Signal::CONT);
}
