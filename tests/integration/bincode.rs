//! Our bincode against wincode, which writes and reads the same bytes by code of its own, from types of its own.

use std::collections::BTreeMap;

use mapcast::{Format, Key, Map, Value};
use proptest::prelude::*;
use wincode::{SchemaRead, SchemaWrite};

/// A key as `docs/protocol.md` describes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, SchemaRead, SchemaWrite)]
enum TheirKey {
    Int(i64),
    Text(String),
}

/// A value, in the order of the tags.
#[derive(Debug, Clone, PartialEq, SchemaRead, SchemaWrite)]
enum TheirValue {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<TheirValue>),
    Map(BTreeMap<TheirKey, TheirValue>),
}

type TheirMap = BTreeMap<TheirKey, TheirValue>;

fn their_map(map: &Map) -> TheirMap {
    map.iter().map(|(key, value)| (their_key(key), their_value(value))).collect()
}

fn their_key(key: &Key) -> TheirKey {
    match key {
        Key::Int(number) => TheirKey::Int(*number),
        Key::Text(text) => TheirKey::Text(text.clone()),
    }
}

fn their_value(value: &Value) -> TheirValue {
    match value {
        Value::Null => TheirValue::Null,
        Value::Bool(truth) => TheirValue::Bool(*truth),
        Value::Int(number) => TheirValue::Int(*number),
        Value::Float(float) => TheirValue::Float(*float),
        Value::Text(text) => TheirValue::Text(text.clone()),
        Value::Bytes(bytes) => TheirValue::Bytes(bytes.clone()),
        Value::List(items) => TheirValue::List(items.iter().map(their_value).collect()),
        Value::Map(map) => TheirValue::Map(their_map(map)),
        other => panic!("a kind of value that is not mirrored here: {other:?}"),
    }
}

fn keys() -> impl Strategy<Value = Key> {
    prop_oneof![any::<i64>().prop_map(Key::Int), any::<String>().prop_map(Key::Text)]
}

fn maps() -> impl Strategy<Value = Map> {
    let plain = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<f64>().prop_map(Value::Float),
        any::<String>().prop_map(Value::Text),
        any::<Vec<u8>>().prop_map(Value::Bytes),
    ];
    let values = plain.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
            proptest::collection::btree_map(keys(), inner, 0..6).prop_map(Value::Map),
        ]
    });
    proptest::collection::btree_map(keys(), values, 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn wincode_writes_and_reads_our_bytes(map in maps()) {
        let (ours, theirs) = (Format::Bincode.encode_map(&map).unwrap(), their_map(&map));
        prop_assert_eq!(&wincode::serialize(&theirs).unwrap(), &ours);
        // Debug, so that NaN equals NaN and -0.0 does not equal 0.0.
        let read_by_them: TheirMap = wincode::deserialize_exact(&ours).unwrap();
        prop_assert_eq!(format!("{read_by_them:?}"), format!("{theirs:?}"));
        let read_by_us = Format::Bincode.decode_map(&wincode::serialize(&theirs).unwrap()).unwrap();
        prop_assert_eq!(format!("{read_by_us:?}"), format!("{map:?}"));
    }
}
