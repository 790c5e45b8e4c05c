//! Event streams in a browser, and with a polyfill.

use rustix::process::Signal;
use serde_json::json;

use super::{Visit, url};
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

#[test]
fn a_silent_stream_is_reopened_after_growing_delays() {
    let Some(visit) = Visit::start(&[]) else { return };
    // A stream that never says anything, and a clock that runs ten times as fast: the page looks at it every 10 s.
    let slow = "
      window.opened = [];
      const now = performance.now.bind(performance);
      performance.now = () => 10 * now();
      window.EventSource = class extends EventTarget {
        static CLOSED = 2;
        readyState = 0;
        constructor() { super(); window.opened.push(performance.now()); }
        close() {}
      };";
    visit.browser.command("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": slow }));
    visit.browser.open(&url(visit.site.page));
    visit.browser.wait("opened.length === 4");
    // At least 15 s, 30 s and 60 s: a large map may take that long.
    let late = visit
        .browser
        .run("return [15, 30, 60].map((delay, index) => opened[index + 1] - opened[index] - 1000 * delay)");
    let late: Vec<f64> = serde_json::from_value(late).unwrap();
    assert!(late.iter().all(|late| *late > 0.0), "{late:?}");
}
