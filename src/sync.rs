//! The locks of what is also modelled: the models in `tests/models/` put shuttle's in their place.

pub(crate) use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
