//! The pages of documentation, compared with what the programs do.

use mapcast::frame::{Frame, HEADER_LEN, decode_header};
use mapcast::{DEFAULT_MAX_FRAME, Format, builtin_map};

/// Returns a page of `docs/`.
fn page(name: &str) -> String {
    let path = format!("{}/docs/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the text below the heading, up to the next heading that is not deeper.
fn section<'p>(page: &'p str, heading: &str) -> &'p str {
    let start = page.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading:?}")) + heading.len() + 2;
    let level = heading.bytes().take_while(|byte| *byte == b'#').count();
    let next = (1..=level).filter_map(|level| page[start..].find(&format!("\n{} ", "#".repeat(level)))).min();
    &page[start..next.map_or(page.len(), |next| start + next)]
}

/// Returns the bytes of a dump: each line has an offset, bytes, and after two or more spaces their meaning.
fn undump(dump: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in dump.lines() {
        let (offset, rest) = line.split_once("  ").unwrap_or_else(|| panic!("no offset: {line}"));
        assert_eq!(usize::from_str_radix(offset, 16), Ok(bytes.len()), "the offset of {line}");
        let is_byte = |word: &&str| word.len() == 2 && u8::from_str_radix(word, 16).is_ok();
        bytes.extend(rest.split_whitespace().take_while(is_byte).filter_map(|word| u8::from_str_radix(word, 16).ok()));
    }
    bytes
}

#[test]
fn the_dumps_are_the_bytes_that_are_sent() {
    let page = page("protocol.md");
    for format in Format::ALL {
        let section = section(&page, &format!("### {format}"));
        let dump = section.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a dump");
        let frame = Frame::new(&format.encode_map(&builtin_map()).unwrap(), DEFAULT_MAX_FRAME).unwrap();
        assert_eq!(undump(dump).escape_ascii().to_string(), frame.as_bytes().escape_ascii().to_string(), "{format}");
    }
}

#[test]
fn headers_are_accepted_and_refused_as_the_table_says() {
    let page = page("protocol.md");
    let rows = section(&page, "## The frame").lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let mut verdicts = [0, 0];
    for (header, meaning) in rows {
        let header = header.replace("\\0", "\0").replace("\\t", "\t");
        let header: [u8; HEADER_LEN] = header.as_bytes().try_into().unwrap_or_else(|_| panic!("{header:?}"));
        let length: u64 = meaning.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0);
        match decode_header(&header) {
            Ok(read) => assert!(!meaning.starts_with("refused") && read == length, "{meaning}"),
            Err(_) => assert!(meaning.starts_with("refused: "), "{meaning}"),
        }
        verdicts[usize::from(meaning.starts_with("refused"))] += 1;
    }
    assert_eq!(verdicts, [3, 9]);
}

/// An option as a program's `--help` has it.
#[cfg(feature = "cli")]
struct HelpedOption {
    long: String,
    environment: String,
    /// The first words of its default, up to a comma; empty if there is none.
    default: String,
}

/// Returns the options that a program's `--help` lists, without `--help` and `--version`.
#[cfg(feature = "cli")]
fn helped_options(program: &str) -> Vec<HelpedOption> {
    use crate::support::program::{clean, run};

    let mut command = clean(program);
    command.arg("--help");
    let help = String::from_utf8(run(command).stdout).expect("UTF-8");
    let (_, options) = help.split_once("\nOptions:\n").expect("a list of options");
    let mut blocks: Vec<Vec<&str>> = Vec::new();
    for line in options.lines().take_while(|line| !line.starts_with("Exit codes")) {
        if line.trim_start().starts_with('-') && line.contains("--") && !line.trim_start().starts_with("- ") {
            blocks.push(Vec::new());
        }
        blocks.last_mut().expect("an option first").extend(line.split_whitespace());
    }
    let bracketed = |block: &str, name: &str| {
        let found = block.split_once(&format!("[{name}: ")).and_then(|(_, rest)| rest.split_once(']'));
        found.map_or_else(String::new, |(found, _)| found.to_owned())
    };
    let option = |words: &Vec<&str>| {
        let long = words.iter().find_map(|word| word.strip_prefix("--")).expect("a long option");
        // An optional value follows it: `--wait[=<DURATION>]`.
        let long = long.trim_end_matches("...").split('[').next().unwrap_or_default().to_owned();
        let (block, name) = (words.join(" "), |text: String| text.split(',').next().unwrap_or_default().to_owned());
        let environment = bracketed(&block, "env").trim_end_matches('=').to_owned();
        HelpedOption { long, environment, default: name(bracketed(&block, "default")) }
    };
    blocks.iter().map(option).filter(|option| !["help", "version"].contains(&option.long.as_str())).collect()
}

#[cfg(feature = "cli")]
#[test]
fn every_option_is_in_the_table_with_its_variable_and_default() {
    use crate::support::program::{CLIENT, SERVER};

    for (program, name) in [(SERVER, "server.md"), (CLIENT, "client.md")] {
        let page = page(name);
        let rows: Vec<_> = section(&page, "## Options").lines().filter(|line| line.starts_with("| `-")).collect();
        let options = helped_options(program);
        for HelpedOption { long, environment, default } in &options {
            let row = rows.iter().find(|row| row.contains(&format!("`--{long}")));
            let row = row.unwrap_or_else(|| panic!("{name}: no row for --{long}"));
            assert!(row.contains(&format!("| `{environment}` |")), "{name}: --{long} has {environment}: {row}");
            assert!(row.contains(default.as_str()), "{name}: --{long} is {default:?} by default: {row}");
        }
        assert_eq!(rows.len(), options.len(), "{name}: a row for an option that does not exist");
    }
}

/// Returns the paths of the tests that `cargo test` runs, as it prints them, without the ignored ones.
#[cfg(feature = "cli")]
fn tests_that_run() -> std::collections::BTreeSet<String> {
    let all = crate::skipping::ROOTS.into_iter().flat_map(crate::support::sources::functions);
    all.filter(|function| function.is_test && !function.is_ignored).map(|function| function.path).collect()
}

/// Returns the cell of each row of a table that names tests, with the row.
fn naming_cells(section: &str, column: usize) -> Vec<(&str, &str)> {
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(1);
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").collect();
        assert_eq!(cells.len(), 4, "not four cells: {row}");
        (cells[column], row)
    })
    .collect()
}

#[test]
fn every_test_that_a_table_names_exists() {
    let (faults, costs) = (page("reliability.md"), page("security.md"));
    let faults = naming_cells(section(&faults, "## The faults"), 2);
    let costs = naming_cells(section(&costs, "## What a peer can cost"), 3);
    let tests_that_run = tests_that_run();
    let faults_that_run = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/run.sh")).unwrap();
    let mut named = 0;
    for (tests, row) in faults.into_iter().chain(costs) {
        let tests: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test: {row}");
        for test in tests {
            named += 1;
            if test == "bench" || test.starts_with("cargo bench --bench ") {
                let bench = test.rsplit(' ').next().filter(|name| *name != "bench").unwrap_or("requests");
                let file = format!("{}/benches/{bench}", env!("CARGO_MANIFEST_DIR"));
                let is_there = [file.clone() + ".rs", file + "/main.rs"];
                assert!(is_there.iter().any(|file| std::path::Path::new(file).is_file()), "no {bench}: {row}");
                continue;
            }
            if test.starts_with("tests/faults/") || test.starts_with("scripts/") {
                let script = format!("{}/{test}", env!("CARGO_MANIFEST_DIR"));
                assert!(std::path::Path::new(&script).is_file(), "no {test}: {row}");
                let is_run = test.strip_prefix("tests/faults/").is_none_or(|name| faults_that_run.contains(name));
                assert!(is_run, "tests/faults/run.sh does not run {test}: {row}");
                continue;
            }
            assert!(tests_that_run.contains(test), "no test {test} that runs: {row}");
        }
    }
    assert!(named > 50, "{named} names");
}

/// The functions that a section names must be in the file that it names before them.
fn check_named_functions(section: &str) {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut file, mut functions) = (None, 0);
    for name in section.split('`').skip(1).step_by(2) {
        if std::path::Path::new(name).extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(root.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
            file = Some((name, text));
        } else if let Some(function) = name.strip_suffix("()") {
            let (file, text) = file.as_ref().expect("a file before its functions");
            let (of_type, function) = function.rsplit_once("::").unwrap_or(("", function));
            let is_there = ["(", "<"].iter().any(|next| text.contains(&format!("fn {function}{next}")));
            assert!(is_there, "{file} has no function {function}");
            assert!(text.contains(of_type), "{file} has no type {of_type}");
            functions += 1;
        }
    }
    assert!(functions > 10, "{functions} functions");
}

/// Returns the anchors of a page's headings, as GitHub makes them.
fn anchors(page: &str) -> std::collections::BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| {
        let kept = heading.to_lowercase().replace(' ', "-");
        kept.chars().filter(|c| c.is_alphanumeric() || ['-', '_'].contains(c)).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_names_a_page_and_a_heading_that_exist() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut links = 0;
    for page in pages.chain(["README.md", "CONTRIBUTING.md"].map(|name| root.join(name))) {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") || link.contains(char::is_whitespace) {
                continue;
            }
            let (name, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if name.is_empty() { page.clone() } else { page.parent().unwrap().join(name) };
            assert!(target.exists(), "{}: no page {name}", page.display());
            let is_there = anchor.is_empty() || anchors(&std::fs::read_to_string(&target).unwrap()).contains(anchor);
            assert!(is_there, "{}: {name} has no heading {anchor}", page.display());
            links += 1;
        }
    }
    assert!(links > 100, "{links} links");
}

/// Returns the texts of the sources in `directory`, without comments, each string in one line.
fn sources(directory: &std::path::Path) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
            texts.push(code.map(|line| line.strip_suffix('\\').map_or(format!("{line}\n"), str::to_owned)).collect());
        }
    }
    texts
}

#[test]
fn every_message_that_is_explained_is_in_the_sources() {
    let sources = sources(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let page = page("troubleshooting.md");
    let headings = page.lines().filter(|line| line.starts_with("### "));
    let messages: Vec<_> = headings.flat_map(|heading| heading.split('`').skip(1).step_by(2)).collect();
    assert!(messages.len() > 35, "{} messages", messages.len());
    for message in messages {
        let fixed: Vec<_> = message.split('…').map(str::trim).filter(|part| !part.is_empty()).collect();
        assert!(fixed.iter().any(|part| part.len() >= 8), "too short to search for: {message}");
        let is_there = sources.iter().any(|text| fixed.iter().all(|part| text.contains(part)));
        assert!(is_there, "no source has the message {message:?}");
    }
}

#[test]
fn pages_name_files_and_functions_that_exist() {
    check_named_functions(section(&page("../README.md"), "## How it works"));
    check_named_functions(section(&page("tutorial.md"), "## 12. Where the Rust code does this"));
    check_named_functions(section(&page("guia.md"), "## 12. Dónde lo hace el código en Rust"));
}

#[test]
fn the_design_page_names_every_model_and_no_other() {
    let design = page("design.md");
    let rows = section(&design, "## What is shown, and how").lines().filter(|line| line.starts_with("| "));
    let named: Vec<_> = rows.filter_map(|row| row.split(" | ").nth(1)?.strip_prefix('`')?.strip_suffix('`')).collect();
    let models = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/main.rs")).unwrap();
    let is_model = |line: &&str| line.contains("_model::") || line.contains("::model::");
    let models: std::collections::BTreeSet<_> =
        models.lines().filter(is_model).filter_map(|line| line.split('"').nth(1)).collect();
    assert!(models.len() > 10, "{} models", models.len());
    assert_eq!(named.into_iter().collect::<std::collections::BTreeSet<_>>(), models);
}
