//! What the handler returns to the connection loop.

use std::sync::Arc;

use super::filter::Filter;
use crate::connection::Error;
use crate::http::protocol::request::BodyError;
use crate::http::protocol::response::Response;
use crate::service::CloseReason;

/// The outcome of a request.
pub(crate) enum Reply {
    /// Send this response.
    Response(Response),
    /// Send this stream of events until either side closes.
    Stream(Stream),
    /// Send nothing: the connection ended while the body was read.
    Closed(Result<CloseReason, Error>),
}

/// What an event stream sends.
pub(crate) enum Stream {
    /// The map, or the entries that the filter selects.
    Map(Option<Arc<Filter>>),
    /// Everything that the page shows, with whether the map can be changed over HTTP.
    Page { is_writable: bool },
}

impl From<Response> for Reply {
    fn from(response: Response) -> Self {
        Self::Response(response)
    }
}

impl From<BodyError> for Reply {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Refused(response) => Self::Response(response.closing()),
            BodyError::Closed(reason) => Self::Closed(Ok(reason)),
            BodyError::Failed(error) => Self::Closed(Err(error)),
        }
    }
}
