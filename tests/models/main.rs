//! Models of concurrent code: frame sender, feed, publishers, stop, slots and connection count. Shuttle runs each model under
//! thousands of random schedules, with its own locks, atomics and threads in place of the standard library's. The models
//! include the library's own files, unchanged.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a model fails by panicking")]
#![allow(missing_docs, unreachable_pub, reason = "only this program uses its modules")]

use shuttle::scheduler::RandomScheduler;
use shuttle::{Config, Runner};

mod client;
mod clock;
mod count_model;
mod feed_model;
mod frame_sender_model;
mod slots_model;
mod stop_model;

// The library's files, under the paths by which they import each other.
#[path = "../../src/connection/frame_sender.rs"]
#[allow(dead_code, reason = "the models use only a part of it")]
mod frame_sender;

#[path = "../../src/feed/mod.rs"]
#[allow(dead_code, unused_imports, reason = "as above")]
mod feed;

#[path = "../../src/server/peer.rs"]
#[allow(dead_code, unused_imports, reason = "as above")]
mod peer;

#[path = "../../src/server/registry.rs"]
#[allow(dead_code, reason = "as above")]
mod registry;

#[path = "../../src/server/slots.rs"]
mod slots;

#[path = "../../src/stats/mod.rs"]
#[allow(dead_code, unused_imports, reason = "as above")]
mod stats;

#[path = "../../src/threads/mod.rs"]
#[allow(dead_code, unused_imports, reason = "as above")]
mod threads;

#[path = "../../src/display/throttle.rs"]
#[allow(dead_code, unused_imports, reason = "as above")]
mod throttle;

#[path = "../../src/backlog.rs"]
#[allow(dead_code, reason = "as above")]
mod backlog;

/// The publishers, their helpers and their subscribers.
mod cast {
    #[path = "../../../src/service/cast/helper.rs"]
    #[allow(dead_code, reason = "as above")]
    mod helper;
    #[path = "../../../src/service/cast/helper_handle.rs"]
    mod helper_handle;
    pub(crate) mod model;
    #[path = "../../../src/service/cast/publisher.rs"]
    mod publisher;
    #[path = "../../../src/service/cast/round.rs"]
    mod round;
    #[path = "../../../src/service/cast/send_mode.rs"]
    #[allow(dead_code, reason = "as above")]
    mod send_mode;
    #[path = "../../../src/service/cast/subscribers.rs"]
    #[allow(dead_code, reason = "as above")]
    mod subscribers;
    #[path = "../../../src/service/cast/timer_queue.rs"]
    #[allow(unused_imports, reason = "as above")]
    mod timer_queue;

    use send_mode::SendMode;

    type WeakSender = std::sync::Weak<crate::client::ClientSender>;
}

mod sync;

mod display {
    pub(crate) use crate::throttle;
    pub(crate) use mapcast::display::units;
}

mod connection {
    pub(crate) use crate::client::{ClientSender, SendBatch};
    pub(crate) use crate::frame_sender::{Offer, SendCounts};
}

mod format {
    pub(crate) use mapcast::format::{Error, Format};
}

mod frame {
    pub(crate) use mapcast::frame::{Error, Frame};
}

#[allow(unused_imports, reason = "as above")]
mod map {
    pub(crate) use mapcast::map::{Map, builtin};
}

/// The random schedules of each model.
const SCHEDULES: usize = 10_000;

fn main() {
    let models: [(&str, fn()); 20] = [
        ("a_change_during_the_connect_is_not_missed", frame_sender_model::publish_against_connect),
        ("a_slow_client_gets_whole_frames_and_the_newest_at_last", frame_sender_model::publish_against_slow_write),
        ("a_stop_ends_on_a_frame_boundary", frame_sender_model::publish_against_stop),
        ("a_repeat_never_follows_a_newer_map_or_the_stop", frame_sender_model::repeat_against_change_and_stop),
        ("a_repeat_without_room_is_sent_by_the_owner", frame_sender_model::repeat_against_slow_write),
        ("versions_never_go_back_for_a_reader", feed_model::publish_against_read),
        ("a_waiter_has_the_last_change_in_the_end", feed_model::publish_against_wait),
        ("a_subscriber_has_the_last_change_in_the_end", feed_model::publish_against_subscribe),
        ("of_two_equal_maps_at_once_one_is_a_change", feed_model::publish_the_same_twice),
        ("a_connection_that_registers_during_the_stop_is_notified", stop_model::register_against_stop),
        ("the_drain_sees_clients_that_leave_during_the_stop", stop_model::leave_against_stop),
        ("a_connection_that_registers_while_others_are_cut_is_cut", stop_model::register_against_cut),
        ("no_more_threads_exist_than_there_are_slots", slots_model::leave_reap_and_admit),
        ("a_client_that_subscribes_during_a_change_has_the_last_one", cast::model::subscribe_against_publish),
        ("a_client_whose_first_frame_was_sent_has_the_last_one", cast::model::first_frame_against_publish),
        ("a_client_without_publishers_has_the_last_change", cast::model::subscribe_against_publish_by_thread),
        ("all_clients_of_a_batch_have_the_last_change", cast::model::publish_to_several_against_slow_write),
        ("a_publisher_that_stops_leaves_no_change_unsent", cast::model::stop_against_publish),
        ("a_client_that_leaves_takes_no_repeat_from_another", cast::model::leave_against_repeat),
        ("the_count_is_right_however_connections_end", count_model::come_and_go),
    ];
    // As with ordinary tests, only the models run whose names contain the argument.
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let models: Vec<_> = models.into_iter().filter(|(name, _)| name.contains(&filter)).collect();
    println!("\nrunning {} tests", models.len());
    for &(name, model) in &models {
        let mut config = Config::default();
        // Shuttle warns that it treats relaxed atomics as sequentially consistent. No model depends on a relaxed one.
        config.silence_warnings = true;
        Runner::new(RandomScheduler::new(SCHEDULES), config).run(model);
        println!("test {name} ... ok ({SCHEDULES} schedules)");
    }
    println!("\ntest result: ok. {} passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n", models.len());
}
