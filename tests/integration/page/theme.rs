//! The colours of the page, which the user can choose, and the sizes of what a pointer hits.

use serde_json::{Value, json};

use super::{Visit, url};

const PAPER: &str = "getComputedStyle(document.body).backgroundColor";

impl Visit {
    #[track_caller]
    fn choose(&self, theme: &str) {
        self.browser.run(&format!(
            "const theme = document.getElementById('theme');
             theme.value = '{theme}';
             theme.dispatchEvent(new Event('change'));"
        ));
    }

    #[track_caller]
    fn paper(&self) -> Value {
        self.browser.run(&format!("return {PAPER}"))
    }
}

#[test]
fn chosen_colours_are_kept_and_applied_before_the_first_paint() {
    let Some(visit) = Visit::start(&[]) else { return };
    let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": "light" }] });
    visit.browser.command("Emulation.setEmulatedMedia", &media);
    let light = visit.paper();
    visit.choose("dark");
    let dark = visit.paper();
    assert_ne!(light, dark);
    // Recorded as soon as there is a body: before the page's main script, and before the browser draws.
    let record = json!({ "source": format!(
        "new MutationObserver((_, observer) => {{
           if (document.body) {{
             window.firstPaper = {PAPER};
             observer.disconnect();
           }}
         }}).observe(document, {{ childList: true, subtree: true }});"
    ) });
    visit.browser.command("Page.addScriptToEvaluateOnNewDocument", &record);
    visit.browser.open(&url(visit.site.page));
    visit.browser.wait("document.querySelectorAll('#entries tr').length === 4");
    assert_eq!(
        visit.browser.run("return [window.firstPaper, document.getElementById('theme').value]"),
        json!([dark, "dark"])
    );
    visit.choose("system");
    assert_eq!(visit.paper(), light);
    assert_eq!(visit.browser.run("return localStorage.length"), 0);
    assert_eq!(visit.browser.log("browser"), Vec::<String>::new(), "the policy permits both scripts");
}

#[test]
fn everything_that_is_clicked_is_at_least_24_pixels_large() {
    let Some((visit, _source)) = Visit::fed(r#"{"n": 1}"#) else { return };
    let _client = visit.client();
    visit.browser.wait("document.querySelectorAll('#rows tr').length === 1");
    visit.browser.run("document.querySelector('#entries th button').click()");
    visit.browser.wait("document.querySelector('.detail .push')");
    visit.browser.run("document.querySelectorAll('[hidden]').forEach((part) => { part.hidden = false; })");
    for width in [1200, 360] {
        let screen = json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false });
        visit.browser.command("Emulation.setDeviceMetricsOverride", &screen);
        visit.browser.wait(&format!("innerWidth === {width}"));
        // Links in a sentence may be smaller (WCAG 2.2, 2.5.8).
        let small = visit.browser.run(
            "return [...document.querySelectorAll('button, input, select, textarea, a.push, [role=slider]')]
               .map((part) => [part.id || part.textContent, part.getBoundingClientRect()])
               .filter(([, { width, height }]) => width > 0 && (width < 24 || height < 24))
               .map(([name, { width, height }]) => [name, width, height])",
        );
        assert_eq!(small, json!([]), "at {width}");
        // With everything shown that is hidden at first, as while an entry is edited.
        let wide = visit.browser.run(
            "return [...document.querySelectorAll('main *')]
               .filter((part) => part.getBoundingClientRect().right > innerWidth && !part.closest('.plot'))
               .map((part) => part.outerHTML.slice(0, 80))",
        );
        assert_eq!(wide, json!([]), "at {width}");
    }
}
