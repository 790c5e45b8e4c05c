//! The user's editor.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};

use crate::platform;

/// A shell command, and whether this program ends by signals from the keyboard.
#[derive(Debug)]
pub(super) struct Editor {
    command: OsString,
    ends_by_signal: Arc<AtomicBool>,
}

impl Editor {
    /// Returns the editor in `VISUAL` or `EDITOR`, or that of the system: vi, on Windows notepad.
    ///
    /// # Errors
    /// If the system refuses to handle signals.
    pub(super) fn from_environment() -> anyhow::Result<Self> {
        let set = |name| env::var_os(name).filter(|command| !command.is_empty());
        let command = set("VISUAL").or_else(|| set("EDITOR")).unwrap_or_else(|| platform::EDITOR.into());
        let ends_by_signal = Arc::new(AtomicBool::new(true));
        platform::pass_keyboard_signals_to_child(&ends_by_signal)?;
        Ok(Self { command, ends_by_signal })
    }

    /// Opens `path` and waits until the editor exits. A signal from the keyboard reaches both, and is the editor's.
    ///
    /// # Errors
    /// If the editor cannot be run, or fails.
    pub(super) fn open(&self, path: &Path) -> anyhow::Result<()> {
        let name = self.command.to_string_lossy();
        self.ends_by_signal.store(false, Ordering::SeqCst);
        let status = platform::shell_with_path(&self.command, path).status();
        self.ends_by_signal.store(true, Ordering::SeqCst);
        let status = status.with_context(|| format!("cannot run the editor {name}"))?;
        match status.code() {
            Some(0) => Ok(()),
            Some(platform::NOT_FOUND) => bail!("the editor {name} cannot be found; set VISUAL or EDITOR"),
            _ => bail!("the editor {name} failed ({status})"),
        }
    }
}
