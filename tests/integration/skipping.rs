//! No test is skipped in silence: each one that cannot run here calls `skip`, which says so and fails at the gate.

use std::collections::BTreeSet;

use crate::support::sources::{Function, functions};

/// Where the tests are.
pub const ROOTS: [&str; 4] =
    ["src/lib.rs", "src/bin/mapcast-server/main.rs", "src/bin/mapcast-client/main.rs", "tests/integration/main.rs"];

/// The part of a function's path that a caller writes: its name, behind that of its type if it has one.
fn called(path: &str) -> &str {
    let type_at = path.rmatch_indices("::").nth(1).map_or(0, |(at, _)| at + 2);
    let (name, last) = (&path[type_at..], path.rsplit("::").next().unwrap_or_default());
    if name.starts_with(char::is_uppercase) { name } else { last }
}

/// True if and only if `code` calls `name`, as far as its text shows.
fn calls(code: &str, name: &str) -> bool {
    if let Some((_, method)) = name.split_once("::") {
        return [format!("{name}("), format!("Self::{method}("), format!(".{method}(")]
            .iter()
            .any(|call| code.contains(call));
    }
    code.match_indices(&format!("{name}("))
        .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '.'))
}

/// Returns the functions that call `skip`, or one that does: a test learns from these that it cannot run.
fn skipping(all: &[Function]) -> BTreeSet<&str> {
    let mut names = BTreeSet::from(["skip"]);
    loop {
        let is_new = |function: &&Function| {
            let name = called(&function.path);
            !function.is_test && !names.contains(name) && names.iter().any(|known| calls(&function.body, known))
        };
        let more: Vec<_> = all.iter().filter(is_new).map(|function| called(&function.path)).collect();
        if more.is_empty() {
            return names;
        }
        names.extend(more);
    }
}

/// Returns the early returns of `test` that do not say why, each with the statement that it ends.
fn silent_returns(test: &Function, skipping: &BTreeSet<&str>) -> Vec<String> {
    let code = test.body.split_whitespace().collect::<Vec<_>>().join(" ");
    let returns = code.match_indices("return").filter(|(at, word)| {
        let rest = code[at + word.len()..].trim_start();
        [";", "}", "eprintln!", "println!"].iter().any(|end| rest.starts_with(end))
    });
    let statements = returns.map(|(at, _)| &code[code[..at].rfind("let ").unwrap_or(0)..at]);
    let may_skip = |code: &str| skipping.iter().any(|name| calls(code, name));
    // What the statement calls may be a closure of the test's own.
    let closure = |statement: &str| {
        let name = statement.split_once("= ")?.1.split('(').next()?;
        code.split_once(&format!("let {name} = |"))?.1.split("; ").next()
    };
    let says_why = |statement: &&str| {
        statement.ends_with("else { ") && (may_skip(statement) || closure(statement).is_some_and(may_skip))
    };
    statements.filter(|statement| !says_why(statement)).map(|statement| format!("{}: {statement}", test.path)).collect()
}

#[test]
fn no_test_returns_early_without_saying_so() {
    let all: Vec<_> = ROOTS.into_iter().flat_map(functions).collect();
    let skipping = skipping(&all);
    let tests: Vec<_> = all.iter().filter(|function| function.is_test).collect();
    assert!(tests.len() > 500, "{} tests", tests.len());
    let silent: Vec<_> = tests.iter().flat_map(|test| silent_returns(test, &skipping)).collect();
    assert!(silent.is_empty(), "return skip(\"why\"), or call a function that does: {silent:#?}");
    let printed = all.iter().filter(|function| function.body.contains("println!(\"skip"));
    let printed: Vec<_> = printed.map(|function| &function.path).collect();
    assert!(printed.is_empty(), "the runner shows no line that a test prints; call skip: {printed:?}");
}

#[test]
fn the_only_test_that_is_ignored_takes_the_pictures() {
    let ignored = ROOTS.into_iter().flat_map(functions).filter(|function| function.is_ignored);
    let paths: Vec<_> = ignored.map(|function| function.path).collect();
    assert_eq!(paths, ["page::pictures::the_pictures_of_the_page"]);
}

/// What is read from the sources is what the test runner has, of the one program that can be asked from here.
#[cfg(all(feature = "redis", feature = "tls"))]
#[test]
fn the_tests_that_are_read_are_those_that_run() {
    let mut list = std::process::Command::new(std::env::current_exe().unwrap());
    let listed = String::from_utf8(list.args(["--list", "--format", "terse"]).output().unwrap().stdout).unwrap();
    let listed: BTreeSet<_> = listed.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    let read = functions("tests/integration/main.rs");
    let read: BTreeSet<_> = read.iter().filter(|one| one.is_test).map(|one| one.path.as_str()).collect();
    assert_eq!(read, listed);
}
