//! `--write`: the map in a file, replaced atomically when its content changes.
#![allow(clippy::doc_markdown, reason = "comments on options are help texts, without backticks")]

use std::path::{Path, PathBuf};

use clap::Args;
use log::info;
use mapcast::Map;

use super::check::Check;
use super::log_once::{LogOnce, list};
use super::rendering::{FileFormat, Rendering};
use super::replace::{check_destination, replace};
use super::template_file::TemplateFile;
use crate::exit::UsageError;

/// Options of `--write`.
#[derive(Debug, Args)]
pub(crate) struct WriteArgs {
    /// Write the map to this file instead of printing it; the file is replaced atomically, and only if its content
    /// changes
    #[arg(long, value_name = "FILE", env = "MAPCAST_WRITE")]
    pub(crate) write: Option<PathBuf>,
    /// Format of the file [default: by the suffix of FILE]
    #[arg(long, value_name = "FORMAT", env = "MAPCAST_WRITE_FORMAT", value_enum)]
    write_format: Option<FileFormat>,
    /// Write this template instead, with {{key}} replaced by the entry; if an entry is missing, the file stays
    /// unchanged
    #[arg(long, value_name = "FILE", env = "MAPCAST_TEMPLATE")]
    template: Option<PathBuf>,
    /// Mode of the file, in octal; no effect on Windows [default: unchanged; for a new file 0666 minus the umask]
    #[arg(long, value_name = "MODE", env = "MAPCAST_MODE", value_parser = parse_mode)]
    mode: Option<u32>,
}

/// Where the map is written, and how.
#[derive(Debug)]
pub(crate) struct WriteConfig {
    path: PathBuf,
    content: ContentConfig,
    mode: Option<u32>,
}

/// What the file contains.
#[derive(Debug)]
enum ContentConfig {
    Format(FileFormat),
    /// The template in this file, filled in.
    Template(PathBuf),
}

/// Writes maps into a file.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    rendering: Rendering,
    mode: Option<u32>,
    failure: LogOnce,
    skipped: LogOnce,
}

/// The result of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteOutcome {
    /// The file has changed.
    Changed,
    /// The file already had this content.
    Unchanged,
    /// The file stays unchanged; the reason is in the log.
    Failed,
}

impl WriteArgs {
    /// Returns what to write; `None` without `--write`.
    ///
    /// # Errors
    /// If the path is a stream of this process, or its format is unknown or ambiguous.
    pub(crate) fn into_config(self) -> Result<Option<WriteConfig>, String> {
        let Some(path) = self.write else { return Ok(None) };
        if is_stream(&path) {
            let path = path.display();
            return Err(format!(
                "--write needs a file, and {path} is not one; to print maps use --output instead of --write"
            ));
        }
        let content = match (self.template, self.write_format) {
            (Some(_), Some(_)) => return Err("--template and --write-format cannot be used together".to_owned()),
            (Some(template), None) => ContentConfig::Template(template),
            (None, Some(format)) => ContentConfig::Format(format),
            (None, None) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                ContentConfig::Format(FileFormat::by_name(&name).ok_or_else(|| {
                    format!("cannot determine the format from the name {name:?}; use --write-format json, toml or env, or --template")
                })?)
            }
        };
        Ok(Some(WriteConfig { path, content, mode: self.mode }))
    }
}

impl Writer {
    /// Returns the writer, with its template read.
    ///
    /// # Errors
    /// If the file can never be written, or the template is not valid.
    pub(super) fn new(config: WriteConfig) -> Result<Self, UsageError> {
        let WriteConfig { path, content, mode } = config;
        check_destination(&path).map_err(|error| UsageError(format!("--write: {error:#}")))?;
        let rendering = match content {
            ContentConfig::Format(format) => Rendering::Format(format),
            ContentConfig::Template(path) => {
                Rendering::Template(TemplateFile::read(path).map_err(|error| UsageError(format!("{error:#}")))?)
            }
        };
        Ok(Self { path, rendering, mode, failure: LogOnce::default(), skipped: LogOnce::default() })
    }

    /// Writes `map` into the file if `check` approves it. A failure is logged once and retried with the next map.
    pub(super) fn write(&mut self, map: &Map, check: Option<&mut Check>) -> WriteOutcome {
        let Self { path, rendering, mode, .. } = self;
        let outcome = rendering.render(map).and_then(|rendered| {
            let approve = |new: &Path| check.map_or(Ok(()), |check| check.approve(new, &rendered.bytes));
            let changed = replace(path, &rendered.bytes, *mode, approve)?;
            Ok((rendered, changed))
        });
        let path = path.display();
        let (rendered, changed) = match outcome {
            Ok(written) => written,
            Err(error) => {
                self.failure.warn(format!("{path} stays unchanged: {error:#}; retrying with the next map"));
                return WriteOutcome::Failed;
            }
        };
        if rendered.skipped.is_empty() {
            self.skipped.clear();
        } else {
            self.skipped.warn(format!(
                "skipped in {path}, because shells or systemd would not read it back as a string: {}",
                list(&rendered.skipped)
            ));
        }
        if self.failure.clear() {
            info!("{path} can be written again");
        }
        if !changed {
            return WriteOutcome::Unchanged;
        }
        info!("{path}: written, {} bytes", rendered.bytes.len());
        WriteOutcome::Changed
    }
}

/// True if and only if `path` names a stream of this process: `-`, or one of Linux's paths for its descriptors.
/// Replacing it would remove that path, or the file to which the shell has redirected the output.
fn is_stream(path: &Path) -> bool {
    let whole = ["-", "/dev/stdin", "/dev/stdout", "/dev/stderr"];
    let directories = ["/dev/fd", "/proc/self/fd", "/proc/thread-self/fd"];
    whole.iter().any(|name| path == Path::new(name)) || directories.iter().any(|directory| path.starts_with(directory))
}

/// Parses a file mode in octal, with or without leading zeros.
fn parse_mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let mode = u32::from_str_radix(digits, 8).ok().filter(|mode| *mode <= 0o7777 && !digits.starts_with('+'));
    mode.ok_or_else(|| format!("{text:?} is not a mode; write it in octal, such as 0640"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_parsed_as_octal() {
        for (text, wanted) in [("640", 0o640), ("0640", 0o640), ("0o4755", 0o4755), ("0", 0)] {
            assert_eq!(parse_mode(text), Ok(wanted));
        }
        for text in ["", "+640", "rw", "0689", "17777", "-1"] {
            assert!(parse_mode(text).is_err_and(|error| error.contains("0640")), "{text}");
        }
    }

    #[test]
    fn a_stream_is_rejected_as_a_file() {
        for path in ["-", "/dev/stdout", "/dev//stderr", "/dev/fd/1", "/proc/self/fd/2"] {
            let args = WriteArgs { write: Some(path.into()), write_format: None, template: None, mode: None };
            assert!(args.into_config().is_err_and(|error| error.contains("--output")), "{path}");
        }
        for path in ["./-", "-.json", "stdout", "dev/stdout", "/dev/shm/map.json"] {
            assert!(!is_stream(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn after_an_unrepresentable_map_the_next_one_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file.json");
        let content = ContentConfig::Format(FileFormat::Json);
        let mut writer = Writer::new(WriteConfig { path: path.clone(), content, mode: None }).unwrap();
        let good = Map::from([(1.into(), true.into())]);
        let bad = Map::from([(1.into(), true.into()), ("1".into(), true.into())]);
        assert_eq!(
            [&good, &good, &bad].map(|map| writer.write(map, None)),
            [WriteOutcome::Changed, WriteOutcome::Unchanged, WriteOutcome::Failed]
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\n  \"1\": true\n}\n");
        assert_eq!(writer.write(&Map::new(), None), WriteOutcome::Changed);
    }
}
