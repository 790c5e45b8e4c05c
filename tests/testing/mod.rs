//! What the unit tests of the library and of both programs share with the integration tests.
#![allow(dead_code, unreachable_pub, reason = "each of the programs that include this file uses a part of it")]

use std::io::Write;

/// Reports on standard error that the calling test is not run here, and why. The test must return after the call.
///
/// The line is written to standard error itself. What `eprintln!` prints is captured by the test runner, which shows it
/// for failed tests alone.
///
/// # Panics
/// If `MAPCAST_TESTS_COMPLETE` is set and not empty: the gate sets it where everything is provided, and there a test that
/// is not run is a failure.
#[track_caller]
pub fn skip(reason: &str) {
    // The runner names the thread of a test after it; with one thread it runs them all in the main thread.
    let thread = std::thread::current();
    let line = format!("skipped: {}: {reason}\n", thread.name().unwrap_or("a test"));
    _ = std::io::stderr().write_all(line.as_bytes());
    let complete = std::env::var_os("MAPCAST_TESTS_COMPLETE").is_some_and(|value| !value.is_empty());
    assert!(!complete, "MAPCAST_TESTS_COMPLETE is set, and a test is skipped: {reason}");
}

/// True if and only if `PATH` has the command `name`.
pub fn has_command(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
}

/// Checks the text of each error: `check_texts!(Error { Closed => "closed"; Reset(error) => "reset"; } except Other)`. Does
/// not compile if a variant of the enum has no row. A variant may have several rows. `except` names variants that a test
/// cannot make.
#[allow(unused_macros, reason = "as above")]
macro_rules! check_texts {
    (
        $error:ident { $($variant:ident $(($($field:tt)*))? $({$($named:tt)*})? => $text:expr;)+ }
        $(except $($other:ident),+)?
    ) => {{
        #[allow(unreachable_patterns, reason = "several rows")]
        let _ = |error: &$error| match error {
            $($error::$variant { .. } => (),)+
            $($($error::$other { .. } => (),)+)?
        };
        $(assert_eq!($error::$variant $(($($field)*))? $({$($named)*})?.to_string(), $text);)+
    }};
}
#[allow(unused_imports, reason = "as above")]
pub(crate) use check_texts;
