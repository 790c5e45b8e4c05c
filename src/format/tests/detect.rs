//! Formats told apart by their payloads alone.

use std::process::Command;

use super::*;

fn assert_detected(map: &Map) {
    for format in Format::ALL {
        // Two keys that would be one are refused.
        let Ok(payload) = format.encode_map(map) else { continue };
        let begin = payload[..payload.len().min(40)].escape_ascii();
        assert_eq!(Format::detect(&payload), Some(format), "{} entries, {begin}", map.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_map_shows_its_format(map in maps()) {
        assert_detected(&map);
    }

    #[test]
    fn a_key_that_resembles_another_format_misleads_nobody(
        key in "[{}\"=:#a\u{780}\u{7ff}\n\0]{0,24}", value in "[{}\"=:a1\n]{0,8}", others in maps()) {
        assert_detected(&Map::from([(key.as_str().into(), value.as_str().into())]));
        assert_detected(&others.into_iter().chain([(key.into(), value.into())]).collect());
    }
}

#[test]
fn a_map_of_any_size_shows_its_format() {
    // The count of entries is the first thing in bincode and MessagePack: all first bytes, and those of two bytes that
    // begin JSON, a pickle, and MessagePack's longer maps.
    let sizes =
        (0..=300).chain([0x0280, 0x0380, 0x0480, 0x0580, 0x207b, 0x227b, 0x7d7b, 0x80de, 65_535, 65_536, 65_537]);
    for size in sizes {
        assert_detected(&(0..size).map(|number| (Key::Int(number), Value::Null)).collect());
        let name = |number| Key::from(format!("{{key {number:06}"));
        assert_detected(&(0..size).map(|number| (name(number), Value::from("v"))).collect());
    }
}

#[test]
fn keys_and_values_of_zeros_show_their_format() {
    for len in 0..40 {
        let zeros = "\0".repeat(len);
        for value in [Value::Null, Value::Int(0), zeros.as_str().into(), Value::Bytes(vec![0; len])] {
            assert_detected(&Map::from([(zeros.as_str().into(), value.clone())]));
            assert_detected(&Map::from([(Key::Int(0), value.clone()), (Key::Int(1), value)]));
        }
    }
}

#[test]
fn a_payload_that_is_two_formats_at_once_is_msgpack() {
    // A first key of eleven zero bytes and a value as long as the entries of bincode that they announce.
    let (key, len) = (b"\x81\xab\0\0\0\0\0\0\0\0\0\0\0".as_slice(), 16 * 0xab81_u32);
    let payload = [key, b"\xdb", &len.to_be_bytes(), &vec![0; len as usize]].concat();
    assert!(Format::Msgpack.decode_map(&payload).is_ok());
    assert_eq!(Format::detect(&payload), Some(Format::Msgpack));
}

#[test]
fn what_other_programs_write_shows_its_format() {
    for (payload, format) in [
        (b"{}".as_slice(), Format::Json),
        (b"{\"a\": 1}", Format::Json),
        (b" \n{\n  \"a\": \"b=c\"\n}\n", Format::Json),
        (b"{\"a\":\"b\"}\n", Format::Json),
        // `msgpack.packb` of {}, {"a": 1}, and maps with lengths of 16 and 32 bits.
        (b"\x80", Format::Msgpack),
        (b"\x81\xa1a\x01", Format::Msgpack),
        (b"\xde\x00\x10\xa1a\x01", Format::Msgpack),
        (b"\xdf\x00\x01\x00\x00\xa1a\x01", Format::Msgpack),
        (b"\n", Format::Text),
        (b"# a comment\n\na=1", Format::Text),
        (b"{a=1\r\n", Format::Text),
        (b"\xde\x80=1\n", Format::Text),
    ] {
        assert_eq!(Format::detect(payload), Some(format), "{}", payload.escape_ascii());
    }
}

#[test]
fn what_is_no_map_has_no_format() {
    for payload in [
        b"".as_slice(),
        b"hello",
        b"[1,2]",
        b"null",
        b"\x00\x00\x00\x00",
        b"\x01\0\0\0\0\0\0\0",
        b"\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"(dp0\n.",
        b"\xffa=1\n",
        b"a\0=1\n",
    ] {
        assert_eq!(Format::detect(payload), None, "{}", payload.escape_ascii());
    }
}

#[test]
fn dicts_that_python_writes_show_their_format() {
    let script = "\
import json, pickle, sys
for size in [0, 1, 2, 15, 16, 122, 123, 128, 129, 222, 255, 256, 300, 640, 896, 65536]:
    for name in ['k%d', '{a%d', '\\0%d', 'a=%d']:
        d = {name % number: number for number in range(size)}
        for protocol in range(2, 6):
            print('pickle', pickle.dumps(d, protocol).hex())
            print('pickle', pickle.dumps({number: name for number in range(size)}, protocol).hex())
        for indent in [None, 2]:
            print('json', json.dumps(d, indent=indent).encode().hex())";
    let output = Command::new("python3").args(["-c", script]).output();
    let Ok(output) = output else { return crate::testing::skip("no python3") };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed.lines().count(), 16 * 4 * 10);
    for (name, payload) in printed.lines().filter_map(|line| line.split_once(' ')) {
        let payload = unhex(payload);
        let begin = payload[..payload.len().min(40)].escape_ascii();
        assert_eq!(Format::detect(&payload).map(Format::name), Some(name), "{begin}");
    }
}
