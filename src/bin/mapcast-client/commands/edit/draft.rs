//! The file that is edited, in a directory that only this user can read.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::TempDir;

use crate::platform::{create_private_file, private_directories};

/// The lines above a text with one note: the title, what the lines mean, and the note.
const LINES_ABOVE: usize = 3;

/// The file, and what was written to it last.
#[derive(Debug)]
pub(super) struct Draft {
    /// `None` once it is kept.
    directory: Option<TempDir>,
    path: PathBuf,
    written: String,
    /// True if and only if a run of the editor has changed the text.
    is_edited: bool,
}

impl Draft {
    pub(super) fn create(file_name: &str) -> io::Result<Self> {
        let directory = private_directories(tempfile::Builder::new().prefix("mapcast-edit-")).tempdir()?;
        let path = directory.path().join(file_name);
        Ok(Self { directory: Some(directory), path, written: String::new(), is_edited: false })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a text below its title and notes, in lines that begin with `#`.
    pub(super) fn write(&mut self, title: &str, notes: &[String], text: &str) -> anyhow::Result<()> {
        let mut content = format!("# {title}. Save to write it; an empty file writes nothing.\n");
        content.push_str("# Lines here that begin with # are not part of it.\n");
        for note in notes {
            // A note is one line.
            content.extend(["# ", note.replace(['\n', '\r'], " ").as_str(), "\n"]);
        }
        content.push_str(text);
        let save = || -> io::Result<()> {
            let mut file = create_private_file(&self.path)?;
            file.write_all(content.as_bytes())
        };
        save().with_context(|| format!("cannot write {}", self.path.display()))?;
        text.clone_into(&mut self.written);
        Ok(())
    }

    /// Returns the edited text without the lines above it.
    pub(super) fn read(&mut self) -> anyhow::Result<String> {
        let content = fs::read_to_string(&self.path).with_context(|| format!("cannot read {}", self.path.display()))?;
        // Editors on Windows may write a byte order mark.
        let text = without_notes(content.strip_prefix('\u{feff}').unwrap_or(&content)).to_owned();
        self.is_edited |= text != self.written;
        Ok(text)
    }

    /// Keeps the file if its text was edited. Returns its path then.
    pub(super) fn keep_if_edited(&mut self) -> Option<&Path> {
        // What an editor has saved before it failed counts, too.
        let _ = self.read();
        if !self.is_edited {
            return None;
        }
        let _ = self.directory.take()?.keep();
        Some(&self.path)
    }
}

/// Returns `text` at the position that it has in a file with one note: below as many empty lines. A position in an error
/// is then that in the file.
pub(super) fn below_a_problem(text: &str) -> String {
    "\n".repeat(LINES_ABOVE) + text
}

fn without_notes(mut text: &str) -> &str {
    while text.starts_with('#') {
        text = text.split_once('\n').map_or("", |(_, rest)| rest);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_text_is_read_back_without_its_notes() {
        let mut draft = Draft::create("map.json").unwrap();
        draft.write("T", &["a\nb".to_owned()], "{\n}\n").unwrap();
        let content = fs::read_to_string(draft.path()).unwrap();
        assert!(content.contains("\n# a b\n{\n}\n"), "{content}");
        assert_eq!(content.lines().position(|line| line == "{"), Some(LINES_ABOVE));
        assert_eq!(draft.read().unwrap(), "{\n}\n");
        fs::write(draft.path(), format!("\u{feff}{}", content.replace('\n', "\r\n"))).unwrap();
        assert_eq!(draft.read().unwrap(), "{\r\n}\r\n");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(draft.path()), mode(draft.path().parent().unwrap())), (0o600, 0o700));
    }

    #[test]
    fn only_an_edited_text_is_kept() {
        let mut draft = Draft::create("map.json").unwrap();
        draft.write("T", &[], "1\n").unwrap();
        assert_eq!(draft.keep_if_edited(), None);
        fs::write(draft.path(), "2\n").unwrap();
        let path = draft.keep_if_edited().unwrap().to_owned();
        drop(draft);
        assert_eq!(fs::read_to_string(&path).unwrap(), "2\n");
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}
