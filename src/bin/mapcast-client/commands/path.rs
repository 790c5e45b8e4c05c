//! Entries of a map by key, by the path of a nested value, or by a pattern.

use mapcast::{Key, Map, Value};

/// Returns the values that `path` names, each with its key or path: the entry with this key; otherwise the nested value
/// at this path, `a.b` or `list.0`; otherwise, if it contains `*` or `?`, the entries whose keys match. `*` matches any
/// characters, also none, and `?` matches one.
pub(super) fn select<'m>(map: &'m Map, path: &str) -> Vec<(Key, &'m Value)> {
    if let Some(value) = find(map, path) {
        return vec![(Key::from(path), value)];
    }
    if !path.contains(['*', '?']) {
        return Vec::new();
    }
    let pattern: Vec<char> = path.chars().collect();
    let matching = map.iter().filter(|(key, _)| matches(&pattern, &key.to_string()));
    matching.map(|(key, value)| (key.clone(), value)).collect()
}

/// Returns the value for `path`, at the top level or nested. A key that contains dots precedes a path.
fn find<'m>(map: &'m Map, path: &str) -> Option<&'m Value> {
    entry(map, path).or_else(|| {
        let mut dots = path.match_indices('.');
        dots.find_map(|(dot, _)| find_in(entry(map, &path[..dot])?, &path[dot + 1..]))
    })
}

fn find_in<'m>(value: &'m Value, path: &str) -> Option<&'m Value> {
    match value {
        Value::Map(map) => find(map, path),
        Value::List(items) => {
            let (index, rest) = path.split_once('.').map_or((path, None), |(index, rest)| (index, Some(rest)));
            let item = items.get(index.parse::<usize>().ok()?)?;
            rest.map_or(Some(item), |rest| find_in(item, rest))
        }
        _ => None,
    }
}

/// Returns the entry whose key is this text, or the integer that this text is.
fn entry<'m>(map: &'m Map, text: &str) -> Option<&'m Value> {
    map.get(&Key::from(text)).or_else(|| {
        let number: i64 = text.parse().ok()?;
        map.get(&Key::Int(number)).filter(|_| number.to_string() == text)
    })
}

/// True if and only if the whole of `text` matches `pattern`. Takes the product of their lengths at most.
fn matches(pattern: &[char], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut next) = (0, 0);
    // Where the last `*` is, and where the text goes on that it does not match yet.
    let mut star: Option<(usize, usize)> = None;
    while next < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, next));
                at += 1;
            }
            Some(&wanted) if wanted == '?' || wanted == text[next] => {
                at += 1;
                next += 1;
            }
            _ => {
                let Some((position, begin)) = star else { return false };
                star = Some((position, begin + 1));
                (at, next) = (position + 1, begin + 1);
            }
        }
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use mapcast::Format;

    fn selected(path: &str) -> Vec<String> {
        let json =
            r#"{"a.b":"dotted","a":{"b":"shadowed","c":[1,{"d":"deep"}]},"sensor/1":10,"sensor/12":12,"x*":"star"}"#;
        let mut map = Format::Json.decode_map(json.as_bytes()).unwrap();
        map.insert(Key::Int(7), "seven".into());
        let one = |(key, value): (Key, &Value)| format!("{key}={}", crate::raw_value::raw(value, false).unwrap());
        select(&map, path).into_iter().map(one).collect()
    }

    #[test]
    fn a_path_names_an_entry_or_a_nested_value() {
        for (path, wanted) in [
            ("a.b", "a.b=dotted"),
            ("a.c", r#"a.c=[1,{"d":"deep"}]"#),
            ("a.c.0", "a.c.0=1"),
            ("a.c.1.d", "a.c.1.d=deep"),
            ("7", "7=seven"),
            ("x*", "x*=star"),
        ] {
            assert_eq!(selected(path), [wanted], "{path}");
        }
        for path in ["", "b", "a.x", "a.c.2", "a.c.x", "a.b.c", "07", "a."] {
            assert_eq!(selected(path), [] as [&str; 0], "{path}");
        }
    }

    #[test]
    fn a_pattern_names_every_matching_entry() {
        assert_eq!(selected("sensor/*"), ["sensor/1=10", "sensor/12=12"]);
        assert_eq!(selected("sensor/?"), ["sensor/1=10"]);
        assert_eq!(selected("*2"), ["sensor/12=12"]);
        assert_eq!(selected("*").len(), 6);
        assert_eq!(selected("nothing/*"), [] as [&str; 0]);
    }

    #[test]
    fn a_pattern_matches_the_whole_key() {
        let matches = |pattern: &str, text| matches(&pattern.chars().collect::<Vec<_>>(), text);
        for (pattern, text) in [("*", ""), ("a*b*c", "axxbyybzzc"), ("*a", "aba"), ("??", "ñ日"), ("**a**", "a")] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("?", ""), ("a*", "ba"), ("a*b", "abc"), ("", "a"), ("a?", "a")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
        // Exponential in a matcher that tries every split.
        assert!(!matches(&"a*".repeat(30), &"a".repeat(29)));
    }
}
