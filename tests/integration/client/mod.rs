//! The client program against servers that are a few lines of sockets each.

mod care;
mod check;
mod exec;
mod exits;
mod follow;
mod frames;
mod hold_back;
mod ignored;
mod output;
mod peer;
mod place;
mod run;
mod start;
mod talks;
mod watch;
mod write;
