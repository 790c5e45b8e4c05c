//! Advice on an error: what to do about it, such as an option of the program. The errors of the library state facts only.

/// Returns `; ADVICE`, which follows the text of an error; an empty string if there is none.
pub fn advice_suffix(advice: Option<String>) -> String {
    advice.map_or_else(String::new, |advice| format!("; {advice}"))
}
