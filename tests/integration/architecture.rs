//! Who may import whom: docs/design.md has the table, this holds it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each module and the modules of ours that it may name. What is not here may name none.
const ALLOWED: &[(&str, &[&str])] = &[
    ("files", &["display", "platform"]),
    ("shutdown", &["platform", "threads"]),
    ("stats", &["sync", "threads"]),
    ("backlog", &["display"]),
    ("format", &["display", "map"]),
    ("state", &["display", "files", "format", "frame", "map"]),
    ("feed", &["backlog", "format", "frame", "map", "stats", "sync"]),
    ("tls", &["display", "files", "platform", "shutdown"]),
    ("stream", &["tls"]),
    (
        "connection",
        &["backlog", "display", "frame", "platform", "shutdown", "stats", "stream", "sync", "threads", "tls"],
    ),
    ("service", &["connection", "display", "feed", "platform", "shutdown", "stats", "threads"]),
    ("http/protocol", &["backlog", "connection", "service", "shutdown"]),
    (
        "http",
        &[
            "backlog",
            "connection",
            "display",
            "feed",
            "files",
            "format",
            "map",
            "platform",
            "service",
            "shutdown",
            "state",
            "stats",
            "threads",
        ],
    ),
    (
        "source",
        &[
            "client", "display", "feed", "files", "format", "frame", "map", "shutdown", "state", "stats", "stream",
            "threads", "tls",
        ],
    ),
    (
        "server",
        &["connection", "display", "platform", "service", "shutdown", "stats", "stream", "sync", "threads", "tls"],
    ),
    ("client", &["display", "format", "frame", "map", "platform", "shutdown", "stream", "tls"]),
];

/// Returns every Rust file below `directory`.
fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory of ours") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Directories inside a module that have rows of their own: they may name more than the module that they are in.
const INNER: &[&str] = &["http/protocol"];

/// The library's modules that each of its modules names by `crate::`, outside its unit tests and its examples.
fn edges() -> BTreeMap<String, BTreeSet<String>> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in rust_files(&src) {
        let inside = file.strip_prefix(&src).expect("below src");
        let first = inside.iter().next().expect("a name").to_string_lossy().into_owned();
        let inner = INNER.iter().find(|inner| inside.starts_with(inner));
        let module = inner.map_or(first.trim_end_matches(".rs"), |inner| inner).to_owned();
        if ["lib", "bin"].contains(&module.as_str()) || inside.ends_with("tests.rs") {
            continue;
        }
        let text = fs::read_to_string(&file).expect("a file of ours");
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        // Without comments, and as one line: a list of imports may take several.
        let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        edges
            .entry(module.clone())
            .or_default()
            .extend(named_modules(&code).into_iter().filter(|name| *name != module));
    }
    edges
}

/// The names behind each `crate::` of `code`; `crate::{a, b::c}` has several.
fn named_modules(code: &str) -> Vec<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    code.split("crate::")
        .skip(1)
        .flat_map(|rest| match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default().split(',').map(|item| name(item.trim())).collect(),
            None => vec![name(rest)],
        })
        .filter(|name| !name.is_empty() && name != "testing") // compiled for unit tests alone
        .collect()
}

#[test]
fn every_import_is_one_that_the_design_allows() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let mut forbidden = Vec::new();
    for (module, named) in edges() {
        let allowed = allowed.get(module.as_str()).copied().unwrap_or_default();
        forbidden.extend(
            named.iter().filter(|name| !allowed.contains(&name.as_str())).map(|name| format!("{module} -> {name}")),
        );
    }
    assert!(forbidden.is_empty(), "not in docs/design.md's table: {forbidden:?}");
}

/// Panics if the edges form a cycle.
fn assert_acyclic(mut edges: BTreeMap<String, BTreeSet<String>>) {
    while !edges.is_empty() {
        let (before, names) = (edges.len(), edges.keys().cloned().collect::<BTreeSet<_>>());
        edges.retain(|_, named| named.iter().any(|name| names.contains(name)));
        assert!(edges.len() < before, "these form a cycle: {edges:?}");
    }
}

#[test]
fn the_table_has_no_cycle() {
    let owned = |named: &[&str]| named.iter().map(|&name| name.to_owned()).collect();
    assert_acyclic(ALLOWED.iter().map(|(module, named)| ((*module).to_owned(), owned(named))).collect());
}

/// Returns the module of each file below `src/DIRECTORY`, such as `http::app::map`, with the modules of the directory that it
/// imports, outside its unit tests.
fn file_edges(directory: &str) -> BTreeMap<String, BTreeSet<String>> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let module_of = |file: &Path| {
        let inside = file.strip_prefix(&src).expect("below src").with_extension("");
        let names: Vec<_> = inside.iter().map(|name| name.to_string_lossy()).filter(|name| name != "mod").collect();
        names.join("::")
    };
    let files = rust_files(&src.join(directory));
    let modules: BTreeSet<String> = files.iter().map(|file| module_of(file)).collect();
    let mut edges = BTreeMap::new();
    for file in &files {
        let module = module_of(file);
        let text = fs::read_to_string(file).expect("a file of ours");
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let imports =
            code.split('\n').filter_map(|line| line.strip_prefix("pub ").unwrap_or(line).strip_prefix("use "));
        let absolute = imports.map(|path| match path.strip_prefix("crate::") {
            Some(path) => path.to_owned(),
            None => {
                let (mut base, mut path) = (module.as_str(), path);
                while let Some(rest) = path.strip_prefix("super::") {
                    (base, path) = (base.rsplit_once("::").map_or("", |(parent, _)| parent), rest);
                }
                format!("{base}::{path}")
            }
        });
        // The longest module that the path begins with; none for another directory or crate.
        let imported = absolute.filter_map(|path| {
            let begins = |module: &&String| {
                path.strip_prefix(module.as_str())
                    .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
            };
            modules.iter().filter(begins).max_by_key(|module| module.len()).cloned()
        });
        let imported = imported.filter(|imported| *imported != module).collect();
        edges.insert(module, imported);
    }
    edges
}

#[test]
fn the_files_of_http_import_each_other_without_a_cycle() {
    let edges = file_edges("http");
    assert!(edges["http::app::handler"].contains("http::app::changes"), "{edges:?}");
    let upward: Vec<_> = edges
        .iter()
        .filter(|(module, named)| {
            module.starts_with("http::protocol") && named.iter().any(|name| !name.starts_with("http::protocol::"))
        })
        .collect();
    assert!(upward.is_empty(), "the protocol must not import the application: {upward:?}");
    assert_acyclic(edges);
}

#[test]
fn the_programs_use_the_public_interface_alone() {
    let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin");
    for file in rust_files(&bin) {
        let text = fs::read_to_string(&file).expect("a file of ours");
        let inner = text
            .lines()
            .find(|line| line.contains("#[path") && line.contains("../../") && !line.contains("/tests/testing/"));
        assert_eq!(inner, None, "{} reaches into the library", file.display());
    }
}

#[test]
fn the_design_page_has_the_table_that_is_held_here() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/design.md");
    let page = fs::read_to_string(page).expect("the design page");
    for (module, named) in ALLOWED {
        let row =
            format!("| `{module}` | {} |", named.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "));
        assert!(page.contains(&row), "docs/design.md lacks the row {row}");
    }
}
