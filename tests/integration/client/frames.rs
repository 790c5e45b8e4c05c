//! Frames from hostile, slow and old servers.

use std::io::Write;
use std::time::Duration;

use super::peer::{BUILTIN_LINE, builtin_frame, delay, frame, serve, serve_bytes};
use crate::support::program::Program;

/// The result of Python's `pickle.dumps({1: "Hola", 2: "Bienvenido", 3: "Al", 4: "Servidor"}, protocol=4)`.
const PYTHON_PICKLE: &[u8] =
    b"\x80\x04\x951\x00\x00\x00\x00\x00\x00\x00}\x94(K\x01\x8c\x04Hola\x94K\x02\x8c\nBienvenido\x94\
K\x03\x8c\x02Al\x94K\x04\x8c\x08Servidor\x94u.";

/// How much more memory an announced length may take than an ordinary frame, in KiB.
const MOST_MORE_MEMORY: u64 = 1024;

#[test]
fn header_and_pickle_may_arrive_separately() {
    let mut kept = Vec::new();
    let server = serve(move |_, mut stream| {
        // As the original server does: `connection.send(bytes(f"{len(data):<10}", "utf-8"))`, then
        // `connection.send(data)`.
        for _ in 0..2 {
            stream.write_all(format!("{:<10}", PYTHON_PICKLE.len()).as_bytes()).unwrap();
            delay(Duration::from_millis(20));
            stream.write_all(PYTHON_PICKLE).unwrap();
        }
        kept.push(stream);
    });
    let client = Program::client(&["-f", "pickle", "-n", "2", &server]).finish();
    client.assert_exit(0).assert_stdout(&BUILTIN_LINE.repeat(2));
}

#[test]
fn a_frame_split_at_any_byte_is_the_same_map() {
    let whole = builtin_frame();
    let splits = whole.len() - 1;
    let server = serve(move |_, mut stream| {
        for split in 1..whole.len() {
            stream.write_all(&whole[..split]).unwrap();
            delay(Duration::from_millis(2));
            stream.write_all(&whole[split..]).unwrap();
        }
    });
    let client = Program::client(&["--no-reconnect", &server]).finish();
    client.assert_exit(0).assert_stdout(&BUILTIN_LINE.repeat(splits));
}

#[test]
fn empty_frames_print_nothing() {
    let server = serve_bytes([frame(b""), builtin_frame(), frame(b""), builtin_frame()].concat());
    Program::client(&["-n", "2", &server]).finish().assert_exit(0).assert_stdout(&BUILTIN_LINE.repeat(2));
}

#[test]
fn a_length_above_the_limit_is_rejected_by_its_header() {
    let client = Program::client(&[&serve_bytes(b"9999999999".to_vec())]).finish();
    client.assert_exit(4).assert_stderr("9999999999").assert_stderr("--max-frame");
}

#[test]
fn an_announced_length_alone_takes_no_memory() {
    let peak = |bytes: Vec<u8>, limit| {
        let client = Program::client(&["--max-frame", limit, "--stale-after", "200ms", &serve_bytes(bytes)]);
        client.wait_log("no frame for 200ms: stale; reconnecting in");
        client.peak_memory()
    };
    let ordinary = peak(builtin_frame(), "1MiB");
    for (claim, limit) in [("9999999999", "10GiB"), ("1000000   ", "1MiB")] {
        let peak = peak(format!("{claim}0123456789").into_bytes(), limit);
        assert!(peak < ordinary + MOST_MORE_MEMORY, "{claim}: {peak} KiB, and {ordinary} for an ordinary frame");
    }
}

#[test]
fn a_slow_frame_is_stale() {
    let server = serve(|_, mut stream| {
        for byte in builtin_frame() {
            if stream.write_all(&[byte]).is_err() {
                break;
            }
            delay(Duration::from_millis(50));
        }
    });
    let client = Program::client(&["--no-reconnect", "--stale-after", "400ms", &server]).finish();
    client.assert_exit(1).assert_stdout("").assert_stderr("stale");
}
