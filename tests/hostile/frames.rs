//! The frame reader, compared with a second implementation of `docs/protocol.md`.

use std::io::{self, ErrorKind, Read};

use mapcast::frame::{Error, FrameReader, HEADER_LEN};

/// The largest payload: small, so that inputs contain payloads below and above it.
const MAX: usize = 300;

/// The second half of the input, split by the first half: each byte is the length of one read, and 0 is a timeout.
struct Cut<'a> {
    rest: &'a [u8],
    cuts: std::iter::Cycle<std::slice::Iter<'a, u8>>,
    /// A timeout occurs once; the next read returns the data.
    timed_out: bool,
}

impl Read for Cut<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let cut = match self.cuts.next() {
            Some(0) if !self.timed_out => {
                self.timed_out = true;
                return Err(ErrorKind::WouldBlock.into());
            }
            Some(0) | None => usize::MAX,
            Some(cut) => usize::from(*cut),
        };
        self.timed_out = false;
        let len = cut.min(into.len()).min(self.rest.len());
        let (taken, rest) = self.rest.split_at(len);
        into[..len].copy_from_slice(taken);
        self.rest = rest;
        Ok(len)
    }
}

/// How a stream ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    Boundary,
    BadHeader,
    TooLarge,
    Truncated,
}

/// The frames and the end of the stream are those of the rule, for any input in any pieces.
pub(super) fn check(bytes: &[u8]) {
    let (cuts, stream) = bytes.split_at(bytes.len() / 2);
    let cut = Cut { rest: stream, cuts: cuts.iter().cycle(), timed_out: false };
    assert_eq!(read(cut), by_the_rule(stream), "in pieces of {cuts:?}");
}

/// Returns the frames and the end that a frame reader finds in `stream`; reads again after each timeout.
pub(super) fn read(stream: impl Read) -> (Vec<Vec<u8>>, End) {
    let mut reader = FrameReader::new(stream, MAX);
    let mut frames = Vec::new();
    loop {
        let end = match reader.read_frame() {
            Ok(Some(payload)) => {
                assert!(!reader.is_inside_frame());
                frames.push(payload);
                continue;
            }
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => continue,
            Ok(None) => End::Boundary,
            Err(error) => {
                super::printable(&error);
                match error {
                    Error::BadHeader { .. } => End::BadHeader,
                    Error::TooLarge { .. } => End::TooLarge,
                    Error::Truncated { .. } => End::Truncated,
                    error => panic!("{error}"),
                }
            }
        };
        assert_eq!(reader.is_inside_frame(), end != End::Boundary);
        return (frames, end);
    }
}

/// The rule: a header of ten bytes, a canonical decimal number and spaces; a payload of that length; then the next header.
pub(super) fn by_the_rule(mut stream: &[u8]) -> (Vec<Vec<u8>>, End) {
    let mut frames = Vec::new();
    let end = loop {
        if stream.is_empty() {
            break End::Boundary;
        }
        let Some((header, rest)) = stream.split_at_checked(HEADER_LEN) else { break End::Truncated };
        let number = std::str::from_utf8(header).ok().and_then(|text| text.trim_end_matches(' ').parse::<usize>().ok());
        let Some(len) = number.filter(|number| format!("{number:<10}").as_bytes() == header) else {
            break End::BadHeader;
        };
        if len > MAX {
            break End::TooLarge;
        }
        let Some((payload, rest)) = rest.split_at_checked(len) else { break End::Truncated };
        frames.push(payload.to_vec());
        stream = rest;
    };
    (frames, end)
}
