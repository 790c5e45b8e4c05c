//! The changes of two writers together.

use mapcast::{Key, Map};

use crate::changes::Change;

/// Returns `newest` with the user's changes made to it.
pub(super) fn merged(newest: &Map, mine: &[Change<'_>]) -> Map {
    let mut map = newest.clone();
    for change in mine {
        match change.new {
            Some(value) => drop(map.insert(change.key.clone(), value.clone())),
            None => drop(map.remove(change.key)),
        }
    }
    map
}

/// Returns the keys that both have changed, to different values.
pub(super) fn overlap<'m>(mine: &[Change<'m>], theirs: &[Change<'_>]) -> Vec<&'m Key> {
    let collides = |change: &&Change<'m>| theirs.iter().any(|other| other.key == change.key && other.new != change.new);
    mine.iter().filter(collides).map(|change| change.key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::changes;
    use mapcast::Format;

    #[test]
    fn both_writers_changes_are_in_the_result() {
        let map = |json: &str| Format::Json.decode_map(json.as_bytes()).unwrap();
        let base = map(r#"{"a":1,"b":1,"c":1,"d":1,"e":1}"#);
        let (mine, theirs) = (map(r#"{"a":2,"b":1,"c":2,"d":1,"new":1}"#), map(r#"{"a":1,"b":3,"c":3,"e":1}"#));
        let (mine, changed) = (changes(&base, &mine), changes(&base, &theirs));
        assert_eq!(merged(&theirs, &mine), map(r#"{"a":2,"b":3,"c":2,"new":1}"#));
        assert_eq!(overlap(&mine, &changed), [&Key::from("c")]);
        assert_eq!(overlap(&mine, &mine), [] as [&Key; 0]);
    }
}
