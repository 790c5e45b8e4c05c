use std::collections::HashMap;
use std::io::Write;
use std::process::{Command, Stdio};

use super::validator::{Reason, Refused};
use super::*;
use crate::format::tests::unhex;
use crate::map::{Key, OverBudget, Value, builtin};
use crate::testing::check_texts;

/// Returns `golden` as each protocol of `protocols`: Python writes 2 and 3 alike, and 4 and 5, but for this byte.
fn as_protocols<'a>(golden: &str, protocols: &'a [u8]) -> impl Iterator<Item = (u8, Vec<u8>)> + 'a {
    let golden = unhex(golden);
    protocols.iter().map(move |protocol| (*protocol, [&[0x80, *protocol], &golden[2..]].concat()))
}

fn refusal(pickle: &[u8]) -> Refused {
    *decode_map(pickle).unwrap_err().downcast::<Refused>().unwrap()
}

/// Returns the map that is `PLAIN_2` and `PLAIN_4`.
fn plain() -> Map {
    let ints = |numbers: &[i64]| Value::List(numbers.iter().copied().map(Value::Int).collect());
    let shared = Value::from("a shared text");
    let list = vec![
        shared.clone(),
        shared.clone(),
        ints(&[1]),
        ints(&[1, 2]),
        ints(&[1, 2, 3]),
        ints(&[1, 2, 3, 4]),
        ints(&[]),
        ints(&[]),
        Value::from(Map::new()),
    ];
    let inner = Map::from([(Key::from("k"), Value::from(Map::from([(Key::Int(1), Value::from("v"))])))]);
    let sizes = [0, 255, 256, 65_535, 65_536, -1, (1 << 31) - 1, 1 << 31, i64::MIN, i64::MAX];
    Map::from([
        (Key::from("s"), Value::from(list)),
        (Key::from("a shared text"), shared),
        (Key::from("n"), Value::Null),
        (Key::from("t"), Value::from(true)),
        (Key::from("f"), Value::from(false)),
        (Key::from("i"), ints(&sizes)),
        (Key::from("x"), Value::from(1.5)),
        (Key::from("d"), Value::from(inner)),
    ])
}

#[test]
fn pickles_of_python_are_read_in_protocols_2_to_5() {
    for (old, new, map) in [(BUILTIN_2, BUILTIN_4, builtin()), (PLAIN_2, PLAIN_4, plain())] {
        for (protocol, pickle) in as_protocols(old, &[2, 3]).chain(as_protocols(new, &[4, 5])) {
            assert_eq!(decode_map(&pickle).unwrap(), map, "protocol {protocol}");
        }
    }
}

#[test]
fn bytes_are_bytes_in_protocols_3_to_5() {
    let bytes = |content: &[u8]| Value::Bytes(content.to_vec());
    let map = Map::from([
        (Key::from("b"), bytes(b"\x00\xff")),
        (Key::from("e"), bytes(b"")),
        (Key::from("B"), bytes(b"xxx")),
        (Key::from("again"), Value::from(vec![bytes(b"same"), bytes(b"same")])),
    ]);
    for (protocol, pickle) in as_protocols(BYTES_3, &[3]).chain(as_protocols(BYTES_4, &[4, 5])) {
        assert_eq!(decode_map(&pickle).unwrap(), map, "protocol {protocol}");
    }
    assert_eq!(decode_map(&unhex(BYTEARRAY_5)).unwrap(), Map::from([(Key::from("b"), bytes(b"ab"))]));
}

#[test]
fn a_dict_is_decoded_as_a_typed_map() {
    let read: HashMap<i64, String> = decode(&unhex(BUILTIN_4)).unwrap();
    assert_eq!(read, [(1, "Hola"), (2, "Bienvenido"), (3, "Al"), (4, "Servidor")].map(|(k, v)| (k, v.into())).into());
}

#[test]
fn a_pickle_that_names_code_is_refused_with_the_opcode() {
    let refused = refusal(&unhex(SYSTEM_2));
    assert_eq!((refused.opcode, refused.at, refused.reason), (b'c', 13, Reason::NotPlain));
    assert_eq!(refusal(&unhex(SYSTEM_4)).opcode, 0x93);
    assert_eq!(refusal(&unhex(SYSTEM_0)).reason, Reason::Protocol);
    // Bytes in protocol 2 are a call of `_codecs.encode`, and a set is an object: both refused.
    assert_eq!(refusal(&unhex(BYTES_2)).opcode, b'c');
    assert_eq!(refusal(&unhex(SET_4)).opcode, 0x8f);
}

#[test]
fn a_pickle_that_doubles_a_tuple_is_refused() {
    let doubling = [b"\x80\x03N".as_slice(), &b"2\x86".repeat(24), b"."].concat();
    assert_eq!(doubling.len(), 52);
    let refused = refusal(&doubling);
    assert_eq!((refused.opcode, refused.at, refused.reason), (b'2', 3, Reason::NotPlain));
    let through_the_memo = [b"\x80\x04)\x94".as_slice(), b"h\0\x86\x94", b"."].concat();
    assert_eq!(refusal(&through_the_memo).reason, Reason::Shared);
}

#[test]
fn each_opcode_not_of_plain_values_is_refused() {
    for opcode in b"012FILPQRSTUVbciogp\x81\x82\x83\x84\x8b\x8f\x90\x91\x92\x93\x97\x98\xff" {
        let refused = refusal(&[0x80, 3, b'}', *opcode, b'.']);
        assert_eq!((refused.opcode, refused.at, refused.reason), (*opcode, 3, Reason::NotPlain));
    }
}

#[test]
fn opcode_sequences_that_python_never_writes_are_refused() {
    for (pickle, reason) in [
        (b"".as_slice(), Reason::Protocol),
        (b"\x80\x01}.", Reason::Protocol),
        (b"\x80\x06}.", Reason::Protocol),
        (b"}.", Reason::Protocol),
        (b"\x80\x03", Reason::Truncated),
        (b"\x80\x03}", Reason::Truncated),
        (b"\x80\x03}K", Reason::Truncated),
        (b"\x80\x03}\x80\x03.", Reason::NotPlain),
        (b"\x80\x03.", Reason::Stop),
        (b"\x80\x03}}.", Reason::Stop),
        (b"\x80\x03}(.", Reason::Stop),
        (b"\x80\x03}.}", Reason::Stop),
        (b"\x80\x03s.", Reason::Underflow),
        (b"\x80\x03}K\0s.", Reason::NoContainer("dict")),
        (b"\x80\x03}(\x85.", Reason::Underflow),
        (b"\x80\x03}e.", Reason::Underflow),
        (b"\x80\x03](K\0a.", Reason::NoContainer("list")),
        (b"\x80\x03}(K\0e.", Reason::NoContainer("list")),
        (b"\x80\x03](K\0NuK\0.", Reason::NoContainer("dict")),
        (b"\x80\x03}(K\0u.", Reason::OddEntries),
        (b"\x80\x03(K\0d.", Reason::OddEntries),
        (b"\x80\x03q\0.", Reason::Underflow),
        (b"\x80\x03]q\0(Nq\0e.", Reason::MemoTwice),
        (b"\x80\x03C\x01aq\0q\x01.", Reason::MemoTwice),
        (b"\x80\x03](C\x01aq\0h\0q\x01e.", Reason::MemoTwice),
        (b"\x80\x03](C\x01aq\x01N\x94e.", Reason::MemoTwice),
        (b"\x80\x03]q\0(h\0e.", Reason::Shared),
        (b"\x80\x03](h\0e.", Reason::Shared),
    ] {
        assert_eq!(refusal(pickle).reason, reason, "{}", pickle.escape_ascii());
    }
}

#[test]
fn a_64_bit_integer_is_read_with_any_padding() {
    for (pickle, number) in [
        (b"\x80\x03}K\0\x8a\0s.".as_slice(), 0),
        (b"\x80\x03}K\0\x8a\x01\xffs.", -1),
        (b"\x80\x03}K\0\x8a\x09\0\0\0\x80\0\0\0\0\0s.", 1 << 31),
        (b"\x80\x03}K\0\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fs.", i64::MAX),
    ] {
        assert_eq!(decode_map(pickle).unwrap(), Map::from([(Key::Int(0), Value::Int(number))]));
    }
    assert_eq!(refusal(&unhex(LARGE_4)).reason, Reason::LargeInteger);
    assert_eq!(refusal(b"\x80\x03}K\0\x8a\x09\0\0\0\0\0\0\0\x80\0s.").reason, Reason::LargeInteger);
}

#[test]
fn lists_and_dicts_built_after_a_mark_are_read() {
    let map = decode_map(b"\x80\x02(K\x01(K\x02K\x03lK\x04(K\x05Ndd.").unwrap();
    let list = Value::from(vec![Value::from(2), Value::from(3)]);
    assert_eq!(map, Map::from([(Key::Int(1), list), (Key::Int(4), Map::from([(Key::Int(5), Value::Null)]).into())]));
}

/// Returns what `python3` prints for `script`, given `input`; `None` and a line on standard error if there is none.
fn python(script: &str, input: &[u8]) -> Option<Vec<u8>> {
    let command = Command::new("python3").args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut child) = command else {
        crate::testing::skip("no python3");
        return None;
    };
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    Some(output.stdout)
}

#[test]
fn python_reads_our_pickles() {
    let items = (0..2500).map(Value::Int).collect::<Vec<_>>();
    let entries = (0..2500).map(|number| (Key::Int(number), Value::Null)).collect::<Map>();
    let mut map = plain();
    map.extend([
        (Key::Int(-1), Value::from(b"\x00\xff".to_vec())),
        (Key::Int(2), Value::from(vec![7; 300])),
        (Key::Int(3), Value::from("ñ".repeat(300))),
        (Key::Int(4), Value::from(items)),
        (Key::Int(5), Value::from(entries)),
    ]);
    let script = "import sys, pickle
m = pickle.load(sys.stdin.buffer)
assert not sys.stdin.buffer.read()
assert m.pop(-1) == b'\\x00\\xff' and m.pop(2) == b'\\x07' * 300 and m.pop(3) == '\\u00f1' * 300
assert m.pop(4) == list(range(2500)) and m.pop(5) == dict.fromkeys(range(2500))
t = 'a shared text'
assert m == {'s': [t, t, [1], [1, 2], [1, 2, 3], [1, 2, 3, 4], [], [], {}], t: t, 'n': None, 't': True, 'f': False,
  'i': [0, 255, 256, 65535, 65536, -1, 2**31 - 1, 2**31, -2**63, 2**63 - 1], 'x': 1.5, 'd': {'k': {1: 'v'}}}, m
print('equal')";
    let Some(answer) = python(script, &encode(&map).unwrap()) else { return };
    assert_eq!(answer, b"equal\n");
}

#[test]
fn large_containers_that_python_writes_in_batches_are_read() {
    let script = "import sys, pickle
shared = ['text %d' % n for n in range(600)]
m = {'ints': list(range(2500)), 'texts': shared * 2, 'long': 'x' * 70000, 'bytes': [b'y' * 70000, b'y' * 300],
     'dict': {n: {'n': n} for n in range(2500)}, 'tuples': [(n, n, n, n) for n in range(1000)]}
for protocol in range(3, 6):
    print(pickle.dumps(m, protocol).hex())";
    let Some(printed) = python(script, b"") else { return };
    let texts = (0..1200).map(|number| Value::from(format!("text {}", number % 600))).collect::<Vec<_>>();
    let dict = (0..2500).map(|n| (Key::Int(n), Map::from([(Key::from("n"), Value::Int(n))]).into())).collect::<Map>();
    let tuples = (0..1000).map(|n| Value::from(vec![Value::Int(n); 4])).collect::<Vec<_>>();
    let map = Map::from([
        (Key::from("ints"), (0..2500).map(Value::Int).collect::<Vec<_>>().into()),
        (Key::from("texts"), texts.into()),
        (Key::from("long"), "x".repeat(70_000).into()),
        (Key::from("bytes"), vec![Value::from(vec![b'y'; 70_000]), Value::from(vec![b'y'; 300])].into()),
        (Key::from("dict"), dict.into()),
        (Key::from("tuples"), tuples.into()),
    ]);
    let printed = String::from_utf8(printed).unwrap();
    assert_eq!(printed.lines().count(), 3);
    for pickle in printed.lines() {
        assert_eq!(decode_map(&unhex(pickle)).unwrap(), map, "protocol {}", &pickle[2..4]);
    }
}

// What Python 3.11 writes: `pickle.dumps(value, protocol).hex()`, the protocol in the name.

/// `{1: "Hola", 2: "Bienvenido", 3: "Al", 4: "Servidor"}`
const BUILTIN_2: &str = "\
    80027d7100284b015804000000486f6c6171014b02580a0000004269656e76656e69646f71024b035802000000416c71034b04580800\
    00005365727669646f727104752e";

const BUILTIN_4: &str = "\
    80049531000000000000007d94284b018c04486f6c61944b028c0a4269656e76656e69646f944b038c02416c944b048c085365727669\
    646f7294752e";

/// `{"s": [t, t, (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), (), [], {}], t: t, "n": None, "t": True, "f": False,
/// "i": [0, 255, 256, 65535, 65536, -1, 2**31-1, 2**31, -2**63, 2**63-1], "x": 1.5, "d": {"k": {1: "v"}}}`, where
/// `t` is one object, `"a shared text"`.
const PLAIN_2: &str = "\
    80027d71002858010000007371015d710228580d00000061207368617265642074657874710368034b018571044b014b028671054b01\
    4b024b03877106284b014b024b034b04747107295d71087d7109656803680358010000006e710a4e580100000074710b885801000000\
    66710c89580100000069710d5d710e284b004bff4d00014dffff4a000001004affffffff4affffff7f8a0500000080008a0800000000\
    000000808a08ffffffffffffff7f65580100000078710f473ff800000000000058010000006471107d711158010000006b71127d7113\
    4b0158010000007671147373752e";

const PLAIN_4: &str = "\
    800495b1000000000000007d94288c0173945d94288c0d612073686172656420746578749468034b0185944b014b0286944b014b024b\
    038794284b014b024b034b047494295d947d9465680368038c016e944e8c017494888c016694898c0169945d94284b004bff4d00014d\
    ffff4a000001004affffffff4affffff7f8a0500000080008a0800000000000000808a08ffffffffffffff7f658c017894473ff80000\
    000000008c0164947d948c016b947d944b018c0176947373752e";

/// `{"b": b"\x00\xff", "e": b"", "B": b"xxx", "again": [b, b]}`, where `b` is one object, `b"same"`.
const BYTES_3: &str = "\
    80037d7100285801000000627101430200ff710258010000006571034300710458010000004271054303787878710658050000006167\
    61696e71075d710828430473616d657109680965752e";

const BYTES_4: &str = "\
    80049534000000000000007d94288c016294430200ff948c0165944300948c0142944303787878948c05616761696e945d9428430473\
    616d6594680965752e";

/// `{"b": bytearray(b"ab")}`
const BYTEARRAY_5: &str = "80059514000000000000007d948c016294960200000000000000616294732e";

/// `{"b": b"\x00\xff"}`
const BYTES_2: &str = "\
    80027d71005801000000627101635f636f646563730a656e636f64650a7102580300000000c3bf710358060000006c6174696e317104\
    867105527106732e";

/// `{"s": {1, 2}}`
const SET_4: &str = "80049510000000000000007d948c0173948f94284b014b0290732e";

/// `{"b": 2**64}`
const LARGE_4: &str = "80049513000000000000007d948c0162948a09000000000000000001732e";

/// `{"x": X()}`, where `X.__reduce__` returns `(os.system, ("true",))`.
const SYSTEM_0: &str = "\
    286470300a56780a70310a63706f7369780a73797374656d0a70320a2856747275650a70330a7470340a5270350a732e";

const SYSTEM_2: &str = "\
    80027d7100580100000078710163706f7369780a73797374656d0a71025804000000747275657103857104527105732e";

const SYSTEM_4: &str = "\
    80049526000000000000007d948c0178948c05706f736978948c0673797374656d9493948c04747275659485945294732e";

#[test]
fn every_error_has_its_text() {
    let refused = Refused { opcode: b'c', at: 13, reason: Reason::Stop };
    let stop = "STOP must follow exactly one value, at the end";
    assert_eq!(refused.to_string(), format!("GLOBAL (opcode 0x63) at byte 13: {stop}"));
    check_texts!(Reason {
        Protocol => "a pickle must begin with PROTO and a protocol from 2 to 5";
        NotPlain => "not an opcode of plain values; it may run code";
        Truncated => "the payload ends inside the pickle";
        Underflow => "not enough values on the stack";
        NoContainer("list") => "there is no list to add the value to";
        OddEntries => "a key without a value";
        TooDeep => "nested more than 32 deep";
        LargeInteger => "an integer beyond 64 bits";
        MemoTwice => "a memo entry is written twice";
        Shared => "only strings and bytes may have two references";
        Stop => stop;
        OverBudget(OverBudget) => "too much memory for a payload of this length";
    });
}
