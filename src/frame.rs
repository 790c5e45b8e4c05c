//! The frame: a 10-byte ASCII length, then the payload. Never sees a socket.

use std::io::{self, Read, Write};
use std::sync::Arc;

/// Bytes in a header: ten, as the readers that already exist read them (`sock.recv(10)`).
pub const HEADER_LEN: usize = 10;

/// The largest payload that is sent or read unless told otherwise: 1 MiB.
pub const DEFAULT_MAX_FRAME: usize = 1024 * 1024;

/// The largest payload that ten digits can announce: 9,999,999,999 bytes.
const LARGEST_LENGTH: u64 = 9_999_999_999;

/// What can be wrong with a frame.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The ten bytes are no header: the peer speaks another protocol, or the stream is out of step.
    #[error("not a frame header: \"{}\" ({reason}); does the peer send 10-byte headers?", header.escape_ascii())]
    BadHeader {
        /// The ten bytes as they came.
        header: [u8; HEADER_LEN],
        /// Which rule they break.
        reason: HeaderFault,
    },
    /// The header announces a payload above the limit. Nothing was allocated for it.
    #[error(
        "a frame of {len} bytes (header \"{}\") is above the limit of {max}",
        header.escape_ascii()
    )]
    TooLarge {
        /// The ten bytes as they came, or as they would have been sent.
        header: [u8; HEADER_LEN],
        /// The payload's length in bytes.
        len: u64,
        /// The limit in bytes.
        max: usize,
    },
    /// The stream ended inside a frame: the peer, or the network between, cut it.
    #[error("the stream ended inside a frame: {got} of {wanted} bytes had come")]
    Truncated {
        /// Bytes of header and payload that had come.
        got: usize,
        /// Bytes that the part being read has: 10 inside the header, header and payload after it.
        wanted: usize,
    },
    /// The stream itself failed.
    #[error("the stream failed")]
    Io(#[from] io::Error),
}

/// The rule that a header breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderFault {
    /// The first byte is no digit: a sign, a space, a letter, nothing at all.
    #[error("it does not begin with a digit")]
    NoDigit,
    /// A digit stands behind a space.
    #[error("digits behind a space")]
    InnerSpace,
    /// A byte that is neither a digit nor a space.
    #[error("a byte that is neither a digit nor a space")]
    StrayByte,
    /// `007`: only `0` itself may begin with a zero.
    #[error("a leading zero")]
    LeadingZero,
}

/// Returns the header for a payload of `len` bytes.
///
/// ```
/// assert_eq!(&mapcast::frame::encode_header(60)?, b"60        ");
/// # Ok::<(), mapcast::frame::Error>(())
/// ```
///
/// # Errors
/// `TooLarge` if `len` needs more than ten digits.
pub fn encode_header(len: usize) -> Result<[u8; HEADER_LEN], Error> {
    let mut header = [b' '; HEADER_LEN];
    let mut rest: &mut [u8] = &mut header;
    if len as u64 > LARGEST_LENGTH || write!(rest, "{len}").is_err() {
        let (len, max) = (len as u64, usize::try_from(LARGEST_LENGTH).unwrap_or(usize::MAX));
        return Err(Error::TooLarge { header: *b"9999999999", len, max });
    }
    Ok(header)
}

/// Returns the payload length that a header announces, if and only if the header keeps every rule: one to ten
/// digits, then only spaces; no sign, no leading zero but `0` itself.
///
/// # Errors
/// `BadHeader`, naming the rule.
pub fn decode_header(header: &[u8; HEADER_LEN]) -> Result<u64, Error> {
    let fault = |reason| Error::BadHeader { header: *header, reason };
    let digits = header.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, padding) = header.split_at(digits);
    if padding.iter().any(|byte| *byte != b' ' && !byte.is_ascii_digit()) {
        // `12a`, `-1`, NUL and tab all have a byte that no header has; say that first.
        return Err(fault(HeaderFault::StrayByte));
    }
    match number {
        [] => Err(fault(HeaderFault::NoDigit)),
        [b'0', _, ..] => Err(fault(HeaderFault::LeadingZero)),
        _ if padding.iter().any(u8::is_ascii_digit) => Err(fault(HeaderFault::InnerSpace)),
        // Ten digits are below 10^10: no u64 overflows.
        _ => Ok(number.iter().fold(0, |len, digit| len * 10 + u64::from(digit - b'0'))),
    }
}

/// A whole frame, header and payload in one run of bytes, shared by everyone who sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Header and payload together, so that they leave in one write.
    bytes: Arc<[u8]>,
}

impl Frame {
    /// Returns the frame that carries `payload`.
    ///
    /// # Errors
    /// `TooLarge` if the payload is longer than `max` bytes.
    pub fn new(payload: &[u8], max: usize) -> Result<Self, Error> {
        let header = encode_header(payload.len())?;
        if payload.len() > max {
            return Err(Error::TooLarge { header, len: payload.len() as u64, max });
        }
        let mut bytes = Vec::with_capacity(HEADER_LEN + payload.len());
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(payload);
        Ok(Self { bytes: bytes.into() })
    }

    /// Header and payload, as they go over the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The payload alone.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[HEADER_LEN..]
    }
}

/// Reads frames from anything that can be read.
///
/// A read that fails with `WouldBlock` or `TimedOut` loses nothing: the next call goes on where it stopped.
#[derive(Debug)]
pub struct FrameReader<R> {
    inner: R,
    max: usize,
    header: [u8; HEADER_LEN],
    /// Bytes of the header that have come.
    header_len: usize,
    /// What the header announced, once it was whole.
    announced: Option<usize>,
    /// The payload as far as it has come.
    payload: Vec<u8>,
}

impl<R: Read> FrameReader<R> {
    /// Returns a reader that refuses payloads above `max` bytes.
    pub fn new(inner: R, max: usize) -> Self {
        Self { inner, max, header: [0; HEADER_LEN], header_len: 0, announced: None, payload: Vec::new() }
    }

    /// Reads one frame and returns its payload. Returns `Ok(None)` if and only if the stream ended before the first
    /// byte of a header. Frames of length 0 mean "nothing changed" and are returned as empty payloads.
    ///
    /// # Errors
    /// `BadHeader` and `TooLarge` before a payload byte is read or allocated; `Truncated` if the stream ends inside a
    /// frame; `Io` if it fails. After `WouldBlock`, `TimedOut` and `Interrupted` the call may be repeated; after any
    /// other error the position is unknown: drop the stream.
    pub fn read_frame(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let announced = match self.announced {
            Some(announced) => announced,
            None => match self.read_header()? {
                Some(announced) => announced,
                None => return Ok(None),
            },
        };
        // `read_to_end` grows the buffer as bytes come, never to what the header claims, and keeps them on an error.
        let missing = (announced - self.payload.len()) as u64;
        self.inner.by_ref().take(missing).read_to_end(&mut self.payload)?;
        if self.payload.len() < announced {
            return Err(Error::Truncated { got: HEADER_LEN + self.payload.len(), wanted: HEADER_LEN + announced });
        }
        (self.announced, self.header_len) = (None, 0);
        Ok(Some(std::mem::take(&mut self.payload)))
    }

    /// True if and only if a part of a frame has come, so that the end of the stream now would cut it.
    pub fn is_inside_frame(&self) -> bool {
        self.header_len > 0
    }

    /// What has come of a header that is not whole yet, or of the one whose payload is being read.
    pub(crate) fn header_so_far(&self) -> &[u8] {
        &self.header[..self.header_len]
    }

    /// The stream that is read.
    pub fn inner(&self) -> &R {
        &self.inner
    }

    /// The stream that is read; reading from it directly loses the place.
    pub fn inner_mut(&mut self) -> &mut R {
        &mut self.inner
    }

    fn read_header(&mut self) -> Result<Option<usize>, Error> {
        while self.header_len < HEADER_LEN {
            match self.inner.read(&mut self.header[self.header_len..])? {
                0 if self.header_len == 0 => return Ok(None),
                0 => return Err(Error::Truncated { got: self.header_len, wanted: HEADER_LEN }),
                read => self.header_len += read,
            }
        }
        let len = decode_header(&self.header)?;
        let announced = usize::try_from(len).ok().filter(|len| *len <= self.max);
        let announced = announced.ok_or(Error::TooLarge { header: self.header, len, max: self.max })?;
        self.announced = Some(announced);
        Ok(Some(announced))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// Gives its bytes in slices of a fixed size, and `WouldBlock` between them.
    struct Slices {
        bytes: Vec<u8>,
        at: usize,
        step: usize,
        ready: bool,
    }

    impl Read for Slices {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.ready = !self.ready;
            if !self.ready {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let end = self.bytes.len().min(self.at + self.step.min(into.len()));
            let part = &self.bytes[self.at..end];
            into[..part.len()].copy_from_slice(part);
            self.at = end;
            Ok(part.len())
        }
    }

    fn read_all(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        let mut reader = FrameReader::new(Cursor::new(bytes), 1000);
        let mut frames = Vec::new();
        while let Some(payload) = reader.read_frame()? {
            frames.push(payload);
        }
        Ok(frames)
    }

    #[test]
    fn a_header_is_the_length_left_aligned_and_padded() {
        assert_eq!(&encode_header(0).unwrap(), b"0         ");
        assert_eq!(&encode_header(60).unwrap(), b"60        ");
        assert_eq!(&encode_header(9_999_999_999).unwrap(), b"9999999999");
        assert!(matches!(encode_header(10_000_000_000), Err(Error::TooLarge { .. })));
    }

    #[test]
    fn each_broken_rule_has_its_own_fault() {
        for (header, wanted) in [
            (b"          ", HeaderFault::NoDigit),
            (b" 12       ", HeaderFault::NoDigit),
            (b"-1        ", HeaderFault::StrayByte),
            (b"+1        ", HeaderFault::StrayByte),
            (b"12a       ", HeaderFault::StrayByte),
            (b"12\0       ", HeaderFault::StrayByte),
            (b"12\t       ", HeaderFault::StrayByte),
            (b"GET / HTTP", HeaderFault::StrayByte),
            (b"1 2       ", HeaderFault::InnerSpace),
            (b"007       ", HeaderFault::LeadingZero),
            (b"00        ", HeaderFault::LeadingZero),
        ] {
            let found = decode_header(header);
            let Err(Error::BadHeader { reason, .. }) = found else {
                panic!("\"{}\" gave {found:?}", header.escape_ascii());
            };
            assert_eq!(reason, wanted, "\"{}\"", header.escape_ascii());
        }
    }

    #[test]
    fn an_error_shows_the_ten_bytes_escaped() {
        let text = decode_header(b"\x1b[2J\n     ").unwrap_err().to_string();
        assert!(text.contains(r#""\x1b[2J\n     ""#), "{text}");
    }

    #[test]
    fn eleven_digits_are_a_header_and_a_payload_that_begins_with_a_digit() {
        assert_eq!(decode_header(b"1234567890").unwrap(), 1_234_567_890);
        assert!(matches!(read_all(b"12345678901"), Err(Error::TooLarge { len: 1_234_567_890, max: 1000, .. })));
    }

    #[test]
    fn the_limit_is_inclusive_and_checked_before_the_payload() {
        let mut at_limit = FrameReader::new(Cursor::new(b"3         abc"), 3);
        assert_eq!(at_limit.read_frame().unwrap().unwrap(), b"abc");
        let mut above = FrameReader::new(Cursor::new(b"4         "), 3);
        assert!(matches!(above.read_frame(), Err(Error::TooLarge { len: 4, max: 3, .. })));
        assert!(matches!(Frame::new(b"abcd", 3), Err(Error::TooLarge { len: 4, max: 3, .. })));
    }

    #[test]
    fn a_claim_alone_allocates_nothing_of_its_size() {
        let mut reader = FrameReader::new(Cursor::new(b"900000000 x"), 1 << 30);
        assert!(matches!(reader.read_frame(), Err(Error::Truncated { got: 11, wanted: 900_000_010 })));
        assert!(reader.payload.capacity() < 64 * 1024, "{}", reader.payload.capacity());
    }

    #[test]
    fn a_stream_cut_at_any_byte_is_truncated_unless_it_is_a_boundary() {
        let frames = [Frame::new(b"Hola", 10).unwrap(), Frame::new(b"Al", 10).unwrap()];
        let whole = [frames[0].as_bytes(), frames[1].as_bytes()].concat();
        for cut in 0..=whole.len() {
            let found = read_all(&whole[..cut]);
            if [0, 14, 26].contains(&cut) {
                assert!(found.is_ok(), "at {cut}: {found:?}");
            } else {
                assert!(matches!(found, Err(Error::Truncated { .. })), "at {cut}: {found:?}");
            }
        }
    }

    #[test]
    fn slices_of_any_size_with_time_outs_between_them_give_the_same_frames() {
        let whole = [b"4         Hola".as_slice(), b"0         ", b"2         Al"].concat();
        for step in 1..=whole.len() {
            let mut reader = FrameReader::new(Slices { bytes: whole.clone(), at: 0, step, ready: false }, 10);
            let mut frames = Vec::new();
            loop {
                match reader.read_frame() {
                    Ok(Some(payload)) => frames.push(payload),
                    Ok(None) => break,
                    Err(Error::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                    Err(error) => panic!("slices of {step}: {error}"),
                }
            }
            assert_eq!(frames, [b"Hola".as_slice(), b"", b"Al"], "slices of {step}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_length_of_ten_digits_survives_the_header(len in 0..=9_999_999_999_usize) {
            assert_eq!(decode_header(&encode_header(len).unwrap()).unwrap(), len as u64);
        }

        #[test]
        fn ten_bytes_are_a_header_if_and_only_if_they_are_what_is_written(header: [u8; HEADER_LEN]) {
            let rewritten = decode_header(&header).ok().map(|len| encode_header(usize::try_from(len).unwrap()).unwrap());
            assert!(rewritten.is_none_or(|rewritten| rewritten == header));
        }

        #[test]
        fn a_number_padded_by_spaces_is_read_as_it_is_written(text in "[0-9 ]{10}") {
            let header: [u8; HEADER_LEN] = text.as_bytes().try_into().unwrap();
            let canonical = text.trim_end().parse::<u64>().ok().filter(|len| format!("{len:<10}") == text);
            assert_eq!(decode_header(&header).ok(), canonical);
        }
    }
}
