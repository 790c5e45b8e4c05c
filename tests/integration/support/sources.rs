//! The functions in this project's sources, as formatted by rustfmt: for tests that check other tests.

use std::fs;
use std::path::{Path, PathBuf};

/// A function that is compiled on Linux with the default features and for tests.
pub struct Function {
    /// Its modules and its name, as printed by the test runner; a method has its type before its name.
    pub path: String,
    /// From the line of its name to its last brace, without comment lines.
    pub body: String,
    pub is_test: bool,
    pub is_ignored: bool,
}

/// A module or an `impl` inside a file.
struct Scope {
    indent: usize,
    name: String,
    is_compiled: bool,
}

/// Returns the functions below `root`, such as `src/lib.rs`, a path in the project's directory.
pub fn functions(root: &str) -> Vec<Function> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
    let mut found = Vec::new();
    read_module(&root, root.parent().expect("a directory"), &[], &mut found);
    found
}

/// Reads the module `path` from `file`; the files of its modules are in `dir`.
fn read_module(file: &Path, dir: &Path, path: &[String], found: &mut Vec<Function>) {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let lines = without_comments(&text);
    let (mut scopes, mut attributes) = (Vec::<Scope>::new(), String::new());
    let mut at = 0;
    while let Some(&line) = lines.get(at) {
        at += 1;
        let (indent, code) = (indent_of(line), line.trim());
        if code.starts_with('}') && scopes.last().is_some_and(|scope| scope.indent == indent) {
            scopes.pop();
        }
        if code.starts_with("#[") || attributes.matches('[').count() > attributes.matches(']').count() {
            attributes += code;
            continue;
        }
        let attributes = std::mem::take(&mut attributes);
        let is_compiled = scopes.iter().all(|scope| scope.is_compiled) && is_compiled(&attributes);
        let inner: Vec<_> = path.iter().chain(scopes.iter().map(|scope| &scope.name)).cloned().collect();
        let item = without_visibility(code);
        if let Some(name) = item.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) {
            if is_compiled {
                let dir = scopes.iter().fold(dir.to_owned(), |dir, scope| dir.join(&scope.name));
                let file = match attributes.split_once("#[path = \"").and_then(|(_, rest)| rest.split_once('"')) {
                    Some((given, _)) => file.parent().expect("a directory").join(given),
                    None => file_of(&dir, name),
                };
                let dir = if file.ends_with("mod.rs") { parent(&file) } else { parent(&file).join(name) };
                read_module(&file, &dir, &[&inner[..], &[name.to_owned()]].concat(), found);
            }
        } else if let Some(name) = scope_of(item) {
            scopes.push(Scope { indent, name, is_compiled });
        } else if let Some(name) = function_of(item) {
            let end = end_of_function(&lines, at - 1, indent);
            if is_compiled {
                found.push(Function {
                    path: [&inner[..], &[name.to_owned()]].concat().join("::"),
                    body: lines[at - 1..=end].join("\n"),
                    is_test: attributes.contains("#[test]"),
                    is_ignored: attributes.contains("#[ignore"),
                });
            }
            at = end + 1;
        }
    }
}

/// The lines that are neither empty nor comments.
fn without_comments(text: &str) -> Vec<&str> {
    let mut is_inside = false;
    let is_code = |line: &&str| {
        let line = line.trim();
        let was_inside = is_inside;
        is_inside = (was_inside || line.starts_with("/*")) && !line.ends_with("*/");
        !(was_inside || line.is_empty() || line.starts_with("//") || line.starts_with("/*"))
    };
    text.lines().filter(is_code).collect()
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn parent(file: &Path) -> PathBuf {
    file.parent().expect("a directory").to_owned()
}

fn file_of(dir: &Path, module: &str) -> PathBuf {
    let beside = dir.join(module).with_extension("rs");
    if beside.is_file() { beside } else { dir.join(module).join("mod.rs") }
}

fn without_visibility(code: &str) -> &str {
    let Some(rest) = code.strip_prefix("pub") else { return code };
    rest.strip_prefix('(').and_then(|rest| rest.split_once(')')).map_or(rest, |(_, rest)| rest).trim_start()
}

/// The name of the module, or of the type of the `impl`, that begins with this line.
fn scope_of(item: &str) -> Option<String> {
    let rest = item.strip_suffix('{')?.trim_end();
    if let Some(name) = rest.strip_prefix("mod ") {
        return Some(name.to_owned());
    }
    let of_impl = rest.strip_prefix("impl")?;
    let of_type = of_impl.rsplit_once(" for ").map_or(of_impl, |(_, of_type)| of_type);
    Some(of_type.split(['<', '>']).rfind(|part| !part.trim().is_empty())?.trim().to_owned())
}

/// The name of the function that begins with this line.
fn function_of(item: &str) -> Option<&str> {
    let rest = item.strip_prefix("const ").unwrap_or(item).strip_prefix("fn ")?;
    rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

/// The index of the last line of the function that begins at `start`.
fn end_of_function(lines: &[&str], start: usize, indent: usize) -> usize {
    let of_function = lines.iter().enumerate().skip(start).take_while(|(_, line)| indent_of(line) >= indent);
    let mut ends = of_function.filter(|(at, line)| {
        let is_level = indent_of(line) == indent;
        let is_short = line.ends_with(';') || line.ends_with('}');
        is_level && if *at == start { is_short } else { line.trim().starts_with('}') || line.ends_with(';') }
    });
    ends.next().map_or(start, |(at, _)| at)
}

/// True if and only if every `#[cfg(...)]` of `attributes` holds.
fn is_compiled(attributes: &str) -> bool {
    attributes.split("#[cfg(").skip(1).all(|rest| holds(rest.split(")]").next().unwrap_or_default()))
}

/// True if and only if the condition holds: on Linux, with the default features, for tests.
fn holds(condition: &str) -> bool {
    let condition = condition.trim().trim_end_matches(',');
    let inside = |name: &str| condition.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')');
    if let Some(inner) = inside("not") {
        return !holds(inner);
    }
    if let Some(inner) = inside("any") {
        return parts(inner).into_iter().any(holds);
    }
    if let Some(inner) = inside("all") {
        return parts(inner).into_iter().all(holds);
    }
    let given =
        ["test", "unix", "target_os = \"linux\"", "feature = \"cli\"", "feature = \"redis\"", "feature = \"tls\""];
    given.contains(&condition)
}

/// Splits a list at the commas outside of parentheses.
fn parts(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, character) in list.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&list[start..]);
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}
