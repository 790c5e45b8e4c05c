//! The client program against servers that are a few lines of sockets each.

mod check;
mod exits;
mod follow;
mod frames;
mod output;
mod peer;
mod talks;
mod watch;
