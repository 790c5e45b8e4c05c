//! The console blocks of the pages, run as they are printed.
//!
//! A block with the info string `console` is a part of one shell session per page: a line `$ COMMAND` is a command, lines that
//! begin with `> ` continue it, and the other lines are its output. `…` stands for any text, and alone for any number of lines.
//! `COMMAND &` goes on in the background. `console NAME` is a second terminal, NAME, whose last command may go on running; `^C`
//! at the start of a later block interrupts it. A block with a file name, such as `python reader.py`, is written to that file.

mod output;
mod page;
mod session;

use page::{Block, blocks};
use session::Page;

/// Runs the console blocks of a page in order, and writes its files.
pub(crate) fn run(name: &str) {
    let mut page = Page::new();
    for Block { info, text, .. } in blocks(name) {
        match info.split(' ').collect::<Vec<_>>()[..] {
            ["console"] => page.run(None, &text),
            ["console", terminal] => page.run(Some(terminal), &text),
            [_, file] => page.write(file, &text),
            _ => {}
        }
    }
}

#[test]
fn the_client_page_prints_what_it_shows() {
    run("docs/client.md");
}
