//! Sends one frame to many connections, with as few system calls as the system allows.

use std::io;

use crate::frame::Frame;
use crate::platform::{AsFd, MAX_BATCH, SendRing};
use crate::stream::Stream;

/// The smallest batch that is worth a ring: 4 sends. Below, its own costs are more than what it saves (measured).
const MIN_BATCH: usize = 4;

/// Sends for one publisher: through a ring where there is one, one system call per send otherwise.
#[derive(Debug)]
pub(crate) struct SendBatch {
    ring: Option<SendRing>,
}

impl SendBatch {
    /// The most connections of one batch. The locks of all of them are held while it is sent.
    pub(crate) const MAX: usize = MAX_BATCH;

    /// Returns a batch that makes one system call per send.
    pub(crate) fn plain() -> Self {
        Self { ring: None }
    }

    /// Returns a batch with a ring, which has one descriptor.
    ///
    /// # Errors
    /// Why the system refuses a ring: most containers do.
    pub(crate) fn with_ring() -> io::Result<Self> {
        Ok(Self { ring: Some(SendRing::new()?) })
    }

    /// Sends as much of `frame` as fits over each stream, without blocking. Returns one result per stream, in the same order:
    /// the number of bytes, or why the socket accepted none.
    pub(crate) fn send(&mut self, frame: &Frame, streams: &[&Stream]) -> Vec<io::Result<usize>> {
        let Some(ring) = self.ring.as_mut().filter(|_| streams.len() >= MIN_BATCH) else {
            return streams.iter().map(|stream| stream.try_send(frame.as_bytes())).collect();
        };
        // With TLS, each connection has other bytes.
        let sockets: Vec<_> = streams.iter().filter(|stream| !stream.is_tls()).map(|stream| stream.as_fd()).collect();
        let mut sent = Vec::with_capacity(sockets.len());
        if let Err(error) = ring.send(frame.as_bytes(), &sockets, &mut sent) {
            log::warn!("cannot send in batches: {error}; each frame costs a system call from now on");
            self.ring = None;
        }
        if sockets.len() == streams.len() {
            return sent;
        }
        let mut plain = sent.into_iter();
        let each = streams.iter().map(|stream| if stream.is_tls() { None } else { plain.next() });
        each.zip(streams).map(|(sent, stream)| sent.unwrap_or_else(|| stream.try_send(frame.as_bytes()))).collect()
    }
}
