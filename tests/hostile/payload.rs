//! A payload in each format, as the client decodes it.

use mapcast::frame::{Frame, FrameReader};
use mapcast::map::{MAX_DEPTH, depth};
use mapcast::{DEFAULT_MAX_FRAME, Format, Key, Map, Value};

/// Any input is a map that survives encoding and decoding, or an error that is safe to print.
pub(super) fn check(format: Format, bytes: &[u8]) {
    let frame = Frame::new(bytes, DEFAULT_MAX_FRAME).expect("less than a megabyte");
    let payload = FrameReader::new(frame.as_bytes(), DEFAULT_MAX_FRAME).read_frame().unwrap().expect("a frame");
    match format.decode_map(&payload) {
        Ok(map) => check_map(format, &payload, &map),
        Err(error) => drop(super::printable(&error)),
    }
    check_typed(format, &payload);
}

fn check_map(format: Format, payload: &[u8], map: &Map) {
    assert!(depth(map) <= MAX_DEPTH);
    let written = format.encode_map(map).expect("what was read can be written");
    let again = format.decode_map(&written).expect("what was written can be read");
    // Compared as text: NaN equals NaN, and -0.0 does not equal 0.0.
    assert_eq!(format!("{again:?}"), format!("{map:?}"), "written as \"{}\"", written.escape_ascii());
    assert_eq!(format.encode_map(&again).unwrap(), written, "equal maps are equal bytes");
    // The formats with integer keys also decode a map as a type of the caller.
    if matches!(format, Format::Bincode | Format::Msgpack | Format::Pickle) {
        let typed: Map = format.decode(payload).expect("a map is a type as any other");
        assert_eq!(format!("{typed:?}"), format!("{map:?}"));
    }
    // Exactly one map: an additional byte is refused, and a missing one in formats that mark their end.
    assert!(format == Format::Text || format.decode_map(&[payload, b"x"].concat()).is_err(), "a byte behind the map");
    let ends_itself = matches!(format, Format::Bincode | Format::Msgpack | Format::Pickle);
    assert!(!ends_itself || format.decode_map(&payload[..payload.len() - 1]).is_err(), "a map without its end");
    check_printed(map);
}

/// Types of the caller: decoding must not panic. `Value` is decoded without the budget of a map.
fn check_typed(format: Format, payload: &[u8]) {
    let _ = format.decode::<std::collections::BTreeMap<Key, Value>>(payload);
    if let Err(error) = format.decode::<std::collections::HashMap<String, Option<Vec<u16>>>>(payload) {
        super::printable(&error);
    }
}

/// The client prints JSON without control characters, or refuses keys that become equal.
fn check_printed(map: &Map) {
    let Ok(printed) = mapcast::format::pretty(map) else { return };
    assert!(!printed.contains(|character: char| character.is_control() && character != '\n'), "{printed:?}");
    let compact = Format::Json.encode_map(map).expect("pretty or not");
    let (read, printed) = (Format::Json.decode_map(&compact).unwrap(), Format::Json.decode_map(printed.as_bytes()));
    assert_eq!(printed.unwrap(), read);
}
