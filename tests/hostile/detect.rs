//! The format of a payload, told from its bytes.

use mapcast::Format;

/// A payload that a format writes is detected as that format, and so is its map in every other one.
pub(super) fn check(bytes: &[u8]) {
    let detected = Format::detect(bytes);
    for format in Format::ALL {
        let Ok(map) = format.decode_map(bytes) else { continue };
        let is_written_so = format.encode_map(&map).is_ok_and(|written| written == bytes);
        assert!(!is_written_so || detected == Some(format), "{format} is taken for {detected:?}");
        for other in Format::ALL {
            // Two keys that would be one are refused.
            let Ok(written) = other.encode_map(&map) else { continue };
            assert_eq!(Format::detect(&written), Some(other), "{}", written.escape_ascii());
        }
    }
}
