//! The application: what each path serves.

pub(crate) mod answer;
pub(crate) mod change_log;
pub(crate) mod changes;
mod document;
mod filter;
mod metrics;
pub(crate) mod overload;
pub(crate) mod page;
pub(crate) mod rendering;
mod routes;
pub(crate) mod status;
pub(crate) mod stream_notifier;
mod streams;
pub(crate) mod token;
