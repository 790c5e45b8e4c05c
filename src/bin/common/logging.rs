//! The log of both programs, on standard error. Logging never blocks the caller.

#[path = "log_queue.rs"]
mod log_queue;
#[cfg(unix)]
#[path = "raw_output_unix.rs"]
mod raw_output;
#[cfg(windows)]
#[path = "raw_output_windows.rs"]
mod raw_output;

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};
use std::{env, panic, thread};

use env_logger::fmt::Formatter;
use env_logger::fmt::style::{AnsiColor, Style};
use env_logger::{Builder, Env, Target, WriteStyle};
use log::{Level, LevelFilter, Log, Record};

use log_queue::LogQueue;

/// How long the exit waits for queued lines: long enough for a reader on a busy machine.
const EXIT_TIMEOUT: Duration = Duration::from_millis(500);

/// How long the exit after a second signal waits for them: half of the 100 ms within which the process should end.
const ABORT_TIMEOUT: Duration = Duration::from_millis(50);

/// The queue in front of standard error; empty if the system refused a thread for it.
static QUEUE: OnceLock<LogQueue> = OnceLock::new();

/// Flushes the log on drop, which should be at the end of `main`.
#[must_use]
#[derive(Debug)]
pub(crate) struct FlushOnDrop;

impl Drop for FlushOnDrop {
    fn drop(&mut self) {
        flush(EXIT_TIMEOUT);
    }
}

/// Starts the log, and logs panics. `verbosity` is how often `-v` was given, minus `-q`: 0 is info. `RUST_LOG` takes
/// precedence. `dropped` counts the lines that standard error did not accept.
///
/// Without a writer thread, which only a system at its limit refuses, the logging threads write their lines
/// themselves.
pub(crate) fn start(verbosity: i16, dropped: Arc<AtomicU64>) -> FlushOnDrop {
    let level = match verbosity {
        ..=-3 => LevelFilter::Off,
        -2 => LevelFilter::Error,
        -1 => LevelFilter::Warn,
        0 => LevelFilter::Info,
        1 => LevelFilter::Debug,
        2.. => LevelFilter::Trace,
    };
    let mut builder = Builder::from_env(Env::default().default_filter_or(level.as_str()));
    builder.format(write_record);
    if let Ok(queue) = raw_output::standard_error().and_then(|out| LogQueue::start(out, dropped)) {
        if is_coloured() && raw_output::accepts_colours() {
            builder.write_style(WriteStyle::Always);
        }
        builder.target(Target::Pipe(Box::new(QUEUE.get_or_init(|| queue).clone())));
    }
    builder.init();
    panic::set_hook(Box::new(|panic| {
        let thread = thread::current();
        log::error!("thread {} panicked: {}", thread.name().unwrap_or("unnamed"), panic.to_string().escape_debug());
    }));
    FlushOnDrop
}

/// Writes `[TIME LEVEL] MESSAGE`. This is the format of `env_logger`, whose own time needs a time zone database.
fn write_record(formatter: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let level = formatter.default_level_style(record.level());
    // Without colours, every style is empty.
    let bracket = if level == Style::new() { level } else { AnsiColor::BrightBlack.on_default() };
    let time = humantime::format_rfc3339_millis(SystemTime::now());
    let (name, message) = (record.level(), record.args().to_string().replace('\n', "\n    "));
    writeln!(formatter, "{bracket}[{bracket:#}{time} {level}{name:<5}{level:#}{bracket}]{bracket:#} {message}")
}

/// Writes `line` to standard error, in order with the log's lines and at any log level. Never blocks.
pub(crate) fn write_line(line: &str) {
    let line = format!("{line}\n");
    match QUEUE.get() {
        Some(queue) => queue.push(line.as_bytes()),
        // There is no other place to report that standard error is full or closed.
        None => drop(io::stderr().write_all(line.as_bytes())),
    }
}

/// Flushes the log within the time limit for an immediate exit.
pub(crate) fn flush_at_once() {
    flush(ABORT_TIMEOUT);
}

fn flush(timeout: Duration) {
    if let Some(queue) = QUEUE.get() {
        queue.flush(timeout);
    }
}

/// True if and only if `env_logger` would colour lines on standard error. It checks its own target, which is the
/// queue, so a second logger is asked.
fn is_coloured() -> bool {
    let coloured = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&coloured);
    let style = env::var("RUST_LOG_STYLE").unwrap_or_default();
    let probe = Builder::new()
        .parse_write_style(&style)
        .format(move |formatter, record| {
            seen.store(formatter.default_level_style(record.level()) != Style::new(), Ordering::Relaxed);
            Ok(())
        })
        .build();
    probe.log(&Record::builder().level(Level::Error).build());
    coloured.load(Ordering::Relaxed)
}
