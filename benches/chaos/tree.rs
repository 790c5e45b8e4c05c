//! The servers: a root, relays that follow it, and leaves that follow the relays.

use std::net::SocketAddr;
use std::ops::Range;

use crate::member::Member;
use crate::network::Host;

/// The number of relays of the root.
const RELAYS: usize = 3;

/// The number of leaves of each relay.
const LEAVES_EACH: usize = 3;

/// The number of leaves.
pub const LEAVES: usize = RELAYS * LEAVES_EACH;

/// The level of a server in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Root,
    Relay,
    Leaf,
}

impl Level {
    /// Returns the members of this level.
    pub fn members(self) -> Range<usize> {
        match self {
            Self::Root => 0..1,
            Self::Relay => 1..1 + RELAYS,
            Self::Leaf => 1 + RELAYS..1 + RELAYS + LEAVES,
        }
    }

    /// Returns the level of `member`.
    pub fn of(member: usize) -> Self {
        match member {
            0 => Self::Root,
            member if Self::Relay.members().contains(&member) => Self::Relay,
            _ => Self::Leaf,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Relay => "relay",
            Self::Leaf => "leaf",
        }
    }
}

/// Returns the member that is leaf number `leaf`.
pub fn leaf(leaf: usize) -> usize {
    Level::Leaf.members().start + leaf
}

/// Returns the member that `member` follows; `None` for the root.
pub fn parent(member: usize) -> Option<usize> {
    match Level::of(member) {
        Level::Root => None,
        Level::Relay => Some(0),
        Level::Leaf => Some(1 + (member - Level::Leaf.members().start) / LEAVES_EACH),
    }
}

/// Returns the members that follow `member`.
pub fn children(member: usize) -> Vec<usize> {
    (0..Level::Leaf.members().end).filter(|child| parent(*child) == Some(member)).collect()
}

/// Returns the leaves below `member`, or `member` itself.
pub fn leaves_of(member: usize) -> Vec<usize> {
    let passes = |start: usize| {
        let mut at = Some(start);
        while at.is_some_and(|at| at != member) {
            at = at.and_then(parent);
        }
        at.is_some()
    };
    (0..LEAVES).filter(|number| passes(leaf(*number))).collect()
}

/// Starts all members, the root with the map of `source`. `show_logs` prints their logs.
pub fn start(source: &str, show_logs: bool) -> anyhow::Result<Vec<Member>> {
    let mut members: Vec<Member> = Vec::new();
    for index in 0..Level::Leaf.members().end {
        let level = Level::of(index);
        let name = match level {
            Level::Root => level.name().to_owned(),
            _ => format!("{}-{}", level.name(), index - level.members().start + 1),
        };
        let host = Host::new(&name, u8::try_from(10 + index)?)?;
        let source = parent(index).map_or_else(|| source.to_owned(), |parent| members[parent].as_source());
        let mut member = Member::new(name, host, source, show_logs);
        member.start()?;
        members.push(member);
    }
    members.iter_mut().try_for_each(Member::wait_listening)?;
    Ok(members)
}

/// Returns the addresses of the leaves.
pub fn leaf_addrs(members: &[Member]) -> Vec<SocketAddr> {
    members[Level::Leaf.members()].iter().map(Member::addr).collect()
}
