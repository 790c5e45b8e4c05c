//! Polyfills of `EventSource` from npm, unchanged.

use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use super::Site;
use crate::support::program::{Program, clean};
use crate::support::{has_command, skip};

/// The packages and their tested versions.
const POLYFILL: &str = "event-source-polyfill@1.0.31";
const RECONNECTING: &str = "reconnecting-eventsource@1.6.5";

/// Installs packages into a temporary directory. Returns `None` and reports a skipped test if that is not possible.
fn install(packages: &[&str]) -> Option<TempDir> {
    if let Some(missing) = ["node", "npm"].into_iter().find(|command| !has_command(command)) {
        skip(&format!("no {missing}"));
        return None;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries", "1", "--prefix"]);
    let output = npm.arg(directory.path()).args(packages).output().expect("npm");
    if !output.status.success() {
        skip(&format!(
            "npm cannot install {}: {}",
            packages.join(", "),
            String::from_utf8_lossy(&output.stderr).trim()
        ));
        return None;
    }
    Some(directory)
}

/// Returns the source of the polyfill for a browser. Returns `None` and reports a skipped test if it is not available.
pub fn source() -> Option<String> {
    let directory = install(&[POLYFILL])?;
    let file: PathBuf = directory.path().join("node_modules/event-source-polyfill/src/eventsource.js");
    Some(std::fs::read_to_string(file).expect("the package's file"))
}

#[test]
fn polyfills_reconnect_after_a_restart() {
    let Some(directory) = install(&[POLYFILL, RECONNECTING]) else { return };
    let mut site = Site::start(&["--set", "run=1"]);
    // The second package uses the class of the first as its EventSource, as in a browser without one.
    let script = r#"
        const { EventSourcePolyfill } = require("event-source-polyfill");
        globalThis.EventSource = EventSourcePolyfill;
        const { default: ReconnectingEventSource } = require("reconnecting-eventsource");
        for (const Source of [EventSourcePolyfill, ReconnectingEventSource]) {
          const source = new Source(process.argv[1]);
          source.onmessage = (event) => console.log(`${Source.name} has run ${JSON.parse(event.data).run}`);
        }
    "#;
    let mut node = clean("node");
    node.current_dir(directory.path()).args(["-e", script, &format!("http://{}/events?keys=run", site.page)]);
    let node = Program::start(node);
    let names = ["EventSourcePolyfill", "ReconnectingEventSource"];
    for name in names {
        node.wait_out(&format!("{name} has run 1"));
    }
    site.server.signal(Signal::KILL);
    site.server.exit_code();
    let page = site.page.to_string();
    site.server = Program::server(&["--set", "run=2", "--http", &page]);
    for name in names {
        node.wait_out(&format!("{name} has run 2"));
    }
}
