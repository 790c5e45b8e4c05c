//! What stands behind the `?`: parameters, as `application/x-www-form-urlencoded` has them.

use percent_encoding::percent_decode;

/// The parameters of a request that are known where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query<'q> {
    /// Names and values as they came, in their order.
    pairs: Vec<(&'static str, &'q str)>,
}

/// A parameter that is none where the request goes. Not named: its name is a peer's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", describe(.known))]
pub(crate) struct Unknown {
    /// Those that there are.
    known: &'static [&'static str],
}

impl<'q> Query<'q> {
    /// Takes `text` apart as the URL Standard of the WHATWG does (section 5.1): a parameter without `=` is empty, and
    /// nothing between two `&` is no parameter. Names that begin with `_` are passed over, because libraries add such ones
    /// so that no cache answers, and so are those that `is_ignored`.
    ///
    /// # Errors
    /// If another parameter is there than those in `known`.
    pub(crate) fn parse(
        text: &'q str,
        known: &'static [&'static str],
        is_ignored: impl Fn(&str) -> bool,
    ) -> Result<Self, Unknown> {
        let mut pairs = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name).ok_or(Unknown { known })?;
            if let Some(known) = known.iter().find(|known| **known == name) {
                pairs.push((*known, value));
            } else if !name.starts_with('_') && !is_ignored(&name) {
                return Err(Unknown { known });
            }
        }
        Ok(Self { pairs })
    }

    /// The values of the parameter `name`, as they came.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &'q str> {
        self.pairs.iter().filter(move |(found, _)| *found == name).map(|(_, value)| *value)
    }

    /// The texts that all parameters `name` list together, none if there is none of that name: split at their commas, then
    /// decoded, so that `%2C` is a comma of a text's own. Each is an error if it is not UTF-8. A value lists one text at
    /// least, be it an empty one.
    pub(crate) fn list(&self, name: &str) -> impl Iterator<Item = Result<String, NotUtf8>> {
        self.values(name).flat_map(|value| value.split(',')).map(|text| decode(text).ok_or(NotUtf8))
    }
}

/// A value that is no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a value is not UTF-8")]
pub(crate) struct NotUtf8;

/// Returns what a part of a query means: `+` is a space, and `%2B` a plus. `None` if it is not UTF-8.
pub(crate) fn decode(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    percent_decode(spaced.as_bytes()).decode_utf8().ok().map(Into::into)
}

fn describe(known: &[&str]) -> String {
    match known {
        [] => "no parameters are taken here".to_owned(),
        known => format!("no such parameter here; there is: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &[&str] = &["keys"];

    fn parse(text: &str) -> Result<Query<'_>, Unknown> {
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
    fn a_parameter_that_stands_twice_lists_both() {
        assert_eq!(keys("keys=1&&keys=2,3&"), ["1", "2", "3"]);
    }

    #[test]
    fn a_plus_is_a_space_and_its_code_a_plus() {
        assert_eq!(keys("k%65ys=a+b,c%20d,e%2Bf%2bg"), ["a b", "c d", "e+f+g"]);
    }

    #[test]
    fn a_parameter_that_is_none_is_refused_and_those_there_are_named() {
        for text in ["key=1", "Keys=1", "keys=1&x", "=1", "%ff=1", "keys%5B%5D=1", "limit=1"] {
            let refusal = parse(text).unwrap_err();
            assert_eq!(refusal.to_string(), "no such parameter here; there is: keys", "{text}");
        }
        assert_eq!(Query::parse("x", &[], |_| false).unwrap_err().to_string(), "no parameters are taken here");
    }

    #[test]
    fn what_keeps_caches_away_is_passed_over() {
        assert_eq!(keys("_=1700000000&keys=a&_x&r=0.5&%72"), ["a"]);
        assert_eq!(Query::parse("_=1", &[], |_| false), Ok(Query { pairs: vec![] }));
    }
}
