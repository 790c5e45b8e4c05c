//! The known name that a mistyped one is probably meant to be.

/// Returns the candidate that differs least from `word`, if that is at most two letters, and fewer than half of them.
pub(crate) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let candidates = candidates.into_iter().map(|candidate| (distance(word, candidate), candidate));
    let (distance, found) = candidates.min_by_key(|(distance, _)| *distance)?;
    (distance <= MAX_DISTANCE && 2 * distance < word.chars().count()).then_some(found)
}

/// The most letters that a mistyped name has wrong.
const MAX_DISTANCE: usize = 2;

/// Returns how many letters have to be inserted, removed or replaced (Levenshtein), or 3 if it is more than that.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    if one.len().abs_diff(other.len()) > MAX_DISTANCE {
        return MAX_DISTANCE + 1;
    }
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, letter) in one.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, wanted) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != wanted);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().map_or(0, |distance| (*distance).min(MAX_DISTANCE + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_up_to_two_wrong_letters_is_found() {
        let names = ["check", "get", "status", "MAPCAST_INTERVAL"];
        for (word, wanted) in [
            ("chek", Some("check")),
            ("cehck", Some("check")),
            ("gett", Some("get")),
            ("stats", Some("status")),
            ("MAPCAST_INTERVALL", Some("MAPCAST_INTERVAL")),
            ("MAPCAST_PORT", None),
            ("ab", None),
            ("g", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, names), wanted, "{word}");
        }
    }
}
