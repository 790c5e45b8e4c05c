//! The page in several tabs: a browser opens at most six connections to a host.

use std::io::Write as _;

use serde_json::json;

use super::{Visit, url};
use crate::support::eventually;

const LIVE: &str = "document.getElementById('state').classList.contains('live')";

#[test]
fn nine_tabs_use_one_connection_and_the_shown_one_is_live() {
    let Some(visit) = Visit::start(&[]) else { return };
    let mut tabs = vec![visit.browser.tab()];
    visit.browser.wait(LIVE);
    for _ in 1..9 {
        tabs.push(visit.browser.open_tab());
        visit.browser.open(&url(visit.site.page));
        visit.browser.wait(LIVE);
    }
    // The stream of the shown tab, and this request.
    eventually("one stream", || visit.site.json("/status")["http"]["active"] == 2);
    for tab in &tabs {
        visit.browser.show_tab(tab);
        visit.browser.wait(LIVE);
    }
}

#[test]
fn a_tab_that_was_hidden_shows_no_old_data_as_live() {
    let Some((visit, mut source)) = Visit::fed(r#"{"run": 1}"#) else { return };
    visit.browser.wait(LIVE);
    // Recorded after the page's own listener has run: the page's content when it is hidden, and when it is shown again.
    visit.browser.run(
        "window.seen = [];
         document.addEventListener('visibilitychange', () => {
           const { className, textContent } = document.getElementById('state');
           window.seen.push([document.hidden, className, textContent, document.body.className, document.title]);
         });",
    );
    let tab = visit.browser.tab();
    visit.browser.open_tab();
    writeln!(source, r#"{{"run": 2}}"#).expect("a server that reads");
    eventually("the change", || visit.site.json("/status")["map"]["version"] == 2);
    eventually("no stream", || visit.site.json("/status")["http"]["active"] == 1);
    visit.browser.show_tab(&tab);
    visit.browser.wait(&format!("{LIVE} && document.getElementById('entries').textContent.startsWith('run2')"));
    let seen = visit.browser.run("return window.seen");
    let wanted = json!([
        [true, "note", "paused", "stale", "paused · mapcast"],
        [false, "note", "connecting", "stale", "paused · mapcast"],
    ]);
    assert_eq!(seen, wanted);
    visit.browser.wait("document.title === '0 · mapcast' && document.body.className === ''");
}

#[test]
fn a_tab_shown_after_the_server_stopped_is_cut_off() {
    let Some(mut visit) = Visit::start(&[]) else { return };
    visit.browser.wait(LIVE);
    let tab = visit.browser.tab();
    visit.browser.open_tab();
    visit.site.server.signal(rustix::process::Signal::KILL);
    visit.site.server.exit_code();
    visit.browser.show_tab(&tab);
    visit.browser.wait("!document.getElementById('banner').hidden && document.body.classList.contains('cut')");
    assert!(visit.text("trouble").starts_with("Cut off since "), "{}", visit.text("trouble"));
}
