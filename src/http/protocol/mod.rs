//! HTTP/1.1: reading requests within limits, and writing responses. Knows nothing about maps.

pub(crate) mod event;
pub(crate) mod head;
mod header_value;
pub(crate) mod host;
pub(crate) mod preconditions;
pub(crate) mod query;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod response_body;
mod target;
