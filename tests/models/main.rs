//! Models of what several threads do to one connection, run under thousands of random schedules by shuttle, which is in
//! the place of the locks and threads of the standard library. The outlet is the library's own file, unchanged.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a model fails by panicking")]
#![allow(missing_docs, unreachable_pub, reason = "nobody uses this program's modules but itself")]

mod outlet_model;

/// What the library's file finds under the names that it knows.
#[path = "../../src/connection/outlet.rs"]
#[allow(dead_code, reason = "the models need a part of it, and its unit tests run elsewhere")]
mod outlet;

mod sync {
    pub(crate) use shuttle::sync::{Mutex, MutexGuard};
    pub(crate) use std::sync::{PoisonError, TryLockError};
}

mod frame {
    pub(crate) use mapcast::frame::Frame;
}

/// Schedules of each model.
const SCHEDULES: usize = 10_000;

fn main() {
    let models: [(&str, fn()); 5] = [
        ("a_change_during_the_connect_is_not_missed", outlet_model::publish_against_connect),
        ("a_slow_client_gets_whole_frames_and_the_newest_at_last", outlet_model::publish_against_slow_write),
        ("a_stop_ends_on_a_frame_boundary", outlet_model::publish_against_stop),
        ("a_repeat_never_follows_a_newer_map_or_the_stop", outlet_model::repeat_against_change_and_stop),
        ("a_repeat_that_finds_no_room_is_the_owners", outlet_model::repeat_against_slow_write),
    ];
    println!("\nrunning {} tests", models.len());
    for (name, model) in models {
        shuttle::check_random(model, SCHEDULES);
        println!("test {name} ... ok ({SCHEDULES} schedules)");
    }
    println!("\ntest result: ok. {} passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n", models.len());
}
