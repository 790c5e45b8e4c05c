//! The modules of `src/sync`, with shuttle's primitives.

#[path = "../../src/sync/locks.rs"]
#[allow(dead_code, reason = "the models use only a part of it")]
mod locks;

mod primitives {
    pub(super) use shuttle::sync::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
}

pub(crate) use crate::clock::Instant;
pub(crate) use locks::{Condvar, Mutex, RwLock};
pub(crate) use shuttle::sync::atomic::{AtomicU8, AtomicU64, Ordering};
pub(crate) use shuttle::sync::{MutexGuard, mpsc};
pub(crate) use shuttle::thread::JoinHandle;

pub(crate) mod thread {
    pub(crate) use crate::clock::park_timeout;
    pub(crate) use shuttle::thread::{Builder, Thread, current, park};
    use std::num::NonZero;

    /// Returns 2, for which the library starts one publisher.
    #[allow(clippy::unnecessary_wraps, reason = "the signature of std")]
    pub(crate) fn available_parallelism() -> std::io::Result<NonZero<usize>> {
        Ok(NonZero::<usize>::MIN.saturating_add(1))
    }
}
