//! The locks, counters and threads of what is also modelled: the models in `tests/models/` put shuttle's in their place.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
pub(crate) use std::thread::JoinHandle;
