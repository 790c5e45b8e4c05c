//! The client program against small scripted servers.

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
