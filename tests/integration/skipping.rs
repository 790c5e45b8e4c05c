//! No test is skipped silently: a test that cannot run calls `skip`, which prints why, and fails in `.ci/run`.

use std::collections::BTreeSet;

use crate::support::sources::{Function, functions};

/// Where the tests are.
pub const ROOTS: [&str; 4] =
    ["src/lib.rs", "src/bin/mapcast-server/main.rs", "src/bin/mapcast-client/main.rs", "tests/integration/main.rs"];

/// The part of a function's path that a caller writes: its name, after that of its type if it has one.
fn called(path: &str) -> &str {
    let type_at = path.rmatch_indices("::").nth(1).map_or(0, |(at, _)| at + 2);
    let (name, last) = (&path[type_at..], path.rsplit("::").next().unwrap_or_default());
    if name.starts_with(char::is_uppercase) { name } else { last }
}

/// Splits what `text` ends with, if that is a name.
fn last_name(text: &str) -> (&str, &str) {
    let start = text.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |at| at + 1);
    text.split_at(start)
}

/// Returns what `code` calls: `name`, `Type::name` or `.name`.
fn calls(code: &str) -> BTreeSet<String> {
    let call = |(at, _): (usize, &str)| {
        let (before, name) = last_name(&code[..at]);
        if before.ends_with('.') {
            return format!(".{name}");
        }
        let of_type = before.strip_suffix("::").map(|before| last_name(before).1);
        of_type.filter(|of| of.starts_with(char::is_uppercase)).map_or(name.to_owned(), |of| format!("{of}::{name}"))
    };
    code.match_indices('(').map(call).collect()
}

/// True if and only if one of `calls` may be of a function in `names`.
fn calls_one(calls: &BTreeSet<String>, names: &BTreeSet<&str>) -> bool {
    names.iter().any(|name| {
        let method = name.split_once("::").map(|(_, method)| method);
        calls.contains(*name)
            || method
                .is_some_and(|name| calls.contains(&format!(".{name}")) || calls.contains(&format!("Self::{name}")))
    })
}

/// Returns the functions that call `skip`, directly or through another one: a test may return after one of these.
fn skipping(all: &[Function]) -> BTreeSet<&str> {
    let mut rest: Vec<_> =
        all.iter().filter(|function| !function.is_test).map(|one| (called(&one.path), calls(&one.body))).collect();
    let mut names = BTreeSet::from(["skip"]);
    loop {
        let (more, other): (Vec<_>, Vec<_>) = rest.into_iter().partition(|(_, calls)| calls_one(calls, &names));
        if more.is_empty() {
            return names;
        }
        names.extend(more.into_iter().map(|(name, _)| name));
        rest = other;
    }
}

/// Returns the early returns of `test` that are not after a call of `skip`, each with the statement that it ends.
fn silent_returns(test: &Function, skipping: &BTreeSet<&str>) -> Vec<String> {
    let code = test.body.split_whitespace().collect::<Vec<_>>().join(" ");
    let returns = code.match_indices("return").filter(|(at, word)| {
        let rest = code[at + word.len()..].trim_start();
        [";", "}", "eprintln!", "println!"].iter().any(|end| rest.starts_with(end))
    });
    let statements = returns.map(|(at, _)| &code[code[..at].rfind("let ").unwrap_or(0)..at]);
    let may_skip = |code: &str| calls_one(&calls(code), skipping);
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
fn a_test_that_returns_early_calls_skip() {
    let all: Vec<_> = ROOTS.into_iter().flat_map(functions).collect();
    let skipping = skipping(&all);
    let tests: Vec<_> = all.iter().filter(|function| function.is_test).collect();
    assert!(tests.len() > 500, "{} tests", tests.len());
    let silent: Vec<_> = tests.iter().flat_map(|test| silent_returns(test, &skipping)).collect();
    assert!(silent.is_empty(), "return skip(\"why\"), or call a function that does: {silent:#?}");
    let printed = all.iter().filter(|function| function.body.contains("println!(\"skip"));
    let printed: Vec<_> = printed.map(|function| &function.path).collect();
    assert!(printed.is_empty(), "the test runner captures what a test prints; call skip instead: {printed:?}");
}

#[test]
fn the_only_ignored_test_takes_the_pictures() {
    let ignored = ROOTS.into_iter().flat_map(functions).filter(|function| function.is_ignored);
    let paths: Vec<_> = ignored.map(|function| function.path).collect();
    assert_eq!(paths, ["page::pictures::the_pictures_of_the_page"]);
}

/// Checked for this test program, which can list its own tests.
#[cfg(all(feature = "redis", feature = "tls"))]
#[test]
fn the_tests_found_in_the_sources_are_those_that_run() {
    let mut list = std::process::Command::new(std::env::current_exe().unwrap());
    let listed = String::from_utf8(list.args(["--list", "--format", "terse"]).output().unwrap().stdout).unwrap();
    let listed: BTreeSet<_> = listed.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    let read = functions("tests/integration/main.rs");
    let read: BTreeSet<_> = read.iter().filter(|one| one.is_test).map(|one| one.path.as_str()).collect();
    assert_eq!(read, listed);
}
