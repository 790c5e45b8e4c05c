//! Which file may import which: docs/design.md has the table of the modules, and no files import each other in a cycle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::imports::{Import, imports};
use crate::support::tokens::{Token, tokens};

/// The roots of the crates whose files are checked.
const ROOTS: &[&str] = &[
    "src/lib.rs",
    "src/bin/mapcast-server/main.rs",
    "src/bin/mapcast-client/main.rs",
    "benches/chaos/main.rs",
    "benches/fanout/main.rs",
    "benches/formats.rs",
    "benches/handshake.rs",
    "benches/requests.rs",
    "benches/siege/main.rs",
    "benches/soak/main.rs",
    "examples/swarm.rs",
];

/// Directories inside a module that have rows of their own: they may import more than the module that they are in.
const INNER: &[&str] = &["http/protocol"];

/// Files that import each other in a cycle, which is to be removed. Do not add to it.
const KNOWN_CYCLES: &[&[&str]] = &[];

/// Library files whose messages name an option of a program, which is to be removed. Do not add to it.
const KNOWN_OPTION_NAMES: &[&str] = &[];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns every Rust file below `directory`.
fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory of the project") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The module of the table that a file of `src/` belongs to.
fn module_of(file: &str) -> &str {
    let inside = file.strip_prefix("src/").expect("a file of the library");
    let inner = INNER.iter().find(|inner| Path::new(inside).starts_with(inner));
    inner.unwrap_or(&inside.split('/').next().unwrap_or_default().trim_end_matches(".rs"))
}

/// The library's modules that each of its modules imports from.
fn edges() -> BTreeMap<String, BTreeSet<String>> {
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for Import { from, path, .. } in imports("src/lib.rs") {
        let inner = INNER.iter().find(|inner| path.join("/").starts_with(*inner));
        let to = inner.map_or(path[0].as_str(), |inner| inner);
        if from != "src/lib.rs" {
            edges
                .entry(module_of(&from).to_owned())
                .or_default()
                .extend((module_of(&from) != to).then(|| to.to_owned()));
        }
    }
    edges
}

/// The table of docs/design.md: each module and the modules that it may import from.
fn table() -> BTreeMap<String, BTreeSet<String>> {
    let page = fs::read_to_string(root().join("docs/design.md")).expect("the design page");
    let (_, section) = page.split_once("\n## The modules\n").expect("the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let row = |(module, rest): (&str, &str)| {
        let cell = rest.split(" | ").next().unwrap_or_default();
        (module.to_owned(), cell.split('`').skip(1).step_by(2).map(str::to_owned).collect())
    };
    rows.map(row).collect()
}

#[test]
fn every_import_between_modules_is_in_the_table() {
    let allowed = table();
    let mut forbidden = BTreeSet::new();
    for (module, imported) in edges() {
        let allowed = allowed.get(&module).unwrap_or_else(|| panic!("docs/design.md has no row for {module}"));
        forbidden.extend(imported.difference(allowed).map(|name| format!("{module} -> {name}")));
    }
    assert!(forbidden.is_empty(), "not in docs/design.md's table: {forbidden:?}");
}

#[test]
fn every_row_of_the_table_is_a_module_with_these_imports() {
    let (edges, allowed) = (edges(), table());
    let files = rust_files(&root().join("src"));
    let files = files.iter().filter_map(|file| file.strip_prefix(root()).expect("below it").to_str());
    let modules: BTreeSet<_> = files.map(module_of).filter(|module| !["lib", "bin"].contains(module)).collect();
    let rows: BTreeSet<_> = allowed.keys().map(String::as_str).collect();
    assert_eq!(rows, modules, "the modules with a row, and those of src/");
    let none = BTreeSet::new();
    let unused: Vec<_> = allowed
        .iter()
        .flat_map(|(module, imported)| {
            let existing = edges.get(module).unwrap_or(&none);
            imported.difference(existing).map(move |name| format!("{module} -> {name}"))
        })
        .collect();
    assert!(unused.is_empty(), "in docs/design.md's table, and nowhere in src/: {unused:?}");
}

#[test]
fn the_table_has_no_cycle() {
    let mut left = table();
    while !left.is_empty() {
        let (before, names) = (left.len(), left.keys().cloned().collect());
        left.retain(|_, imported| !imported.is_disjoint(&names));
        assert!(left.len() < before, "a cycle among these: {left:?}");
    }
}

/// Returns the sets of files that import each other in a cycle.
fn cycles(imports: &BTreeSet<Import>) -> BTreeSet<BTreeSet<&str>> {
    let mut reached: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for import in imports.iter().filter(|import| !import.is_shared) {
        reached.entry(&import.from).or_default().insert(&import.to);
    }
    let direct = reached.clone();
    for (file, found) in &mut reached {
        let mut next: Vec<_> = direct[file].iter().copied().collect();
        while let Some(file) = next.pop() {
            next.extend(direct.get(file).into_iter().flatten().filter(|to| found.insert(to)));
        }
    }
    let with = |file: &&str| {
        let mates = reached[file].iter().copied();
        mates.filter(|mate| reached.get(mate).is_some_and(|found| found.contains(file))).collect::<BTreeSet<_>>()
    };
    reached.keys().map(with).filter(|mates| !mates.is_empty()).collect()
}

#[test]
fn no_files_import_each_other_in_a_cycle() {
    let imports: BTreeSet<_> = ROOTS.iter().flat_map(|root| imports(root)).collect();
    assert!(imports.len() > 500, "{} imports", imports.len());
    let known: Vec<BTreeSet<_>> = KNOWN_CYCLES.iter().map(|files| files.iter().copied().collect()).collect();
    let mut unknown = Vec::new();
    for cycle in cycles(&imports) {
        if known.iter().any(|known| cycle.is_subset(known)) {
            continue;
        }
        unknown.push(format!("{cycle:?}"));
        for Import { from, to, path, .. } in imports.iter().filter(|import| !import.is_shared) {
            if cycle.contains(from.as_str()) && cycle.contains(to.as_str()) {
                unknown.push(format!("  {from} -> {to} ({})", path.join("::")));
            }
        }
    }
    assert!(unknown.is_empty(), "files in a cycle:\n{}", unknown.join("\n"));
}

#[test]
fn a_known_cycle_that_is_gone_is_not_listed() {
    let imports: BTreeSet<_> = ROOTS.iter().flat_map(|root| imports(root)).collect();
    let cycles = cycles(&imports);
    let is_gone = |known: &&&[&str]| {
        let known: BTreeSet<_> = known.iter().copied().collect();
        !cycles.iter().any(|cycle| cycle.is_subset(&known))
    };
    let gone: Vec<_> = KNOWN_CYCLES.iter().filter(is_gone).collect();
    assert!(gone.is_empty(), "remove from KNOWN_CYCLES: {gone:?}");
}

#[test]
fn the_programs_use_the_public_interface_alone() {
    for file in rust_files(&root().join("src/bin")) {
        let text = fs::read_to_string(&file).expect("a file of the project");
        let inner = text
            .lines()
            .find(|line| line.contains("#[path") && line.contains("../../") && !line.contains("/tests/testing/"));
        assert_eq!(inner, None, "{} reaches into the library", file.display());
    }
}

/// True if and only if `text` has the long name of an option: `--tls-ca`.
fn names_an_option(text: &str) -> bool {
    text.split("--").skip(1).any(|rest| rest.starts_with(|first: char| first.is_ascii_lowercase()))
}

#[test]
fn no_message_of_the_library_names_an_option() {
    let mut naming = BTreeSet::new();
    for file in rust_files(&root().join("src")) {
        let name = file.strip_prefix(root()).expect("below it").to_str().expect("UTF-8").to_owned();
        if name.starts_with("src/bin/") || name.ends_with("tests.rs") || name.contains("/tests/") {
            continue;
        }
        let text = fs::read_to_string(&file).expect("a file of the project");
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let is_naming = |token: &Token| matches!(token, Token::Text(text) if names_an_option(text));
        naming.extend(tokens(code).iter().any(is_naming).then_some(name));
    }
    let known: BTreeSet<_> = KNOWN_OPTION_NAMES.iter().map(|&file| file.to_owned()).collect();
    let new: Vec<_> = naming.difference(&known).collect();
    assert!(new.is_empty(), "the library names an option of a program: {new:?}");
    let gone: Vec<_> = known.difference(&naming).collect();
    assert!(gone.is_empty(), "remove from KNOWN_OPTION_NAMES: {gone:?}");
}
