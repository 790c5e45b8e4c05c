//! Syntax errors of TOML, in plain words where the parser uses terms of its grammar.

use crate::map::BEYOND_64_BITS;

/// Returns the message `said` of the crate `toml` in plain words. Messages that are plain already stay.
pub(super) fn reword(said: &str) -> &str {
    let (what, expected) = said.split_once(", expected ").unwrap_or((said, ""));
    match what {
        "string values must be quoted" => "missing value, or a string without quotes",
        "invalid boolean" | "invalid float" => {
            "expected a value; put strings in quotes, and write true, false, inf and nan in lower case"
        }
        "unquoted keys cannot be empty" | "invalid key-value pair" => "expected a key",
        "key with no value" => "missing = after a key",
        "unexpected key or value" => "unexpected text after the value; begin a new line",
        "extra assignment between key-value pairs" => "missing comma between two entries",
        "invalid basic string" | "invalid multi-line basic string" if expected != "`\"`" => {
            "control character in a string; write it as an escape"
        }
        "invalid basic string"
        | "invalid literal string"
        | "invalid multi-line basic string"
        | "invalid multi-line literal string" => "missing closing quote",
        "missing escaped value" => "unknown escape after the backslash",
        "invalid value" | "too few unicode value digits" if expected == "unicode hexadecimal value" => {
            "the escape is not the hexadecimal number of a character"
        }
        "unexpected leading zero" => "a number must not begin with 0",
        "`_` may only go between digits" => "an underscore in a number must be between two digits",
        "invalid hexadecimal number"
        | "invalid octal number"
        | "invalid binary number"
        | "invalid fraction"
        | "invalid mantissa"
        | "invalid exponent" => "invalid number",
        "integer number overflowed" => BEYOND_64_BITS,
        _ if what.starts_with("invalid type: integer `") => BEYOND_64_BITS,
        "floating-point number overflowed" => "number too large for a float",
        "cannot recurse further; max recursion depth met" => "nested too deep",
        _ => said,
    }
}
