//! The terminal: raw mode, line-by-line updates, and its restoration.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::style::{Attribute, Color, Print, ResetColor, SetAttribute, SetForegroundColor, force_color_output};
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
    is_colored: bool,
    /// The lines on the screen; only differing lines are printed.
    painted: Vec<Line>,
    /// Columns and lines at the last drawing.
    size: (u16, u16),
    /// The previous log level: log lines on this terminal would disturb the screen.
    log_level: LevelFilter,
}

impl Terminal {
    /// Switches the terminal to raw mode. A panic in any thread restores it before the panic is logged. Writes end
    /// with the stop, or at `deadline`. Lines have colours if and only if `is_colored`.
    ///
    /// # Errors
    /// If neither standard input nor `/dev/tty` is a terminal.
    pub(super) fn take(shutdown: &Shutdown, deadline: Option<Instant>, is_colored: bool) -> io::Result<Self> {
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
        // Without colours crossterm would write an empty sequence, which resets the attributes too.
        force_color_output(true);
        let out = BufWriter::new(Stdout::start(shutdown, deadline)?);
        terminal::enable_raw_mode()?;
        TAKEN.store(true, Ordering::SeqCst);
        if io::stderr().is_terminal() {
            log::set_max_level(LevelFilter::Off);
            // Queued lines belong on the normal screen.
            logging::flush_at_once();
        }
        let mut taken = Self { out, is_colored, painted: Vec::new(), size: (0, 0), log_level };
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
                write_line(&mut self.out, line, self.is_colored)?;
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

/// Writes one line with its style and clears what follows.
fn write_line(out: &mut impl Write, line: &Line, is_colored: bool) -> io::Result<()> {
    let (color, attribute) = match line.style {
        Style::Plain => (None, None),
        Style::Strong => (None, Some(Attribute::Bold)),
        Style::Faint => (None, Some(Attribute::Dim)),
        Style::Added => (Some(Color::DarkGreen), Some(Attribute::Reverse)),
        Style::Changed => (Some(Color::DarkYellow), Some(Attribute::Reverse)),
        Style::Removed => (Some(Color::DarkRed), Some(Attribute::Reverse)),
        Style::Error => (Some(Color::Red), Some(Attribute::Bold)),
    };
    if let Some(attribute) = attribute {
        queue!(out, SetAttribute(attribute))?;
    }
    if let Some(color) = color.filter(|_| is_colored) {
        queue!(out, SetForegroundColor(color))?;
    }
    let (before, rest) = line.text.split_at(line.key.start);
    let (key, after) = rest.split_at(line.key.len());
    // In reverse video a second colour would be another background.
    if is_colored && line.style == Style::Plain && !key.is_empty() {
        queue!(out, Print(before), SetForegroundColor(Color::DarkCyan), Print(key), ResetColor, Print(after))?;
    } else {
        queue!(out, Print(&line.text))?;
    }
    queue!(out, SetAttribute(Attribute::Reset), Clear(ClearType::UntilNewLine))
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

    fn written(line: &Line, is_colored: bool) -> String {
        let mut out = Vec::new();
        write_line(&mut out, line, is_colored).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_line_has_its_style_resets_it_and_clears_the_rest() {
        force_color_output(true);
        for (is_colored, style, wanted) in [
            (true, Style::Plain, "- \x1b[38;5;6mHola\x1b[0m 1"),
            (true, Style::Changed, "\x1b[7m\x1b[38;5;3m- Hola 1"),
            (true, Style::Strong, "\x1b[1m- Hola 1"),
            (false, Style::Plain, "- Hola 1"),
            (false, Style::Removed, "\x1b[7m- Hola 1"),
            (false, Style::Error, "\x1b[1m- Hola 1"),
        ] {
            let line = Line::new("- Hola 1", style, 80).with_key(2..6);
            assert_eq!(written(&line, is_colored), format!("{wanted}\x1b[0m\x1b[K"), "{style:?}");
        }
    }

    #[test]
    fn a_key_beyond_the_cut_is_not_coloured() {
        assert_eq!(Line::new("  sensor", Style::Plain, 4).with_key(2..8).key, 0..0);
    }
}
