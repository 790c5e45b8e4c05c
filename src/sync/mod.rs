//! The locks, atomics, threads and clock of the code that is also modelled: `tests/models/` replaces the primitives by
//! shuttle's.

mod locks;

/// The standard library's primitives.
mod primitives {
    pub(super) use std::sync::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
}

pub(crate) use locks::{Condvar, Mutex, RwLock};
pub(crate) use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
pub(crate) use std::sync::{MutexGuard, mpsc};
pub(crate) use std::thread::{self, JoinHandle};
pub(crate) use std::time::Instant;
