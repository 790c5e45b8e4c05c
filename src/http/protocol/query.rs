//! The query of a request: parameters in the form of `application/x-www-form-urlencoded`.
//!
//! Not decoded by the crate `form_urlencoded`: that replaces invalid UTF-8, which is an error here, and decodes a value before
//! its commas can be told from encoded ones.

use percent_encoding::percent_decode;

/// The parameters of a request that its path accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query<'q> {
    /// Names, and values as received, in order.
    pairs: Vec<(&'static str, &'q str)>,
}

/// A parameter that the path does not accept. The message omits its name, because a peer controls it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", describe(.known))]
pub(crate) struct UnknownParameter {
    /// The parameters that the path accepts.
    known: &'static [&'static str],
}

impl<'q> Query<'q> {
    /// Parses `text` as the URL Standard of the WHATWG does (section 5.1): the value of a parameter without `=` is empty, and
    /// empty text between two `&` is skipped. Names that begin with `_` are ignored, because libraries add them to defeat
    /// caches, and so are names that `is_ignored` accepts.
    ///
    /// # Errors
    /// If `text` has a parameter that is not in `known`.
    pub(crate) fn parse(
        text: &'q str,
        known: &'static [&'static str],
        is_ignored: impl Fn(&str) -> bool,
    ) -> Result<Self, UnknownParameter> {
        let mut pairs = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name).ok_or(UnknownParameter { known })?;
            if let Some(known) = known.iter().find(|known| **known == name) {
                pairs.push((*known, value));
            } else if !name.starts_with('_') && !is_ignored(&name) {
                return Err(UnknownParameter { known });
            }
        }
        Ok(Self { pairs })
    }

    /// Returns the values of the parameter `name`, as received.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &'q str> {
        self.pairs.iter().filter(move |(found, _)| *found == name).map(|(_, value)| *value)
    }

    /// Returns the items of all parameters called `name`. A value is split at its commas, then each item is decoded, so that
    /// `%2C` is a comma inside an item. An item that is not UTF-8 is an error. Every value has at least one item, which may be
    /// empty.
    pub(crate) fn list(&self, name: &str) -> impl Iterator<Item = Result<String, NotUtf8>> {
        self.values(name).flat_map(|value| value.split(',')).map(|text| decode(text).ok_or(NotUtf8))
    }
}

/// A value is not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a value is not UTF-8")]
pub(crate) struct NotUtf8;

/// Decodes a part of a query: `+` is a space and `%2B` a plus. Returns `None` if the result is not UTF-8.
pub(crate) fn decode(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    percent_decode(spaced.as_bytes()).decode_utf8().ok().map(Into::into)
}

fn describe(known: &[&str]) -> String {
    match known {
        [] => "this path accepts no parameters".to_owned(),
        known => format!("unknown parameter: this path accepts {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &[&str] = &["keys"];

    fn parse(text: &str) -> Result<Query<'_>, UnknownParameter> {
        Query::parse(text, KEYS, |name| name == "r")
    }

    fn keys(text: &str) -> Vec<String> {
        parse(text).unwrap().list("keys").collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn a_list_is_split_before_it_is_decoded() {
        assert_eq!(keys("keys=a,b%2Cc,"), ["a", "b,c", ""]);
        assert_eq!(parse("keys=a,%ff").unwrap().list("keys").last(), Some(Err(NotUtf8)));
        assert_eq!(keys("keys=a=b"), ["a=b"]);
        for empty in ["keys", "keys="] {
            assert_eq!(keys(empty), [""], "{empty}");
        }
        assert!(keys("").is_empty());
    }

    #[test]
    fn a_repeated_parameter_lists_the_items_of_both() {
        assert_eq!(keys("keys=1&&keys=2,3&"), ["1", "2", "3"]);
    }

    #[test]
    fn a_plus_is_a_space_and_its_escape_is_a_plus() {
        assert_eq!(keys("k%65ys=a+b,c%20d,e%2Bf%2bg"), ["a b", "c d", "e+f+g"]);
    }

    #[test]
    fn an_unknown_parameter_is_refused_and_the_known_ones_named() {
        for text in ["key=1", "Keys=1", "keys=1&x", "=1", "%ff=1", "keys%5B%5D=1", "limit=1"] {
            assert_eq!(parse(text), Err(UnknownParameter { known: KEYS }), "{text}");
        }
        assert_eq!(Query::parse("x", &[], |_| false), Err(UnknownParameter { known: &[] }));
    }

    #[test]
    fn a_parameter_that_defeats_caches_is_ignored() {
        assert_eq!(keys("_=1700000000&keys=a&_x&r=0.5&%72"), ["a"]);
        assert_eq!(Query::parse("_=1", &[], |_| false), Ok(Query { pairs: vec![] }));
    }

    #[test]
    fn every_error_has_its_text() {
        assert_eq!(UnknownParameter { known: KEYS }.to_string(), "unknown parameter: this path accepts keys");
        assert_eq!(UnknownParameter { known: &[] }.to_string(), "this path accepts no parameters");
        assert_eq!(NotUtf8.to_string(), "a value is not UTF-8");
    }
}
