//! Opens the files that the user names without blocking: a FIFO, a device or a socket in place of a regular file is an error.
//!
//! A regular file on a file system that hangs still blocks, whatever the flags of open(2): see `threads`.

pub mod atomic_file;
pub(crate) mod permissions;

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::time::{Duration, Instant};

pub(crate) use crate::platform::open_directory;
use crate::platform::{self, AsFd, open_without_waiting};

/// How long the writer of a pipe with a secret may take to close it: 10 s, enough for a password manager that prompts.
pub(crate) const PIPE_LIMIT: Duration = Duration::from_secs(10);

/// Something that is not a regular file.
#[derive(Debug, thiserror::Error)]
#[error("it is {0}, not a regular file; name a regular file")]
struct NotRegular(&'static str);

/// Opens the regular file at `path` for reading. Waits only for the file system.
///
/// # Errors
/// If the system refuses it, or it is not a regular file.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    check_name(path)?;
    // Checked before it is opened, because opening a FIFO or a device has an effect at its other end.
    check_regular(&fs::metadata(path)?)?;
    let file = open_without_waiting(path)?;
    // The file may have been replaced since.
    check_regular(&file.metadata()?)?;
    Ok(file)
}

/// Returns the first `most` bytes of the regular file at `path`.
///
/// # Errors
/// As [`open`].
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    open(path)?.take(most).read_to_end(&mut content)?;
    Ok(content)
}

/// Reads the pipe at `path` to its end, at most `most` bytes; `None` if it is not a pipe. A shell's `<(command)` is a pipe:
/// `/dev/fd/63`.
///
/// # Errors
/// If the system refuses it; `TimedOut` if the writer has not closed it within `limit`.
pub(crate) fn read_pipe(path: &Path, most: u64, limit: Duration) -> io::Result<Option<Vec<u8>>> {
    if !platform::is_fifo(fs::metadata(path)?.file_type()) {
        return Ok(None);
    }
    let deadline = Instant::now().checked_add(limit);
    let (mut file, mut content) = (platform::pollable(open_without_waiting(path)?)?, Vec::new());
    while (content.len() as u64) < most {
        if !platform::wait_any(&[file.as_fd()], deadline)?[0] {
            let why = format!("it is a pipe, and its writer has not ended within {} s", limit.as_secs());
            return Err(io::Error::new(ErrorKind::TimedOut, why));
        }
        let left = most - content.len() as u64;
        match (&mut file).take(left).read_to_end(&mut content) {
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(content))
}

/// Checks that `path` is not the name of a device: on Windows the metadata do not say that.
pub(crate) fn check_name(path: &Path) -> io::Result<()> {
    if platform::is_device_name(path) {
        return Err(io::Error::new(ErrorKind::InvalidInput, NotRegular("a device")));
    }
    Ok(())
}

/// Checks that `metadata` is that of a regular file.
pub(crate) fn check_regular(metadata: &Metadata) -> io::Result<()> {
    let kind = metadata.file_type();
    let what = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "a directory",
        () => platform::special_type(kind),
    };
    Err(io::Error::new(ErrorKind::InvalidInput, NotRegular(what)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::os::unix::net::UnixListener;
    use std::thread;

    fn fifo(directory: &Path) -> std::path::PathBuf {
        let path = directory.join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        path
    }

    #[test]
    fn a_file_that_is_not_regular_is_refused_with_its_type() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        let fifo = fifo(directory.path());
        let (directory, device) = (directory.path(), Path::new("/dev/zero"));
        let others = [(directory, "a directory"), (&fifo, "a FIFO"), (&socket, "a socket"), (device, "a device")];
        for (path, what) in others {
            let error = read(path, 10).unwrap_err().to_string();
            assert_eq!(error, format!("it is {what}, not a regular file; name a regular file"));
        }
        // Without O_DIRECTORY, opening it for reading waits for a writer.
        assert_eq!(open_directory(&fifo).unwrap_err().kind(), ErrorKind::NotADirectory);
    }

    #[test]
    fn a_file_is_read_to_its_limit() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "0123456789").unwrap();
        assert_eq!((read(file.path(), 4).unwrap(), read(file.path(), 20).unwrap().len()), (b"0123".to_vec(), 10));
        assert_eq!(read_pipe(file.path(), 20, PIPE_LIMIT).unwrap(), None);
    }

    #[test]
    fn a_pipe_is_read_to_its_end_within_a_time_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = fifo(directory.path());
        let silent = read_pipe(&path, 100, Duration::from_millis(10)).unwrap_err();
        assert_eq!(silent.kind(), ErrorKind::TimedOut);
        let writing = path.clone();
        let writer = thread::Builder::new().spawn(move || {
            let mut pipe = OpenOptions::new().write(true).open(writing).unwrap();
            for part in ["a ", "secret"] {
                pipe.write_all(part.as_bytes()).unwrap();
                thread::yield_now();
            }
        });
        assert_eq!(read_pipe(&path, 100, Duration::from_mins(1)).unwrap().unwrap(), b"a secret");
        writer.unwrap().join().unwrap();
    }
}
