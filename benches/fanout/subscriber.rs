//! A plain Redis subscriber that records when Redis delivered each change, by kernel timestamps.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::{Context, ensure};

use crate::change::Change;
use crate::peer::redis;
use crate::server::Server;
use crate::support::stamp::{read_stamped, stamp};
use crate::timing::PATIENCE;

/// The reply of Redis to a subscription: `subscribe`, the channel, and the number of subscriptions.
const ANSWER: &str = "*3\r\n$9\r\nsubscribe\r\n$13\r\nmapcast:bench\r\n:1\r\n";

/// One connection that is subscribed to the channel of the hash's changes, with its own thread.
pub struct Subscriber {
    reading: JoinHandle<anyhow::Result<BTreeMap<u64, Instant>>>,
    stream: TcpStream,
}

impl Subscriber {
    /// Subscribes to the Redis that `server` follows, for changes of `size` bytes.
    pub fn start(server: &Server, size: usize) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(server.upstream_addr().context("the server has no upstream")?)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&redis::subscribe(redis::CHANNEL))?;
        let mut answer = vec![0; ANSWER.len()];
        stream.read_exact(&mut answer)?;
        ensure!(answer == ANSWER.as_bytes(), "no subscription: {}", answer.escape_ascii());
        stamp(&stream)?;
        let reader = stream.try_clone()?;
        let read = move || {
            let mut delivered = BTreeMap::new();
            // The bytes around each payload always have the same length.
            let message = redis::message_len(size);
            let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
            loop {
                let (read, at) = read_stamped(&reader, &mut chunk)?;
                if read == 0 {
                    return Ok(delivered);
                }
                bytes.extend_from_slice(&chunk[..read]);
                while bytes.len() >= message {
                    let payload = &bytes[message - size - 2..message - 2];
                    let change = Change::from_payload(payload, size).context("not a published change")?;
                    delivered.insert(change.number, at);
                    bytes.drain(..message);
                }
            }
        };
        Ok(Self { reading: thread::Builder::new().spawn(read)?, stream })
    }

    /// Returns when each change arrived, up to `last`, which must have been published.
    pub fn finish(self, last: u64) -> anyhow::Result<BTreeMap<u64, Instant>> {
        self.stream.shutdown(std::net::Shutdown::Both)?;
        let delivered = self.reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        ensure!(delivered.contains_key(&last), "the subscriber did not receive the last change");
        Ok(delivered)
    }
}
