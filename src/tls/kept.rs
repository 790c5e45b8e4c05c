//! A part of TLS that is read again, and kept as it was while its files are bad.

use std::hash::{BuildHasher, Hash, RandomState};

use super::files::Error;
use crate::chain::Chain;

/// Something that is made of files, and made anew when they change.
pub(super) trait Part: Clone + Send + 'static {
    /// What is in the files.
    type Content: Hash + Send + 'static;
    /// What is made of that.
    type Made;
    /// What stays while the files are bad, for the log.
    const KEPT: &'static str;

    /// Reads the files. It may take as long as their file system takes.
    ///
    /// # Errors
    /// If one cannot be read.
    fn read(&self) -> Result<Self::Content, Error>;

    /// Returns what `content` makes. Warns in the log of what is good here and will not be elsewhere.
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

/// What was in the files when they were looked at.
pub(super) struct Look<P: Part> {
    content: Result<P::Content, Error>,
    hash: u64,
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

    /// Returns a function that reads the files, for a thread that may wait for them.
    pub(super) fn reader(&self) -> impl FnOnce() -> Look<P> + Send + use<P> {
        let (part, hasher) = (self.part.clone(), self.hasher.clone());
        move || {
            let content = part.read();
            let hash = match &content {
                Ok(content) => hasher.hash_one(content),
                Err(error) => hasher.hash_one(Chain(error).to_string()),
            };
            Look { content, hash }
        }
    }

    /// Takes what was seen if it is new and good. Returns `None` if it is what was taken or refused last.
    ///
    /// # Errors
    /// What is wrong with it: once for each content, and once when the files cannot be read.
    pub(super) fn take(&mut self, look: Look<P>) -> Option<Result<(), Error>> {
        self.seen = look.hash;
        if self.judged == look.hash {
            return None;
        }
        self.judged = look.hash;
        Some(look.content.and_then(|content| self.part.make(&content)).map(|made| self.made = made))
    }

    /// As [`take`](Self::take), once two looks running have seen the same: certificate and key are two files, which never
    /// change in one moment.
    pub(super) fn take_settled(&mut self, look: Look<P>) -> Option<Result<(), Error>> {
        if std::mem::replace(&mut self.seen, look.hash) != look.hash {
            return None;
        }
        self.take(look)
    }

    /// Returns what is in use, for the log.
    pub(super) fn describe(&self) -> String {
        self.part.describe(&self.made)
    }

    /// Writes into the log what came of a look. Returns true if and only if there is a new version.
    pub(super) fn report(&self, taken: Option<&Result<(), Error>>) -> bool {
        match taken {
            Some(Ok(())) => log::info!("{}", self.describe()),
            Some(Err(error)) => log::warn!("{}; {}", Chain(error), P::KEPT),
            None => {}
        }
        matches!(taken, Some(Ok(())))
    }
}

#[cfg(test)]
mod tests;
