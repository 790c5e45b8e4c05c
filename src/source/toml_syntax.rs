//! What is wrong with TOML, in words of our own where the parser's are those of its grammar.

use crate::map::BEYOND_64_BITS;

/// Returns what `said`, a text of the crate `toml`, means. A text that says it already stays.
pub(super) fn reword(said: &str) -> &str {
    let (what, expected) = said.split_once(", expected ").unwrap_or((said, ""));
    match what {
        "string values must be quoted" => "a value is missing, or is text without quotes",
        "invalid boolean" | "invalid float" => {
            "no value begins here: put text in quotes, and write true, false, inf and nan in lower case"
        }
        "unquoted keys cannot be empty" | "invalid key-value pair" => "no key begins here",
        "key with no value" => "the = after a key is missing",
        "unexpected key or value" => "more follows the value; begin a new line",
        "extra assignment between key-value pairs" => "a comma is missing between two entries",
        "invalid basic string" | "invalid multi-line basic string" if expected != "`\"`" => {
            "text has a control character; write it as an escape"
        }
        "invalid basic string"
        | "invalid literal string"
        | "invalid multi-line basic string"
        | "invalid multi-line literal string" => "the closing quote is missing",
        "missing escaped value" => "there is no such escape after the backslash",
        "invalid value" | "too few unicode value digits" if expected == "unicode hexadecimal value" => {
            "the escape does not name a character by its hexadecimal digits"
        }
        "unexpected leading zero" => "a number begins with 0",
        "`_` may only go between digits" => "an underscore in a number does not stand between two digits",
        "invalid hexadecimal number"
        | "invalid octal number"
        | "invalid binary number"
        | "invalid fraction"
        | "invalid mantissa"
        | "invalid exponent" => "a number is malformed",
        "integer number overflowed" => BEYOND_64_BITS,
        _ if what.starts_with("invalid type: integer `") => BEYOND_64_BITS,
        "floating-point number overflowed" => "a number is larger than any float",
        "cannot recurse further; max recursion depth met" => "it is nested too deep",
        _ => said,
    }
}
