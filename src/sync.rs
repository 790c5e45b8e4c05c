//! The locks, atomics and threads of modelled files; the models in `tests/models/` replace them by shuttle's.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
pub(crate) use std::thread::JoinHandle;
