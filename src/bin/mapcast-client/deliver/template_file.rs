//! The file of a template, read again when it changes.

use std::fs::{File, Metadata};
use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use log::info;

use super::log_once::LogOnce;
use super::template::Template;
use crate::platform::{FileVersion, open_without_waiting};

/// A template and its file.
#[derive(Debug)]
pub(crate) struct TemplateFile {
    path: PathBuf,
    template: Template,
    version: FileVersion,
    failure: LogOnce,
}

impl TemplateFile {
    /// Reads the template in the file at `path`.
    ///
    /// # Errors
    /// If the file cannot be read, is not a regular file or not UTF-8, or has a placeholder that is not valid.
    pub(super) fn read(path: PathBuf) -> anyhow::Result<Self> {
        let (template, version) =
            open(&path).and_then(|(file, found)| parse(file, &found)).with_context(|| name(&path))?;
        Ok(Self { path, template, version, failure: LogOnce::default() })
    }

    /// Returns the template in the file. If the file has an error, logs it once and returns the last valid template.
    pub(super) fn newest(&mut self) -> &Template {
        let opened = open(&self.path);
        if let Ok((_, found)) = &opened
            && FileVersion::of(found) == self.version
        {
            return &self.template;
        }
        // A file that is written in place is empty between its truncation and the write.
        let whole = opened.and_then(|(file, found)| {
            ensure!(found.len() > 0, "is empty");
            Ok((file, found))
        });
        match whole.and_then(|(file, found)| parse(file, &found)) {
            Ok((template, version)) => {
                info!("{}: read again", name(&self.path));
                (self.template, self.version) = (template, version);
                self.failure.clear();
            }
            Err(error) => {
                self.failure.warn(format!("{}: {error:#}; keeping the previous template", name(&self.path)));
            }
        }
        &self.template
    }
}

fn name(path: &std::path::Path) -> String {
    format!("the template {}", path.display())
}

/// Opens the file without blocking, which a FIFO would otherwise do.
fn open(path: &std::path::Path) -> anyhow::Result<(File, Metadata)> {
    let file = open_without_waiting(path).context("cannot be read")?;
    let found = file.metadata().context("cannot be read")?;
    ensure!(found.is_file(), "not a regular file; use a regular file, which is read again when it changes");
    Ok((file, found))
}

fn parse(mut file: File, found: &Metadata) -> anyhow::Result<(Template, FileVersion)> {
    let mut text = String::new();
    file.read_to_string(&mut text).context("cannot be read")?;
    Ok((Template::parse(&text)?, FileVersion::of(found)))
}
