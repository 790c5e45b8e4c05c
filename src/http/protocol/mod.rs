//! HTTP/1.1 as messages: requests are read within limits, responses are written. Knows nothing about maps.

pub(crate) mod body;
pub(crate) mod head;
pub(crate) mod host;
pub(crate) mod preconditions;
pub(crate) mod query;
pub(crate) mod request;
pub(crate) mod response;
