//! From an address to the server that has the hash, and what is said there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Msg, Value, cmd};

use super::address::{Address, Node, Topology};
use super::connection::Connection;
use super::{Error, TIMEOUT, hash};
use crate::client::Resolver;
use crate::map::Map;
use crate::shutdown::Shutdown;
use crate::tls::Connector;

/// How often the revision is looked at.
const REVISION_PERIOD: Duration = Duration::from_secs(1);

/// How many times one node of a cluster may point to another before nobody has the slot.
const MAX_REDIRECTS: usize = 5;

/// How servers are reached, and what bounds it.
#[derive(Clone, Copy)]
pub(super) struct Way<'source> {
    pub(super) address: &'source Address,
    /// Encrypts each connection, if it is there.
    pub(super) tls: Option<&'source Arc<Connector>>,
    /// The most bytes of one reply.
    pub(super) max: usize,
    pub(super) resolver: &'source Resolver,
    pub(super) stop: &'source Shutdown,
}

/// The server that has the hash, over two connections: one that asks, and one that only listens. One connection for both
/// would need a protocol that servers before Redis 6 do not speak.
pub(super) struct Session<'source> {
    way: Way<'source>,
    asking: Connection,
    /// `None` if this user may not listen.
    listening: Option<Connection>,
    /// When the listening connection was asked for a sign of life that has not come yet.
    pinged: Option<Instant>,
    /// The revision that came with the last map; `None` if there is none, or this user may not read it.
    revision: Option<Vec<u8>>,
}

/// Why a wait is over.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// It is time to read the hash.
    Look,
    /// The program stops.
    Stop,
}

impl<'source> Session<'source> {
    /// Finds the server and connects to it.
    ///
    /// # Errors
    /// If there is none that answers and lets us in.
    pub(super) fn open(way: Way<'source>) -> Result<Self, Error> {
        let (node, asking) = find(way)?;
        // Before the first map is read, so that no change falls in between.
        let listening = listen(way, &node)?;
        Ok(Self { way, asking, listening, pinged: None, revision: None })
    }

    /// Reads the hash.
    ///
    /// # Errors
    /// See [`Error::ends_session`] for which of them leave the session as good as before.
    pub(super) fn fetch(&mut self) -> Result<Map, Error> {
        // The revision first: a change between the two shows at the next look. In one go, to wait once.
        self.asking.tell(cmd("GET").arg(self.way.address.revision_key()))?;
        self.asking.tell(cmd("HGETALL").arg(&self.way.address.key))?;
        self.revision = match self.asking.reply::<Option<Vec<u8>>>() {
            Err(Error::Server { .. }) => None,
            revision => revision?,
        };
        let fields = hash::fields(self.asking.reply()?)?;
        if fields.is_empty() && !self.way.address.missing_is_empty {
            return Err(Error::Missing);
        }
        hash::to_map(fields, self.way.address.is_json)
    }

    /// Waits until a change is announced, the revision is another one, the period is over, or the program stops.
    ///
    /// # Errors
    /// If a connection is lost, or does not answer.
    pub(super) fn wait_change(&mut self) -> Result<Woken, Error> {
        // A period that the clock cannot reach never ends.
        let look_at = Instant::now().checked_add(self.way.address.period);
        loop {
            let revision_at = self.revision.as_ref().map(|_| Instant::now() + REVISION_PERIOD);
            let until = [look_at, revision_at].into_iter().flatten().min();
            if self.is_announced(until)? {
                return Ok(Woken::Look);
            }
            if self.way.stop.is_triggered() {
                return Ok(Woken::Stop);
            }
            let now = Instant::now();
            if look_at.is_some_and(|at| now >= at) {
                self.ask_for_life()?;
                return Ok(Woken::Look);
            }
            if until.is_some_and(|at| now >= at) && self.is_revised()? {
                return Ok(Woken::Look);
            }
        }
    }

    /// Waits until something is announced, and takes all that is: they are one change. Returns false if `until` or the
    /// stop came first, or what came was no announcement; `None` never comes.
    fn is_announced(&mut self, until: Option<Instant>) -> Result<bool, Error> {
        let Some(listening) = &mut self.listening else {
            let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
            self.way.stop.wait(left);
            return Ok(false);
        };
        if !self.way.stop.wait_readable(&*listening, until).map_err(Error::from_io)? {
            return Ok(false);
        }
        let mut is_announced = false;
        while let Some(value) = listening.read_ready()? {
            self.pinged = None;
            is_announced |= Msg::from_owned_value(value).is_some();
        }
        Ok(is_announced)
    }

    /// A connection on which nothing is ever said may have died long ago.
    fn ask_for_life(&mut self) -> Result<(), Error> {
        let Some(listening) = &mut self.listening else { return Ok(()) };
        match self.pinged {
            Some(since) if since.elapsed() > TIMEOUT => Err(Error::NoAnswer),
            Some(_) => Ok(()),
            None => {
                self.pinged = Some(Instant::now());
                listening.tell(&cmd("PING"))
            }
        }
    }

    fn is_revised(&mut self) -> Result<bool, Error> {
        let revision: Option<Vec<u8>> = self.asking.ask(cmd("GET").arg(self.way.address.revision_key()))?;
        Ok(revision != self.revision)
    }
}

/// Returns the server that has the hash, and a connection that is logged in there.
fn find(way: Way<'_>) -> Result<(Node, Connection), Error> {
    let mut failure = Error::Unexpected;
    for node in &way.address.nodes {
        let found = match &way.address.topology {
            Topology::Single => log_in(way, node).map(|connection| (node.clone(), connection)),
            Topology::Sentinel { master } => find_master(way, node, master),
            Topology::Cluster => find_slot(way, node.clone()),
        };
        match found {
            Ok(found) => return Ok(found),
            Err(error) => failure = error,
        }
        if way.stop.is_triggered() {
            break;
        }
    }
    Err(failure)
}

/// Asks the sentinel at `node`, and then the master itself whether it is one: a sentinel may be behind.
fn find_master(way: Way<'_>, node: &Node, master: &str) -> Result<(Node, Connection), Error> {
    let mut sentinel = Connection::open(node, way)?;
    let found: Option<(String, u16)> = sentinel.ask(cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master))?;
    let (host, port) = found.ok_or(Error::NoMaster)?;
    let found = Node::Tcp(host, port);
    let mut connection = log_in(way, &found)?;
    let role: Vec<Value> = connection.ask(&cmd("ROLE"))?;
    match role.first() {
        Some(Value::BulkString(role)) if role == b"master" => Ok((found, connection)),
        _ => Err(Error::NoMaster),
    }
}

/// Follows the cluster's nodes from `node` to the one that has the hash's slot.
fn find_slot(way: Way<'_>, mut node: Node) -> Result<(Node, Connection), Error> {
    for _ in 0..=MAX_REDIRECTS {
        let mut connection = log_in(way, &node)?;
        match connection.ask::<Value>(cmd("EXISTS").arg(&way.address.key)) {
            Ok(_) => return Ok((node, connection)),
            Err(Error::Server { code, detail }) if code == "MOVED" => node = moved_to(&detail, &node)?,
            Err(error) => return Err(error),
        }
    }
    Err(Error::Unexpected)
}

/// Reads `SLOT HOST:PORT`, where an empty host means the one that was asked.
fn moved_to(detail: &str, asked: &Node) -> Result<Node, Error> {
    let there = detail.split_whitespace().nth(1).and_then(|there| there.rsplit_once(':'));
    let (host, port) = there.ok_or(Error::Unexpected)?;
    let port = port.parse().map_err(|_| Error::Unexpected)?;
    match (host, asked) {
        ("", Node::Tcp(host, _)) => Ok(Node::Tcp(host.clone(), port)),
        _ => Ok(Node::Tcp(host.trim_matches(['[', ']']).to_owned(), port)),
    }
}

fn log_in(way: Way<'_>, node: &Node) -> Result<Connection, Error> {
    let (mut connection, address) = (Connection::open(node, way)?, way.address);
    if let Some(password) = &address.password {
        let password = password.read()?;
        let mut auth = cmd("AUTH");
        auth.arg(&address.user).arg(&password);
        connection.ask::<Value>(&auth).map_err(|error| error.without(&password))?;
    }
    if address.database != 0 {
        connection.ask::<Value>(cmd("SELECT").arg(address.database))?;
    }
    Ok(connection)
}

/// Subscribes to both channels, as far as this user may. Returns `None` if it may not at all: then there is the period.
fn listen(way: Way<'_>, node: &Node) -> Result<Option<Connection>, Error> {
    let (mut connection, address) = (log_in(way, node)?, way.address);
    let mut subscribed = false;
    // One by one: where one channel is forbidden, the whole command is.
    for channel in [address.channel(), address.keyspace_channel()] {
        match connection.ask::<Value>(cmd("SUBSCRIBE").arg(&channel)) {
            Ok(_) => subscribed = true,
            Err(Error::Server { code, .. }) => log::debug!("{address}: no subscription to {channel:?}: {code}"),
            Err(error) => return Err(error),
        }
    }
    if !subscribed {
        let period = address.period;
        log::warn!("{address}: this user may not subscribe, so a change is seen after up to {period:?}");
    }
    Ok(subscribed.then_some(connection))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_says_where_the_slot_is() {
        let asked = Node::Tcp("a".to_owned(), 1);
        for (detail, wanted) in
            [("866 10.0.0.2:7001", "10.0.0.2:7001"), ("866 ::1:7001", "[::1]:7001"), ("866 :7001", "a:7001")]
        {
            assert_eq!(moved_to(detail, &asked).unwrap().to_string(), wanted);
        }
        for detail in ["", "866", "866 h", "866 h:x"] {
            assert!(moved_to(detail, &asked).is_err(), "{detail}");
        }
    }
}
