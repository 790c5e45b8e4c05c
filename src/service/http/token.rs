//! The bearer token that lets somebody write, in a file of the operator's.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::escape::escape;
use crate::secret::warn_if_public;

/// The longest file that is a token: 4 KiB.
const MAX_LEN: u64 = 4096;

/// Below this many bytes a token can be guessed; it is taken, with a warning. 16 are 96 bits in base64.
const SHORT: usize = 16;

/// Why there is no token. The text is safe to print.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system does not let the file be read.
    #[error("{name}: the token cannot be read")]
    Unreadable {
        /// The path, escaped.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// The file has no token that fits into a header.
    #[error("{name}: not a token; write 1 to 4096 visible ASCII characters, as `openssl rand -base64 32` does")]
    NoToken {
        /// The path, escaped.
        name: String,
    },
}

/// A file with a token. Read for each request that writes, so that a new token counts at once, and none is kept in
/// memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFile {
    path: PathBuf,
}

impl TokenFile {
    /// Returns the token file at `path`. Warns in the log of one that others may read, or that can be guessed.
    ///
    /// # Errors
    /// If it cannot be read or has no token.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let file = Self { path: path.into() };
        let token = file.read()?;
        if token.len() < SHORT {
            log::warn!("{}: a token of {} characters can be guessed; write at least {SHORT}", file.name(), token.len());
        }
        warn_if_public(&file.path, "the token");
        Ok(file)
    }

    /// True if and only if `authorization`, the header's value, has the token that is in the file now. How long this
    /// takes tells nothing of how much of it is right.
    ///
    /// # Errors
    /// If there is no token now.
    pub(super) fn admits(&self, authorization: Option<&str>) -> Result<bool, Error> {
        let expected = Sha256::digest(self.read()?);
        let (scheme, presented) = authorization.and_then(|value| value.split_once(' ')).unwrap_or_default();
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Ok(false);
        }
        // Hashes, so that not even the lengths show.
        Ok(bool::from(Sha256::digest(presented.trim()).ct_eq(&expected)))
    }

    fn read(&self) -> Result<String, Error> {
        let unreadable = |source| Error::Unreadable { name: self.name(), source };
        let mut text = String::new();
        File::open(&self.path).map_err(unreadable)?.take(MAX_LEN + 2).read_to_string(&mut text).map_err(unreadable)?;
        let token = text.trim();
        let fits = (1..=MAX_LEN).contains(&(token.len() as u64)) && token.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(token.to_owned()) } else { Err(Error::NoToken { name: self.name() }) }
    }

    fn name(&self) -> String {
        escape(&self.path.to_string_lossy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn file(text: &str) -> (tempfile::NamedTempFile, Result<TokenFile, Error>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        let opened = TokenFile::open(file.path());
        (file, opened)
    }

    #[test]
    fn the_right_token_is_admitted_and_no_other() {
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

    #[test]
    fn a_new_token_counts_at_once_and_none_is_an_error() {
        let (file, token) = file("one");
        let token = token.unwrap();
        fs::write(file.path(), "two").unwrap();
        assert!(!token.admits(Some("Bearer one")).unwrap() && token.admits(Some("Bearer two")).unwrap());
        file.close().unwrap();
        assert!(matches!(token.admits(Some("Bearer two")), Err(Error::Unreadable { .. })));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for text in ["", " \n", "two words", "ñ", &"x".repeat(5000)] {
            let (_file, opened) = file(text);
            assert!(matches!(opened, Err(Error::NoToken { .. })), "{text}");
        }
        let missing = TokenFile::open("/nowhere/\x1b[2J").unwrap_err().to_string();
        assert_eq!(missing, "/nowhere/\\u{1b}[2J: the token cannot be read");
    }
}
