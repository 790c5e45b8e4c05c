//! Tests of all formats.

mod detect;
mod hostile;

use std::collections::BTreeMap;
use std::error::Error as _;
use std::net::IpAddr;
use std::thread;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::map::MAX_DEPTH;
use crate::map::{Key, Value, builtin};

/// The stack on which every payload must be decoded: the measured need of [`MAX_DEPTH`], and a margin.
const STACK: usize = if cfg!(debug_assertions) { 256 * 1024 } else { 64 * 1024 };

fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    thread::Builder::new().stack_size(STACK).spawn(test).unwrap().join().unwrap();
}

/// Entries of every type, nested.
fn every_kind() -> Map {
    let entries: [(Key, Value); 8] = [
        (Key::Int(-5), Value::Null),
        (Key::Int(1 << 40), Value::from(true)),
        (Key::from("float"), Value::from(-1.5e-9)),
        (Key::from("int"), Value::from(i64::MIN)),
        (Key::from("text"), Value::from("Señor \u{9b}2J \"x\"\n")),
        (Key::from("bytes"), Value::from(vec![0, 0xff, b'\n'])),
        (Key::from("list"), Value::from(vec![Value::from(1), Value::List(vec![]), Value::from("")])),
        (Key::from("map"), Value::from(Map::from([(Key::from("in"), Value::from(builtin()))]))),
    ];
    entries.into()
}

/// Returns `map` after a round trip through `format`.
fn through(format: Format, map: &Map) -> Map {
    match format {
        Format::Json => map.iter().map(|(key, value)| (Key::Text(key.to_string()), through_json(value))).collect(),
        Format::Text => map.iter().map(|(key, value)| (key.clone(), through_json(value))).collect(),
        _ => map.clone(),
    }
}

fn through_json(value: &Value) -> Value {
    use base64::Engine;
    match value {
        Value::Float(float) if !float.is_finite() => Value::Null,
        Value::Bytes(bytes) => Value::Text(base64::prelude::BASE64_STANDARD.encode(bytes)),
        Value::List(items) => Value::List(items.iter().map(through_json).collect()),
        Value::Map(map) => Value::Map(through(Format::Json, map)),
        _ => value.clone(),
    }
}

fn texts() -> impl Strategy<Value = String> {
    let misleading =
        ["", "1", "-0", "007", "1e5", "null", "NaN", "#a", "a=b", "\"", "\"a\"", " a", "a\t", "{", "[1]", "\u{9b}2J"];
    let large = [
        "99999999999999999999",
        "18446744073709551615",
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
    ];
    prop_oneof![
        any::<String>(),
        "[a-z=#\" \\\\\u{0}-\u{a0}]{0,8}",
        proptest::sample::select([misleading.as_slice(), &large].concat()).prop_map(str::to_owned),
    ]
}

fn keys() -> impl Strategy<Value = Key> {
    prop_oneof![any::<i64>().prop_map(Key::Int), (0..5_i64).prop_map(Key::Int), texts().prop_map(Key::Text)]
}

fn values() -> impl Strategy<Value = Value> {
    let plain = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<f64>().prop_map(Value::Float),
        texts().prop_map(Value::Text),
        any::<Vec<u8>>().prop_map(Value::Bytes),
    ];
    plain.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
            proptest::collection::btree_map(keys(), inner, 0..6).prop_map(Value::Map),
        ]
    })
}

fn maps() -> impl Strategy<Value = Map> {
    proptest::collection::btree_map(keys(), values(), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_map_survives_a_round_trip_in_every_format(map in maps()) {
        for format in Format::ALL {
            let nested_clash = || map.values().any(|value| json::check_value_keys(value).is_err());
            let clash = match format {
                Format::Json => json::check_keys(&map).is_err(),
                Format::Text => nested_clash(),
                _ => false,
            };
            let encoded = format.encode_map(&map);
            prop_assert_eq!(encoded.is_err(), clash, "{}", format);
            let Ok(payload) = encoded else { continue };
            let read = format.decode_map(&payload).unwrap();
            // Debug, so that NaN equals NaN and -0.0 does not equal 0.0.
            prop_assert_eq!(format!("{read:?}"), format!("{:?}", through(format, &map)), "{}", format);
        }
    }

    #[test]
    fn bincode_is_the_output_of_bincode_serialize(map in maps()) {
        prop_assert_eq!(Format::Bincode.encode_map(&map).unwrap(), ::bincode::serialize(&map).unwrap());
    }

    #[test]
    fn random_bytes_are_an_error_or_a_map(bytes: Vec<u8>) {
        read_anyhow(bytes);
    }

    #[test]
    fn a_changed_payload_is_an_error_or_a_map(map in maps(), at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        for format in Format::ALL {
            let Ok(mut payload) = format.encode_map(&map) else { continue };
            if let Some(changed) = payload.len().checked_sub(1).map(|last| at.index(last + 1)) {
                payload[changed] = byte;
                payload.truncate(payload.len() - cut.index(payload.len()) / 4);
            }
            read_anyhow(payload);
        }
    }

    #[test]
    fn random_opcodes_are_an_error_or_a_map(ops in proptest::collection::vec(
        proptest::sample::select(b"()]}.KNG\x85\x86\x87\x88\x8c\x94tldaeusqhC\x00\x01\x02\x8a".as_slice()), 0..60)) {
        read_anyhow([b"\x80\x03}".as_slice(), &ops, b"."].concat());
    }
}

/// Reads `payload` in every format, as a map and as types; only a panic or an abort fails.
fn read_anyhow(payload: Vec<u8>) {
    on_a_small_stack(move || {
        for format in Format::ALL {
            drop(format.decode_map(&payload));
            drop(format.decode::<Map>(&payload));
            drop(format.decode::<Fleet>(&payload));
        }
    });
}

#[test]
fn the_builtin_map_has_these_bytes() {
    let bincode = concat!(
        "0400000000000000",
        "00000000010000000000000004000000",
        "0400000000000000486f6c61",
        "00000000020000000000000004000000",
        "0a000000000000004269656e76656e69646f",
        "00000000030000000000000004000000",
        "0200000000000000416c",
        "00000000040000000000000004000000",
        "08000000000000005365727669646f72",
    );
    let pickle = concat!(
        "80037d284a010000005804000000486f6c614a02000000580a0000004269656e76656e69646f",
        "4a030000005802000000416c4a0400000058080000005365727669646f72752e",
    );
    let goldens = [
        (Format::Bincode, unhex(bincode)),
        (Format::Json, br#"{"1":"Hola","2":"Bienvenido","3":"Al","4":"Servidor"}"#.to_vec()),
        (Format::Msgpack, b"\x84\x01\xa4Hola\x02\xaaBienvenido\x03\xa2Al\x04\xa8Servidor".to_vec()),
        (Format::Pickle, unhex(pickle)),
        (Format::Text, b"1=Hola\n2=Bienvenido\n3=Al\n4=Servidor\n".to_vec()),
    ];
    for (format, golden) in goldens {
        assert_eq!(format.encode_map(&builtin()).unwrap(), golden, "{format}");
        assert_eq!(format.decode_map(&golden).unwrap(), through(format, &builtin()), "{format}");
    }
}

pub(super) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn equal_maps_have_equal_payloads() {
    let forwards = every_kind();
    let backwards: Map = forwards.clone().into_iter().rev().collect();
    for format in Format::ALL {
        assert_eq!(format.encode_map(&forwards).unwrap(), format.encode_map(&backwards).unwrap(), "{format}");
    }
}

#[test]
fn a_truncated_payload_is_refused_except_in_text() {
    for format in Format::ALL.into_iter().filter(|format| *format != Format::Text) {
        let payload = format.encode_map(&every_kind()).unwrap();
        assert_eq!(format.decode_map(&payload).unwrap(), through(format, &every_kind()), "{format}");
        for cut in 0..payload.len() {
            assert!(format.decode_map(&payload[..cut]).is_err(), "{format} cut at {cut}");
            assert!(format.decode::<Map>(&payload[..cut]).is_err(), "{format}, typed, cut at {cut}");
        }
    }
}

#[test]
fn an_empty_payload_is_an_empty_map_only_in_text() {
    for format in Format::ALL {
        assert_eq!(format.decode_map(b"").is_ok_and(|map| map.is_empty()), format == Format::Text, "{format}");
    }
}

#[test]
fn trailing_bytes_are_refused() {
    for format in Format::ALL.into_iter().filter(|format| *format != Format::Text) {
        let payload = format.encode_map(&builtin()).unwrap();
        for behind in [b"\0".as_slice(), b".", b"x", &payload] {
            let longer = [payload.as_slice(), behind].concat();
            assert!(format.decode_map(&longer).is_err(), "{format} and {behind:?}");
            assert!(format.decode::<BTreeMap<Key, String>>(&longer).is_err(), "{format}, typed, and {behind:?}");
        }
    }
}

#[test]
fn a_key_or_string_that_is_not_utf8_is_refused() {
    for format in Format::ALL {
        for map in [Map::from([("ABC".into(), 1.into())]), Map::from([("k".into(), "ABC".into())])] {
            let mut payload = format.encode_map(&map).unwrap();
            let at = payload.windows(3).position(|three| three == b"ABC").unwrap();
            payload[at + 1] = 0xff;
            assert!(format.decode_map(&payload).is_err(), "{format}: {}", payload.escape_ascii());
        }
    }
}

#[test]
fn a_value_that_is_not_a_map_is_refused() {
    for format in [Format::Json, Format::Msgpack, Format::Pickle] {
        for value in [Value::Null, Value::from(1), Value::from("a"), Value::from(vec![Value::from(1)])] {
            assert!(format.decode_map(&format.encode(&value).unwrap()).is_err(), "{format}: {value:?}");
        }
    }
}

/// Returns a map nested `depth` deep, with lists and maps in turn.
fn nested(depth: usize) -> Map {
    let mut value = Value::from(7);
    for level in 1..depth {
        value = if level % 2 == 0 { Value::List(vec![value]) } else { Value::Map([(Key::from("k"), value)].into()) };
    }
    Map::from([(Key::from("top"), value)])
}

#[test]
fn a_depth_of_32_is_accepted_and_of_33_refused() {
    on_a_small_stack(|| {
        for format in Format::ALL {
            let payload = format.encode_map(&nested(MAX_DEPTH)).unwrap();
            assert_eq!(format.decode_map(&payload).unwrap(), nested(MAX_DEPTH), "{format}");
            assert_eq!(format.decode::<Map>(&payload).unwrap(), nested(MAX_DEPTH), "{format}, typed");

            let deeper = nested(MAX_DEPTH + 1);
            assert!(matches!(format.encode_map(&deeper), Err(Error::TooDeep { depth: 33 })), "{format}");
            let payload = match format {
                Format::Text => text::encode_map(&deeper),
                _ => format.encode(&deeper).map_err(Into::into),
            };
            let payload = payload.unwrap();
            assert!(format.decode_map(&payload).is_err(), "{format}");
            assert!(format.decode::<Map>(&payload).is_err(), "{format}, typed");
        }
        assert!(matches!(pretty(&nested(MAX_DEPTH + 1)), Err(Error::TooDeep { .. })));
        assert!(pretty(&nested(MAX_DEPTH)).is_ok());
    });
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Fleet {
    name: String,
    gateway: IpAddr,
    backup: Option<IpAddr>,
    note: Option<String>,
    mode: Mode,
    modes: Vec<Mode>,
    loads: Vec<(u32, f64)>,
    large: u64,
    home: Place,
    limits: BTreeMap<i64, String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Mode {
    Off,
    Fixed(u8),
    Between(i16, i16),
    Ramp { from: f32, to: f32 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Place {
    row: u16,
    text: String,
}

#[test]
fn a_typed_value_survives_a_round_trip_in_every_format() {
    let fleet = Fleet {
        name: "north = \"1\"\n".into(),
        gateway: "10.0.0.1".parse().unwrap(),
        backup: Some("fe80::1".parse().unwrap()),
        note: None,
        mode: Mode::Ramp { from: 0.5, to: 1.5 },
        modes: vec![Mode::Off, Mode::Fixed(200), Mode::Between(-3, 300)],
        loads: vec![(1, 0.25), (u32::MAX, -1.0)],
        large: 3_000_000_000_000,
        home: Place { row: 3, text: "5".into() },
        limits: [(1, "one".into()), (-7, "1".into())].into(),
    };
    for format in Format::ALL {
        let payload = format.encode(&fleet).unwrap();
        assert_eq!(format.decode::<Fleet>(&payload).unwrap(), fleet, "{format}");
    }
}

#[test]
fn an_error_never_contains_the_payload_unescaped() {
    let hostile = "\u{1b}[2J\u{9b}\n".repeat(1000);
    let as_field = Map::from([(Key::from(hostile.as_str()), Value::from(hostile.as_str()))]);
    let as_variant = Value::from(Map::from([(Key::from("mode"), Value::from(hostile.as_str()))]));
    let mut quoted = 0;
    for format in [Format::Json, Format::Msgpack, Format::Pickle] {
        let payloads = [format.encode(&as_field).unwrap(), format.encode(&as_variant).unwrap()];
        let errors = [
            format.decode::<BTreeMap<String, Mode>>(&payloads[0]).unwrap_err(),
            format.decode::<BTreeMap<String, Mode>>(&payloads[1]).unwrap_err(),
            format.decode::<BTreeMap<String, i64>>(&payloads[1]).unwrap_err(),
        ];
        for error in errors {
            let mut link = Some(&error as &dyn std::error::Error);
            while let Some(error) = link {
                let text = error.to_string();
                assert!(!text.contains(char::is_control) && text.len() < 3000, "{format}: {text}");
                link = error.source();
            }
            quoted += usize::from(error.source().is_some_and(|source| source.to_string().contains("u{1b}[2J")));
        }
    }
    assert!(quoted > 3, "the libraries quote no payload any more");
}
