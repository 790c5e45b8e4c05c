//! The client program against servers that are a few lines of sockets each.

mod check;
mod exec;
mod exits;
mod follow;
mod frames;
mod output;
mod peer;
mod place;
mod run;
mod talks;
mod watch;
mod write;
