//! A part of TLS that is read again, and kept as it was while its files are bad.

use std::hash::{BuildHasher, Hash, RandomState};

use log::Level;

use super::files::Error;
use crate::display::error_chain::ErrorChain;

/// Something that is made of files, and made anew when they change.
pub(super) trait Part: Clone + Send + 'static {
    /// What is in the files.
    type Content: Hash + Send + 'static;
    /// What is made of that.
    type Made: Send + 'static;
    /// What stays while the files are bad, for the log.
    const KEPT: &'static str;

    /// Reads the files. It may take as long as their file system takes.
    ///
    /// # Errors
    /// If one cannot be read.
    fn read(&self) -> Result<Self::Content, Error>;

    /// Returns what `content` makes. Warns in the log of what is good here and is not elsewhere.
    ///
    /// # Errors
    /// What is wrong with it.
    fn make(&self, content: &Self::Content) -> Result<Self::Made, Error>;

    /// Returns what the log says of what is in use.
    fn describe(&self, made: &Self::Made) -> String;
}

/// The last good version of a part, and what has been seen of its files since.
pub(super) struct Kept<P: Part> {
    part: P,
    made: P::Made,
    hasher: RandomState,
    /// The hash of what was taken or refused last.
    judged: u64,
    /// The hash of what was seen last.
    seen: u64,
}

/// What a look at the files has found.
pub(super) struct Look<P: Part> {
    /// What was made of them, if that is due.
    made: Option<Result<P::Made, Error>>,
    /// Of what was in them, or of why they cannot be read.
    hash: u64,
}

/// When a change is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// When it is seen.
    Seen,
    /// When two looks running have seen the same: certificate and key are two files, which never change in one moment.
    Settled,
}

/// A line for the log, which is written when no lock is held.
pub(super) struct Notice {
    level: Level,
    text: String,
}

impl Notice {
    pub(super) fn warning(text: String) -> Self {
        Self { level: Level::Warn, text }
    }

    pub(super) fn log(&self) {
        log::log!(self.level, "{}", self.text);
    }
}

impl<P: Part> Kept<P> {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn load(part: P) -> Result<Self, Error> {
        let (content, hasher) = (part.read()?, RandomState::new());
        let (made, hash) = (part.make(&content)?, hasher.hash_one(&content));
        Ok(Self { part, made, hasher, judged: hash, seen: hash })
    }

    /// The last good version.
    pub(super) fn made(&self) -> &P::Made {
        &self.made
    }

    /// Returns a function that looks at the files, for a thread that may wait for them and holds no lock.
    pub(super) fn reader(&self, when: When) -> impl FnOnce() -> Look<P> + Send + use<P> {
        let (part, hasher, judged, seen) = (self.part.clone(), self.hasher.clone(), self.judged, self.seen);
        move || {
            let content = part.read();
            let hash = match &content {
                Ok(content) => hasher.hash_one(content),
                Err(error) => hasher.hash_one(ErrorChain(error).to_string()),
            };
            let is_due = hash != judged && (when == When::Seen || hash == seen);
            Look { made: is_due.then(|| content.and_then(|content| part.make(&content))), hash }
        }
    }

    /// Takes what was seen if it is due and good; `notices` get what to log. Returns true if and only if there is a new
    /// version. A fault is reported once for each content, and once while the files cannot be read.
    pub(super) fn take(&mut self, look: Look<P>, notices: &mut Vec<Notice>) -> bool {
        self.seen = look.hash;
        let Some(made) = look.made else { return false };
        self.judged = look.hash;
        match made {
            Ok(made) => {
                self.made = made;
                notices.push(Notice { level: Level::Info, text: self.describe() });
                true
            }
            Err(error) => {
                notices.push(Notice::warning(format!("{}; {}", ErrorChain(&error), P::KEPT)));
                false
            }
        }
    }

    /// Returns what is in use, for the log.
    pub(super) fn describe(&self) -> String {
        self.part.describe(&self.made)
    }
}

#[cfg(test)]
mod tests;
