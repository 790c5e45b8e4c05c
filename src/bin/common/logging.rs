//! The log of both programs: lines for people, on standard error. No thread that logs waits for it.

#[path = "log_queue.rs"]
mod log_queue;

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use std::{env, panic, thread};

use env_logger::fmt::style::Style;
use env_logger::{Builder, Env, Target, WriteStyle};
use log::{Level, LevelFilter, Log, Record};

use log_queue::LogQueue;

/// How long the end of the program waits for lines to be written: long enough for a reader on a busy machine.
const EXIT_TIMEOUT: Duration = Duration::from_millis(500);

/// How long a second signal waits for that: half of the 100 ms in which the process is to end.
const ABORT_TIMEOUT: Duration = Duration::from_millis(50);

/// The queue in front of standard error; empty if the system gave no thread for it.
static QUEUE: OnceLock<LogQueue> = OnceLock::new();

/// Flushes the log when it is dropped, which should be at the end of `main`.
#[must_use]
#[derive(Debug)]
pub(crate) struct FlushOnDrop;

impl Drop for FlushOnDrop {
    fn drop(&mut self) {
        flush(EXIT_TIMEOUT);
    }
}

/// Starts the log, and sends panics there. `verbosity` is how often `-v` was given, less `-q`: 0 is info. `RUST_LOG` wins
/// over it. `dropped` counts the lines that standard error did not accept.
///
/// Without a thread for the writing, which only a system at its limit refuses, lines are written by those that log.
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
    builder.format_target(false).format_timestamp_millis();
    if let Ok(queue) = LogQueue::start(io::stderr(), dropped) {
        if is_coloured() {
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

/// Writes `line` to standard error, among the log's lines and whatever the log's level. Never blocks.
pub(crate) fn write_line(line: &str) {
    let line = format!("{line}\n");
    match QUEUE.get() {
        Some(queue) => queue.push(line.as_bytes()),
        // A standard error that is full or closed has no other place to be reported.
        None => drop(io::stderr().write_all(line.as_bytes())),
    }
}

/// Flushes the log in the time that a second signal leaves: the process is to end at once.
pub(crate) fn flush_at_once() {
    flush(ABORT_TIMEOUT);
}

fn flush(timeout: Duration) {
    if let Some(queue) = QUEUE.get() {
        queue.flush(timeout);
    }
}

/// True if and only if `env_logger` would colour its lines on standard error. It looks at its own target for that, which
/// is the queue, so a second logger is asked.
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
