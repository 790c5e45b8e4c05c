//! What comes out of a stream.

/// What has been taken from a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadCount {
    /// Bytes for the caller. With TLS there may be none yet: a part of a record, or a record without data.
    pub(crate) data: usize,
    /// Bytes that came over the wire for it, now.
    pub(crate) wire: usize,
}
