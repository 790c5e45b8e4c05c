//! The CPU affinity of another thread.

use std::io;

/// A thread that can be moved to another CPU core.
#[derive(Debug)]
pub(crate) struct ThreadAffinity {
    #[cfg(target_os = "linux")]
    id: rustix::thread::Pid,
    /// The cores that it was allowed to run on at creation.
    #[cfg(target_os = "linux")]
    allowed: rustix::thread::CpuSet,
}

#[cfg(target_os = "linux")]
impl ThreadAffinity {
    /// Returns the affinity of the calling thread.
    ///
    /// # Errors
    /// If the system does not report it.
    pub(crate) fn of_current_thread() -> io::Result<Self> {
        use rustix::thread::{gettid, sched_getaffinity};
        Ok(Self { id: gettid(), allowed: sched_getaffinity(None)? })
    }

    /// Excludes the calling thread's core from the cores that the thread runs on, if it may run on another one.
    ///
    /// # Errors
    /// If the thread has ended, or the system refuses; the affinity is then unchanged.
    pub(crate) fn avoid_current_cpu(&self) -> io::Result<()> {
        use rustix::thread::{sched_getcpu, sched_setaffinity};
        let mut elsewhere = self.allowed;
        elsewhere.unset(sched_getcpu());
        if elsewhere.count() == 0 {
            return Ok(());
        }
        Ok(sched_setaffinity(Some(self.id), &elsewhere)?)
    }
}

#[cfg(not(target_os = "linux"))]
impl ThreadAffinity {
    pub(crate) fn of_current_thread() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn avoid_current_cpu(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use rustix::thread::{sched_getaffinity, sched_getcpu};
    use std::sync::mpsc;
    use std::thread;

    #[test]
    fn a_thread_is_moved_away_from_the_callers_core() {
        let allowed = sched_getaffinity(None).unwrap();
        if allowed.count() < 2 {
            return crate::testing::skip("there is one core");
        }
        let (affinities, affinity) = mpsc::channel();
        let (go, start) = mpsc::channel::<()>();
        let thread = thread::Builder::new()
            .spawn(move || {
                affinities.send(ThreadAffinity::of_current_thread().unwrap()).unwrap();
                start.recv().unwrap();
                (sched_getaffinity(None).unwrap(), sched_getcpu())
            })
            .unwrap();
        let affinity = affinity.recv().unwrap();
        affinity.avoid_current_cpu().unwrap();
        go.send(()).unwrap();
        let (then, core) = thread.join().unwrap();
        assert_eq!(then.count(), allowed.count() - 1);
        assert!(then.is_set(core), "it runs on an excluded core");
    }
}
