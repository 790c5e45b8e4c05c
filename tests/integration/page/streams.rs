//! Event streams in a browser, and with a polyfill.

use rustix::process::Signal;

use super::Visit;
use crate::http::{Events, polyfill};
use crate::support::program::Program;

#[test]
fn a_browser_and_a_polyfill_reconnect_after_a_restart() {
    let Some(polyfill) = polyfill::source() else { return };
    let Some(mut visit) = Visit::start(&["--set", "run=1"]) else { return };
    visit.browser.run(&polyfill);
    visit.browser.run(
        "window.runs = {};
         for (const Source of [EventSource, EventSourcePolyfill]) {
           new Source('events?keys=run').onmessage = ({ data }) => { window.runs[Source.name] = JSON.parse(data).run; };
         }",
    );
    visit.browser.wait("runs.EventSource === 1 && runs.EventSourcePolyfill === 1");
    visit.site.server.signal(Signal::KILL);
    visit.site.server.exit_code();
    visit.site.server = Program::server(&["--set", "run=2", "--http", &visit.site.page.to_string()]);
    visit.browser.wait("runs.EventSource === 2 && runs.EventSourcePolyfill === 2");
}

#[test]
fn a_browser_above_the_limit_reconnects_later() {
    let Some(visit) = Visit::start(&["--http-max-connections", "8"]) else { return };
    visit.browser.wait("document.getElementById('state').classList.contains('live')");
    let streams: Vec<_> = (0..8).map_while(|_| Events::try_open(visit.site.page, "/events")).collect();
    // One stream may get the connection that loaded the page.
    visit.browser.run(
        "window.states = [];
         window.served = new Set();
         for (const name of ['a', 'b', 'c']) {
           const events = new EventSource(`events?keys=${name}`);
           events.onmessage = () => window.served.add(name);
           events.onerror = () => window.states.push(events.readyState);
         }",
    );
    visit.browser.wait("states.length >= 2");
    assert_eq!(visit.browser.run("return states.every((state) => state === EventSource.CONNECTING)"), true);
    drop(streams);
    visit.browser.wait("served.size === 3");
}
