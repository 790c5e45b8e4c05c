//! Preconditions: If-Match and If-None-Match (RFC 9110, section 13).

/// The value of one of the two headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tags {
    /// `*`: whatever the target is, if it exists.
    Any,
    /// The list as received, already validated: one string for each tag would take twenty times as much memory.
    List(String),
}

/// The conditions under which a request is executed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Preconditions {
    pub(crate) if_match: Option<Tags>,
    pub(crate) if_none_match: Option<Tags>,
}

/// What a request is for: the map or an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    /// The map's entity tag, which a list is compared with, also for an entry; `None` if there is no map.
    pub(crate) etag: Option<&'a str>,
    /// Whether the target exists, which `*` asks for (RFC 9110, sections 13.1.1 and 13.1.2).
    pub(crate) exists: bool,
}

/// The precondition that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PreconditionError {
    #[error("If-Match failed: the content has changed since; fetch it again")]
    IfMatch,
    #[error("If-None-Match failed: it lists the current content")]
    IfNoneMatch,
}

impl Tags {
    /// Parses `value`, all lines of the header joined by commas. Returns `None` if it is not a list of entity tags.
    pub(crate) fn parse(value: &str) -> Option<Self> {
        if value == "*" {
            return Some(Self::Any);
        }
        let mut rest = value;
        loop {
            match split_tag(rest)? {
                (Some(_), after) => rest = after,
                (None, _) => return Some(Self::List(value.to_owned())),
            }
        }
    }

    /// True if and only if the value is `*` and the target exists, or `matches` accepts one of the tags: each with its quotes,
    /// and with `W/` if it is weak.
    fn any(&self, target: &Target<'_>, matches: impl Fn(&str, &str) -> bool) -> bool {
        let Self::List(list) = self else { return target.exists };
        let Some(etag) = target.etag else { return false };
        let mut rest = list.as_str();
        while let Some((Some(tag), after)) = split_tag(rest) {
            if matches(tag, etag) {
                return true;
            }
            rest = after;
        }
        false
    }

    /// As [`any`](Self::any) by strong comparison: a weak tag never equals another one.
    fn match_strongly(&self, target: &Target<'_>) -> bool {
        self.any(target, |tag, etag| tag == etag)
    }

    /// As [`any`](Self::any) by weak comparison: `W/` is ignored.
    fn match_weakly(&self, target: &Target<'_>) -> bool {
        self.any(target, |tag, etag| tag.strip_prefix("W/").unwrap_or(tag) == etag)
    }
}

/// Returns the first tag of `list` (`None` inside if the list is empty) and the rest of the list. Returns `None` if `list` is
/// not a list of entity tags.
fn split_tag(list: &str) -> Option<(Option<&str>, &str)> {
    // A list may have empty elements (RFC 9110, section 5.6.1.2).
    let list = list.trim_start_matches([' ', '\t', ',']);
    if list.is_empty() {
        return Some((None, list));
    }
    let opaque = list.strip_prefix("W/").unwrap_or(list).strip_prefix('"')?;
    let len = opaque.find('"').filter(|&len| opaque[..len].bytes().all(|byte| byte.is_ascii_graphic()))?;
    let (tag, rest) = list.split_at(list.len() - opaque.len() + len + 1);
    let rest = rest.trim_start_matches([' ', '\t']);
    (rest.is_empty() || rest.starts_with(',')).then_some((Some(tag), rest))
}

impl Preconditions {
    /// Evaluates the conditions against `target`, in the order of RFC 9110, section 13.2.2.
    ///
    /// # Errors
    /// The first condition that failed.
    pub(crate) fn check(&self, target: &Target<'_>) -> Result<(), PreconditionError> {
        if self.if_match.as_ref().is_some_and(|tags| !tags.match_strongly(target)) {
            return Err(PreconditionError::IfMatch);
        }
        if self.if_none_match.as_ref().is_some_and(|tags| tags.match_weakly(target)) {
            return Err(PreconditionError::IfNoneMatch);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::check_texts;

    /// A map, an entry that the map lacks, and no map.
    const MAP: Target<'_> = Target { etag: Some("\"b\""), exists: true };
    const NO_ENTRY: Target<'_> = Target { exists: false, ..MAP };
    const NO_MAP: Target<'_> = Target { etag: None, exists: false };

    fn if_match(value: &str) -> Preconditions {
        Preconditions { if_match: Tags::parse(value), ..Preconditions::default() }
    }

    fn if_none_match(value: &str) -> Preconditions {
        Preconditions { if_none_match: Tags::parse(value), ..Preconditions::default() }
    }

    #[test]
    fn if_match_compares_strongly() {
        for value in ["\"b\"", "\"a\", \"b\"", "\"a\" ,,\t\"b\",", "\"a,\",\"b\"", "*"] {
            assert_eq!(if_match(value).check(&MAP), Ok(()), "{value}");
            assert_eq!(if_match(value).check(&NO_MAP), Err(PreconditionError::IfMatch), "{value}");
        }
        for value in ["\"a\"", "W/\"b\"", "\",\"", ""] {
            assert_eq!(if_match(value).check(&MAP), Err(PreconditionError::IfMatch), "{value}");
        }
    }

    #[test]
    fn if_none_match_compares_weakly() {
        for value in ["\"b\"", "\"a\", W/\"b\"", "*"] {
            assert_eq!(if_none_match(value).check(&MAP), Err(PreconditionError::IfNoneMatch), "{value}");
            assert_eq!(if_none_match(value).check(&NO_MAP), Ok(()), "{value}");
        }
        for value in ["\"a\"", "W/\"a\"", "\"W/b\"", ""] {
            assert_eq!(if_none_match(value).check(&MAP), Ok(()), "{value}");
        }
    }

    #[test]
    fn a_star_asks_whether_the_target_exists() {
        assert_eq!(if_none_match("*").check(&NO_ENTRY), Ok(()));
        assert_eq!(if_match("*").check(&NO_ENTRY), Err(PreconditionError::IfMatch));
        // A list is compared with the map's tag, also for a new entry.
        assert_eq!(if_match("\"b\"").check(&NO_ENTRY), Ok(()));
        assert_eq!(if_none_match("\"b\"").check(&NO_ENTRY), Err(PreconditionError::IfNoneMatch));
    }

    #[test]
    fn if_match_is_evaluated_first() {
        let both = |tag: &str| Preconditions { if_none_match: Some(Tags::Any), ..if_match(tag) };
        assert_eq!(both("\"a\"").check(&MAP), Err(PreconditionError::IfMatch));
        assert_eq!(both("\"b\"").check(&MAP), Err(PreconditionError::IfNoneMatch));
        assert_eq!(Preconditions::default().check(&NO_MAP), Ok(()));
    }

    #[test]
    fn a_malformed_list_of_tags_is_refused() {
        for value in ["b", "\"b", "b\"", "\"a\" \"b\"", "*, \"b\"", "\"b\", *", "W/b", "w/\"b\"", "W/ \"b\"", "\"a b\""]
        {
            assert_eq!(Tags::parse(value), None, "{value}");
        }
    }

    #[test]
    fn every_error_has_its_text() {
        check_texts!(PreconditionError {
            IfMatch => "If-Match failed: the content has changed since; fetch it again";
            IfNoneMatch => "If-None-Match failed: it lists the current content";
        });
    }
}
