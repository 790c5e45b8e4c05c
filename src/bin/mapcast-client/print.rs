//! Prints maps to standard output.

use std::io::Write;
use std::time::SystemTime;

use clap::ValueEnum;
use mapcast::client::Error;
use mapcast::{Format, Map, format};

use crate::changes::{Change, changes};
use crate::color::Palette;
use crate::hidden;
use crate::line_format::{LineFormat, PrintedMap, iso_time};
use crate::raw_value::raw;
use crate::selection::Selection;
use crate::stdout;

/// How a map is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// One JSON object per line
    Json,
    /// JSON over several lines, indented
    Pretty,
    /// One KEY=VALUE line per entry
    Text,
    /// One line per value: text without quotes, JSON for all else
    Value,
    /// One line per change of an entry: "~ key 1 -> 2", "+ key 1" or "- key"
    Diff,
    /// The payload as received, not decoded
    Raw,
    /// Nothing; the payload is still decoded
    None,
}

/// What is printed, and how.
#[derive(Debug)]
pub(crate) struct PrintConfig {
    pub(crate) output: Output,
    /// Prefix of each line.
    pub(crate) prefix: String,
    /// Begin each line with the time.
    pub(crate) timestamps: bool,
    /// The form of a line for each entry, or for each change if `output` is `Diff`.
    pub(crate) line_format: Option<LineFormat>,
    pub(crate) palette: Palette,
    pub(crate) changes_only: bool,
    /// Standard output is a terminal: `text` escapes hidden characters too, as JSON always does.
    pub(crate) is_terminal: bool,
    /// The entries to print.
    pub(crate) selection: Selection,
}

/// Prints maps.
#[derive(Debug)]
pub(crate) struct Printer<W> {
    config: PrintConfig,
    out: W,
    last: Option<Printed>,
    /// The map whose changes were printed last.
    diffed: Option<Map>,
    /// How many maps have been printed.
    count: u64,
}

/// The previously printed map, for comparison.
#[derive(Debug, PartialEq)]
enum Printed {
    Payload(Vec<u8>),
    /// The selected entries: a change of another entry is not a change.
    Entries(Map),
}

impl<W: Write> Printer<W> {
    pub(crate) fn new(config: PrintConfig, out: W) -> Self {
        Self { config, out, last: None, diffed: None, count: 0 }
    }

    /// Prints the map that `decode` finds in `payload`. Returns true if and only if it was printed.
    pub(crate) fn print(
        &mut self,
        payload: Vec<u8>,
        decode: impl FnOnce(&[u8]) -> Result<Map, Error>,
    ) -> anyhow::Result<bool> {
        self.print_at(payload, SystemTime::now(), decode)
    }

    fn print_at(
        &mut self,
        payload: Vec<u8>,
        time: SystemTime,
        decode: impl FnOnce(&[u8]) -> Result<Map, Error>,
    ) -> anyhow::Result<bool> {
        if self.config.output == Output::Raw {
            return Ok(self.is_change(Printed::Payload(payload.clone())) && self.write(&payload)?);
        }
        let map = decode(&payload)?;
        let (map, printed) = if self.config.selection.is_all() {
            (map, Printed::Payload(payload))
        } else {
            let entries = self.config.selection.pick(map)?;
            (entries.clone(), Printed::Entries(entries))
        };
        if !self.is_change(printed) {
            return Ok(false);
        }
        let shown = PrintedMap { number: self.count + 1, time, is_terminal: self.config.is_terminal };
        let lines = match self.entries(&map) {
            Some(entries) if entries.is_empty() && self.diffed.is_some() => return Ok(false),
            Some(entries) => self.entry_lines(&entries, shown).map_err(Error::Format)?,
            None => self.show_hidden(self.render(&map).map_err(Error::Format)?)?,
        };
        if self.config.output == Output::Diff {
            self.diffed = Some(map);
        }
        self.count += 1;
        self.write(&self.prefixed(&lines, time))
    }

    fn is_change(&mut self, printed: Printed) -> bool {
        if self.config.changes_only && self.last.as_ref() == Some(&printed) {
            return false;
        }
        self.last = Some(printed);
        true
    }

    /// Returns the entries of an output that has a line for each; `None` for the other outputs.
    fn entries<'m>(&'m self, map: &'m Map) -> Option<Vec<Change<'m>>> {
        match (self.config.output, &self.diffed) {
            (Output::Diff, Some(old)) => Some(changes(old, map)),
            (output, _) => (self.config.line_format.is_some() || matches!(output, Output::Diff | Output::Value))
                .then(|| map.iter().map(|(key, value)| Change { key, old: None, new: Some(value) }).collect()),
        }
    }

    fn entry_lines(&self, entries: &[Change<'_>], shown: PrintedMap) -> Result<Vec<u8>, format::Error> {
        let line = |entry: &Change<'_>| match (&self.config.line_format, self.config.output) {
            (Some(format), _) => format.line(*entry, shown),
            (None, Output::Diff) => Ok(entry.line(self.config.palette)? + "\n"),
            (None, _) => Ok(entry.new.map_or(Ok(String::new()), |value| raw(value, shown.is_terminal))? + "\n"),
        };
        Ok(entries.iter().map(line).collect::<Result<String, _>>()?.into_bytes())
    }

    fn render(&self, map: &Map) -> Result<Vec<u8>, format::Error> {
        match self.config.output {
            Output::Json => Format::Json.encode_map(map),
            Output::Pretty => format::pretty(map).map(String::into_bytes),
            Output::Text => Format::Text.encode_map(map),
            Output::Value | Output::Diff | Output::Raw | Output::None => Ok(Vec::new()),
        }
    }

    /// Returns `lines` with invisible characters escaped, where that does not change the data: always in JSON, and in
    /// text on a terminal; other programs read text values verbatim. Keys are coloured.
    fn show_hidden(&self, lines: Vec<u8>) -> anyhow::Result<Vec<u8>> {
        let palette = self.config.palette;
        let shown = |show: &dyn Fn(&str) -> anyhow::Result<String>| Ok(show(str::from_utf8(&lines)?)?.into_bytes());
        match self.config.output {
            Output::Json | Output::Pretty => shown(&|json| Ok(palette.paint_json_keys(&hidden::escape_json(json)))),
            Output::Text if self.config.is_terminal => {
                shown(&|lines| Ok(palette.paint_line_keys(&hidden::escape_lines(lines)?)))
            }
            Output::Text => shown(&|lines| Ok(palette.paint_line_keys(lines))),
            _ => Ok(lines),
        }
    }

    /// Returns the lines, each with the time and the prefix, and a final line feed.
    fn prefixed(&self, lines: &[u8], time: SystemTime) -> Vec<u8> {
        let time = if self.config.timestamps { iso_time(time) + " " } else { String::new() };
        let prefix = time + &self.config.prefix;
        let mut text = Vec::with_capacity(lines.len() + prefix.len() + 1);
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            text.extend_from_slice(prefix.as_bytes());
            text.extend_from_slice(line);
        }
        if !text.is_empty() && !text.ends_with(b"\n") {
            text.push(b'\n');
        }
        text
    }

    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<bool> {
        self.out.write_all(bytes).map_err(stdout::write_error)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;
    use crate::selection::MissingKey;
    use mapcast::{Key, builtin_map};
    use std::io;

    /// Collects the writes.
    #[derive(Default)]
    struct Writes(Vec<String>);

    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn config(output: Output) -> PrintConfig {
        PrintConfig {
            output,
            prefix: String::new(),
            timestamps: false,
            line_format: None,
            palette: Palette::PLAIN,
            changes_only: false,
            is_terminal: false,
            selection: Selection::default(),
        }
    }

    fn decode(payload: &[u8]) -> Result<Map, Error> {
        Ok(Format::Bincode.decode_map(payload)?)
    }

    /// Prints the maps and returns the writes.
    fn print(config: PrintConfig, maps: &[Map]) -> anyhow::Result<Vec<String>> {
        let mut printer = Printer::new(config, Writes::default());
        for map in maps {
            printer.print_at(Format::Bincode.encode_map(map).unwrap(), SystemTime::UNIX_EPOCH, decode)?;
        }
        Ok(printer.out.0)
    }

    fn numbered(number: i64) -> Map {
        Map::from([("n".into(), number.into()), (7.into(), true.into())])
    }

    #[test]
    fn a_map_is_one_line_in_one_write() {
        let line = "{\"1\":\"Hola\",\"2\":\"Bienvenido\",\"3\":\"Al\",\"4\":\"Servidor\"}\n";
        assert_eq!(print(config(Output::Json), &[builtin_map(), builtin_map()]).unwrap(), [line, line]);
    }

    #[test]
    fn hidden_characters_are_escaped_in_json_and_on_a_terminal() {
        let map = [Map::from([("a".into(), "\u{202e}x".into())])];
        for (output, is_terminal, wanted) in [
            (Output::Json, false, "{\"a\":\"\\u202ex\"}\n"),
            (Output::Pretty, false, "{\n  \"a\": \"\\u202ex\"\n}\n"),
            (Output::Text, false, "a=\u{202e}x\n"),
            (Output::Text, true, "\"a\"=\"\\u202ex\"\n"),
        ] {
            let config = PrintConfig { is_terminal, ..config(output) };
            assert_eq!(print(config, &map).unwrap().concat(), wanted, "{output:?}");
        }
    }

    #[test]
    fn every_line_gets_the_prefix_in_a_single_write() {
        let config = PrintConfig { prefix: "a| ".to_owned(), ..config(Output::Pretty) };
        let writes = print(config, &[Map::from([("n".into(), 1.into())])]).unwrap();
        assert_eq!(writes, ["a| {\na|   \"n\": 1\na| }\n"]);
    }

    #[test]
    fn value_prints_a_line_per_entry_without_quotes() {
        let map = Map::from([("a".into(), "x \"y\"".into()), ("b".into(), vec![mapcast::Value::from(true)].into())]);
        assert_eq!(print(config(Output::Value), &[map]).unwrap(), ["x \"y\"\n[true]\n"]);
    }

    #[test]
    fn diff_prints_the_changes_since_the_last_map() {
        let maps = [numbered(1), numbered(1), numbered(2), Map::from([("n".into(), 2.into())])];
        let lines = print(config(Output::Diff), &maps).unwrap();
        assert_eq!(lines, ["+ 7 true\n+ n 1\n", "~ n 1 -> 2\n", "- 7\n"]);
        let mut printer = Printer::new(config(Output::Diff), Writes::default());
        let mut counts = |map: &Map| printer.print(Format::Bincode.encode_map(map).unwrap(), decode).unwrap();
        assert!(counts(&Map::new()), "the first map counts, also without entries");
        assert!(!counts(&Map::new()), "an unchanged map does not");
        assert!(counts(&numbered(1)));
    }

    #[test]
    fn a_line_format_prints_entries_or_changes() {
        let line_format = |text| Some(LineFormat::parse(text).unwrap());
        let config_of = |output, text| PrintConfig { line_format: line_format(text), ..config(output) };
        let maps = [numbered(1), numbered(2)];
        let printed = print(config_of(Output::Json, "%n %k=%v"), &maps).unwrap();
        assert_eq!(printed, ["1 7=true\n1 n=1\n", "2 7=true\n2 n=2\n"]);
        let printed = print(config_of(Output::Diff, "%c%k %o>%j"), &maps).unwrap();
        assert_eq!(printed, ["+7 >true\n+n >1\n", "~n 1>2\n"]);
    }

    #[test]
    fn the_time_stands_before_the_prefix_of_each_line() {
        let config = PrintConfig { timestamps: true, prefix: "a ".to_owned(), ..config(Output::Text) };
        let time = "1970-01-01T00:00:00.000Z";
        assert_eq!(print(config, &[numbered(1)]).unwrap(), [format!("{time} a 7=true\n{time} a n=1\n")]);
    }

    #[test]
    fn output_none_prints_nothing_but_decodes() {
        assert_eq!(print(config(Output::None), &[builtin_map()]).unwrap().concat(), "");
        let mut printer = Printer::new(config(Output::None), Writes::default());
        assert_eq!(Exit::of(&printer.print(b"{}".to_vec(), decode).unwrap_err()), Exit::BadFrame);
    }

    #[test]
    fn raw_prints_the_payload_decodable_or_not() {
        let mut printer = Printer::new(config(Output::Raw), Writes::default());
        assert!(printer.print(b"{}".to_vec(), decode).unwrap());
        assert_eq!(printer.out.0, ["{}"]);
    }

    #[test]
    fn changes_only_prints_only_changes() {
        let config = PrintConfig { changes_only: true, ..config(Output::Json) };
        let maps = [numbered(1), numbered(1), numbered(2), numbered(1)];
        assert_eq!(print(config, &maps).unwrap().len(), 3);
    }

    #[test]
    fn a_change_of_another_entry_is_not_a_change() {
        let config =
            PrintConfig { changes_only: true, selection: Selection::new(vec!["7".to_owned()]), ..config(Output::Json) };
        assert_eq!(print(config, &[numbered(1), numbered(2)]).unwrap(), ["{\"7\":true}\n"]);
    }

    #[test]
    fn a_key_matches_by_its_text() {
        let config =
            PrintConfig { selection: Selection::new(vec!["2".to_owned(), "n".to_owned()]), ..config(Output::Json) };
        let map = Map::from([(Key::Int(2), 1.into()), ("n".into(), 2.into()), ("m".into(), 3.into())]);
        assert_eq!(print(config, &[map]).unwrap(), ["{\"2\":1,\"n\":2}\n"]);
    }

    #[test]
    fn a_missing_key_is_named() {
        let config =
            PrintConfig { selection: Selection::new(vec!["n".to_owned(), "x\n".to_owned()]), ..config(Output::Json) };
        let error = print(config, &[numbered(1)]).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&MissingKey::new("x\n")), "{error}");
        assert_eq!(Exit::of(&error), Exit::KeyMissing);
    }
}
