//! Displays an error and its sources on one line.

use std::error::Error;
use std::fmt;

/// Displays an error and all its sources, separated by colons.
pub(crate) struct ErrorChain<'a>(pub(crate) &'a dyn Error);

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Fault(&'static str, #[source] Option<Box<Self>>);

    #[test]
    fn every_source_is_displayed_in_order() {
        let fault = Fault("the map", Some(Box::new(Fault("the file", Some(Box::new(Fault("the disk", None)))))));
        assert_eq!(ErrorChain(&fault).to_string(), "the map: the file: the disk");
    }
}
