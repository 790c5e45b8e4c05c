//! The client program against small scripted servers.

mod check;
mod commands;
mod echo_greet;
mod edit;
mod exec;
mod exits;
mod failures;
mod fixture;
mod follow;
mod frames;
mod ignored;
mod output;
mod peer;
mod run;
mod settle_check;
mod start;
mod watch;
mod write;
mod written;
