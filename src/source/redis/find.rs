//! Finds the server that has the hash.

use redis::{Value, cmd};

use super::address::{Node, Topology};
use super::connection::{ConnectContext, Connection};
use super::error::Error;
use super::login::log_in;
use super::sentinel::Sentinels;
use crate::stats::health::Failure;

/// The most redirections from one node of a cluster to another.
const MAX_REDIRECTS: usize = 5;

/// Returns the server that has the hash, and a logged-in connection to it. In a cluster, `last` is asked first.
///
/// # Errors
/// If no server answers and grants access.
pub(super) fn find(
    context: ConnectContext<'_>,
    sentinels: Option<&Sentinels>,
    last: Option<&Node>,
) -> Result<(Node, Connection), Error> {
    if let Some(sentinels) = sentinels {
        let node = sentinels.master(context.stop)?;
        let connection = log_in(context, &node)?;
        return Ok((node, connection));
    }
    let is_cluster = context.address.topology == Topology::Cluster;
    let first = last.filter(|_| is_cluster);
    let mut failure = None;
    for node in first.into_iter().chain(context.address.nodes.iter().filter(|node| Some(*node) != first)) {
        let found = if is_cluster {
            find_slot(context, node.clone())
        } else {
            log_in(context, node).map(|connection| (node.clone(), connection))
        };
        match found {
            Ok(found) => return Ok(found),
            // An error reply of one node is more useful than another node that is unreachable.
            Err(error) if failure.as_ref().is_none_or(|before: &Error| before.kind() == Failure::Unreachable) => {
                failure = Some(error);
            }
            Err(_) => {}
        }
        if context.stop.is_triggered() {
            break;
        }
    }
    Err(failure.unwrap_or(Error::Unexpected))
}

/// Follows the redirections of the cluster from `node` to the node that has the slot of the hash.
fn find_slot(context: ConnectContext<'_>, mut node: Node) -> Result<(Node, Connection), Error> {
    for _ in 0..=MAX_REDIRECTS {
        let mut connection = log_in(context, &node)?;
        match connection.ask::<Value>(cmd("EXISTS").arg(&context.address.key)) {
            // This node has the slot until its last key has moved.
            Err(Error::Server { code, .. }) if code == "ASK" => return Ok((node, connection)),
            Err(Error::Server { code, detail }) if code == "MOVED" => node = moved_to(&detail, &node)?,
            outcome => return outcome.map(|_| (node, connection)),
        }
    }
    Err(Error::Moved)
}

/// Parses `SLOT HOST:PORT`. An empty host is that of the node that was asked.
pub(super) fn moved_to(detail: &str, asked: &Node) -> Result<Node, Error> {
    let there = detail.split_whitespace().nth(1).and_then(|there| there.rsplit_once(':'));
    let (host, port) = there.ok_or(Error::Unexpected)?;
    let port = port.parse().map_err(|_| Error::Unexpected)?;
    match (host, asked) {
        ("", Node::Tcp(host, _)) => Ok(Node::Tcp(host.clone(), port)),
        _ => Ok(Node::Tcp(host.trim_matches(['[', ']']).to_owned(), port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirection_names_the_node_of_the_slot() {
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
