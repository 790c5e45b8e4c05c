//! The terminal: raw mode, line-by-line updates, and its restoration.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::style::{Attribute, Color, Print, ResetColor, SetAttribute, SetForegroundColor};
use crossterm::terminal::{self, Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use crossterm::{execute, queue};
use log::LevelFilter;
use mapcast::Shutdown;

use super::line::{Line, Style};
use crate::logging;
use crate::stdout::Stdout;
use crate::time_limit::with_time_limit;

/// Whether the terminal is in raw mode. Global, because any thread may restore it.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal in raw mode, on its alternate screen, with a hidden cursor. Restored on drop.
#[derive(Debug)]
pub(super) struct Terminal {
    out: BufWriter<Stdout>,
    /// The lines on the screen; only differing lines are printed.
    painted: Vec<Line>,
    /// Columns and lines at the last drawing.
    size: (u16, u16),
    /// The previous log level: log lines on this terminal would disturb the screen.
    log_level: LevelFilter,
}

impl Terminal {
    /// Switches the terminal to raw mode. A panic in any thread restores it before the panic is logged. Writes end
    /// with the stop, or at `deadline`.
    ///
    /// # Errors
    /// If neither standard input nor `/dev/tty` is a terminal.
    pub(super) fn take(shutdown: &Shutdown, deadline: Option<Instant>) -> io::Result<Self> {
        static HOOK: Once = Once::new();
        let log_level = log::max_level();
        HOOK.call_once(|| {
            let log_panic = panic::take_hook();
            panic::set_hook(Box::new(move |panic| {
                restore();
                log::set_max_level(log_level);
                log_panic(panic);
            }));
        });
        let out = BufWriter::new(Stdout::start(shutdown, deadline)?);
        terminal::enable_raw_mode()?;
        TAKEN.store(true, Ordering::SeqCst);
        if io::stderr().is_terminal() {
            log::set_max_level(LevelFilter::Off);
            // Queued lines belong on the normal screen.
            logging::flush_at_once();
        }
        let mut taken = Self { out, painted: Vec::new(), size: (0, 0), log_level };
        taken.size = terminal::size()?;
        execute!(taken.out, EnterAlternateScreen, Hide)?;
        Ok(taken)
    }

    /// Switches to raw mode again after the process was stopped. The shell may have changed the settings meanwhile.
    pub(super) fn reenter(&mut self) -> io::Result<()> {
        terminal::disable_raw_mode()?;
        terminal::enable_raw_mode()?;
        TAKEN.store(true, Ordering::SeqCst);
        self.painted.clear();
        execute!(self.out, EnterAlternateScreen, Hide)
    }

    /// Returns the columns and lines. After a change of size everything is drawn again.
    pub(super) fn measure(&mut self) -> io::Result<(usize, usize)> {
        let size = terminal::size()?;
        if size != self.size {
            self.size = size;
            self.painted.clear();
        }
        Ok((usize::from(size.0), usize::from(size.1)))
    }

    /// Draws `lines` from the top and clears the rest. Does nothing once a panic has restored the terminal.
    pub(super) fn paint(&mut self, lines: Vec<Line>) -> io::Result<()> {
        if !TAKEN.load(Ordering::SeqCst) {
            return Ok(());
        }
        if self.painted.is_empty() {
            queue!(self.out, Clear(ClearType::All))?;
        }
        for (row, line) in (0..self.size.1).zip(&lines) {
            if self.painted.get(usize::from(row)) != Some(line) {
                queue!(self.out, MoveTo(0, row))?;
                write_line(&mut self.out, line)?;
            }
        }
        if lines.len() < self.painted.len() {
            let below = u16::try_from(lines.len()).unwrap_or(u16::MAX);
            queue!(self.out, MoveTo(0, below), Clear(ClearType::FromCursorDown))?;
        }
        self.painted = lines;
        self.out.flush()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The rest of the buffer belongs on the alternate screen.
        let _ = self.out.flush();
        restore();
        log::set_max_level(self.log_level);
    }
}

/// Writes one line with its style and clears what follows. With `NO_COLOR` crossterm omits the colours.
fn write_line(out: &mut impl Write, line: &Line) -> io::Result<()> {
    match line.style {
        Style::Plain => {}
        Style::Strong => queue!(out, SetAttribute(Attribute::Bold))?,
        Style::Faint => queue!(out, SetAttribute(Attribute::Dim))?,
        Style::Highlighted => queue!(out, SetAttribute(Attribute::Reverse))?,
        Style::Error => queue!(out, SetAttribute(Attribute::Bold), SetForegroundColor(Color::Red))?,
    }
    queue!(out, Print(&line.text), ResetColor, SetAttribute(Attribute::Reset), Clear(ClearType::UntilNewLine))
}

/// Restores the terminal if it is in raw mode: on drop, after a panic, or at a second signal.
pub(crate) fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // An error does not matter: the terminal may be gone.
        with_time_limit(|| drop(execute!(io::stdout(), LeaveAlternateScreen, Show)));
        let _ = terminal::disable_raw_mode();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(style: Style) -> String {
        let mut out = Vec::new();
        write_line(&mut out, &Line { text: "Hola".to_owned(), style }).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_line_resets_its_style_and_clears_the_rest() {
        for (style, begin) in
            [(Style::Plain, "Hola"), (Style::Highlighted, "\x1b[7mHola"), (Style::Strong, "\x1b[1mHola")]
        {
            let line = written(style);
            assert!(line.starts_with(begin) && line.ends_with("\x1b[0m\x1b[K"), "{line:?}");
        }
    }
}
