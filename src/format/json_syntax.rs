//! Syntax errors of JSON, with the position, in plain words.

/// Why a text is not a map or a value in JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", position(*.line, *.column))]
pub(super) struct JsonSyntaxError {
    message: String,
    /// From 1; 0 if the parser does not know it.
    pub(super) line: usize,
    /// In bytes, from 1.
    pub(super) column: usize,
}

impl JsonSyntaxError {
    /// Returns the error at a byte offset of `json`.
    pub(super) fn at(json: &[u8], offset: usize, message: &str) -> Self {
        let before = &json[..offset.min(json.len())];
        let line = before.split(|byte| *byte == b'\n').count();
        let column = 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count();
        Self { message: message.to_owned(), line, column }
    }
}

impl JsonSyntaxError {
    /// Returns the parser's `error` on `json` in plain words.
    pub(super) fn new(json: &[u8], error: &serde_json::Error) -> Self {
        let (message, line, column) = explain(json, error);
        Self { message, line, column }
    }
}

/// Returns the message on `json` in plain words, the line, and the column in bytes, from 1; 0 if the parser does not know
/// it.
pub(crate) fn explain(json: &[u8], error: &serde_json::Error) -> (String, usize, usize) {
    let (line, column) = (error.line(), error.column());
    let said = error.to_string();
    let said = said.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&said);
    let message = reword(said);
    (name_the_habit(json, line, column, &message).unwrap_or(message), line, column)
}

/// Returns a better message if the text is empty, or what is at the position is of another language than JSON.
fn name_the_habit(json: &[u8], line: usize, column: usize, message: &str) -> Option<String> {
    if json.trim_ascii().is_empty() {
        return Some("the text is empty; write {} for an empty map".to_owned());
    }
    let line = json.split(|byte| *byte == b'\n').nth(line.checked_sub(1)?)?;
    let place = column.checked_sub(1)?.min(line.len());
    // The parser stops in the middle of a word.
    let start = place - line[..place].iter().rev().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let rest = &line[start..];
    if [&b"//"[..], b"/*", b"#"].iter().any(|comment| rest.starts_with(comment)) {
        return Some("JSON has no comments; remove it".to_owned());
    }
    match (message, rest.first()?) {
        (VALUE, b'\'') => Some("text needs double quotes, not single ones".to_owned()),
        (VALUE, first) if first.is_ascii_alphabetic() => {
            let word = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric()).take(MAX_WORD);
            let word: String = word.copied().map(char::from).collect();
            Some(match word.to_lowercase().as_str() {
                lower @ ("true" | "false" | "null") => format!("{word} is not JSON; write {lower}"),
                "none" | "nil" | "undefined" | "nan" | "infinity" => format!("{word} is not JSON; write null"),
                _ => format!("{word} is not JSON; put text in double quotes"),
            })
        }
        _ => None,
    }
}

/// The message on a value that is none.
const VALUE: &str = "expected a JSON value";

/// How much of a word is quoted, in bytes.
const MAX_WORD: usize = 20;

/// Returns the message `said` of `serde_json` in plain words. Messages of our own visitors stay.
fn reword(said: &str) -> String {
    let words = match said {
        "trailing comma" => "trailing comma before the closing bracket; remove it",
        "trailing characters" => "unexpected text after the value",
        "key must be a string" | "expected `\"`" => "a key must be a string in double quotes",
        "expected `:`" => "missing colon after a key",
        "expected `,` or `}`" => "missing comma or closing brace",
        "expected `,` or `]`" => "missing comma or closing bracket",
        "expected value" | "expected ident" => VALUE,
        "invalid escape" => "unknown escape after the backslash",
        "invalid number" => "invalid number",
        "number out of range" => "number too large for a float",
        "invalid unicode code point" => "a string is not UTF-8",
        "lone leading surrogate in hex escape" | "unexpected end of hex escape" => {
            "incomplete surrogate pair in \\u escapes"
        }
        "recursion limit exceeded" => "nested too deep",
        _ if said.starts_with("control character") => "control character in a string; write it as an escape",
        _ if said.starts_with("EOF while parsing") => "unexpected end; a bracket or a quote is not closed",
        _ => return reword_type(said).unwrap_or_else(|| said.to_owned()),
    };
    words.to_owned()
}

/// Returns `expected an object in braces, found null` for serde's `invalid type: null, expected a map`.
fn reword_type(said: &str) -> Option<String> {
    let (found, expected) = said.strip_prefix("invalid type: ")?.rsplit_once(", expected ")?;
    let found = match found.split_once(" `") {
        Some(("integer" | "floating point", number)) => format!("the number {}", number.trim_end_matches('`')),
        Some(("boolean", value)) => value.trim_end_matches('`').to_owned(),
        _ => found.replace("sequence", "a list").replace("string \"", "the string \""),
    };
    let expected = if expected == "a map" { "an object in braces" } else { expected };
    Some(format!("expected {expected}, found {found}"))
}

fn position(line: usize, column: usize) -> String {
    if line == 0 { String::new() } else { format!(", at line {line}, column {column}") }
}

#[cfg(test)]
mod tests {
    #[test]
    fn each_parser_error_has_a_plain_message_and_its_position() {
        for (json, wanted) in [
            ("{\"a\":1,}", "trailing comma before the closing bracket; remove it, at line 1, column 8"),
            ("{\"a\":1} x", "unexpected text after the value, at line 1, column 9"),
            ("{a:1}", "a key must be a string in double quotes, at line 1, column 2"),
            ("{\"a\" 1}", "missing colon after a key, at line 1, column 6"),
            ("{\"a\":1\n\"b\":2}", "missing comma or closing brace, at line 2, column 1"),
            ("{\"a\":[1 2]}", "missing comma or closing bracket, at line 1, column 9"),
            ("{\"a\":nil}", "nil is not JSON; write null, at line 1, column 7"),
            ("{\"a\":\"\\x\"}", "unknown escape after the backslash, at line 1, column 8"),
            ("{\"a\":01}", "invalid number, at line 1, column 7"),
            ("{\"a\":1e999}", "number too large for a float, at line 1, column 10"),
            ("{\"a\":\"\\ud800\"}", "incomplete surrogate pair in \\u escapes, at line 1, column 13"),
            ("{\"a\":\"\t\"}", "control character in a string; write it as an escape, at line 1, column 7"),
            ("{\"a\":", "unexpected end; a bracket or a quote is not closed, at line 1, column 5"),
            ("", "the text is empty; write {} for an empty map, at line 1, column 0"),
            ("// x\n{}", "JSON has no comments; remove it, at line 1, column 1"),
            ("{\n # x\n}", "JSON has no comments; remove it, at line 2, column 2"),
            ("{\"a\":1 /* x */}", "JSON has no comments; remove it, at line 1, column 8"),
            ("{\"a\":'x'}", "text needs double quotes, not single ones, at line 1, column 6"),
            ("{\"a\":True}", "True is not JSON; write true, at line 1, column 6"),
            ("{\"a\":tru}", "tru is not JSON; put text in double quotes, at line 1, column 9"),
            ("{\"a\":}", "expected a JSON value, at line 1, column 6"),
            ("null", "expected an object in braces, found null, at line 1, column 4"),
            ("[1]", "expected an object in braces, found a list, at line 1, column 0"),
            ("{\"a\":{\"\\n\":1,\"\\u000a\":2}}", "duplicate key \"\\n\", at line 1, column 21"),
            (
                "{\"a\":\n 9223372036854775808}",
                "an integer beyond 64 bits with a sign; write it as a string, at line 2, column 20",
            ),
        ] {
            let error = crate::format::json::decode_unique_map(json.as_bytes()).unwrap_err().to_string();
            assert_eq!(error, wanted, "{json}");
        }
    }
}
