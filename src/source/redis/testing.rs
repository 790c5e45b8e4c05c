//! Replies without a network, for the tests in `tests/hostile/`. Not a part of the public interface: it may change at any
//! time.

use std::io::{self, Write};
use std::net::Shutdown as Direction;

use redis::{FromRedisValue, Msg, Value};

use super::connection::Connection;
use super::error::Error;
use super::hash;
use crate::map::Map;
use crate::platform::{self, LocalStream};
use crate::shutdown::Shutdown;

/// A connection of the source, and its other end.
pub struct Pair {
    redis: LocalStream,
    connection: Connection,
}

/// Why there is no map.
#[derive(Debug)]
pub struct Refusal {
    /// The error that the source would log.
    pub error: Box<dyn std::error::Error>,
    /// True if and only if the connection cannot be used any more.
    pub is_lost: bool,
}

impl Pair {
    /// Returns a connection with a limit of `max` bytes for a reply.
    ///
    /// # Errors
    /// If the system refuses the sockets.
    pub fn new(max: usize, stop: &Shutdown) -> io::Result<Self> {
        let (redis, ours) = platform::local_pair()?;
        ours.set_nonblocking(true)?;
        Ok(Self { redis, connection: Connection::over(ours, max, stop) })
    }

    /// Sends `bytes` to the connection.
    ///
    /// # Errors
    /// If the socket fails.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.redis.write_all(bytes)
    }

    /// Ends the stream to the connection: no later read waits.
    ///
    /// # Errors
    /// If the socket fails.
    pub fn end(&mut self) -> io::Result<()> {
        self.redis.shutdown(Direction::Write)
    }

    /// Waits for the next reply, and returns its map as a reply to HGETALL.
    ///
    /// # Errors
    /// The error of the source.
    pub fn reply(&mut self, is_json: bool) -> Result<Map, Refusal> {
        self.connection.reply().and_then(|reply| to_map(reply, is_json)).map_err(refusal)
    }

    /// Returns the map of the next reply if it has been received whole, as a reply to HGETALL. Does not wait.
    ///
    /// # Errors
    /// The error of the source.
    pub fn ready_reply(&mut self, is_json: bool) -> Result<Option<Map>, Refusal> {
        let Some(value) = self.connection.read_ready().map_err(refusal)? else { return Ok(None) };
        // Any value must be readable as an announcement.
        let _is_announced = Msg::from_owned_value(value.clone()).is_some();
        let reply = match value {
            Value::ServerError(error) => Err(Error::server(error.code(), error.details())),
            value => Value::from_redis_value(value).map_err(|_| Error::Unexpected),
        };
        reply.and_then(|reply| to_map(reply, is_json)).map(Some).map_err(refusal)
    }
}

fn to_map(reply: Value, is_json: bool) -> Result<Map, Error> {
    hash::fields(reply).and_then(|fields| hash::to_map(fields, is_json))
}

fn refusal(error: Error) -> Refusal {
    let is_read =
        matches!(error, Error::Server { .. } | Error::Malformed(_) | Error::FieldName(_) | Error::FieldValue { .. });
    Refusal { error: error.into(), is_lost: !is_read }
}
