//! Of which map a request speaks: If-Match and If-None-Match (RFC 9110, section 13).

/// What one of the two headers lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tags {
    /// `*`: whatever the map is.
    Any,
    /// The list as it came, which is one of tags: a string for each would take twenty times as much memory.
    Listed(String),
}

/// What has to be true of the map before anything is done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    pub(crate) if_match: Option<Tags>,
    pub(crate) if_none_match: Option<Tags>,
}

/// Why nothing is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PreconditionError {
    #[error("the map is another one by now; read it again")]
    Lost,
    #[error("the map is one of those that If-None-Match rules out")]
    Known,
}

impl Tags {
    /// Returns what `value` lists, all lines of the header with commas between them; `None` if it is no list of tags.
    pub(crate) fn parse(value: &str) -> Option<Self> {
        if value == "*" {
            return Some(Self::Any);
        }
        let mut rest = value;
        loop {
            match split_tag(rest)? {
                (Some(_), behind) => rest = behind,
                (None, _) => return Some(Self::Listed(value.to_owned())),
            }
        }
    }

    /// True if and only if `is_meant` is true of one of the tags, each in its quotes, and with `W/` if it is weak, or they
    /// are all.
    fn any(&self, is_meant: impl Fn(&str) -> bool) -> bool {
        let Self::Listed(list) = self else { return true };
        let mut rest = list.as_str();
        while let Some((Some(tag), behind)) = split_tag(rest) {
            if is_meant(tag) {
                return true;
            }
            rest = behind;
        }
        false
    }

    /// True if and only if `etag` is among them by strong comparison: a weak tag is none of ours.
    fn match_strongly(&self, etag: &str) -> bool {
        self.any(|tag| tag == etag)
    }

    /// True if and only if `etag` is among them by weak comparison: a weak tag is what it is without its `W/`.
    fn match_weakly(&self, etag: &str) -> bool {
        self.any(|tag| tag.strip_prefix("W/").unwrap_or(tag) == etag)
    }
}

/// Returns the first tag of `list`, `None` inside if there is none any more, and what is behind it; `None` if it is no list
/// of tags.
fn split_tag(list: &str) -> Option<(Option<&str>, &str)> {
    // A list may have empty elements (RFC 9110, section 5.6.1.2).
    let list = list.trim_start_matches([' ', '\t', ',']);
    if list.is_empty() {
        return Some((None, list));
    }
    let opaque = list.strip_prefix("W/").unwrap_or(list).strip_prefix('"')?;
    let len = opaque.find('"').filter(|&len| opaque[..len].bytes().all(|byte| byte.is_ascii_graphic()))?;
    let (tag, behind) = list.split_at(list.len() - opaque.len() + len + 1);
    let behind = behind.trim_start_matches([' ', '\t']);
    (behind.is_empty() || behind.starts_with(',')).then_some((Some(tag), behind))
}

impl Conditions {
    /// Holds the map's `etag` against them, `None` if there is no map, in the order of RFC 9110, section 13.2.2.
    ///
    /// # Errors
    /// The first that is not met.
    pub(crate) fn check(&self, etag: Option<&str>) -> Result<(), PreconditionError> {
        let is_lost = |tags: &Tags| !etag.is_some_and(|etag| tags.match_strongly(etag));
        let is_known = |tags: &Tags| etag.is_some_and(|etag| tags.match_weakly(etag));
        if self.if_match.as_ref().is_some_and(is_lost) {
            return Err(PreconditionError::Lost);
        }
        if self.if_none_match.as_ref().is_some_and(is_known) {
            return Err(PreconditionError::Known);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETAG: Option<&str> = Some("\"b\"");

    fn if_match(value: &str) -> Conditions {
        Conditions { if_match: Tags::parse(value), ..Conditions::default() }
    }

    fn if_none_match(value: &str) -> Conditions {
        Conditions { if_none_match: Tags::parse(value), ..Conditions::default() }
    }

    #[test]
    fn if_match_compares_strongly() {
        for value in ["\"b\"", "\"a\", \"b\"", "\"a\" ,,\t\"b\",", "\"a,\",\"b\"", "*"] {
            assert_eq!(if_match(value).check(ETAG), Ok(()), "{value}");
            assert_eq!(if_match(value).check(None), Err(PreconditionError::Lost), "{value}");
        }
        for value in ["\"a\"", "W/\"b\"", "\",\"", ""] {
            assert_eq!(if_match(value).check(ETAG), Err(PreconditionError::Lost), "{value}");
        }
    }

    #[test]
    fn if_none_match_compares_weakly() {
        for value in ["\"b\"", "\"a\", W/\"b\"", "*"] {
            assert_eq!(if_none_match(value).check(ETAG), Err(PreconditionError::Known), "{value}");
            assert_eq!(if_none_match(value).check(None), Ok(()), "{value}");
        }
        for value in ["\"a\"", "W/\"a\"", "\"W/b\"", ""] {
            assert_eq!(if_none_match(value).check(ETAG), Ok(()), "{value}");
        }
    }

    #[test]
    fn if_match_counts_first() {
        let both = |tag: &str| Conditions { if_none_match: Some(Tags::Any), ..if_match(tag) };
        assert_eq!(both("\"a\"").check(ETAG), Err(PreconditionError::Lost));
        assert_eq!(both("\"b\"").check(ETAG), Err(PreconditionError::Known));
        assert_eq!(Conditions::default().check(None), Ok(()));
    }

    #[test]
    fn what_is_no_list_of_tags_is_told() {
        for value in ["b", "\"b", "b\"", "\"a\" \"b\"", "*, \"b\"", "\"b\", *", "W/b", "w/\"b\"", "W/ \"b\"", "\"a b\""]
        {
            assert_eq!(Tags::parse(value), None, "{value}");
        }
    }
}
