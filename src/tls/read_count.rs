//! The result of a read.

/// The bytes that one read has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadCount {
    /// Bytes of data for the caller. With TLS it may be 0: for a part of a record, or a record without data.
    pub(crate) data: usize,
    /// Bytes received from the socket by this read.
    pub(crate) wire: usize,
}
