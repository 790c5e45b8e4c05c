//! The map and its entries, as JSON with the map's entity tag.

use std::ops::Range;
use std::sync::Arc;

use super::document::Document;
use super::rendering::Renderer;
use crate::display::error_chain::ErrorChain;
use crate::format;
use crate::http::protocol::preconditions::{PreconditionError, Preconditions, Target};
use crate::http::protocol::response::{Code, Kind, Response};
use crate::http::protocol::response_body::SharedSlice;
use crate::map::Key;

/// The message of `404` for an entry.
pub(super) const NO_ENTRY: &str = "the map has no such entry";

/// Returns the whole map.
pub(super) fn show(renderer: &Renderer, preconditions: &Preconditions) -> Response {
    show_slice(renderer, preconditions, |document| Some(0..document.json().len()))
}

/// Returns the value of one entry.
pub(super) fn show_entry(renderer: &Renderer, key: &Key, preconditions: &Preconditions) -> Response {
    show_slice(renderer, preconditions, |document| document.value(&format::write_value(&key.to_string()).ok()?))
}

/// Returns the range of the current map's JSON that `find` returns. A missing entry is reported before the preconditions are
/// evaluated (RFC 9110, section 13.2.1).
fn show_slice(
    renderer: &Renderer,
    preconditions: &Preconditions,
    find: impl FnOnce(&Document) -> Option<Range<usize>>,
) -> Response {
    let rendering = match renderer.latest() {
        Ok(Some(rendering)) => rendering,
        Ok(None) => return Response::error(Code::Unavailable, "no map yet"),
        Err(error) => return Response::error(Code::InternalError, &ErrorChain(&error).to_string()),
    };
    let document = &rendering.document;
    let Some(range) = find(document) else {
        return Response::error(Code::NotFound, NO_ENTRY);
    };
    let target = Target { etag: Some(&rendering.etag), exists: true };
    let response = match preconditions.check(&target) {
        Ok(()) => {
            let text = Arc::clone(document) as _;
            let slice = SharedSlice { text, range, tail: "\n", payload: Some(document.payload()) };
            Response::new(Code::Ok, Kind::Json, slice)
        }
        // With the ETag and Cache-Control that 200 has (RFC 9110, section 15.4.5).
        Err(PreconditionError::IfNoneMatch) => Response::new(Code::NotModified, Kind::Json, ""),
        Err(error @ PreconditionError::IfMatch) => {
            return Response::error(Code::PreconditionFailed, &error.to_string());
        }
    };
    response.with("ETag", &rendering.etag).cacheable()
}
