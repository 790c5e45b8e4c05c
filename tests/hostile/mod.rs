//! Checks for untrusted bytes, one per file. The fuzz targets call them with inputs of libFuzzer, and the ordinary tests with
//! the inputs found so far (`corpus/`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a check fails by panicking, here and under libFuzzer"
)]

mod detect;
mod frames;
mod http;
mod lines;
mod payload;
mod pickle;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "tls")]
mod tls;

#[allow(unused_imports, reason = "for a program that has a log of its own")]
pub use lines::check_line;
use mapcast::Format;

/// A check of one input. Panics if the check fails.
pub type Check = fn(&[u8]);

/// Every check, with the name of its fuzz target and of its corpus.
pub const CHECKS: &[(&str, Check)] = &[
    ("frame_reader", frames::check),
    ("decode_bincode", |bytes| payload::check(Format::Bincode, bytes)),
    ("decode_json", |bytes| payload::check(Format::Json, bytes)),
    ("decode_msgpack", |bytes| payload::check(Format::Msgpack, bytes)),
    ("decode_pickle", |bytes| payload::check(Format::Pickle, bytes)),
    ("decode_text", |bytes| payload::check(Format::Text, bytes)),
    ("detect_format", detect::check),
    ("pickle_lookthrough", pickle::check),
    ("json_lines", lines::check),
    ("http_requests", http::check),
    #[cfg(feature = "redis")]
    ("redis_replies", redis::check),
    #[cfg(feature = "tls")]
    ("tls_reader", tls::check),
];

/// Returns the text of `error` and of all its sources.
///
/// # Panics
/// If it has control characters or is too long: it may quote the peer.
fn printable(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    assert_printable(&text);
    text
}

fn assert_printable(text: &str) {
    assert!(!text.contains(char::is_control), "a terminal would obey this: {text:?}");
    assert!(text.chars().count() < 2000, "too long: {text}");
}
