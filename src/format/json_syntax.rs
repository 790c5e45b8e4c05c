//! What is wrong with JSON, and where, in words of our own.

/// Why a text is not JSON that can be read as a map or a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", place(*.line, *.column))]
pub(super) struct JsonSyntaxError {
    message: String,
    /// From 1; 0 where the parser does not know.
    line: usize,
    /// In bytes, from 1.
    column: usize,
}

impl JsonSyntaxError {
    /// The fault at a byte of `json`.
    pub(super) fn at(json: &[u8], offset: usize, message: &str) -> Self {
        let before = &json[..offset.min(json.len())];
        let line = before.split(|byte| *byte == b'\n').count();
        let column = 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count();
        Self { message: message.to_owned(), line, column }
    }
}

impl From<serde_json::Error> for JsonSyntaxError {
    fn from(error: serde_json::Error) -> Self {
        let (message, line, column) = explain(&error);
        Self { message, line, column }
    }
}

/// Returns what is wrong, in our words, with the line and the column, in bytes, from 1; 0 where the parser does not know.
pub(crate) fn explain(error: &serde_json::Error) -> (String, usize, usize) {
    let (line, column) = (error.line(), error.column());
    let said = error.to_string();
    let said = said.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&said);
    (reword(said), line, column)
}

/// Returns what `said` means: one of the texts of `serde_json`, or of our own visitors, which stays.
fn reword(said: &str) -> String {
    let words = match said {
        "trailing comma" => "a comma is followed by the closing bracket",
        "trailing characters" => "more follows the value",
        "key must be a string" | "expected `\"`" => "a key has to be text in double quotes",
        "expected `:`" => "the colon after a key is missing",
        "expected `,` or `}`" => "a comma or the closing brace is missing",
        "expected `,` or `]`" => "a comma or the closing bracket is missing",
        "expected value" | "expected ident" => "no JSON value begins here",
        "invalid escape" => "there is no such escape after the backslash",
        "invalid number" => "a number is malformed",
        "number out of range" => "a number is larger than any float",
        "invalid unicode code point" => "text is not UTF-8",
        "lone leading surrogate in hex escape" | "unexpected end of hex escape" => {
            "half of a surrogate pair stands alone in \\u escapes"
        }
        "recursion limit exceeded" => "it is nested too deep",
        _ if said.starts_with("control character") => "text has a control character; write it as an escape",
        _ if said.starts_with("EOF while parsing") => "it ends too early",
        _ => return reword_type(said).unwrap_or_else(|| said.to_owned()),
    };
    words.to_owned()
}

/// Returns `expected a map, found null` for serde's `invalid type: null, expected a map`.
fn reword_type(said: &str) -> Option<String> {
    let (found, expected) = said.strip_prefix("invalid type: ")?.rsplit_once(", expected ")?;
    let found = match found.split_once(" `") {
        Some(("integer" | "floating point", number)) => format!("the number {}", number.trim_end_matches('`')),
        Some(("boolean", value)) => value.trim_end_matches('`').to_owned(),
        _ => found.replace("sequence", "a list").replace("string \"", "the text \""),
    };
    Some(format!("expected {expected}, found {found}"))
}

fn place(line: usize, column: usize) -> String {
    if line == 0 { String::new() } else { format!(", at line {line}, column {column}") }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_the_parser_says_is_said_in_our_words_with_its_place() {
        for (json, wanted) in [
            ("{\"a\":1,}", "a comma is followed by the closing bracket, at line 1, column 8"),
            ("{\"a\":1} x", "more follows the value, at line 1, column 9"),
            ("{a:1}", "a key has to be text in double quotes, at line 1, column 2"),
            ("{\"a\" 1}", "the colon after a key is missing, at line 1, column 6"),
            ("{\"a\":1\n\"b\":2}", "a comma or the closing brace is missing, at line 2, column 1"),
            ("{\"a\":[1 2]}", "a comma or the closing bracket is missing, at line 1, column 9"),
            ("{\"a\":nil}", "no JSON value begins here, at line 1, column 7"),
            ("{\"a\":\"\\x\"}", "there is no such escape after the backslash, at line 1, column 8"),
            ("{\"a\":01}", "a number is malformed, at line 1, column 7"),
            ("{\"a\":1e999}", "a number is larger than any float, at line 1, column 10"),
            ("{\"a\":\"\\ud800\"}", "half of a surrogate pair stands alone in \\u escapes, at line 1, column 13"),
            ("{\"a\":\"\t\"}", "text has a control character; write it as an escape, at line 1, column 7"),
            ("{\"a\":", "it ends too early, at line 1, column 5"),
            ("", "it ends too early, at line 1, column 0"),
            ("null", "expected a map, found null, at line 1, column 4"),
            ("[1]", "expected a map, found a list, at line 1, column 0"),
            (
                "{\"a\":\n 9223372036854775808}",
                "an integer beyond 64 bits with a sign; write it as text, at line 2, column 20",
            ),
        ] {
            let error = crate::format::json::decode_map(json.as_bytes()).unwrap_err().to_string();
            assert_eq!(error, wanted, "{json}");
        }
    }
}
