//! What comes over a connection, and how it is cut into messages.

use mapcast::frame::{self, HEADER_LEN};

/// The bytes are not what the protocol says.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Not a frame's header.
    #[error("the server does not send whole frames")]
    Frame(#[from] frame::Error),
    /// Not what another protocol says.
    #[error("the server does not speak {protocol}, or refuses: {start}")]
    Foreign {
        /// Which protocol.
        protocol: &'static str,
        /// What came, printable.
        start: String,
    },
}

/// The first message among the bytes that have come.
#[derive(Debug, PartialEq, Eq)]
pub struct Message<'bytes> {
    /// Bytes of the whole of it.
    pub len: usize,
    /// The published bytes that it carries; `None` for a word of the protocol's own.
    pub payload: Option<&'bytes [u8]>,
    /// What is to be sent back.
    pub reply: &'static [u8],
}

/// A server's protocol, as a client that only listens needs it.
pub trait Wire {
    /// What a client sends as soon as it is connected.
    fn hello(&self) -> Vec<u8>;

    /// Cuts off the first message; `None` if and only if it has not come whole.
    ///
    /// # Errors
    /// If the bytes begin with no message.
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

/// mapcast's: a 10-byte header and the payload. The client says nothing.
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
