//! The log of both programs: lines for people, on standard error.

use log::LevelFilter;

/// Starts the log. `verbosity` is how often `-v` was given, less `-q`: 0 is info. `RUST_LOG` wins over it.
pub(crate) fn start(verbosity: i16) {
    let level = match verbosity {
        ..=-3 => LevelFilter::Off,
        -2 => LevelFilter::Error,
        -1 => LevelFilter::Warn,
        0 => LevelFilter::Info,
        1 => LevelFilter::Debug,
        2.. => LevelFilter::Trace,
    };
    let level = env_logger::Env::default().default_filter_or(level.as_str());
    env_logger::Builder::from_env(level).format_target(false).format_timestamp_millis().init();
}
