//! What the page shows about the source, and without a map.

use std::fs;

use super::Visit;

#[test]
fn a_source_that_is_down_is_shown_with_problem_and_time() {
    let file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    fs::write(file.path(), r#"{"a": 1}"#).unwrap();
    let Some(visit) = Visit::start(&["--source", file.path().to_str().unwrap()]) else { return };
    visit.browser.wait("document.getElementById('state').classList.contains('live')");
    fs::write(file.path(), r#"{"a": 2,}"#).unwrap();
    visit.browser.wait("!document.getElementById('banner').hidden");
    assert_eq!(visit.text("state"), "source down");
    assert!(visit.text("trouble").starts_with("The source has been down since "), "{}", visit.text("trouble"));
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
}
