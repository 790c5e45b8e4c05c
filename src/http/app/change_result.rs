//! How a change ended, as a response and as a log line.

use std::sync::Arc;

use serde::Serialize;

use super::map::NO_ENTRY;
use super::rendering::Rendering;
use super::request_log::loggable;
use crate::display::error_chain::ErrorChain;
use crate::feed;
use crate::format;
use crate::http::protocol::preconditions::PreconditionError;
use crate::http::protocol::request::Request;
use crate::http::protocol::response::{Code, Response};
use crate::state;
use crate::threads::Unanswered;

/// Why a change was not made. Except for `Unconfirmed`, the map stays unchanged.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Precondition(#[from] PreconditionError),
    #[error("{NO_ENTRY}")]
    NoEntry,
    #[error("the map cannot be published")]
    Unpublishable(#[source] feed::Error),
    #[error("the feed's value is not a map that JSON can represent")]
    NotJson(#[source] format::Error),
    #[error(transparent)]
    State(state::Error),
    /// The state's thread was busy for too long, or does not exist: the change was not begun.
    #[error("the map was not changed")]
    Busy(#[source] Unanswered),
    /// The state's thread has begun the change, and may still keep and publish it.
    #[error("it is not known whether the change is kept; fetch the map again later")]
    Unconfirmed(#[source] Unanswered),
}

/// The result of a change.
#[derive(Debug)]
pub(super) struct ChangeResult {
    /// False if the map equals the previous one.
    pub(super) changed: bool,
    pub(super) rendering: Arc<Rendering>,
}

impl ChangeResult {
    /// Logs `PATCH /map from ADDRESS: 5 entries, version 3`; a map that did not change only for debugging.
    pub(super) fn log(&self, request: &Request) {
        // A program may send the same map every few seconds.
        let level = if self.changed { log::Level::Info } else { log::Level::Debug };
        let (method, path) = (&request.head.method, loggable(&request.head.path));
        let entries = self.rendering.map.len();
        let noun = if entries == 1 { "entry" } else { "entries" };
        let version = self.rendering.version;
        log::log!(level, "{method} {path} from {}: {entries} {noun}, version {version}", request.peer);
    }

    pub(super) fn to_response(&self) -> Response {
        #[derive(Serialize)]
        struct ResultBody {
            version: u64,
            entries: usize,
            changed: bool,
        }
        let Self { changed, rendering } = self;
        let body = ResultBody { version: rendering.version, entries: rendering.map.len(), changed: *changed };
        Response::json(&body).with("ETag", &rendering.etag)
    }
}

impl Error {
    pub(super) fn to_response(&self) -> Response {
        let code = match self {
            Self::Precondition(_) => Code::PreconditionFailed,
            Self::NoEntry => Code::NotFound,
            Self::Unpublishable(feed::Error::TooLarge { .. }) => Code::ContentTooLarge,
            Self::Unpublishable(_) => Code::BadRequest,
            Self::NotJson(_) | Self::State(_) => Code::InternalError,
            Self::Busy(_) | Self::Unconfirmed(_) => Code::Unavailable,
        };
        Response::error(code, &ErrorChain(self).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;
    use crate::testing::check_texts;
    use std::io;

    #[test]
    fn every_error_has_its_text() {
        let not_json = || format::Error::TooDeep { depth: 40 };
        let busy = || Unanswered::NoThread(io::ErrorKind::WouldBlock.into());
        check_texts!(Error {
            Precondition(PreconditionError::IfMatch) =>
                "If-Match failed: the content has changed since; fetch it again";
            Precondition(PreconditionError::IfNoneMatch) => "If-None-Match failed: it lists the current content";
            NoEntry => "the map has no such entry";
            Unpublishable(feed::Error::Empty(Format::Json)) => "the map cannot be published";
            NotJson(not_json()) => "the feed's value is not a map that JSON can represent";
            State(state::Error::TooLong { name: "a.json".to_owned(), max: 20 }) =>
                "a.json: the state is above the limit of 20 bytes";
            Busy(busy()) => "the map was not changed";
            Unconfirmed(busy()) => "it is not known whether the change is kept; fetch the map again later";
        });
    }
}
