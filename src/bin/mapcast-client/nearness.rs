//! How near two words are.

/// What a slip of the finger changes at most: two letters swapped are two letters replaced.
pub(crate) const SLIP: usize = 2;

/// Returns how many characters have to be replaced, put in or taken out to make one word of the other: the Levenshtein
/// distance.
pub(crate) fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (line, mine) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (column, theirs) in other.chars().enumerate() {
            let replaced = diagonal + usize::from(mine != theirs);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[other.chars().count()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_more_less_or_other_is_one() {
        for (one, other, wanted) in [
            ("check", "check", 0),
            ("chek", "check", 1),
            ("checks", "check", 1),
            ("chock", "check", 1),
            ("chcek", "check", 2),
            ("", "echo", 4),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!((distance(one, other), distance(other, one)), (wanted, wanted), "{one} {other}");
        }
    }
}
