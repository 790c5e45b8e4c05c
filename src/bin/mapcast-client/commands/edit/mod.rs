//! `edit`: opens the map, or one entry, in an editor, and writes it unless another writer was faster.

mod draft;
mod editor;
mod merge;
mod target;

use std::io::{self, BufRead, Write};

use anyhow::{Context, bail};
use mapcast::Map;

use super::http::HttpClient;
use super::map_access::{Seen, Summary, Written, read_map};
use super::set::MAX_ATTEMPTS;
use crate::changes::{Change, changes};
use crate::color::{ColorChoice, Palette};
use crate::hidden::show_key;
use crate::logging::{flush_at_once, write_line};
use draft::Draft;
use editor::Editor;
use merge::{merged, overlap};
use target::Target;

/// What the user may edit, and how it is written.
#[derive(Debug)]
struct Session<'c> {
    client: &'c HttpClient,
    target: Target,
    draft: Draft,
    editor: Editor,
    /// The map that the edited text is based on.
    base: Seen,
}

/// A change that was made.
#[derive(Debug)]
pub(super) struct Edited {
    pub(super) summary: Summary,
    /// The changed entries, one line each.
    pub(super) lines: String,
}

/// What to do after one run of the editor.
enum Next {
    /// The map is written, or does not differ.
    End(Option<Edited>),
    /// Open this text again, below these notes.
    Again { text: String, notes: Vec<String> },
}

/// Edits the map, or the entry `key`. Returns the change; `None` if there is none.
///
/// # Errors
/// If the change is not made, or the server does not answer. A text that was edited is kept in a file, which a line on standard error names.
pub(super) fn edit(client: &HttpClient, key: Option<String>) -> anyhow::Result<Option<Edited>> {
    let editor = Editor::from_environment()?;
    let base = read_map(client)?;
    let target = Target::new(key, &base.map)?;
    let draft = Draft::create(&target.file_name()).context("cannot create a file for the editor")?;
    let mut session = Session { client, target, draft, editor, base };
    let outcome = session.run();
    if outcome.is_err()
        && let Some(path) = session.draft.keep_if_edited()
    {
        write_line(&format!("the edited text is kept in {}", path.display()));
    }
    outcome
}

impl Session<'_> {
    fn run(&mut self) -> anyhow::Result<Option<Edited>> {
        let (mut text, mut notes) = (self.target.text(&self.base.map)?, Vec::new());
        loop {
            self.draft.write(&self.target.title(self.client), &notes, &text)?;
            self.editor.open(self.draft.path())?;
            let edited = self.draft.read()?;
            match self.take(edited, &text)? {
                Next::End(edited) => return Ok(edited),
                Next::Again { text: again, notes: new } => (text, notes) = (again, new),
            }
        }
    }

    /// Writes the edited text, which was opened as `opened`.
    fn take(&mut self, edited: String, opened: &str) -> anyhow::Result<Next> {
        if edited.trim().is_empty() {
            return Ok(Next::End(None));
        }
        let invalid = |problem: String, edited: String| {
            if edited == opened {
                bail!("the text is not valid: {problem}");
            }
            Ok(Next::Again { text: edited, notes: vec![problem] })
        };
        let json = draft::below_a_problem(&edited);
        let mine = match self.target.parse(&json, &self.base.map) {
            Ok(map) => map,
            Err(problem) => return invalid(problem, edited),
        };
        let edits = changes(&self.base.map, &mine);
        if edits.is_empty() {
            return Ok(Next::End(None));
        }
        let lines = lines(&edits)?;
        for _ in 0..MAX_ATTEMPTS {
            match self.target.write(self.client, &json, &self.base.etag)? {
                Written::Done(summary) => return Ok(Next::End(Some(Edited { summary, lines }))),
                Written::Invalid(problem) => return invalid(problem, edited),
                Written::NoEntry => bail!("the server does not accept the entry"),
                Written::Conflict => {}
            }
            let newest = read_map(self.client)?;
            if !self.target.is_untouched(&self.base.map, &newest.map) {
                return self.resolve(&mine, newest);
            }
            // Another entry has changed.
            self.base.etag = newest.etag;
        }
        bail!("other writers change the map too often: {MAX_ATTEMPTS} attempts met a newer one; try again")
    }

    /// Shows what another writer has changed, and offers to edit both changes together.
    fn resolve(&mut self, mine: &Map, newest: Seen) -> anyhow::Result<Next> {
        let (theirs, edits) = (changes(&self.base.map, &newest.map), changes(&self.base.map, mine));
        let mut notes =
            vec!["another writer has changed the map meanwhile (the server's log has the address):".to_owned()];
        for change in &theirs {
            notes.push(format!("  {}", change.line(Palette::PLAIN)?));
        }
        let both: Vec<_> = overlap(&edits, &theirs).into_iter().map(show_key).collect();
        if !both.is_empty() {
            notes.push(format!("your text has other values for {}", both.join(", ")));
        }
        for note in &notes {
            write_line(note);
        }
        write_line(&format!("your text is in {}", self.draft.path().display()));
        if !confirm("edit again, with both changes? [Y/n] ")? {
            bail!("412: another writer has changed the map meanwhile");
        }
        let both = merged(&newest.map, &edits);
        let text = self.target.text(&both)?;
        self.base = newest;
        Ok(Next::Again { text, notes })
    }
}

/// Returns the changes for standard output.
fn lines(edits: &[Change<'_>]) -> anyhow::Result<String> {
    let palette = ColorChoice::Auto.palette();
    Ok(edits.iter().map(|change| change.line(palette).map(|line| line + "\n")).collect::<Result<_, _>>()?)
}

/// Asks on standard error and returns the answer from standard input; its end is no.
fn confirm(question: &str) -> anyhow::Result<bool> {
    flush_at_once();
    // There is no other place to ask.
    let _ = io::stderr().write_all(question.as_bytes());
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer).context("cannot read the answer")?;
    if !answer.ends_with('\n') {
        write_line("");
    }
    Ok(read > 0 && matches!(answer.trim().to_lowercase().as_str(), "" | "y" | "yes"))
}
