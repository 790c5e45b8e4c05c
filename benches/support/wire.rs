//! Protocols of the measured servers: how received bytes are split into messages.

use mapcast::frame::{self, HEADER_LEN};

/// The bytes violate the protocol.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The bytes are not a frame header.
    #[error("the server does not send whole frames")]
    Frame(#[from] frame::Error),
    /// The bytes violate another server's protocol.
    #[error("the server does not speak {protocol}, or refuses: {start}")]
    Foreign {
        /// The protocol.
        protocol: &'static str,
        /// The received bytes, escaped.
        start: String,
    },
}

/// The first message in the received bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Message<'bytes> {
    /// The length of the whole message in bytes.
    pub len: usize,
    /// The published payload; `None` for a control message.
    pub payload: Option<&'bytes [u8]>,
    /// The bytes to send back.
    pub reply: &'static [u8],
}

/// A server's protocol, as far as a client that only receives needs it.
pub trait Wire {
    /// Returns the bytes that a client sends when it is connected.
    fn hello(&self) -> Vec<u8>;

    /// Returns the first message; `None` if it is incomplete.
    ///
    /// # Errors
    /// If the bytes do not begin with a message.
    fn split<'bytes>(&self, bytes: &'bytes [u8]) -> Result<Option<Message<'bytes>>, WireError>;
}

impl<W: Wire + ?Sized> Wire for Box<W> {
    fn hello(&self) -> Vec<u8> {
        (**self).hello()
    }

    fn split<'bytes>(&self, bytes: &'bytes [u8]) -> Result<Option<Message<'bytes>>, WireError> {
        (**self).split(bytes)
    }
}

/// The protocol of mapcast: a 10-byte header and the payload. The client sends nothing.
#[derive(Debug, Clone, Copy)]
pub struct Frames {
    /// The largest payload in bytes.
    pub max: usize,
}

impl Wire for Frames {
    fn hello(&self) -> Vec<u8> {
        Vec::new()
    }

    fn split<'bytes>(&self, bytes: &'bytes [u8]) -> Result<Option<Message<'bytes>>, WireError> {
        let Some(header) = bytes.first_chunk::<HEADER_LEN>() else { return Ok(None) };
        let announced = frame::decode_header(header)?;
        let payload_len = usize::try_from(announced).ok().filter(|len| *len <= self.max);
        let payload_len =
            payload_len.ok_or(frame::Error::TooLarge { header: *header, len: announced, max: self.max })?;
        let len = HEADER_LEN + payload_len;
        Ok(bytes.get(HEADER_LEN..len).map(|payload| Message { len, payload: Some(payload), reply: &[] }))
    }
}
