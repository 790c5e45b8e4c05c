//! The fenced blocks of a page.

use std::fs;

/// A fenced block.
pub struct Block {
    /// The words after the fence: the language, and for some a name.
    pub info: String,
    pub text: String,
}

/// What is done with a block.
pub enum Kind<'b> {
    /// It is run: in the page's session, or in the terminal with this name.
    Console(Option<&'b str>),
    /// It is written to this file.
    File(&'b str),
    /// It is commands without their output.
    Commands,
    Other,
}

impl Block {
    pub fn kind(&self) -> Kind<'_> {
        match self.info.split(' ').collect::<Vec<_>>()[..] {
            ["console"] => Kind::Console(None),
            ["console", terminal] => Kind::Console(Some(terminal)),
            ["sh" | "bash" | "shell"] => Kind::Commands,
            [_, file] => Kind::File(file),
            _ => Kind::Other,
        }
    }
}

/// Returns the fenced blocks of the page at `path` in the repository, in order.
pub fn blocks(path: &str) -> Vec<Block> {
    let page = fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR")));
    let page = page.unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut found: Vec<Block> = Vec::new();
    let mut is_inside = false;
    for line in page.lines() {
        match (line.strip_prefix("```"), is_inside) {
            (Some(info), false) => found.push(Block { info: info.trim().to_owned(), text: String::new() }),
            (Some(_), true) | (None, false) => {}
            (None, true) => found.last_mut().expect("a block").text.extend([line, "\n"]),
        }
        is_inside ^= line.starts_with("```");
    }
    found
}
