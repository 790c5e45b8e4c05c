//! The console blocks of the pages, run as they are printed.
//!
//! A block with the info string `console` is a part of one shell session per page: a line `$ COMMAND` is a command, lines that
//! begin with `> ` continue it, and the other lines are its output. `…` stands for any text, and alone for any number of lines.
//! `COMMAND &` goes on in the background. `console NAME` is a second terminal, NAME, whose last command may go on running; `^C`
//! at the start of a later block interrupts it. A block with a file name, such as `python reader.py`, is written to that file.
//!
//! A block that cannot run is in `sh` or `bash`, or in `not_run`.

mod not_run;
mod output;
mod page;
mod session;

use std::collections::BTreeSet;
use std::fs;

use crate::support::browser::Browser;
use crate::support::{has_command, skip};
use not_run::{NotRun, reason};
pub(crate) use page::{Block, Kind, blocks};
use session::Page;

/// What the commands of the pages call, beside the programs and the shell's own tools.
const TOOLS: [&str; 6] = ["curl", "jq", "node", "nc", "openssl", "python3"];

/// Returns the blocks of a page that are run or written; `None`, and a skipped test, if a tool is missing.
#[track_caller]
fn runnable(name: &str) -> Option<Vec<Block>> {
    let blocks: Vec<_> = blocks(name).into_iter().filter(|block| reason(name, block).is_none()).collect();
    let commands = blocks.iter().filter(|block| matches!(block.kind(), Kind::Console(_))).map(|block| &block.text);
    let words: BTreeSet<_> = commands.flat_map(|text| text.split_whitespace()).collect();
    if let Some(missing) = TOOLS.into_iter().find(|tool| words.contains(tool) && !has_command(tool)) {
        skip(&format!("no {missing}"));
        return None;
    }
    Some(blocks)
}

/// Runs the console blocks of a page in order, and writes its files.
#[track_caller]
pub(crate) fn run(name: &str) {
    let Some(blocks) = runnable(name) else { return };
    let mut page = Page::new();
    for block in &blocks {
        page.follow(block);
    }
}

#[test]
fn the_readme_prints_what_it_shows() {
    run("README.md");
}

#[test]
fn the_web_page_shows_the_change_of_the_readme() {
    let Some(blocks) = runnable("README.md") else { return };
    let Some(browser) = Browser::start() else { return };
    let mut page = Page::new();
    let last = blocks.iter().rposition(|block| block.text.contains("mapcast-client set")).expect("a change");
    for block in &blocks[..last] {
        page.follow(block);
    }
    browser.open(&format!("http://127.0.0.1:{}/", page.port(8081)));
    let shows = |value: &str| {
        format!("[...document.querySelectorAll('tr')].some((row) => /dark_mode[^]*{value}/.test(row.textContent))")
    };
    browser.wait(&shows("false"));
    page.follow(&blocks[last]);
    browser.wait(&shows("true"));
}

#[test]
fn the_client_page_prints_what_it_shows() {
    run("docs/client.md");
}

#[test]
fn the_server_page_prints_what_it_shows() {
    run("docs/server.md");
}

#[test]
fn the_sources_page_prints_what_it_shows() {
    run("docs/sources.md");
}

#[cfg(feature = "tls")]
#[test]
fn the_tls_page_prints_what_it_shows() {
    run("docs/tls.md");
}

#[test]
fn the_deployment_page_prints_what_it_shows() {
    run("docs/deployment.md");
}

#[test]
fn the_http_page_prints_what_it_shows() {
    run("docs/http.md");
}

#[test]
fn the_tutorial_prints_what_it_shows() {
    run("docs/tutorial.md");
}

#[test]
fn the_tutorial_in_spanish_prints_what_it_shows() {
    run("docs/guia.md");
}

#[test]
fn the_troubleshooting_page_prints_what_it_shows() {
    run("docs/troubleshooting.md");
}

/// Returns the pages, as paths in the repository.
fn pages() -> Vec<String> {
    let root = env!("CARGO_MANIFEST_DIR");
    let files = fs::read_dir(format!("{root}/docs")).expect("the pages").map(|entry| entry.expect("a page").path());
    let docs = files.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let docs = docs.filter_map(|path| Some(format!("docs/{}", path.file_name()?.to_str()?)));
    docs.chain(["README.md".to_owned()]).collect()
}

#[test]
fn every_block_of_commands_is_run_or_listed() {
    let (mut listed, mut wrong) = (BTreeSet::<&NotRun>::new(), Vec::new());
    for name in pages() {
        let is_run = include_str!("mod.rs").contains(&format!("run(\"{name}\")"));
        for block in blocks(&name) {
            let reason = reason(&name, &block);
            let may_stay = match block.kind() {
                Kind::Console(_) => is_run || reason.is_some(),
                Kind::Commands => reason.is_some(),
                Kind::Other | Kind::File(_) => reason.is_none(),
            };
            if !may_stay {
                wrong.push(format!("{name}: {}", block.text.lines().next().unwrap_or_default()));
            }
            listed.extend(reason);
        }
    }
    assert!(wrong.is_empty(), "these blocks are not run and not listed, or run and listed: {wrong:#?}");
    let stale: Vec<_> = not_run::NOT_RUN.iter().filter(|entry| !listed.contains(entry)).collect();
    assert!(stale.is_empty(), "no block begins so: {stale:?}");
}
