//! The body of an answer: bytes of its own, or a part of a text that many answers share.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use crate::backlog::Payload;

/// What stands behind an answer's headers.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    /// Made for this answer; little.
    Own(Vec<u8>),
    /// A part of the program.
    Fixed(&'static str),
    /// A part of a text that others send as well.
    Part(Box<Part>),
}

/// A text that is shared.
pub(crate) trait Text: AsRef<str> + Debug + Send + Sync {}

impl<T: AsRef<str> + Debug + Send + Sync> Text for T {}

/// A part of a text that is shared, and what stands behind it.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) text: Arc<dyn Text>,
    pub(crate) range: Range<usize>,
    pub(crate) tail: &'static str,
    /// What counts while a peer is slow to take it.
    pub(crate) payload: Option<Payload>,
}

impl Body {
    /// Bytes of it.
    pub(crate) fn len(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }

    pub(crate) fn parts(&self) -> [&[u8]; 2] {
        match self {
            Self::Own(bytes) => [bytes, b""],
            Self::Fixed(text) => [text.as_bytes(), b""],
            Self::Part(part) => [&(*part.text).as_ref().as_bytes()[part.range.clone()], part.tail.as_bytes()],
        }
    }

    /// What counts while a peer is slow to take it.
    pub(crate) fn payload(&self) -> Option<Payload> {
        match self {
            Self::Own(_) | Self::Fixed(_) => None,
            Self::Part(part) => part.payload,
        }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Own(bytes)
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::Own(text.into())
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::Fixed(text)
    }
}

impl From<Part> for Body {
    fn from(part: Part) -> Self {
        Self::Part(Box::new(part))
    }
}
