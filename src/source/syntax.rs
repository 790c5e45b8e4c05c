//! Parses the text of a source, JSON or TOML, and reports syntax errors with their position.

use serde::Deserialize;
use serde::de::DeserializeSeed;

use super::toml_syntax::reword;
use crate::display::escape::{escape, escape_start};
use crate::format;
use crate::map::{BEYOND_64_BITS, Budget, Map, MapSeed};

/// The longest message of a parser, in characters: it may quote all of an invalid value.
const MAX_MESSAGE: usize = 200;

/// How much of a line is shown before and after the place of an error, in characters: together a line of a terminal.
const MAX_BEFORE: usize = 40;
const MAX_AFTER: usize = 30;

/// U+FEFF in UTF-8, which editors on Windows write at the start of a file. RFC 8259, section 8.1 allows parsers of JSON to
/// ignore it; TOML requires that.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// U+FEFF in UTF-16, little and big endian: what PowerShell 5 writes with `>` begins with it.
const UTF_16_MARKS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// The syntax of a source's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    Json,
    Toml,
}

/// A syntax error in the text of a source, with its position. Safe to print: quoted text is escaped and cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", position(*.line, *.column))]
#[non_exhaustive]
pub struct SyntaxError {
    /// The line, from 1, if the parser knows it.
    pub line: Option<u64>,
    /// The column in bytes, from 1, if the parser knows it.
    pub column: Option<u64>,
    /// The message of the parser, in plain words.
    pub message: String,
    /// The line of the text, escaped and cut, and the place of the column in it, in characters.
    shown: Option<Box<(String, usize)>>,
}

impl Syntax {
    /// What the text must be, for error messages.
    pub(super) fn whole(self) -> &'static str {
        match self {
            Self::Json => "a JSON object",
            Self::Toml => "a TOML table",
        }
    }

    /// Returns the map in `text`. Ignores a byte order mark at the start; columns do not count it.
    ///
    /// # Errors
    /// If it is not an object or a table, is nested more than [`MAX_DEPTH`](crate::map::MAX_DEPTH) deep, or has an integer
    /// beyond 64 bits or a duplicate key.
    pub(super) fn parse(self, text: &[u8]) -> Result<Map, SyntaxError> {
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        // The parser of TOML would ignore the second one as well.
        if text.starts_with(BYTE_ORDER_MARK) {
            return Err(SyntaxError::at(text, 0, "a second byte order mark"));
        }
        if UTF_16_MARKS.iter().any(|mark| text.starts_with(mark)) {
            return Err(SyntaxError::at(text, 0, "it is UTF-16; save it as UTF-8"));
        }
        let parsed = match self {
            Self::Json => parse_json(text),
            Self::Toml => parse_toml(text),
        };
        parsed.map_err(|error| error.showing(text))
    }
}

impl SyntaxError {
    /// Returns the line of the text with the error and a caret below it, for people, if the position is known. Escaped and
    /// cut; it may contain a value of the map.
    pub fn excerpt(&self) -> Option<String> {
        let (line, place) = self.shown.as_deref()?;
        let number = self.line?.to_string();
        let (indent, caret) = (number.len(), place + 1);
        Some(format!("{number} | {line}\n{:indent$} | {:>caret$}", "", "^"))
    }

    /// Returns the error with its line of `text`.
    fn showing(mut self, text: &[u8]) -> Self {
        let place = |number: Option<u64>| usize::try_from(number?.checked_sub(1)?).ok();
        let Some((line, column)) = place(self.line).zip(place(self.column)) else { return self };
        let Some(line) = text.split(|byte| *byte == b'\n').nth(line) else { return self };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let column = column.min(line.len());
        let before = String::from_utf8_lossy(&line[..column]);
        let start = before.chars().count().saturating_sub(MAX_BEFORE);
        let before = escape(&before.chars().skip(start).collect::<String>());
        let after = escape_start(&String::from_utf8_lossy(&line[column..]), MAX_AFTER);
        self.shown = Some(Box::new((format!("{before}{after}"), before.chars().count())));
        self
    }

    pub(super) fn at(text: &[u8], offset: usize, message: &str) -> Self {
        let before = &text[..offset.min(text.len())];
        let line = before.split(|byte| *byte == b'\n').count() as u64;
        let column = 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count() as u64;
        Self { line: Some(line), column: Some(column), message: escape_start(message, MAX_MESSAGE), shown: None }
    }

    /// Returns the error of a text of one line as an error in line `number` of the whole input.
    pub(super) fn in_line(mut self, number: u64) -> Self {
        self.line = Some(number);
        self
    }
}

fn parse_json(text: &[u8]) -> Result<Map, SyntaxError> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let map = MapSeed::unique(&Budget::for_payload(text.len())).deserialize(&mut json);
    let map = map.and_then(|map| json.end().map(|()| map)).map_err(|error| {
        let (message, line, column) = format::explain_json(text, &error);
        // serde_json returns line 0 or column 0 if it does not know the position.
        let known = |number: usize| (number > 0).then_some(number as u64);
        let message = escape_start(&message, MAX_MESSAGE);
        SyntaxError { line: known(line), column: known(column), message, shown: None }
    })?;
    match format::find_long_integer(text) {
        Some(offset) => Err(SyntaxError::at(text, offset, BEYOND_64_BITS)),
        None => Ok(map),
    }
}

fn parse_toml(text: &[u8]) -> Result<Map, SyntaxError> {
    let utf8 = str::from_utf8(text).map_err(|error| SyntaxError::at(text, error.valid_up_to(), "not UTF-8"))?;
    let syntax_error = |error: toml::de::Error| match error.span() {
        Some(span) if error.message() == "duplicate key" => {
            let key = utf8.get(span.clone()).unwrap_or_default();
            SyntaxError::at(text, span.start, &format!("duplicate key {key}"))
        }
        Some(span) => SyntaxError::at(text, span.start, reword(error.message())),
        None => {
            let message = escape_start(reword(error.message()), MAX_MESSAGE);
            SyntaxError { line: None, column: None, message, shown: None }
        }
    };
    // Parsed into toml's own value first, which converts dates and times to strings; otherwise they are private structs.
    let table: toml::Table = toml::from_str(utf8).map_err(syntax_error)?;
    Map::deserialize(toml::Value::Table(table)).map_err(syntax_error)
}

fn position(line: Option<u64>, column: Option<u64>) -> String {
    match (line, column) {
        (Some(line), Some(column)) => format!("line {line}, column {column}: "),
        (Some(line), None) => format!("line {line}: "),
        (None, _) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::{Key, MAX_DEPTH, Value};

    const TOML_WORDS: &str = "line 1, column 5: expected a value; put strings in quotes, and write true, false, inf and nan \
                              in lower case";

    fn parse_error(syntax: Syntax, text: &str) -> SyntaxError {
        syntax.parse(text.as_bytes()).expect_err(text)
    }

    #[test]
    fn a_syntax_error_has_its_line_and_column() {
        let json = parse_error(Syntax::Json, "{\"a\": 1,\n \"b\" 2}");
        assert_eq!((json.line, json.column), (Some(2), Some(6)), "{json}");
        let toml = parse_error(Syntax::Toml, "a = 1\nb = = 2\n");
        assert_eq!((toml.line, toml.column), (Some(2), Some(5)), "{toml}");
    }

    #[test]
    fn each_syntax_error_has_a_plain_message_and_its_position() {
        let json = [
            ("", "line 1: the text is empty; write {} for an empty map"),
            ("[1]", "line 1: expected an object in braces, found a list"),
            ("1.5", "line 1, column 3: expected an object in braces, found the number 1.5"),
            ("true", "line 1, column 4: expected an object in braces, found true"),
            ("{} {}", "line 1, column 4: unexpected text after the value"),
            ("{\"a\":1,}", "line 1, column 8: trailing comma before the closing bracket; remove it"),
            ("{\"a\":[1,\n]}", "line 2, column 1: trailing comma before the closing bracket; remove it"),
            ("{'a':1}", "line 1, column 2: a key must be a string in double quotes"),
            ("{\"a\" 1}", "line 1, column 6: missing colon after a key"),
            ("{\"a\":1 \"b\":2}", "line 1, column 8: missing comma or closing brace"),
            ("{\"a\":[1}", "line 1, column 8: missing comma or closing bracket"),
            ("{\"a\":True}", "line 1, column 6: True is not JSON; write true"),
            ("{\"a\":\"\\x\"}", "line 1, column 8: unknown escape after the backslash"),
            ("{\"a\":1.}", "line 1, column 8: invalid number"),
            ("{\"a\":1e999}", "line 1, column 10: number too large for a float"),
            ("{\"a\":\"\\ud800\"}", "line 1, column 13: incomplete surrogate pair in \\u escapes"),
            ("{\"a\":\"\t\"}", "line 1, column 7: control character in a string; write it as an escape"),
            ("{\"a\":1,\"\\u0061\":1}", "line 1, column 15: duplicate key \"a\""),
            ("\u{feff}\u{feff}{}", "line 1, column 1: a second byte order mark"),
        ];
        let toml = [
            ("a =", "line 1, column 4: missing value, or a string without quotes"),
            ("a = yes", "line 1, column 5: missing value, or a string without quotes"),
            ("a = True", TOML_WORDS),
            ("a = null", TOML_WORDS),
            ("= 1", "line 1, column 1: expected a key"),
            ("{\"a\": 1}", "line 1, column 1: expected a key"),
            ("a: 1", "line 1, column 4: missing = after a key"),
            ("a = 1,", "line 1, column 6: unexpected text after the value; begin a new line"),
            ("a = {x=1 y=2}", "line 1, column 11: missing comma between two entries"),
            ("a = \"x", "line 1, column 7: missing closing quote"),
            ("a = 'x", "line 1, column 7: missing closing quote"),
            ("a = \"\"\"x", "line 1, column 9: missing closing quote"),
            ("a = '''x", "line 1, column 9: missing closing quote"),
            ("a = \"\u{1}\"", "line 1, column 6: control character in a string; write it as an escape"),
            ("a = \"\\q\"", "line 1, column 7: unknown escape after the backslash"),
            ("a = \"\\ud800\"", "line 1, column 8: the escape is not the hexadecimal number of a character"),
            ("a = \"\\x4\"", "line 1, column 9: the escape is not the hexadecimal number of a character"),
            ("a = 01", "line 1, column 5: a number must not begin with 0"),
            ("a = 1__2", "line 1, column 6: an underscore in a number must be between two digits"),
            ("a = 1.", "line 1, column 7: invalid number"),
            ("a = 0xg", "line 1, column 7: invalid number"),
            ("a = 1e999", "line 1, column 5: number too large for a float"),
            ("a = [1", "line 1, column 7: unclosed array, expected `]`"),
            ("a = [1,,2]", "line 1, column 8: extra comma in array, expected value"),
            ("[a", "line 1, column 3: unclosed table, expected `]`"),
            ("a = 2024-13-01", "line 1, column 5: invalid date, expected month between 01 and 12"),
            ("a = 1\na.b = 2", "line 2, column 1: cannot extend value of type integer with a dotted key"),
            ("a = 1\na = 1", "line 2, column 1: duplicate key a"),
        ];
        for (text, wanted) in json {
            assert_eq!(parse_error(Syntax::Json, text).to_string(), wanted, "{text}");
        }
        for (text, wanted) in toml {
            assert_eq!(parse_error(Syntax::Toml, text).to_string(), wanted, "{text}");
        }
        for number in ["99999999999999999999", "0xffffffffffffffffff"] {
            assert_eq!(parse_error(Syntax::Toml, &format!("a = {number}")).message, BEYOND_64_BITS, "{number}");
        }
        let deep = format!("a = {}{}", "[".repeat(400), "]".repeat(400));
        assert_eq!(parse_error(Syntax::Toml, &deep).message, "nested too deep");
    }

    #[test]
    fn an_excerpt_has_the_line_and_a_caret() {
        let excerpt = |syntax, text: &str| parse_error(syntax, text).excerpt();
        assert_eq!(excerpt(Syntax::Json, "{\"ñ\":1,}").as_deref(), Some("1 | {\"ñ\":1,}\n  |        ^"));
        assert_eq!(excerpt(Syntax::Toml, "a = 1\r\nb = = 2\r\n").as_deref(), Some("2 | b = = 2\n  |     ^"));
        assert_eq!(excerpt(Syntax::Json, "[1]"), None);
        let long = excerpt(Syntax::Json, &format!("{{\"\u{7f}{}\":'x'{}", "y".repeat(200), "z".repeat(200))).unwrap();
        let (line, caret) = long.split_once('\n').unwrap();
        assert_eq!(caret.chars().count() - 1, line.find('\'').unwrap(), "{long}");
        assert!(line.chars().count() < 80 && !long.contains('\u{7f}'), "{long}");
    }

    #[test]
    fn invalid_utf8_is_an_error_with_its_position() {
        for syntax in [Syntax::Json, Syntax::Toml] {
            let error = syntax.parse(b"\n\"a\xff\"").unwrap_err();
            assert_eq!(error.line, Some(2), "{error}");
        }
        assert_eq!(Syntax::Toml.parse(b"a = 1\nb = \"\xff\"").unwrap_err().column, Some(6));
    }

    #[test]
    fn a_map_is_a_single_object() {
        for text in ["", "[]", "1", "null", "\"text\"", "{} {}", "{\"a\":1,}", "{1:2}"] {
            parse_error(Syntax::Json, text);
        }
        assert_eq!(Syntax::Json.parse(b" {} \r\n"), Ok(Map::new()));
        assert_eq!(Syntax::Toml.parse(b""), Ok(Map::new()));
    }

    #[test]
    fn an_integer_is_read_exactly_or_refused() {
        for (text, wanted) in [
            ("9223372036854775807", Value::Int(i64::MAX)),
            ("-9223372036854775808", Value::Int(i64::MIN)),
            ("1e20", Value::Float(1e20)),
            ("-0.5", Value::Float(-0.5)),
            (r#""\"99999999999999999999\\""#, Value::from("\"99999999999999999999\\")),
        ] {
            let map = Syntax::Json.parse(format!("{{\"n\": {text}}}").as_bytes()).expect(text);
            assert_eq!(map[&Key::from("n")], wanted);
        }
        for text in ["9223372036854775808", "-9223372036854775809", "18446744073709551616", "99999999999999999999"] {
            let object = format!("{{\"text\": \"\\\\\",\n \"n\": [0, {text}]}}");
            let json = parse_error(Syntax::Json, &object);
            assert_eq!((json.line, json.message.as_str()), (Some(2), BEYOND_64_BITS), "{text}");
            parse_error(Syntax::Toml, &format!("n = {text}"));
        }
    }

    #[test]
    fn one_byte_order_mark_at_the_start_is_ignored() {
        assert_eq!(Syntax::Json.parse(b"\xef\xbb\xbf{\"a\": 1}\r\n"), Ok(Map::from([("a".into(), 1.into())])));
        assert_eq!(Syntax::Toml.parse(b"\xef\xbb\xbfa = 1\r\n"), Ok(Map::from([("a".into(), 1.into())])));
        for (syntax, text) in [(Syntax::Json, "\u{feff}{\"a\" 2}"), (Syntax::Toml, "\u{feff}a = = 2")] {
            assert_eq!(parse_error(syntax, text).column, Some(5 + u64::from(syntax == Syntax::Json)));
        }
        for (syntax, text) in [(Syntax::Json, "{}"), (Syntax::Toml, ""), (Syntax::Toml, "a = 1")] {
            let error = parse_error(syntax, &format!("\u{feff}\u{feff}{text}"));
            assert_eq!((error.line, error.column), (Some(1), Some(1)), "{error}");
        }
        parse_error(Syntax::Json, " \u{feff}{}");
    }

    #[test]
    fn utf_16_is_refused_by_name() {
        for text in [&b"\xff\xfe{\0}\0"[..], b"\xfe\xff\0{\0}"] {
            let error = Syntax::Json.parse(text).unwrap_err();
            assert_eq!(error.to_string(), "line 1, column 1: it is UTF-16; save it as UTF-8");
            assert_eq!(Syntax::Toml.parse(text).unwrap_err(), error);
        }
    }

    #[test]
    fn a_duplicate_key_is_refused_at_every_depth_with_its_position() {
        for (syntax, text, line, column) in [
            (Syntax::Json, "{\"a\": 1,\n \"a\": 1}", 2, 4),
            (Syntax::Json, "{\"a\": [0,\n{\"b\": 1, \"\\u0062\": 2}]}", 2, 17),
            (Syntax::Toml, "a = 1\na = 1", 2, 1),
            (Syntax::Toml, "b = 1\na = {x = 1, x = 2}", 2, 13),
            (Syntax::Toml, "[a]\n[b]\n[a]", 3, 2),
        ] {
            let error = parse_error(syntax, text);
            assert_eq!((error.line, error.column), (Some(line), Some(column)), "{error}");
        }
    }

    #[test]
    fn dates_and_times_in_toml_are_strings() {
        let text = "day = 2026-11-22\nat = 2026-11-22T03:27:19Z\nlist = [07:30:00]\n[in]\nside = 1979-05-27T07:32:00";
        let map = Syntax::Toml.parse(text.as_bytes()).unwrap();
        assert_eq!(map[&Key::from("day")], Value::from("2026-11-22"));
        assert_eq!(map[&Key::from("at")], Value::from("2026-11-22T03:27:19Z"));
        assert_eq!(map[&Key::from("list")], Value::List(vec!["07:30:00".into()]));
        assert_eq!(map[&Key::from("in")], Map::from([("side".into(), "1979-05-27T07:32:00".into())]).into());
    }

    #[test]
    fn every_type_in_toml_has_its_value() {
        let text =
            "t = true\ni = -1\nf = 0.5\ns = \"Hola\"\na = [1, 'x', []]\nin = {k = 1}\n[[many]]\nn = 1\n[[many]]\n";
        let map = Syntax::Toml.parse(text.as_bytes()).unwrap();
        let inner = |key: &str| Value::Map(Map::from([(key.into(), 1.into())]));
        let wanted = [
            ("t", true.into()),
            ("i", (-1).into()),
            ("f", 0.5.into()),
            ("s", "Hola".into()),
            ("a", vec![1.into(), "x".into(), Value::List(vec![])].into()),
            ("in", inner("k")),
            ("many", vec![inner("n"), Map::new().into()].into()),
        ];
        assert_eq!(map, wanted.map(|(key, value)| (key.into(), value)).into());
    }

    #[test]
    fn nesting_above_the_limit_is_refused() {
        let json = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        let toml = |depth: usize| format!("a = {}{}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(Syntax::Json.parse(json(MAX_DEPTH).as_bytes()).is_ok());
        assert!(Syntax::Toml.parse(toml(MAX_DEPTH).as_bytes()).is_ok());
        for depth in [MAX_DEPTH + 1, 127, 1_000, 100_000] {
            parse_error(Syntax::Json, &json(depth));
            parse_error(Syntax::Toml, &toml(depth));
        }
    }

    #[test]
    fn quoted_text_in_an_error_is_escaped_and_cut() {
        let text = format!("\"\\u001b[2J{}\"", "x".repeat(10_000));
        let json = parse_error(Syntax::Json, &text).to_string();
        assert!(json.len() < 2 * MAX_MESSAGE && !json.contains('\x1b'), "{json}");
        let toml = parse_error(Syntax::Toml, "a = 1\n\"\\u001b[2J\\n\" = 1\n\"\\u001b[2J\\n\" = 2").to_string();
        assert!(!toml.contains(['\x1b', '\n']), "{toml}");
    }
}
