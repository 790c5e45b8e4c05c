//! Takes the pictures of the page in `docs/`.

use std::io::{self, Write};
use std::net::TcpStream;
use std::process::ChildStdin;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::Visit;

/// The number of clients after each percentage of the time. In the middle all clients reconnect, as after a deployment.
const CLIENTS: [(usize, usize); 14] = [
    (0, 38),
    (9, 61),
    (18, 92),
    (26, 87),
    (37, 128),
    (45, 149),
    (51, 146),
    (52, 51),
    (54, 88),
    (57, 137),
    (70, 156),
    (80, 184),
    (88, 175),
    (100, 200),
];

/// Returns the duration in seconds: a little longer than the page's line, or `MAPCAST_PICTURES_SECONDS`.
fn duration() -> usize {
    std::env::var("MAPCAST_PICTURES_SECONDS")
        .map_or(15 * 60 + 20, |seconds| seconds.parse().expect("a number of seconds"))
}

#[test]
#[ignore = "takes 15 minutes and writes into docs/: scripts/screenshot.sh"]
fn the_pictures_of_the_page() {
    let Some(mut visit) = Visit::start(&["--source", "-"]) else { return };
    let (mut source, mut clients, seconds) = (visit.site.server.stdin(), Vec::new(), duration());
    visit.screen(1200, 900);
    let begin = Instant::now();
    for second in 0..=seconds {
        publish(&mut source, second);
        adjust(&mut clients, wanted(second, seconds), second, &visit);
        // A late step is followed by shorter waits: the line needs a count for each second.
        thread::park_timeout(Duration::from_secs(second as u64).saturating_sub(begin.elapsed()));
    }
    visit.browser.wait("document.getElementById('active').textContent === '200' && document.getElementById('rows').rows.length === 200");
    visit.browser.run(
        "[...document.querySelectorAll('#entries button')].find((button) => button.textContent === 'regions').click()",
    );
    for (scheme, name, second) in [("light", "page", seconds + 1), ("dark", "page-dark", seconds + 4)] {
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        visit.browser.command("Emulation.setEmulatedMedia", &media);
        publish(&mut source, second);
        visit.browser.wait("document.getAnimations().some((light) => light.currentTime > 200)");
        visit.take(name);
    }
}

impl Visit {
    fn screen(&self, width: u32, height: u32) {
        let screen = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.browser.command("Emulation.setDeviceMetricsOverride", &screen);
        self.browser.command("Emulation.setScrollbarsHidden", &json!({ "hidden": true }));
    }

    fn take(&self, name: &str) {
        let picture = self.browser.command("Page.captureScreenshot", &json!({ "format": "png" }));
        let picture = BASE64_STANDARD.decode(picture["data"].as_str().expect("a picture")).expect("base64");
        std::fs::write(format!("{}/docs/{name}.png", env!("CARGO_MANIFEST_DIR")), picture).expect("docs/");
    }
}

/// Returns the number of clients between two points of [`CLIENTS`], with some variation.
fn wanted(second: usize, of: usize) -> usize {
    let hundredths = second * 100;
    let (before, after) = CLIENTS
        .windows(2)
        .map(|pair| (pair[0], pair[1]))
        .find(|(_, after)| hundredths <= after.0 * of)
        .expect("a point at 100");
    let (gone, whole) = (hundredths - before.0 * of, (after.0 - before.0) * of);
    let between = (before.1 * (whole - gone) + after.1 * gone) / whole;
    if second == of { between } else { between + second / 6 * 37 % 11 + second / 2 % 3 }
}

/// Connects or disconnects clients until their number is `wanted`, and reads everything that they have received.
fn adjust(clients: &mut Vec<TcpStream>, wanted: usize, second: usize, visit: &Visit) {
    while clients.len() > wanted {
        clients.swap_remove(second * 31 % clients.len());
    }
    while clients.len() < wanted {
        let client = TcpStream::connect(visit.site.server.addr()).expect("a server that listens");
        client.set_nonblocking(true).expect("a socket");
        clients.push(client);
    }
    for mut client in clients {
        // Ends at the first read that would block.
        let _ = io::copy(&mut client, &mut io::sink());
    }
}

/// Publishes settings that stay the same, and rates and counts that change.
fn publish(source: &mut ChildStdin, second: usize) {
    let moved = |every: usize, span: usize| (second / every) * 37 % span;
    let map = json!({
        "checkout.new_flow": true,
        "dark_mode": "auto",
        "eur/chf": format!("0.93{:02}", moved(7, 90)),
        "eur/gbp": format!("0.83{:02}", moved(3, 70)),
        "eur/jpy": format!("163.{:02}", moved(11, 99)),
        "eur/usd": format!("1.08{:02}", moved(1, 99)),
        "greeting": "Hola",
        "limits.upload_mb": 250,
        "maintenance": null,
        "players.fra": 1204 + moved(2, 40),
        "players.gru": 873 + moved(5, 60),
        "players.nrt": 2310 + moved(13, 80),
        "regions": ["fra", "gru", "nrt"],
        "release": "2026.11.3",
    });
    writeln!(source, "{map}").expect("a server that reads");
}
