//! The frame: a 10-byte ASCII length, then the payload. Independent of sockets.

use std::io::{self, Read, Write};
use std::sync::Arc;

/// The length of a header in bytes: 10, as existing readers expect (`sock.recv(10)`).
pub const HEADER_LEN: usize = 10;

/// The default limit of a payload, for sending and reading: 1 MiB.
pub const DEFAULT_MAX_FRAME: usize = 1024 * 1024;

/// The largest payload that ten digits can announce: 9,999,999,999 bytes.
const MAX_LEN: u64 = 9_999_999_999;

/// Why a frame cannot be read or created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The ten bytes are not a header: the peer speaks another protocol, or the stream is out of sync.
    #[error("not a frame header: \"{}\" ({reason})", header.escape_ascii())]
    BadHeader {
        /// The ten bytes as received.
        header: [u8; HEADER_LEN],
        /// The rule that they break.
        reason: HeaderFault,
    },
    /// The header announces a payload above the limit. No memory was allocated for it.
    #[error(
        "a frame of {len} bytes (header \"{}\") is above the limit of {max}",
        header.escape_ascii()
    )]
    TooLarge {
        /// The ten bytes as received, or as they would have been sent.
        header: [u8; HEADER_LEN],
        /// The payload's length in bytes.
        len: u64,
        /// The limit in bytes.
        max: usize,
    },
    /// The stream ended inside a frame: the peer or the network cut it.
    #[error("the stream ended inside a frame: {got} of {wanted} bytes received")]
    Truncated {
        /// Received bytes of header and payload.
        got: usize,
        /// Expected bytes: 10 inside the header, header and payload after it.
        wanted: usize,
    },
    /// Reading the stream failed.
    #[error("the stream failed")]
    Io(#[from] io::Error),
}

/// The rule that a header breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderFault {
    /// The first byte is not a digit.
    #[error("it does not begin with a digit")]
    NoDigit,
    /// A digit follows a space.
    #[error("a digit after a space")]
    InnerSpace,
    /// A byte that is neither a digit nor a space.
    #[error("a byte that is neither a digit nor a space")]
    StrayByte,
    /// A leading zero, as in `007`; only `0` itself may begin with a zero.
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
    if len as u64 > MAX_LEN || write!(rest, "{len}").is_err() {
        let (len, max) = (len as u64, usize::try_from(MAX_LEN).unwrap_or(usize::MAX));
        return Err(Error::TooLarge { header: *b"9999999999", len, max });
    }
    Ok(header)
}

/// Returns the payload length of a header, if and only if the header follows every rule: one to ten digits, then only
/// spaces; no sign, no leading zero except in `0` itself.
///
/// # Errors
/// `BadHeader`, with the rule.
pub fn decode_header(header: &[u8; HEADER_LEN]) -> Result<u64, Error> {
    let error = |reason| Error::BadHeader { header: *header, reason };
    let digits = header.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, padding) = header.split_at(digits);
    if padding.iter().any(|byte| *byte != b' ' && !byte.is_ascii_digit()) {
        // Reported first: `12a`, `-1`, NUL and tab all contain a byte that no header has.
        return Err(error(HeaderFault::StrayByte));
    }
    match number {
        [] => Err(error(HeaderFault::NoDigit)),
        [b'0', _, ..] => Err(error(HeaderFault::LeadingZero)),
        _ if padding.iter().any(u8::is_ascii_digit) => Err(error(HeaderFault::InnerSpace)),
        // Ten digits are below 10^10 and fit a u64.
        _ => Ok(number.iter().fold(0, |len, digit| len * 10 + u64::from(digit - b'0'))),
    }
}

/// A frame: header and payload in one buffer. Clones share the buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Header and payload together, so that they are sent in one write.
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

    /// Header and payload, as sent over the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The payload without the header.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[HEADER_LEN..]
    }
}

/// Reads frames from any [`Read`].
///
/// After a read that fails with `WouldBlock` or `TimedOut`, the next call resumes at the same position.
#[derive(Debug)]
pub struct FrameReader<R> {
    inner: R,
    max: usize,
    header: [u8; HEADER_LEN],
    /// The received bytes of the header.
    header_len: usize,
    /// The payload's length, once the header is complete.
    announced_len: Option<usize>,
    /// The received part of the payload.
    payload: Vec<u8>,
}

impl<R: Read> FrameReader<R> {
    /// Returns a reader that refuses payloads above `max` bytes.
    pub fn new(inner: R, max: usize) -> Self {
        Self { inner, max, header: [0; HEADER_LEN], header_len: 0, announced_len: None, payload: Vec::new() }
    }

    /// Reads one frame and returns its payload. Returns `Ok(None)` if and only if the stream ended before the first
    /// byte of a header. Frames of length 0 mean "nothing changed" and are returned as empty payloads.
    ///
    /// # Errors
    /// `BadHeader` and `TooLarge` before a payload byte is read or allocated; `Truncated` if the stream ends inside a
    /// frame; `Io` if reading fails. After `WouldBlock`, `TimedOut` and `Interrupted` the call may be repeated; after any
    /// other error the position is unknown: drop the stream.
    pub fn read_frame(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let announced_len = match self.announced_len {
            Some(announced_len) => announced_len,
            None => match self.read_header()? {
                Some(announced_len) => announced_len,
                None => return Ok(None),
            },
        };
        // `read_to_end` grows the buffer as bytes arrive, never to the announced length, and keeps them after an error.
        let missing = (announced_len - self.payload.len()) as u64;
        self.inner.by_ref().take(missing).read_to_end(&mut self.payload)?;
        if self.payload.len() < announced_len {
            return Err(Error::Truncated { got: HEADER_LEN + self.payload.len(), wanted: HEADER_LEN + announced_len });
        }
        (self.announced_len, self.header_len) = (None, 0);
        Ok(Some(std::mem::take(&mut self.payload)))
    }

    /// True if and only if a part of a frame has been received, so that an end of the stream now would truncate it.
    pub fn is_inside_frame(&self) -> bool {
        self.header_len > 0
    }

    /// The received bytes of the current frame's header.
    pub(crate) fn header_so_far(&self) -> &[u8] {
        &self.header[..self.header_len]
    }

    /// The underlying stream.
    pub fn inner(&self) -> &R {
        &self.inner
    }

    /// The underlying stream; reading from it directly loses the position.
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
        let announced_len = usize::try_from(len).ok().filter(|len| *len <= self.max);
        let announced_len = announced_len.ok_or(Error::TooLarge { header: self.header, len, max: self.max })?;
        self.announced_len = Some(announced_len);
        Ok(Some(announced_len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::check_texts;
    use std::io::Cursor;

    /// A reader that returns its bytes in slices of a fixed size, with `WouldBlock` between them.
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
    fn each_broken_header_rule_has_its_own_error() {
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
    fn an_eleventh_digit_is_the_first_byte_of_the_payload() {
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
    fn an_announced_length_allocates_no_memory_of_that_size() {
        let mut reader = FrameReader::new(Cursor::new(b"900000000 x"), 1 << 30);
        assert!(matches!(reader.read_frame(), Err(Error::Truncated { got: 11, wanted: 900_000_010 })));
        assert!(reader.payload.capacity() < 64 * 1024, "{}", reader.payload.capacity());
    }

    #[test]
    fn a_stream_cut_inside_a_frame_is_truncated() {
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
    fn slices_of_any_size_give_the_same_frames() {
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
        fn every_length_survives_encoding_and_decoding(len in 0..=9_999_999_999_usize) {
            assert_eq!(decode_header(&encode_header(len).unwrap()).unwrap(), len as u64);
        }

        #[test]
        fn every_accepted_header_is_the_encoded_form(header: [u8; HEADER_LEN]) {
            let rewritten = decode_header(&header).ok().map(|len| encode_header(usize::try_from(len).unwrap()).unwrap());
            assert!(rewritten.is_none_or(|rewritten| rewritten == header));
        }

        #[test]
        fn only_a_number_padded_with_spaces_is_accepted(text in "[0-9 ]{10}") {
            let header: [u8; HEADER_LEN] = text.as_bytes().try_into().unwrap();
            let canonical = text.trim_end().parse::<u64>().ok().filter(|len| format!("{len:<10}") == text);
            assert_eq!(decode_header(&header).ok(), canonical);
        }
    }

    #[test]
    fn every_error_has_its_text() {
        check_texts!(Error {
            BadHeader { header: *b"\x1b[2J\n     ", reason: HeaderFault::StrayByte } =>
                r#"not a frame header: "\x1b[2J\n     " (a byte that is neither a digit nor a space)"#;
            TooLarge { header: *b"101       ", len: 101, max: 100 } =>
                "a frame of 101 bytes (header \"101       \") is above the limit of 100";
            Truncated { got: 3, wanted: 10 } => "the stream ended inside a frame: 3 of 10 bytes received";
            Io(io::ErrorKind::TimedOut.into()) => "the stream failed";
        });
        check_texts!(HeaderFault {
            NoDigit => "it does not begin with a digit";
            InnerSpace => "a digit after a space";
            StrayByte => "a byte that is neither a digit nor a space";
            LeadingZero => "a leading zero";
        });
    }
}
