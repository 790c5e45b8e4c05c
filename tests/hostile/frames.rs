//! The frame reader, against the rule of `docs/protocol.md` written down a second time.

use std::io::{self, ErrorKind, Read};

use mapcast::frame::{Error, FrameReader, HEADER_LEN};

/// The largest payload that is read here: small, so that inputs are on both sides of it.
const MAX: usize = 300;

/// The first half of the input cuts the second: each of its bytes is the length of one read, and 0 is a time-out.
struct Cut<'a> {
    rest: &'a [u8],
    cuts: std::iter::Cycle<std::slice::Iter<'a, u8>>,
    /// A time-out comes once, and then what it held back.
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

/// Whatever comes, in whatever pieces, the frames are those of the rule, and the end is the rule's.
pub(super) fn check(bytes: &[u8]) {
    let (cuts, stream) = bytes.split_at(bytes.len() / 2);
    let cut = Cut { rest: stream, cuts: cuts.iter().cycle(), timed_out: false };
    assert_eq!(read(cut), by_the_rule(stream), "in pieces of {cuts:?}");
}

/// What a frame reader makes of `stream`, asked again after each time-out.
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
                super::told(&error);
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

/// Ten bytes: a number in decimal as it would be printed, then spaces. So many bytes of payload, then the next header.
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
