//! Tests of the slots. In a file of their own, because the models compile the slots' file with other locks.

use std::cell::Cell;
use std::thread;
use std::time::Duration;

use super::slots::{Class, ThreadSlots};

#[test]
fn the_reaper_counts_a_round_for_each_joined_thread() {
    let (slots, rounds, joined) = (ThreadSlots::new(3, 0), Cell::new(0), Cell::new(0));
    for _ in 0..3 {
        assert!(slots.take(Class::Ordinary));
        slots.retire(thread::Builder::new().spawn(|| ()).unwrap(), Class::Ordinary);
    }
    slots.close();
    let join = |thread: thread::JoinHandle<()>| {
        assert!(rounds.replace(0) > 0, "no round since the last join");
        thread.join().unwrap();
    };
    slots.reap(Duration::from_hours(1), || rounds.set(rounds.get() + 1), join, || joined.set(joined.get() + 1));
    assert_eq!(joined.get(), 3);
}
