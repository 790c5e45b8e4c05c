//! A file in memory that cannot change: `sendfile` sends its pages without copying them. Linux only.

use std::io;
use std::net::TcpStream;

#[cfg(target_os = "linux")]
use std::{
    fs::File,
    io::{ErrorKind, Write},
    sync::atomic::{AtomicUsize, Ordering},
};

/// The most files at a time: 16. Each has a descriptor, and they must not take those of the clients.
pub(crate) const MAX_SEALED_FILES: usize = 16;

/// The number of files that exist.
#[cfg(target_os = "linux")]
static EXISTING: AtomicUsize = AtomicUsize::new(0);

/// A file in memory that cannot change: see `memfd_create`(2).
#[derive(Debug)]
pub(crate) struct SealedFile {
    #[cfg(target_os = "linux")]
    file: File,
    #[cfg(target_os = "linux")]
    _count: Count,
}

#[cfg(target_os = "linux")]
impl SealedFile {
    /// Returns a file with `bytes`.
    ///
    /// # Errors
    /// `QuotaExceeded` if [`MAX_SEALED_FILES`] exist; otherwise why the system refuses the file.
    pub(crate) fn new(bytes: &[u8]) -> io::Result<Self> {
        use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
        let count = Count::new()?;
        let mut file = File::from(memfd_create("mapcast-frame", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
        file.write_all(bytes)?;
        // The kernel refuses every change from now on, also of pages that are in flight.
        fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
        Ok(Self { file, _count: count })
    }

    /// Sends as many of the bytes from `offset` on as fit to a non-blocking socket, and returns how many were sent.
    ///
    /// # Errors
    /// `WouldBlock` if no byte fits.
    pub(crate) fn send(&self, socket: &TcpStream, offset: usize, count: usize) -> io::Result<usize> {
        let mut offset = offset as u64;
        Ok(rustix::fs::sendfile(socket, &self.file, Some(&mut offset), count)?)
    }
}

/// Counts one file while it exists.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Count;

#[cfg(target_os = "linux")]
impl Count {
    fn new() -> io::Result<Self> {
        // Dropped on failure too.
        let count = Self;
        if EXISTING.fetch_add(1, Ordering::Relaxed) < MAX_SEALED_FILES {
            Ok(count)
        } else {
            Err(ErrorKind::QuotaExceeded.into())
        }
    }
}

#[cfg(target_os = "linux")]
impl Drop for Count {
    fn drop(&mut self) {
        EXISTING.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(not(target_os = "linux"))]
impl SealedFile {
    /// Fails with `Unsupported`.
    pub(crate) fn new(_bytes: &[u8]) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn send(&self, _socket: &TcpStream, _offset: usize, _count: usize) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpListener;

    /// The only test that creates files: their number is limited for the whole process.
    #[test]
    fn a_sealed_file_is_sent_from_any_offset_and_cannot_change() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        let file = SealedFile::new(&bytes).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        let mut received = vec![0; 1000];
        assert_eq!(file.send(&socket, 70_001, 1000).unwrap(), 1000);
        client.read_exact(&mut received).unwrap();
        assert_eq!(received, bytes[70_001..71_001]);
        assert!((&file.file).write_all(b"x").is_err() && file.file.set_len(5).is_err());

        let files: Vec<_> = std::iter::from_fn(|| SealedFile::new(b"map").ok()).take(100).collect();
        assert!(files.len() < MAX_SEALED_FILES, "{} files besides the first", files.len());
        drop(files);
        SealedFile::new(b"map").unwrap();
    }
}
