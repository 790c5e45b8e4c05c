//! The contrast of all text, in each state and in both colour schemes.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;

use rustix::process::Signal;
use serde_json::json;

use super::Visit;
use crate::support::eventually;

/// Returns the texts whose contrast with what is behind them is below 4.5 (WCAG 2.2, 1.4.3), with the contrast.
const LOW: &str = "
  const rgb = (colour) => (colour.match(/[\\d.]+/g) || []).map(Number);
  const channel = (value) => (value <= 10.31475 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const over = ([r, g, b, a = 1], below) => [r, g, b].map((value, index) => a * value + (1 - a) * below[index]);
  const behind = (element) => {
    if (!element) return [255, 255, 255];
    const colour = rgb(getComputedStyle(element).backgroundColor);
    return colour[3] === 0 ? behind(element.parentElement) : over(colour, behind(element.parentElement));
  };
  const opacity = (element) => (element ? Number(getComputedStyle(element).opacity) * opacity(element.parentElement) : 1);
  const low = [];
  let seen = 0;
  for (const element of document.body.querySelectorAll('*')) {
    const isText = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim() !== '');
    if (!isText || element.getClientRects().length === 0 || element.closest('script, style, noscript')) continue;
    const below = behind(element);
    const colours = ['', '::before', '::after'].filter((part) => part === '' || getComputedStyle(element, part).content !== 'none');
    for (const part of colours) {
      const above = over(rgb(getComputedStyle(element, part).color), below).map((value, index) => opacity(element) * value + (1 - opacity(element)) * below[index]);
      const [dark, light] = [luminance(above), luminance(below)].sort((a, b) => a - b);
      const contrast = (light + 0.05) / (dark + 0.05);
      seen += 1;
      if (contrast < 4.5) low.push([element.id || element.className || element.tagName, element.textContent.slice(0, 40), contrast.toFixed(2)]);
    }
  }
  return [seen, low];";

impl Visit {
    /// Fails if any text is hard to read, in the light and the dark scheme.
    #[track_caller]
    fn assert_readable(&self, state: &str) {
        for scheme in ["light", "dark"] {
            // The chosen colours override those of the system.
            let other = if scheme == "light" { "dark" } else { "light" };
            for (system, theme) in [(scheme, "system"), (other, scheme)] {
                self.assert_readable_in(state, system, theme);
            }
        }
        self.browser.run("document.documentElement.dataset.theme = 'system'");
    }

    #[track_caller]
    fn assert_readable_in(&self, state: &str, scheme: &str, theme: &str) {
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.browser.command("Emulation.setEmulatedMedia", &media);
        self.browser.wait(&format!("matchMedia('(prefers-color-scheme: {scheme})').matches"));
        self.browser.run(&format!("document.documentElement.dataset.theme = '{theme}'"));
        let found = self.browser.run(LOW);
        assert!(found[0].as_u64().unwrap() > 20, "{state}, {scheme}, {theme}: {found}");
        assert_eq!(found[1], json!([]), "{state}, {scheme}, {theme}");
    }

    /// Returns the colour of the state, and its word.
    #[track_caller]
    fn state(&self) -> (String, String) {
        let colour = self.browser.run("return getComputedStyle(document.getElementById('state')).color");
        (colour.as_str().unwrap_or_default().to_owned(), self.text("state"))
    }
}

#[test]
fn text_is_readable_in_every_state_and_scheme() {
    let file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    fs::write(file.path(), r#"{"a": 1, "t": "x", "": ""}"#).unwrap();
    let Some(visit) = Visit::start(&["--source", file.path().to_str().unwrap()]) else { return };
    visit.browser.wait("document.querySelectorAll('#entries tr').length === 3");
    let _client = visit.client();
    visit.browser.run("document.querySelectorAll('#entries th button').forEach((button) => button.click())");
    fs::write(file.path(), r#"{"a": 2, "t": "x", "": ""}"#).unwrap();
    visit.browser.wait(
        "document.querySelectorAll('#rows tr').length === 1 && document.querySelectorAll('#changes li').length === 1",
    );
    visit.browser.wait("document.querySelectorAll('.detail').length === 3");
    // Text on a row that has just changed: the highlight does not fade here.
    visit.browser.run("document.getElementById('entries').rows[0].style.background = 'var(--lit)'");
    visit
        .browser
        .run("for (const id of ['unlock', 'editor', 'conflict', 'done']) document.getElementById(id).hidden = false");
    visit.browser.run("for (const id of ['unlock-problem', 'editor-problem', 'conflict-title', 'done-text']) document.getElementById(id).textContent = 'x'");
    // Buttons while a change is sent, and the marks of the filter.
    visit.browser.run("document.querySelectorAll('.push').forEach((button) => { button.disabled = true; })");
    visit.browser.run(
        "const hit = document.createElement('p');
         hit.textContent = 'a hit';
         hit.style.cssText = 'background: var(--hit); color: var(--ink)';
         document.querySelector('main').append(hit);",
    );
    visit.assert_readable("live");
    let live = visit.state();
    assert!(live.1.starts_with("live, up "), "{live:?}");

    fs::write(file.path(), "{").unwrap();
    visit.browser.wait("document.getElementById('state').classList.contains('down')");
    visit.assert_readable("source down");
    let down = visit.state();

    visit.site.server.signal(Signal::STOP);
    visit.browser.wait("document.body.classList.contains('cut')");
    visit.assert_readable("cut off");
    let cut = visit.state();
    visit.site.server.signal(Signal::CONT);
    assert_eq!((down.1.as_str(), cut.1.as_str()), ("source down", "cut off"));
    assert!(live.0 != down.0 && down.0 != cut.0 && live.0 != cut.0, "{live:?} {down:?} {cut:?}");

    // Paused: as when the tab is hidden.
    visit.browser.wait("!document.body.classList.contains('cut')");
    visit.browser.run(
        "Object.defineProperty(document, 'hidden', { value: true, configurable: true });
         document.dispatchEvent(new Event('visibilitychange'));",
    );
    visit.browser.wait("document.getElementById('state').textContent === 'paused'");
    visit.assert_readable("paused");
}

#[test]
fn a_slow_client_is_amber_with_a_word_and_its_columns_appear() {
    let Some((visit, mut source)) = Visit::fed(r#"{"n": 0}"#) else { return };
    let _prompt = visit.client();
    visit.browser.wait("document.querySelectorAll('#rows tr').length === 1");
    let columns = "document.querySelectorAll('#clients th:not([hidden])')";
    let shown = format!("[...{columns}].filter((head) => head.getClientRects().length > 0).length");
    visit.browser.wait(&format!("{shown} === 5"));
    // Never reads: the buffers of its socket fill up.
    let _stalled = TcpStream::connect(visit.site.server.addr()).unwrap();
    eventually("a slow client", || {
        let map = json!({ "x": "x".repeat(900_000), "n": visit.site.json("/status")["map"]["version"] });
        writeln!(source, "{map}").expect("a server that reads");
        visit.site.json("/status")["connections"]["slow"].as_u64() > Some(0)
    });
    visit.browser.wait("/^live, [12] slow clients?$/.test(document.getElementById('state').textContent)");
    visit.browser.wait(&format!("{shown} === 7"));
    assert_eq!(visit.browser.run("return document.getElementById('slow').className"), "caution");
    visit.assert_readable("slow");
}
