//! A part of a TLS configuration that is reloaded when its files change, and kept while they are invalid.

use std::hash::{BuildHasher, Hash, RandomState};

use super::files::Error;
use crate::display::error_chain::ErrorChain;
use crate::display::notice::Notice;

/// A part that is made from files, and made again when they change.
pub(super) trait Part: Clone + Send + 'static {
    /// The content of the files.
    type Content: Hash + Send + 'static;
    /// The part that is made from the content.
    type Made: Send + 'static;
    /// The text for the log: what stays while the files are invalid.
    const KEPT: &'static str;

    /// Reads the files. Blocks as long as their file system does.
    ///
    /// # Errors
    /// If a file cannot be read.
    fn read(&self) -> Result<Self::Content, Error>;

    /// Makes the part from `content`. Logs a warning about faults that only peers will reject.
    ///
    /// # Errors
    /// If the content is invalid.
    fn make(&self, content: &Self::Content) -> Result<Self::Made, Error>;

    /// Returns a description of `made` for the log.
    fn describe(&self, made: &Self::Made) -> String;
}

/// The last valid version of a part, and the state of its files.
pub(super) struct Kept<P: Part> {
    part: P,
    made: P::Made,
    hasher: RandomState,
    /// The hash of the content that was accepted or rejected last.
    judged: u64,
    /// The hash of the content at the last check.
    seen: u64,
}

/// The result of a check of the files.
pub(super) struct FileCheck<P: Part> {
    /// The new version, if it is due.
    made: Option<Result<P::Made, Error>>,
    /// The hash of the content, or of the error.
    hash: u64,
}

/// When a change of the files is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Apply {
    /// At the first check that finds it.
    AtOnce,
    /// When two consecutive checks find the same: certificate and key are two files, which cannot change at once.
    WhenStable,
}

impl<P: Part> Kept<P> {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// If they are invalid.
    pub(super) fn load(part: P) -> Result<Self, Error> {
        let (content, hasher) = (part.read()?, RandomState::new());
        let (made, hash) = (part.make(&content)?, hasher.hash_one(&content));
        Ok(Self { part, made, hasher, judged: hash, seen: hash })
    }

    /// The last valid version.
    pub(super) fn made(&self) -> &P::Made {
        &self.made
    }

    /// Returns a function that checks the files, to call on a thread that may block and holds no lock.
    pub(super) fn reader(&self, apply: Apply) -> impl FnOnce() -> FileCheck<P> + Send + use<P> {
        let (part, hasher, judged, seen) = (self.part.clone(), self.hasher.clone(), self.judged, self.seen);
        move || {
            let content = part.read();
            let hash = match &content {
                Ok(content) => hasher.hash_one(content),
                Err(error) => hasher.hash_one(ErrorChain(error).to_string()),
            };
            let is_due = hash != judged && (apply == Apply::AtOnce || hash == seen);
            FileCheck { made: is_due.then(|| content.and_then(|content| part.make(&content))), hash }
        }
    }

    /// Applies the result of a check if it is due and valid; adds the log lines to `notices`. Returns true if and only if there is
    /// a new version. A fault is logged once for each content, and once while the files cannot be read.
    pub(super) fn take(&mut self, check: FileCheck<P>, notices: &mut Vec<Notice>) -> bool {
        self.seen = check.hash;
        let Some(made) = check.made else { return false };
        self.judged = check.hash;
        match made {
            Ok(made) => {
                self.made = made;
                notices.push(Notice::info(self.describe()));
                true
            }
            Err(error) => {
                notices.push(Notice::warning(format!("{}; {}", ErrorChain(&error), P::KEPT)));
                false
            }
        }
    }

    /// Returns a description of the version in use, for the log.
    pub(super) fn describe(&self) -> String {
        self.part.describe(&self.made)
    }
}

#[cfg(test)]
mod tests;
