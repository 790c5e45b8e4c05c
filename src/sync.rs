//! The locks, atomics, threads and clock of the code that is also modelled: `tests/models/` replaces this file by one with
//! shuttle's.

pub(crate) use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock, TryLockError, mpsc};
pub(crate) use std::thread::{self, JoinHandle};
pub(crate) use std::time::Instant;
