//! The log of this process, which all tests share: a program has only one.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use log::{LevelFilter, Log, Metadata, Record};

use crate::hostile;

struct TestLog {
    /// Lines that report the panic of a connection's thread.
    panics: AtomicU64,
}

static LOG: TestLog = TestLog { panics: AtomicU64::new(0) };

impl Log for TestLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        hostile::check_line(record);
        self.panics.fetch_add(u64::from(record.args().to_string().contains(": its thread panicked")), Ordering::SeqCst);
    }

    fn flush(&self) {}
}

/// Starts to watch the log, unless another test has.
pub fn follow() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| {
        log::set_logger(&LOG).expect("no other logger is set");
        log::set_max_level(LevelFilter::Info);
    });
}

/// How many lines have reported the panic of a connection's thread since the first [`follow`].
pub fn panics() -> u64 {
    LOG.panics.load(Ordering::SeqCst)
}
