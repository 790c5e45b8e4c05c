//! What the page shows about the source, and without a map.

use std::fs;
use std::io::Write as _;

use super::Visit;
use crate::support::program::Program;

#[test]
fn a_source_that_is_down_is_shown_with_problem_and_time() {
    let file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    fs::write(file.path(), r#"{"a": 1}"#).unwrap();
    let Some(visit) = Visit::start(&["--source", file.path().to_str().unwrap()]) else { return };
    visit.browser.wait("document.getElementById('state').classList.contains('live')");
    let name = file.path().to_str().unwrap();
    visit.browser.wait("document.getElementById('source').className === 'note up'");
    let source = visit.text("source");
    assert!(source.starts_with(&format!("Source: {name}, ok, last data ")), "{source}");
    fs::write(file.path(), r#"{"a": 2,}"#).unwrap();
    visit.browser.wait("!document.getElementById('banner').hidden");
    assert_eq!(visit.text("state"), "source down");
    assert!(visit.text("trouble").starts_with("The source has been down since "), "{}", visit.text("trouble"));
    let source = visit.text("source");
    assert!(source.starts_with(&format!("Source: {name}, down since ")), "{source}");
    let remedy = visit.text("remedy");
    let name = file.path().file_name().unwrap().to_str().unwrap();
    assert!(remedy.contains(name) && remedy.ends_with(". Clients keep the last good map."), "{remedy}");
    assert_eq!(visit.browser.run("return document.getElementById('state').className"), "note down");
    // The time of the first problem, not of later ones.
    let since = visit.site.json("/status")["source"]["down_since_ms"].clone();
    fs::write(file.path(), r#"{"a": 2,,}"#).unwrap();
    visit.browser.wait("document.getElementById('lasting').textContent.match(/^\\([2-9]|[1-9][0-9]/)");
    assert_eq!(visit.site.json("/status")["source"]["down_since_ms"], since);
    assert_eq!(visit.entries(), serde_json::json!([["a", "1"]]));

    fs::write(file.path(), r#"{"a": 3}"#).unwrap();
    visit.browser.wait("document.getElementById('banner').hidden");
    visit.browser.wait("document.getElementById('state').className === 'note live'");
    assert!(visit.site.json("/status")["source"]["down_since_ms"].is_null());
}

#[test]
fn a_page_without_a_map_says_so() {
    let Some(visit) = Visit::start(&["--source", "-"]) else { return };
    visit.browser.wait("document.getElementById('state').classList.contains('live')");
    visit.browser.wait("document.getElementById('about').textContent === 'none yet'");
    assert_eq!((visit.text("age"), visit.text("more-entries")), (String::new(), String::new()));
    visit.browser.wait("!document.getElementById('empty-map').hidden");
    let help = visit.text("empty-map");
    assert!(help.starts_with("The source has not delivered a map yet."), "{help}");
    assert_eq!(visit.text("source"), "Source: standard input, no data yet");
}

#[test]
fn a_page_without_a_client_has_the_command_to_connect_one() {
    let Some(visit) = Visit::start(&["--format", "json"]) else { return };
    visit
        .browser
        .wait("document.getElementById('connect-text').textContent === 'No client is connected. Connect one:'");
    assert_eq!(visit.text("command"), format!("mapcast-client {} -f json", visit.site.server.addr()));
    assert_eq!(visit.browser.run("return document.getElementById('clients-scroll').hidden"), true);
    let command = visit.text("command");
    let args: Vec<&str> = command.split(' ').skip(1).chain(["-n", "1"]).collect();
    Program::client(&args).finish().assert_exit(0);
}

#[test]
fn an_empty_map_says_so() {
    let Some(mut visit) = Visit::start(&["--source", "-"]) else { return };
    let mut source = visit.site.server.stdin();
    writeln!(source, "{{}}").expect("a server that reads");
    visit.browser.wait("document.getElementById('empty-map').textContent === 'The map is empty.'");
    writeln!(source, r#"{{"n": 1}}"#).expect("a server that reads");
    visit
        .browser
        .wait("document.getElementById('empty-map').hidden && document.getElementById('entries').rows.length === 1");
}
