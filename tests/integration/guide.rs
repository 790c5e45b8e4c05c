//! The pages for beginners, docs/tutorial.md and docs/guia.md: the same in both languages, with readers that notice a broken
//! stream. `console` runs their steps.

use std::fs;
use std::io::Write;
use std::net::TcpListener;

use mapcast::{Format, builtin_map};
use tempfile::TempDir;

use crate::console::{Block, Kind, blocks};
use crate::support::program::{Program, clean};
use crate::support::{has_command, skip};

const PAGES: [&str; 2] = ["docs/tutorial.md", "docs/guia.md"];

/// Starts the page's program `name` in a directory with `frames.py`, for a server that sends `bytes` and closes. `None`,
/// and a skipped test, without Python.
#[track_caller]
fn start_python_with(page: &str, name: &str, bytes: &[u8]) -> Option<(TempDir, Program)> {
    if !has_command("python3") {
        skip("no python3");
        return None;
    }
    let (directory, listener) = (tempfile::tempdir().expect("a directory"), TcpListener::bind("127.0.0.1:0"));
    let listener = listener.expect("a free port");
    let port = listener.local_addr().expect("its address").port().to_string();
    for block in blocks(page) {
        if let Kind::File(file) = block.kind() {
            fs::write(directory.path().join(file), block.text.replace("8082", &port)).expect("a file");
        }
    }
    let mut command = clean("python3");
    command.args(["-u", name]).current_dir(directory.path());
    let python = Program::start(command);
    listener.accept().expect("the page's client").0.write_all(bytes).expect("room in the kernel");
    Some((directory, python))
}

/// Returns Python code without its comments and without the text of its strings.
fn without_texts(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some(next) = rest.chars().next() {
        let quote = ["\"\"\"", "\"", "'"].into_iter().find(|quote| rest.starts_with(quote));
        let skipped = if let Some(quote) = quote {
            let text = &rest[quote.len()..];
            kept += quote;
            quote.len() + text.find(quote).expect("the end of a string") + quote.len()
        } else if next == '#' {
            rest.find('\n').unwrap_or(rest.len())
        } else {
            kept.push(next);
            next.len_utf8()
        };
        rest = &rest[skipped..];
    }
    kept
}

/// Returns the commands of a block without their texts, with the number of lines that each one prints.
fn commands(block: &str) -> Vec<(String, usize)> {
    let mut found = vec![(String::new(), 0)];
    for line in block.lines() {
        match (line.strip_prefix("$ "), found.last_mut()) {
            (Some(command), _) => {
                let words = without_texts(command);
                let words: Vec<_> = words.split(' ').filter(|word| !word.contains('=')).collect();
                found.push((words.join(" "), 0));
            }
            (None, Some((_, printed))) => *printed += 1,
            (None, None) => {}
        }
    }
    found
}

#[test]
fn both_pages_have_the_same_headings() {
    let levels = PAGES.map(|path| {
        let page = fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).expect("a page");
        let headings = page.lines().filter(|line| line.starts_with("# ") || line.starts_with("##"));
        let numbered = headings.map(|line| line.chars().take_while(|c| "#. 0123456789".contains(*c)).collect());
        numbered.collect::<Vec<String>>()
    });
    assert_eq!(levels[0], levels[1]);
    assert!(levels[0].len() > 12, "{} headings", levels[0].len());
}

#[test]
fn both_pages_have_the_same_code_except_for_texts() {
    let [english, spanish] = PAGES.map(blocks);
    assert_eq!(english.len(), spanish.len());
    for (Block { info, text: english, .. }, Block { info: other, text: spanish, .. }) in english.iter().zip(&spanish) {
        assert_eq!(info, other);
        match info.split(' ').next() {
            Some("python") => assert_eq!(without_texts(english), without_texts(spanish), "{info}"),
            Some("console") => assert_eq!(commands(english), commands(spanish), "{info}"),
            _ => assert_eq!(english.lines().count(), spanish.lines().count(), "{english}"),
        }
    }
}

#[test]
fn the_picture_of_a_frame_has_the_bytes_of_the_map() {
    let payload = String::from_utf8(Format::Json.encode_map(&builtin_map()).expect("JSON")).expect("UTF-8");
    for page in PAGES {
        let picture = blocks(page).into_iter().find(|block| block.text.contains('┌')).expect("a picture").text;
        assert!(picture.contains(&payload), "{picture}");
        assert!(picture.contains(&format!("{:·<10} ", payload.len())), "{picture}");
        assert!(picture.contains(&format!(" {} bytes ", payload.len())), "{picture}");
    }
}

#[test]
fn an_end_inside_a_frame_is_an_error() {
    for page in PAGES {
        for cut in [&b"48   "[..], b"48        ", b"48        {"] {
            let Some((_directory, python)) = start_python_with(page, "watch.py", cut) else { return };
            let output = python.finish();
            output.assert_exit(1).assert_stdout("").assert_stderr("EOFError");
        }
        let Some((_directory, python)) = start_python_with(page, "watch.py", b"9999999999") else { return };
        python.finish().assert_exit(1).assert_stderr("ValueError");
    }
}

#[test]
fn readers_skip_empty_frames() {
    for page in PAGES {
        for name in ["watch.py", "follow.py"] {
            let frames = b"0         8         {\"a\": 1}0         8         {\"a\": 2}";
            let Some((_directory, python)) = start_python_with(page, name, frames) else { return };
            python.wait_out("{'a': 2}");
            assert_eq!(python.out()[..2], ["{'a': 1}", "{'a': 2}"][..], "{name}");
        }
    }
}
