//! The body of a response: bytes of its own, or a range of a text that several responses share.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use crate::backlog::Payload;

/// The bytes that follow a response's headers.
#[derive(Debug, Clone)]
pub(crate) enum ResponseBody {
    /// Written for this response; small.
    Owned(String),
    /// Compiled into the program.
    Static(&'static str),
    /// A range of a shared text.
    Shared(Box<SharedSlice>),
}

/// A text that several responses share.
pub(crate) trait SharedText: AsRef<str> + Debug + Send + Sync {}

impl<T: AsRef<str> + Debug + Send + Sync> SharedText for T {}

/// A range of a shared text, followed by `tail`.
#[derive(Debug, Clone)]
pub(crate) struct SharedSlice {
    pub(crate) text: Arc<dyn SharedText>,
    pub(crate) range: Range<usize>,
    pub(crate) tail: &'static str,
    /// Counted in the backlog while a peer is slow to read it.
    pub(crate) payload: Option<Payload>,
}

impl ResponseBody {
    /// Its length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }

    pub(crate) fn parts(&self) -> [&[u8]; 2] {
        match self {
            Self::Owned(text) => [text.as_bytes(), b""],
            Self::Static(text) => [text.as_bytes(), b""],
            Self::Shared(slice) => [&(*slice.text).as_ref().as_bytes()[slice.range.clone()], slice.tail.as_bytes()],
        }
    }

    /// Counted in the backlog while a peer is slow to read it.
    pub(crate) fn payload(&self) -> Option<Payload> {
        match self {
            Self::Owned(_) | Self::Static(_) => None,
            Self::Shared(slice) => slice.payload,
        }
    }
}

impl From<String> for ResponseBody {
    fn from(text: String) -> Self {
        Self::Owned(text)
    }
}

impl From<&'static str> for ResponseBody {
    fn from(text: &'static str) -> Self {
        Self::Static(text)
    }
}

impl From<SharedSlice> for ResponseBody {
    fn from(slice: SharedSlice) -> Self {
        Self::Shared(Box::new(slice))
    }
}
