//! Hostile payloads: deeply nested, with excessive lengths, and large in memory.

use std::collections::BTreeMap;
use std::process::Command;
use std::{env, fs};

use serde::Deserialize;

use super::*;

/// A recursive type, without a limit of its own.
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "only reading it matters")]
struct Tree(Vec<Tree>);

#[test]
fn excessive_nesting_is_an_error_not_a_stack_overflow() {
    for depth in [33, 40, 100, 1_000, 10_000, 1_000_000] {
        let repeat = |unit: &[u8]| unit.repeat(depth);
        let bombs = [
            (
                Format::Bincode,
                b"\x01\0\0\0\0\0\0\0\0\0\0\0key=8+by".to_vec(),
                repeat(b"\x06\0\0\0\x01\0\0\0\0\0\0\0"),
                vec![],
            ),
            (
                Format::Bincode,
                b"\x01\0\0\0\0\0\0\0\0\0\0\0key=8+by".to_vec(),
                repeat(b"\x07\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0key=8+by"),
                vec![],
            ),
            (Format::Json, b"{\"a\":".to_vec(), repeat(b"["), [repeat(b"]").as_slice(), b"}"].concat()),
            (Format::Json, vec![], repeat(b"{\"a\":"), [b"1".as_slice(), &repeat(b"}")].concat()),
            (Format::Json, vec![], repeat(b"["), vec![]),
            (Format::Msgpack, b"\x81\0".to_vec(), repeat(b"\x91"), vec![0]),
            (Format::Msgpack, vec![], repeat(b"\x81\0"), vec![0]),
            (Format::Msgpack, vec![], repeat(b"\xdd\xff\xff\xff\xff"), vec![]),
            (Format::Pickle, b"\x80\x03}K\0".to_vec(), repeat(b"]"), [repeat(b"a").as_slice(), b"s."].concat()),
            (Format::Pickle, b"\x80\x03}K\0]".to_vec(), repeat(b"\x85"), b"s.".to_vec()),
            (Format::Pickle, b"\x80\x03N".to_vec(), repeat(b"\x85"), b".".to_vec()),
            (Format::Pickle, b"\x80\x03".to_vec(), repeat(b"]("), [repeat(b"e").as_slice(), b"."].concat()),
            (Format::Pickle, b"\x80\x03".to_vec(), repeat(b"}K\0"), [b"N".as_slice(), &repeat(b"s"), b"."].concat()),
            (Format::Pickle, b"\x80\x03}K\0".to_vec(), repeat(b"("), [b"N".as_slice(), &repeat(b"t"), b"s."].concat()),
            (Format::Text, b"a=".to_vec(), repeat(b"["), repeat(b"]")),
            (Format::Text, b"a=".to_vec(), repeat(b"{\"a\":"), [b"1".as_slice(), &repeat(b"}")].concat()),
        ];
        for (format, head, middle, tail) in bombs {
            let payload = [head, middle, tail].concat();
            on_a_small_stack(move || {
                assert!(format.decode_map(&payload).is_err(), "{format}, {depth} deep");
                assert!(format.decode::<Map>(&payload).is_err(), "{format}, {depth} deep, typed");
                // bincode has no limit for a recursive type of the caller, as documented.
                if format != Format::Bincode {
                    let tree = format.decode::<BTreeMap<Key, Tree>>(&payload);
                    assert!(tree.is_err() || depth <= 100, "{format}, {depth} deep, recursive");
                }
            });
        }
    }
}

#[test]
fn an_excessive_length_is_an_error() {
    let bombs: [(Format, &[u8]); 8] = [
        (Format::Bincode, &[0xff; 8]),
        (Format::Bincode, b"\x01\0\0\0\0\0\0\0\x01\0\0\0\xff\xff\xff\xff\xff\xff\xff\x7f"),
        (Format::Bincode, b"\x01\0\0\0\0\0\0\0\0\0\0\0key=8+by\x05\0\0\0\0\0\0\0\x02\0\0\0"),
        (Format::Msgpack, b"\xdf\xff\xff\xff\xff"),
        (Format::Msgpack, b"\x81\0\xdb\xff\xff\xff\xff"),
        (Format::Msgpack, b"\x81\0\xc6\xff\xff\xff\xff"),
        (Format::Pickle, b"\x80\x03}K\0X\xff\xff\xff\xffs."),
        (Format::Pickle, b"\x80\x04}K\0\x8e\xff\xff\xff\xff\xff\xff\xff\xffs."),
    ];
    for (format, bomb) in bombs {
        assert!(format.decode_map(bomb).is_err(), "{format}: {}", bomb.escape_ascii());
    }
}

/// The variable with the payload for a child process: the peak of memory is that of a whole process.
const CHILD: &str = "MAPCAST_TEST_HOSTILE_MEGABYTE";

/// Returns a number of KiB from /proc/self/status.
fn kib(name: &str) -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse().ok()
}

#[test]
fn values_in_a_type_share_a_budget_and_others_have_none() {
    #[derive(Deserialize)]
    struct Two {
        a: Vec<Value>,
        b: Vec<Value>,
    }
    let list = |len: usize| format!("[{}0]", "{\"\":0},".repeat(len));
    let (half, whole) = (list(60_000), list(100_000));
    let json = |a: &str, b: &str| format!("{{\"a\":{a},\"b\":{b}}}").into_bytes();
    let two: Two = Format::Json.decode(&json(&half, "[]")).unwrap();
    assert_eq!((two.a.len(), two.b.len()), (60_001, 0));
    assert!(Format::Json.decode::<Two>(&json("[]", &whole)).is_err());
    assert!(Format::Json.decode::<Two>(&json(&half, &half)).is_err());
    // 32 MB of nulls leave less than the 20 MB that the maps take.
    let nulls_and_maps = |nulls: u32, maps: u32| {
        let nulls = [b"\xdd".as_slice(), &(nulls + maps).to_be_bytes(), &vec![0xc0; nulls as usize]].concat();
        Format::Msgpack.decode::<Vec<Value>>(&[nulls, b"\x81\0\0".repeat(maps as usize)].concat())
    };
    assert!(nulls_and_maps(1_000_000, 0).is_ok() && nulls_and_maps(0, 30_000).is_ok());
    assert!(nulls_and_maps(1_000_000, 30_000).is_err());
    // An error releases the shared budget, and the input of another parser has no budget.
    assert!(Format::Json.decode::<Two>(&json(&half, "[]")).is_ok());
    assert!(serde_json::from_slice::<Two>(&json(&half, &half)).is_ok());
}

#[test]
fn a_hostile_megabyte_takes_less_than_64_mb_of_memory() {
    let bincode_list = b"\x01\0\0\0\0\0\0\0\0\0\0\0key=8+by\x06\0\0\0".as_slice();
    let bincode_map = b"\x07\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0key=8+by\0\0\0\0".as_slice();
    let large_text = [b"\x80\x03}K\0](X\0\0\x08\0".as_slice(), &vec![b'a'; 1 << 19], b"q\0"].concat();
    let payloads: [(Format, &[u8], &[u8]); 20] = [
        (Format::Bincode, bincode_list, &[0; 4]),
        (Format::Bincode, bincode_list, bincode_map),
        (Format::Json, b"{\"a\":[0", b",0"),
        (Format::Json, b"{\"a\":[0", b",{\"\":0}"),
        (Format::Json, b"{\"a\":[0", b",\"\""),
        (Format::Msgpack, b"\x81\0", b"\0"),
        (Format::Msgpack, b"\x81\0", b"\x81\0\0"),
        (Format::Msgpack, b"\x81\0", b"\x81\xa1a\xa1a"),
        (Format::Pickle, b"\x80\x03}K\0](", b"N"),
        (Format::Pickle, b"\x80\x03}K\0](", b"(t"),
        (Format::Pickle, b"\x80\x03}K\0](", b")\x85"),
        (Format::Pickle, b"\x80\x03}K\0](", b"]Na"),
        (Format::Pickle, b"\x80\x03}K\0](", b"}NNs"),
        (Format::Pickle, b"\x80\x03}K\0](", b"}(NNu"),
        (Format::Pickle, b"\x80\x04}K\0](", b"N\x94"),
        (Format::Pickle, b"\x80\x04}K\0](", b"C\x01a"),
        (Format::Pickle, b"\x80\x04}K\0](C\x01a", b"\x94"),
        (Format::Pickle, &large_text, b"h\0"),
        (Format::Text, b"a=[0", b",{\"\":0}"),
        (Format::Text, b"a=0", b"\na="),
    ];
    if kib("VmHWM:").is_none() {
        return crate::testing::skip("no /proc/self/status");
    }
    if let Ok(index) = env::var(CHILD) {
        let index: usize = index.parse().unwrap();
        let (format, head, unit) = payloads[index / 2];
        return read_repeated(format, head, unit, index % 2 == 1);
    }
    for index in 0..2 * payloads.len() {
        let (format, _, unit) = payloads[index / 2];
        let name = "format::tests::hostile::a_hostile_megabyte_takes_less_than_64_mb_of_memory";
        let mut child = Command::new(env::current_exe().unwrap());
        let output = child.args(["--exact", name, "--nocapture"]).env(CHILD, index.to_string()).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stderr);
        let taken = printed.lines().find_map(|line| line.strip_prefix("KiB: ")?.parse::<usize>().ok());
        assert!(
            taken.is_some_and(|kib| kib < 64 * 1024),
            "{format} {index} of \"{}\":\n{printed}",
            unit.escape_ascii()
        );
    }
}

/// Decodes a megabyte of `head` and repeated `unit`s, as a map or as a type with values, and prints the memory that this
/// took.
fn read_repeated(format: Format, head: &[u8], unit: &[u8], is_typed: bool) {
    let count = ((1 << 20) - head.len() - 16) / unit.len();
    let (announced, tail): (Vec<u8>, &[u8]) = match format {
        Format::Bincode => ((count as u64).to_le_bytes().to_vec(), b""),
        Format::Json => (vec![], b"]}"),
        Format::Msgpack => ([b"\xdd".as_slice(), &u32::try_from(count).unwrap().to_be_bytes()].concat(), b""),
        Format::Pickle => (vec![], b"es."),
        Format::Text => (vec![], b"]"),
    };
    let payload = [head, &announced, &unit.repeat(count), tail].concat();
    let before = kib("VmHWM:").unwrap();
    let read = if is_typed { format.decode(&payload) } else { format.decode_map(&payload) };
    eprintln!("KiB: {}", kib("VmHWM:").unwrap() - before);
    eprintln!("{}", if read.is_ok() { "read" } else { "refused" });
}
