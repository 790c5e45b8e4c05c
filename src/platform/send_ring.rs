//! Sends the same bytes to many sockets with one system call: `io_uring` on Linux.

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
pub(crate) use with_io_uring::SendRing;
#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
pub(crate) use without_io_uring::SendRing;

/// The most sends in one system call: 64. From 64 on, more made a delivery no cheaper (measured).
pub(crate) const MAX_BATCH: usize = 64;

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
#[allow(unsafe_code, reason = "the kernel reads the bytes through a pointer; see the argument at the push")]
mod with_io_uring {
    use std::fmt;
    use std::io::{self, ErrorKind};
    use std::os::fd::{AsRawFd, BorrowedFd};
    use std::thread;

    use io_uring::{IoUring, Probe, opcode, types::Fd};
    use rustix::net::SendFlags;

    use super::MAX_BATCH;

    /// A submission queue of the kernel, for use by one thread at a time.
    pub(crate) struct SendRing(
        /// `None` after a system call on it has failed.
        Option<IoUring>,
    );

    impl SendRing {
        /// Returns a ring with room for [`MAX_BATCH`] sends. It has one descriptor.
        ///
        /// # Errors
        /// `Unsupported` if the kernel is older than Linux 5.6; otherwise why the system refuses the ring. Many containers
        /// refuse it (seccomp), and so does `kernel.io_uring_disabled` above 0.
        pub(crate) fn new() -> io::Result<Self> {
            let ring = IoUring::builder().dontfork().build(u32::try_from(MAX_BATCH).unwrap_or(u32::MAX))?;
            let mut probe = Probe::new();
            ring.submitter().register_probe(&mut probe)?;
            // NODROP: the kernel keeps a completion for which the queue has no room.
            if !probe.is_supported(opcode::Send::CODE) || !ring.params().is_feature_nodrop() {
                return Err(ErrorKind::Unsupported.into());
            }
            Ok(Self(Some(ring)))
        }

        /// Sends as many of `bytes` as fit to each socket, without blocking, and appends one result per socket to `sent`, in
        /// the order of `sockets`: the number of bytes, or why the socket accepted none.
        ///
        /// # Errors
        /// A system call on the ring failed; a result of `Interrupted` stands for each send that was not tried. Every later
        /// call fails.
        pub(crate) fn send(
            &mut self,
            bytes: &[u8],
            sockets: &[BorrowedFd<'_>],
            sent: &mut Vec<io::Result<usize>>,
        ) -> io::Result<()> {
            let first = sent.len();
            sent.extend(sockets.iter().map(|_| Err(ErrorKind::Interrupted.into())));
            let mut results = &mut sent[first..];
            for batch in sockets.chunks(MAX_BATCH) {
                let (now, later) = results.split_at_mut(batch.len());
                results = later;
                let ring = self.0.as_mut().ok_or(ErrorKind::BrokenPipe)?;
                if let Err(error) = submit(ring, bytes, batch, now) {
                    // The close forgets the entries that the kernel has not read.
                    self.0 = None;
                    return Err(error);
                }
            }
            Ok(())
        }
    }

    /// Sends to at most [`MAX_BATCH`] sockets. On return the kernel works on no entry; after an error, the queue may hold
    /// entries that the kernel has not read, and the ring must be dropped before `bytes` or a socket is.
    fn submit(
        ring: &mut IoUring,
        bytes: &[u8],
        sockets: &[BorrowedFd<'_>],
        results: &mut [io::Result<usize>],
    ) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let flags = (SendFlags::DONTWAIT | SendFlags::NOSIGNAL).bits().cast_signed();
        let mut failure = None;
        let mut pending = 0;
        for (number, socket) in sockets.iter().enumerate() {
            let send = opcode::Send::new(Fd(socket.as_raw_fd()), bytes.as_ptr(), length).flags(flags);
            let entry = send.build().user_data(number as u64);
            // SAFETY: The kernel uses the entry's pointer and descriptor until the completion of the entry. `bytes` and
            // `sockets` are borrowed for this call. The loop below leaves only when each entry that the kernel has read is
            // completed: `pending` counts the entries without a completion, and `submission().len()` those that the kernel
            // has not read. The caller drops the ring while entries are left unread. Nothing in between panics.
            match unsafe { ring.submission().push(&entry) } {
                Ok(()) => pending += 1,
                Err(full) => failure = Some(io::Error::other(full)),
            }
        }
        while pending > 0 {
            // A send with MSG_DONTWAIT completes within the system call.
            if let Err(error) = ring.submit_and_wait(pending)
                && error.kind() != ErrorKind::Interrupted
            {
                failure = Some(error);
            }
            for completion in ring.completion() {
                pending = pending.saturating_sub(1);
                let number = usize::try_from(completion.user_data()).unwrap_or(usize::MAX);
                if let Some(result) = results.get_mut(number) {
                    *result = usize::try_from(completion.result())
                        .map_err(|_| io::Error::from_raw_os_error(completion.result().saturating_neg()));
                }
            }
            if failure.is_some() {
                if pending == ring.submission().len() {
                    break;
                }
                thread::yield_now();
            }
        }
        failure.map_or(Ok(()), Err)
    }

    impl fmt::Debug for SendRing {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("SendRing").field("is_usable", &self.0.is_some()).finish()
        }
    }
}

/// Systems without `io_uring`, or for which its crate has no definitions (32 bits).
#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
mod without_io_uring {
    use std::io::{self, ErrorKind};

    use crate::platform::BorrowedFd;

    /// A ring that does not exist.
    #[derive(Debug)]
    pub(crate) enum SendRing {}

    impl SendRing {
        /// Fails with `Unsupported`.
        pub(crate) fn new() -> io::Result<Self> {
            Err(ErrorKind::Unsupported.into())
        }

        pub(crate) fn send(
            &mut self,
            _bytes: &[u8],
            _sockets: &[BorrowedFd<'_>],
            _sent: &mut Vec<io::Result<usize>>,
        ) -> io::Result<()> {
            match *self {}
        }
    }
}

#[cfg(all(test, target_os = "linux", target_pointer_width = "64"))]
mod tests {
    use super::*;
    use std::io::{self, ErrorKind, Read};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    /// Returns a ring; `None`, and skips the test, where the system refuses one.
    fn ring() -> Option<SendRing> {
        SendRing::new().inspect_err(|_| crate::testing::skip("the system refuses io_uring")).ok()
    }

    /// Sends a copy of `bytes` and frees it. `.ci/run` has freed memory filled (valgrind), so that a later read is seen.
    fn send(ring: &mut SendRing, bytes: &[u8], sockets: &[UnixStream]) -> io::Result<Vec<io::Result<usize>>> {
        let (mut sent, copy) = (Vec::new(), bytes.to_vec());
        ring.send(&copy, &sockets.iter().map(AsFd::as_fd).collect::<Vec<_>>(), &mut sent)?;
        Ok(sent)
    }

    #[test]
    fn all_sockets_receive_the_bytes_in_several_batches() {
        let Some(mut ring) = ring() else { return };
        let pairs = (0..2 * MAX_BATCH + 3).map(|_| UnixStream::pair().unwrap());
        let (ours, theirs): (Vec<_>, Vec<_>) = pairs.unzip();
        for text in ["first", "second"] {
            let sent = send(&mut ring, text.as_bytes(), &ours).unwrap();
            assert_eq!(sent.len(), ours.len());
            assert!(sent.iter().all(|result| result.as_ref().is_ok_and(|sent| *sent == text.len())), "{sent:?}");
            for mut socket in &theirs {
                let mut received = vec![0; text.len()];
                socket.read_exact(&mut received).unwrap();
                assert_eq!(received, text.as_bytes());
            }
        }
    }

    #[test]
    fn each_socket_has_its_own_result() {
        let Some(mut ring) = ring() else { return };
        let (open, _reader) = UnixStream::pair().unwrap();
        let (full, _silent) = UnixStream::pair().unwrap();
        full.set_nonblocking(true).unwrap();
        while io::Write::write(&mut &full, &[0; 4096]).is_ok() {}
        let (closed, _) = UnixStream::pair().unwrap();
        let sent = send(&mut ring, b"map", &[full, open, closed]).unwrap();
        assert_eq!(sent[0].as_ref().unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(*sent[1].as_ref().unwrap(), 3);
        assert_eq!(sent[2].as_ref().unwrap_err().kind(), ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_frame_larger_than_the_buffer_is_sent_in_part() {
        let Some(mut ring) = ring() else { return };
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let bytes = vec![7; 64 << 20];
        let sent = *send(&mut ring, &bytes, &[ours]).unwrap()[0].as_ref().unwrap();
        assert!(0 < sent && sent < bytes.len(), "{sent}");
    }
}
