//! The page in a browser.

mod contrast;
mod editing;
mod pictures;
mod sources;
mod streams;
mod table;
mod tabs;
mod theme;

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ChildStdin;

use mapcast::Format;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::http::Site;
use crate::support::browser::Browser;
use crate::support::program::Program;
use crate::support::reader::Reader;

/// A browser that shows the page of a site.
struct Visit {
    // Dropped first: an open browser would prevent a clean stop of the server.
    browser: Browser,
    site: Site,
}

impl Visit {
    /// Starts a server with `args` and opens its page. Returns `None` and reports a skipped test without a browser.
    #[track_caller]
    fn start(args: &[&str]) -> Option<Self> {
        let browser = Browser::start()?;
        let site = Site::start(args);
        browser.open(&url(site.page));
        Some(Self { browser, site })
    }

    /// As [`start`](Self::start), with a server that reads its maps from the returned pipe.
    #[track_caller]
    fn fed(map: &str) -> Option<(Self, ChildStdin)> {
        let mut visit = Self::start(&["--source", "-", "--interval", "1h"])?;
        let mut source = visit.site.server.stdin();
        writeln!(source, "{map}").expect("a server that reads");
        visit.browser.wait("document.querySelector('#entries tr')");
        Some((visit, source))
    }

    /// Returns the shown keys and values of the map.
    #[track_caller]
    fn entries(&self) -> Value {
        self.browser.run("return [...document.querySelectorAll('#entries tr')].map((row) => [...row.cells].slice(0, 2).map((cell) => cell.textContent))")
    }

    /// Returns the shown cells of one column of the clients.
    #[track_caller]
    fn column(&self, column: usize) -> Vec<String> {
        let script =
            format!("return [...document.querySelectorAll('#rows tr')].map((row) => row.cells[{column}].textContent)");
        serde_json::from_value(self.browser.run(&script)).expect("a list of texts")
    }

    #[track_caller]
    fn text(&self, id: &str) -> String {
        self.browser
            .run(&format!("return document.getElementById('{id}').textContent"))
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Waits until the page and its title show this number of connections.
    #[track_caller]
    fn wait_active(&self, active: usize) {
        self.browser.wait(&format!(
            "document.getElementById('active').textContent === '{active}' && document.title === '{active} · mapcast'"
        ));
    }

    /// Connects another client and reads its first map.
    #[track_caller]
    fn client(&self) -> Reader {
        let mut client = Reader::connect(self.site.server.addr());
        client.map(Format::Bincode);
        client
    }

    /// Clicks the head of the column, and waits until the page is drawn.
    #[track_caller]
    fn sort_by(&self, column: usize) {
        self.browser.run(&format!("document.querySelectorAll('#clients button')[{column}].click()"));
        self.browser.command(
            "Runtime.evaluate",
            &json!({
                "expression": "new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))",
                "awaitPromise": true,
            }),
        );
    }

    /// Returns the order that the page reports to assistive technology, and its column.
    #[track_caller]
    fn sorted(&self) -> Value {
        self.browser.run(
            "const heads = [...document.querySelectorAll('#clients th')];
             const [sorted] = heads.filter((head) => head.hasAttribute('aria-sort'));
             return [sorted.getAttribute('aria-sort'), heads.indexOf(sorted)];",
        )
    }
}

fn url(page: SocketAddr) -> String {
    format!("http://{page}/")
}

#[test]
fn the_page_shows_the_map_with_its_version_size_and_age() {
    let Some(visit) = Visit::start(&[]) else { return };
    visit.browser.wait("document.querySelectorAll('#entries tr').length === 4");
    assert_eq!(visit.entries(), json!([["1", "Hola"], ["2", "Bienvenido"], ["3", "Al"], ["4", "Servidor"]]));
    assert!(visit.text("about").starts_with("version 1, 4 entries, "), "{}", visit.text("about"));
    visit.browser.wait("/^, changed [1-9][0-9]* s ago$/.test(document.getElementById('age').textContent)");
    visit.browser.wait("document.getElementById('state').textContent.startsWith('live, up ')");
}

#[test]
fn a_changed_entry_is_highlighted_and_fades() {
    let Some((visit, mut source)) = Visit::fed(r#"{"rate": 0, "rest": 0}"#) else { return };
    assert_eq!(visit.browser.run("return document.getAnimations().length"), 0, "the first map is not a change");
    // Recorded by the page: the highlight may have faded before a query arrives.
    visit.browser.run(
        "const [rate, rest] = document.getElementById('entries').rows;
         const isLit = (row) => getComputedStyle(row).backgroundColor !== getComputedStyle(document.head).backgroundColor;
         window.lit = {};
         const check = () => {
           if (isLit(rate) && !isLit(rest)) window.lit[rate.cells[1].textContent] = true;
           requestAnimationFrame(check);
         };
         check();",
    );
    for rate in 1..=2 {
        writeln!(source, r#"{{"rate": {rate}, "rest": 0}}"#).expect("a server that reads");
        visit.browser.wait(&format!("window.lit[{rate}]"));
    }
    visit.browser.wait("document.getAnimations().length === 0");
}

#[test]
fn the_count_follows_clients_that_connect_and_leave() {
    let Some(visit) = Visit::start(&[]) else { return };
    visit.wait_active(0);
    let mut clients = Vec::new();
    for active in 1..=3 {
        clients.push(visit.client());
        visit.wait_active(active);
    }
    visit.browser.wait("document.querySelectorAll('#rows tr').length === 3");
    // The line uses the whole height, whatever the ticks are.
    visit.browser.wait("document.getElementById('line').getAttribute('d').endsWith(' 0.00')");
    assert_eq!(
        visit.browser.run("return [...document.getElementById('ticks').children].map((tick) => tick.textContent)"),
        json!(["0", "2"])
    );
    let peers: Vec<_> = clients.iter().rev().map(|client| client.socket().local_addr().unwrap().to_string()).collect();
    assert_eq!((visit.column(0), visit.column(1)), (["3", "2", "1"].map(String::from).to_vec(), peers));
    for active in (0..3).rev() {
        clients.pop();
        visit.wait_active(active);
    }
    visit.browser.wait("document.querySelectorAll('#rows tr').length === 0");
    visit.browser.wait("document.getElementById('readout').textContent === 'least 0, most 3'");
}

#[test]
fn markup_in_the_map_is_shown_as_text() {
    let map = r#"{"<script>window.ran = 1</script>": "<img src=x onerror='window.ran = 1'>", "": "\u001b[2J\n", "__proto__": 1}"#;
    let Some((visit, _source)) = Visit::fed(map) else { return };
    let shown = json!([
        ["empty key", "\u{241b}[2J↵"],
        ["<script>window.ran = 1</script>", "<img src=x onerror='window.ran = 1'>"],
        ["__proto__", "1"],
    ]);
    assert_eq!(visit.entries(), shown);
    assert_eq!(visit.browser.run("return document.querySelectorAll('script, img').length"), 2, "its own scripts");
    assert_eq!(visit.browser.run("return window.ran"), Value::Null);
}

#[test]
fn the_page_reconnects_after_a_restart() {
    let Some(mut visit) = Visit::start(&["--set", "run=1"]) else { return };
    let client = visit.client();
    visit.browser.wait("document.getElementById('readout').textContent.endsWith('most 1')");
    visit.site.server.signal(Signal::KILL);
    visit.site.server.exit_code();
    drop(client);
    visit.browser.wait("!document.getElementById('banner').hidden");
    assert!(visit.text("trouble").starts_with("Cut off since "), "{}", visit.text("trouble"));
    assert!(visit.text("remedy").ends_with("Reconnecting…"), "{}", visit.text("remedy"));
    assert_eq!(visit.browser.run("return document.title"), "cut off · mapcast");

    let page = visit.site.page.to_string();
    visit.site.server = Program::server(&["--set", "run=2", "--http", &page]);
    visit
        .browser
        .wait("[...document.querySelectorAll('#entries tr')].some((row) => row.textContent.startsWith('run2'))");
    visit.wait_active(0);
    visit.browser.wait("document.getElementById('banner').hidden");
    // The line shows the history of the new server.
    visit.browser.wait("document.getElementById('readout').textContent === 'least 0, most 0'");
}

#[test]
fn a_silent_server_is_shown_as_cut_off() {
    let Some(visit) = Visit::start(&[]) else { return };
    visit.browser.wait("document.getElementById('state').classList.contains('live')");
    assert_eq!(visit.browser.run("return document.getElementById('banner').hidden"), true);
    visit.site.server.signal(Signal::STOP);
    visit.browser.wait("!document.getElementById('banner').hidden && document.body.classList.contains('cut')");
    assert_eq!(visit.text("state"), "cut off");
    visit.site.server.signal(Signal::CONT);
    visit.browser.wait("document.getElementById('banner').hidden && !document.body.classList.contains('cut')");
}

#[test]
fn the_page_loads_only_its_stream_and_obeys_its_policy() {
    let Some((visit, mut source)) = Visit::fed(r#"{"<script>": "x", "n": 1}"#) else { return };
    let _client = visit.client();
    writeln!(source, r#"{{"n": 2}}"#).expect("a server that reads");
    visit.browser.wait(
        "document.querySelectorAll('#rows tr').length === 1 && document.getElementById('entries').rows.length === 1",
    );
    visit.browser.run("document.querySelectorAll('button').forEach((button) => button.click())");
    visit.browser.run(
        "const plot = document.getElementById('plot');
         plot.dispatchEvent(new PointerEvent('pointermove', { clientX: plot.getBoundingClientRect().right }));",
    );
    visit.browser.wait("document.getElementById('readout').textContent.includes(' at ')");

    let (site, mut asked) = (url(visit.site.page), Vec::new());
    for message in visit.browser.log("performance") {
        let event: Value = serde_json::from_str(&message).expect("JSON");
        let (method, params) = (&event["message"]["method"], &event["message"]["params"]);
        // The browser also sends requests for its own pages.
        if method == "Network.requestWillBeSent" && params["documentURL"] == site.as_str() {
            asked.push(params["request"]["url"].as_str().expect("a URL").to_owned());
        }
    }
    asked.retain(|url| !url.starts_with("data:"));
    assert_eq!(asked, [site.clone(), format!("{site}live")]);
    assert_eq!(visit.browser.log("browser"), Vec::<String>::new());
    // Proves that the log would contain violations of the policy.
    visit.browser.run("document.body.setAttribute('style', 'color: red')");
    let logged = visit.browser.log("browser").concat();
    assert!(logged.contains("Content Security Policy"), "{logged}");
}

#[test]
fn the_clients_sort_by_each_column() {
    let Some((visit, mut source)) = Visit::fed(r#"{"n": 1}"#) else { return };
    let mut clients: Vec<_> = (0..6).map(|_| visit.client()).collect();
    writeln!(source, r#"{{"n": 2}}"#).expect("a server that reads");
    for client in &mut clients {
        client.payload();
    }
    clients.extend((0..6).map(|_| visit.client()));
    visit.browser.wait("document.querySelectorAll('#rows tr').length === 12");
    visit.browser.wait(
        "[...document.getElementById('rows').rows].filter((row) => row.cells[3].textContent === '2').length === 6",
    );

    let ids = |order: &[u32]| order.iter().map(u32::to_string).collect::<Vec<_>>();
    let newest_first: Vec<u32> = (1..=12).rev().collect();
    assert_eq!((visit.column(0), visit.sorted()), (ids(&newest_first), json!(["descending", 0])));
    visit.sort_by(0);
    assert_eq!((visit.column(0), visit.sorted()), (ids(&(1..=12).collect::<Vec<_>>()), json!(["ascending", 0])));
    visit.sort_by(1);
    let mut ports: Vec<u16> = clients.iter().map(|client| client.socket().local_addr().unwrap().port()).collect();
    ports.sort_unstable();
    assert_eq!(visit.column(1), ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>());
    for more in [3, 4] {
        visit.sort_by(more);
        assert_eq!(visit.column(3), ["2"; 6].into_iter().chain(["1"; 6]).map(String::from).collect::<Vec<_>>());
    }
    for column in [2, 5, 6] {
        visit.sort_by(column);
        assert_eq!(visit.sorted(), json!(["descending", column]));
        visit.sort_by(column);
        assert_eq!(visit.sorted(), json!(["ascending", column]));
    }
}

#[test]
fn a_large_map_is_shown_in_part_and_can_be_filtered() {
    let mut map = String::from("{");
    (0..4000).for_each(|n| write!(map, r#""key {n:04}": {n},"#).expect("a text"));
    let Some((visit, _source)) = Visit::fed(&(map + r#""last": "é"}"#)) else { return };
    assert_eq!(visit.browser.run("return document.getElementById('entries').rows.length"), 500);
    assert_eq!(visit.text("more-entries"), "… 3,501 more; filter to see them");
    let filter = |text: &str| {
        let script = format!(
            "const filter = document.getElementById('filter');
             filter.value = {};
             filter.dispatchEvent(new Event('input'));",
            json!(text)
        );
        visit.browser.run(&script);
    };
    filter("KEY 399");
    visit.browser.wait("document.getElementById('entries').rows.length === 10");
    assert!(visit.text("about").contains("10 of 4,001 entries"), "{}", visit.text("about"));
    filter("É");
    visit.browser.wait("document.getElementById('entries').rows.length === 1");
    assert_eq!((visit.entries(), visit.text("more-entries").as_str()), (json!([["last", "é"]]), ""));
    filter("nowhere");
    visit.browser.wait("document.getElementById('more-entries').textContent === 'nothing that matches'");
}

#[test]
fn a_narrow_screen_has_no_horizontal_scroll() {
    let map = format!(r#"{{"{}": "{}", "n": 9223372036854775807}}"#, "k".repeat(300), "v".repeat(3000));
    let Some((visit, _source)) = Visit::fed(&map) else { return };
    let _clients: Vec<_> = (0..3).map(|_| visit.client()).collect();
    visit.browser.wait("document.querySelectorAll('#rows tr').length === 3");
    for width in [320, 360, 700, 1200] {
        let screen = json!({ "width": width, "height": 740, "deviceScaleFactor": 2, "mobile": true });
        visit.browser.command("Emulation.setDeviceMetricsOverride", &screen);
        visit.browser.wait(&format!("innerWidth === {width}"));
        let wide = visit.browser.run(
            "return [document.documentElement, ...document.querySelectorAll('.scroll')]
               .filter((box) => box.scrollWidth > box.clientWidth).map((box) => box.outerHTML.slice(0, 80))",
        );
        assert_eq!(wide, json!([]), "at {width}");
        assert_eq!(visit.browser.run("return document.documentElement.scrollWidth"), width);
    }
}

#[test]
fn the_map_is_the_widest_part_and_begins_near_the_top() {
    let Some((visit, _source)) = Visit::fed(r#"{"n": 1}"#) else { return };
    let _client = visit.client();
    visit.browser.wait("document.querySelectorAll('#rows tr').length === 1");
    for (width, height, top) in [(390, 844, 211), (1200, 900, 225)] {
        let screen = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": true });
        visit.browser.command("Emulation.setDeviceMetricsOverride", &screen);
        visit.browser.wait(&format!("innerWidth === {width}"));
        let found = visit.browser.run(
            "const [map, clients] = ['map', 'clients'].map((id) => document.getElementById(id).getBoundingClientRect());
             return [map.top, map.width / clients.width, map.top < clients.top];",
        );
        // A quarter of the screen's height.
        assert!(found[0].as_f64().unwrap() < f64::from(top), "{width}: {found}");
        assert!(width < 960 || found[1].as_f64().unwrap() > 1.4, "{found}");
        assert_eq!(found[2], true);
    }
}
