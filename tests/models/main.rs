//! Models of what several threads do at once to a connection, to the feed, at the stop and to the count, run under
//! thousands of random schedules by shuttle, which is in the place of the locks and threads of the standard library. What
//! is modelled is the library's own file, unchanged.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a model fails by panicking")]
#![allow(missing_docs, unreachable_pub, reason = "nobody uses this program's modules but itself")]

use shuttle::scheduler::RandomScheduler;
use shuttle::{Config, Runner};

mod client;
mod count_model;
mod feed_model;
mod frame_sender_model;
mod slots_model;
mod stop_model;

/// What the library's file finds under the names that it knows.
#[path = "../../src/connection/frame_sender.rs"]
#[allow(dead_code, reason = "the models need a part of it, and its unit tests run elsewhere")]
mod frame_sender;

#[path = "../../src/feed.rs"]
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

/// The functions of `src/sync.rs` over shuttle's locks.
mod sync {
    use shuttle::sync;
    use std::sync::{PoisonError, TryLockError};
    use std::time::Duration;

    pub(crate) use shuttle::sync::atomic::{AtomicU64, Ordering};
    pub(crate) use shuttle::sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};
    pub(crate) use shuttle::thread::JoinHandle;

    /// A mutex without poisoning.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        /// Locks the mutex without blocking. Returns `None` if and only if it is locked already.
        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            match self.0.try_lock() {
                Ok(guard) => Some(guard),
                Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            }
        }
    }

    /// A reader-writer lock without poisoning.
    #[derive(Debug, Default)]
    pub(crate) struct RwLock<T>(sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(sync::RwLock::new(value))
        }

        pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
            self.0.read().unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
            self.0.write().unwrap_or_else(PoisonError::into_inner)
        }
    }

    /// A condition variable for [`Mutex`].
    #[derive(Debug, Default)]
    pub(crate) struct Condvar(sync::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self(sync::Condvar::new())
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }

        pub(crate) fn wait<'lock, T>(&self, guard: MutexGuard<'lock, T>) -> MutexGuard<'lock, T> {
            self.0.wait(guard).unwrap_or_else(PoisonError::into_inner)
        }

        /// Waits for a notification, for `limit` at most. May wake without either.
        pub(crate) fn wait_timeout<'lock, T>(
            &self,
            guard: MutexGuard<'lock, T>,
            limit: Duration,
        ) -> MutexGuard<'lock, T> {
            self.0.wait_timeout(guard, limit).unwrap_or_else(PoisonError::into_inner).0
        }

        /// Waits while `condition` holds, for `limit` at most.
        pub(crate) fn wait_timeout_while<'lock, T>(
            &self,
            guard: MutexGuard<'lock, T>,
            limit: Duration,
            condition: impl FnMut(&mut T) -> bool,
        ) -> MutexGuard<'lock, T> {
            self.0.wait_timeout_while(guard, limit, condition).unwrap_or_else(PoisonError::into_inner).0
        }
    }
}

mod connection {
    pub(crate) use crate::client::ClientSender;
    pub(crate) use crate::frame_sender::SendCounts;
}

#[allow(unused_imports, reason = "as above")]
mod threads {
    pub(crate) use crate::client::WakeReason;
    pub(crate) use mapcast::threads::Worker;
}

mod backlog {
    pub(crate) use mapcast::Backlog;
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

/// Schedules of each model.
const SCHEDULES: usize = 10_000;

fn main() {
    let models: [(&str, fn()); 14] = [
        ("a_change_during_the_connect_is_not_missed", frame_sender_model::publish_against_connect),
        ("a_slow_client_gets_whole_frames_and_the_newest_at_last", frame_sender_model::publish_against_slow_write),
        ("a_stop_ends_on_a_frame_boundary", frame_sender_model::publish_against_stop),
        ("a_repeat_never_follows_a_newer_map_or_the_stop", frame_sender_model::repeat_against_change_and_stop),
        ("a_repeat_that_finds_no_room_is_the_owners", frame_sender_model::repeat_against_slow_write),
        ("versions_never_go_back_for_a_reader", feed_model::publish_against_read),
        ("a_waiter_has_the_last_change_in_the_end", feed_model::publish_against_wait),
        ("a_subscriber_has_the_last_change_in_the_end", feed_model::publish_against_subscribe),
        ("of_two_equal_maps_at_once_one_is_a_change", feed_model::publish_the_same_twice),
        ("a_connection_that_registers_while_the_stop_notifies_is_notified", stop_model::register_against_stop),
        ("the_drain_sees_those_who_leave_while_the_stop_rings", stop_model::leave_against_stop),
        ("a_connection_that_registers_while_others_are_cut_is_cut", stop_model::register_against_cut),
        ("no_more_threads_exist_than_there_are_slots", slots_model::leave_reap_and_admit),
        ("the_count_is_right_however_connections_end", count_model::come_and_go),
    ];
    // As the ordinary tests: a name on the command line is what the names of those that run contain.
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let models: Vec<_> = models.into_iter().filter(|(name, _)| name.contains(&wanted)).collect();
    println!("\nrunning {} tests", models.len());
    for &(name, model) in &models {
        let mut config = Config::default();
        // It warns that it takes a relaxed counter for a stricter one: nobody infers anything from those.
        config.silence_warnings = true;
        Runner::new(RandomScheduler::new(SCHEDULES), config).run(model);
        println!("test {name} ... ok ({SCHEDULES} schedules)");
    }
    println!("\ntest result: ok. {} passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n", models.len());
}
