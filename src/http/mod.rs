//! HTTP for people and tools: a page, event streams, metrics, and changes of the map.
//!
//! HTTP has a server of its own, with its own accept loop, limits and stop: a browser does not use up a client's connection,
//! and the page still works while the clients are drained.
//!
//! A request takes this path: the connection loop in this file reads it (`protocol`), the handler checks it, finds the
//! route and returns a reply (`app`), and the loop writes the reply. `docs/http.md` documents the interface.

mod app;
mod protocol;
#[doc(hidden)]
#[cfg(unix)]
pub mod testing;

use std::io;
use std::sync::Arc;

use crate::connection::{Connection, Error};
use crate::feed::Feed;
use crate::service::{CloseReason, FirstRequest, ServerMonitor, Service};
use crate::shutdown::Shutdown;

use app::App;
use app::overload;
use app::reply::Reply;
use protocol::request::{ReadOutcome, RequestReader};
use protocol::response::{Code, Kind, Response};

pub use app::config::{Config, MapPort, OriginError, ShownSource, parse_origin};
pub use app::overload::RESERVED_CONNECTIONS;
pub use app::token::{Error as TokenError, TokenFile};
pub use protocol::host::{HostError, parse_host};

/// The default for the maximum number of HTTP connections: 256. A page uses one, and so does each event stream.
pub const DEFAULT_MAX_CONNECTIONS: u64 = 256;

/// The stack size that the connections of this service need: 512 KiB, because they decode maps (143 KiB for one in a debug
/// build, measured). Only touched pages are resident.
pub const STACK_SIZE: usize = 512 * 1024;

/// Shows a feed and the server that sends it, and lets clients with a token change the map.
#[derive(Debug)]
pub struct Http {
    app: App,
}

impl Http {
    /// Returns the service that shows `feed`, the clients of `monitor`, and the connections of `own_monitor`, the server that
    /// will run this service. `stop` is the stop of the map's server; request this one's when that server has stopped.
    pub fn new(
        config: Config,
        feed: Arc<Feed>,
        monitor: Arc<dyn ServerMonitor>,
        own_monitor: Arc<dyn ServerMonitor>,
        stop: Shutdown,
    ) -> Self {
        Self { app: App::new(config, feed, monitor, own_monitor, stop) }
    }
}

impl Service for Http {
    fn start(&self) -> io::Result<()> {
        self.app.start()
    }

    fn serve(&self, connection: &mut Connection, stop: &Shutdown) -> Result<CloseReason, Error> {
        connection.count_in(self.app.backlog());
        let mut reader = RequestReader::new();
        loop {
            let request = match reader.read(connection, stop)? {
                ReadOutcome::Request(request) => request,
                ReadOutcome::Closed(reason) => {
                    if reason == CloseReason::Done {
                        self.app.record_over_limit(connection);
                    }
                    return Ok(reason);
                }
                ReadOutcome::Refused(refusal) => {
                    self.app.record_over_limit(connection);
                    let refusal = self.app.complete(refusal, None, connection);
                    // The length of what follows the head is unknown.
                    linger_after(&refusal, connection);
                    refusal.send(reader.is_head(), true, connection)?;
                    return Ok(CloseReason::Done);
                }
            };
            let head = &request.head;
            let response = match self.app.handler.handle(&request, &mut reader.body(head, connection, stop)) {
                Reply::Response(response) => response,
                Reply::Stream(stream) => {
                    let response = Response::new(Code::Ok, Kind::Events, "");
                    let response = self.app.complete(response, Some(head), connection);
                    let is_head = head.is_head();
                    // A stream may last for days, and its request may use 100 KiB.
                    drop((request, reader));
                    return self.app.streams.serve(&stream, response, is_head, connection, stop);
                }
                Reply::Closed(result) => return result,
            };
            let response = self.app.complete(response, Some(head), connection);
            if reader.has_outstanding_body() {
                linger_after(&response, connection);
            }
            let is_last = head.is_last || response.closes() || reader.has_unread_body() || request.over_limit.is_some();
            response.send(head.is_head(), is_last, connection)?;
            if is_last {
                return Ok(CloseReason::Done);
            }
        }
    }

    fn first_request(&self, received: &[u8]) -> FirstRequest {
        overload::first_request(received)
    }

    fn describe(&self) -> String {
        "the page, events and metrics over HTTP".to_owned()
    }
}

/// Lets the client send the rest of a refused body before its connection is closed; not after a timeout or above a limit.
fn linger_after(refusal: &Response, connection: &mut Connection) {
    if refusal.code() != Code::RequestTimeout && connection.over_limit().is_none() {
        connection.expect_refused_input();
    }
}
