//! The bearer token that permits changes, in a file.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use crate::display::escape::escape;
use crate::files;
use crate::files::permissions::warn_if_public;
use crate::threads::{IoThread, Threads, Unanswered};

/// The maximum length of a token: 4 KiB.
const MAX_LEN: u64 = 4096;

/// A shorter token, in bytes, can be guessed: it is accepted with a warning. 16 characters of base64 are 96 bits.
const SHORT: usize = 16;

/// The longest time that a request waits for the token to be read: 2 s.
const READ_LIMIT: Duration = Duration::from_secs(2);

/// Why the token cannot be used. The text is safe to print.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error("{name}: cannot read the token")]
    Unreadable {
        /// The path, escaped.
        name: String,
        /// The error of the system.
        source: io::Error,
    },
    /// The file does not contain a token that fits into a header.
    #[error(
        "{name}: not a token; write 1 to 4096 visible ASCII characters, such as the output of `openssl rand -base64 32`"
    )]
    NoToken {
        /// The path, escaped.
        name: String,
    },
}

/// A file with a token. It is read for each request that presents one: a new token is valid at once, and no token stays in
/// memory. A pipe, such as `<(pass token)` in a shell, can be read only once: the hash of its token stays in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFile {
    path: PathBuf,
    /// The hash of the token from a pipe.
    piped: Option<Digest>,
}

/// The SHA-256 of a token. Hashes are compared instead of tokens, so that the time reveals not even the length.
///
/// Its only comparison reads every byte. The type of the bytes is a parameter, so that a test can count comparisons.
#[derive(Debug, Clone, Copy)]
struct Digest<B = u8>([B; 32]);

/// Reads the token on a separate thread: a hung file system does not block the threads of HTTP.
#[derive(Debug)]
pub(super) struct TokenReader {
    file: TokenFile,
    thread: IoThread,
}

/// Why a presented token could not be compared.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    File(#[from] Error),
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
}

impl<B: ConstantTimeEq> PartialEq for Digest<B> {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl<B: ConstantTimeEq> Eq for Digest<B> {}

impl TokenFile {
    /// Returns the token file at `path`, which may be a pipe whose writer finishes within 10 s. Logs a warning if other users may
    /// read the file, or if the token can be guessed.
    ///
    /// # Errors
    /// If the file cannot be read or does not contain a token.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let mut file = Self { path: path.into(), piped: None };
        let piped = files::read_pipe(&file.path, MAX_LEN + 2, files::PIPE_LIMIT).map_err(|why| file.unreadable(why))?;
        let token = match &piped {
            Some(content) => file.parse(content)?,
            None => file.read()?,
        };
        file.piped = piped.map(|_| digest(&token));
        if token.len() < SHORT {
            log::warn!("{}: a token of {} characters can be guessed; use at least {SHORT}", file.name(), token.len());
        }
        warn_if_public(&file.path, "the token");
        Ok(file)
    }

    fn read(&self) -> Result<String, Error> {
        let content = files::read(&self.path, MAX_LEN + 2).map_err(|source| self.unreadable(source))?;
        self.parse(&content)
    }

    fn parse(&self, content: &[u8]) -> Result<String, Error> {
        let token = content.trim_ascii();
        let fits = (1..=MAX_LEN).contains(&(token.len() as u64)) && token.iter().all(u8::is_ascii_graphic);
        let token = fits.then(|| String::from_utf8_lossy(token).into_owned());
        token.ok_or_else(|| Error::NoToken { name: self.name() })
    }

    fn unreadable(&self, source: io::Error) -> Error {
        Error::Unreadable { name: self.name(), source }
    }

    fn name(&self) -> String {
        escape(&self.path.to_string_lossy())
    }
}

impl TokenReader {
    pub(super) fn new(file: TokenFile, threads: &Threads) -> Self {
        let thread = IoThread::new(threads, "token", "reading the token".to_owned(), READ_LIMIT);
        Self { file, thread }
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// If the system cannot create a thread.
    pub(super) fn start(&self) -> io::Result<()> {
        self.thread.start()
    }

    /// True if and only if `authorization`, the header's value, contains the token that is in the file now. Without a token in
    /// the header, the file is not read. The time of the comparison does not depend on how many bytes are right.
    ///
    /// # Errors
    /// If the file has no token, or cannot be read within 2 s.
    pub(super) fn admits(&self, authorization: Option<&str>) -> Result<bool, ReadError> {
        let (scheme, presented) = authorization.and_then(|value| value.split_once(' ')).unwrap_or_default();
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Ok(false);
        }
        let expected = match self.file.piped {
            Some(piped) => piped,
            None => self.expected()?,
        };
        Ok(digest(presented.trim()) == expected)
    }

    fn expected(&self) -> Result<Digest, ReadError> {
        let file = self.file.clone();
        Ok(self.thread.run(move || file.read().map(|token| digest(&token)))??)
    }
}

fn digest(token: &str) -> Digest {
    Digest(Sha256::digest(token).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::check_texts;
    use std::cell::Cell;
    use std::fs;

    use subtle::Choice;

    fn file(text: &str) -> (tempfile::NamedTempFile, Result<TokenReader, Error>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        let opened = TokenFile::open(file.path());
        (file, opened.map(|file| TokenReader::new(file, &Threads::default())))
    }

    #[test]
    fn only_the_right_token_is_admitted() {
        let (_file, token) = file("s3cret-s3cret-s3cret\n");
        let token = token.unwrap();
        for right in ["Bearer s3cret-s3cret-s3cret", "bearer  s3cret-s3cret-s3cret "] {
            assert!(token.admits(Some(right)).unwrap(), "{right}");
        }
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer s3cret",
            "Basic s3cret-s3cret-s3cret",
            "s3cret-s3cret-s3cret",
            "Bearer s3cret-s3cret-s3cret!",
        ] {
            assert!(!token.admits(Some(wrong)).unwrap(), "{wrong}");
        }
        assert!(!token.admits(None).unwrap());
    }

    /// A byte that counts its comparisons.
    struct Counted<'counter>(u8, &'counter Cell<usize>);

    impl ConstantTimeEq for Counted<'_> {
        fn ct_eq(&self, other: &Self) -> Choice {
            self.1.set(self.1.get() + 1);
            self.0.ct_eq(&other.0)
        }
    }

    #[test]
    fn every_byte_is_compared_for_any_guess() {
        let compared = Cell::new(0);
        let counted = |bytes: [u8; 32]| Digest(bytes.map(|byte| Counted(byte, &compared)));
        let right = digest("s3cret-s3cret-s3cret").0;
        for wrong_from in 0..=right.len() {
            let mut guess = right;
            guess[wrong_from..].iter_mut().for_each(|byte| *byte ^= 1);
            compared.set(0);
            assert_eq!(counted(guess) == counted(right), wrong_from == right.len());
            assert_eq!(compared.get(), right.len(), "the time reveals that {wrong_from} bytes are right");
        }
    }

    #[test]
    fn a_new_token_is_valid_at_once_a_missing_one_an_error() {
        let (file, token) = file("one");
        let token = token.unwrap();
        fs::write(file.path(), "two").unwrap();
        assert!(!token.admits(Some("Bearer one")).unwrap() && token.admits(Some("Bearer two")).unwrap());
        file.close().unwrap();
        assert!(matches!(token.admits(Some("Bearer two")), Err(ReadError::File(Error::Unreadable { .. }))));
        assert!(!token.admits(None).unwrap(), "without a presented token the file is not read");
    }

    #[test]
    fn a_hung_token_file_delays_only_requests_with_a_token() {
        let (_file, token) = file("s3cret-s3cret-s3cret");
        let token = token.unwrap();
        let (release, held) = std::sync::mpsc::channel::<()>();
        // Simulates a hung file system.
        assert!(matches!(token.thread.run(move || held.recv().is_ok()), Err(Unanswered::Late { .. })));
        // `Busy`, not `Late`: the request did not wait.
        assert!(matches!(
            token.admits(Some("Bearer s3cret-s3cret-s3cret")),
            Err(ReadError::Unanswered(Unanswered::Busy { .. }))
        ));
        assert!(!token.admits(None).unwrap() && !token.admits(Some("Basic x")).unwrap());
        drop(release);
    }

    #[test]
    fn a_token_from_a_pipe_is_read_once_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let writing = path.clone();
        let writer = std::thread::Builder::new().spawn(move || fs::write(writing, "from-a-password-manager\n"));
        let token = TokenReader::new(TokenFile::open(&path).unwrap(), &Threads::default());
        writer.unwrap().join().unwrap().unwrap();
        for _ in 0..2 {
            assert!(token.admits(Some("Bearer from-a-password-manager")).unwrap());
            assert!(!token.admits(Some("Bearer another")).unwrap());
        }
    }

    #[test]
    fn a_file_without_a_token_is_refused() {
        for text in ["", " \n", "two words", "ñ", &"x".repeat(5000)] {
            let (_file, opened) = file(text);
            assert!(matches!(opened, Err(Error::NoToken { .. })), "{text}");
        }
        let missing = TokenFile::open("/nowhere/\x1b[2J");
        assert!(matches!(missing, Err(Error::Unreadable { name, .. }) if name == "/nowhere/\\u{1b}[2J"));
    }

    #[test]
    fn every_error_has_its_text() {
        let name = || "/run/\\u{1b}".to_owned();
        check_texts!(Error {
            Unreadable { name: name(), source: io::ErrorKind::NotFound.into() } =>
                "/run/\\u{1b}: cannot read the token";
            NoToken { name: name() } =>
                "/run/\\u{1b}: not a token; write 1 to 4096 visible ASCII characters, such as the output of \
                 `openssl rand -base64 32`";
        });
        check_texts!(ReadError {
            File(Error::Unreadable { name: name(), source: io::ErrorKind::NotFound.into() }) =>
                "/run/\\u{1b}: cannot read the token";
            Unanswered(Unanswered::Panicked { task: "reading".to_owned() }) => "reading has panicked";
        });
    }
}
