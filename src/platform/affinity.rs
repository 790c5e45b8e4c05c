//! Which core another thread runs on.

use std::io;

/// A thread, for whoever wants it elsewhere.
#[derive(Debug)]
pub(crate) struct ThreadAffinity {
    #[cfg(target_os = "linux")]
    id: rustix::thread::Pid,
    /// Where it might run when this was made.
    #[cfg(target_os = "linux")]
    allowed: rustix::thread::CpuSet,
}

#[cfg(target_os = "linux")]
impl ThreadAffinity {
    /// Returns the calling thread.
    ///
    /// # Errors
    /// If the system does not say where it may run.
    pub(crate) fn of_current_thread() -> io::Result<Self> {
        use rustix::thread::{gettid, sched_getaffinity};
        Ok(Self { id: gettid(), allowed: sched_getaffinity(None)? })
    }

    /// Has it run on any core but the one that the calling thread runs on, if it may run on another at all.
    ///
    /// # Errors
    /// If it has ended, or the system refuses; it then stays where it is.
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
    fn a_thread_is_moved_from_the_core_of_whoever_asks() {
        let allowed = sched_getaffinity(None).unwrap();
        if allowed.count() < 2 {
            return crate::testing::skip("there is one core");
        }
        let (tell, told) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        let thread = thread::Builder::new()
            .spawn(move || {
                tell.send(ThreadAffinity::of_current_thread().unwrap()).unwrap();
                gone.recv().unwrap();
                (sched_getaffinity(None).unwrap(), sched_getcpu())
            })
            .unwrap();
        let affinity = told.recv().unwrap();
        affinity.avoid_current_cpu().unwrap();
        go.send(()).unwrap();
        let (then, core) = thread.join().unwrap();
        assert_eq!(then.count(), allowed.count() - 1);
        assert!(then.is_set(core), "it runs where it may not");
    }
}
