//! A thread of a service's own, beside those of the connections.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use super::bell::{Bell, Cause};

/// A thread that works until its bell rings for the stop. Rung so, and joined, when this is dropped.
#[derive(Debug)]
pub(crate) struct BelledThread {
    bell: Arc<Bell>,
    /// What the log says if it has panicked.
    obituary: &'static str,
    /// Taken when this is dropped.
    thread: Option<JoinHandle<()>>,
}

impl BelledThread {
    /// Starts the thread. There, `begin` is called with its bell and has returned before this does; what it returns is
    /// then the thread's work.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(crate) fn start<W: FnOnce()>(
        name: String,
        obituary: &'static str,
        begin: impl FnOnce(Arc<Bell>) -> W + Send + 'static,
    ) -> io::Result<Self> {
        let (bells, hung) = mpsc::sync_channel(1);
        let run = move || {
            let bell = Arc::new(Bell::for_this_thread());
            let work = begin(Arc::clone(&bell));
            // Nobody takes it if the starter has gone, which ends the thread as well.
            if bells.send(bell).is_ok() {
                work();
            }
        };
        let thread = thread::Builder::new().name(name).spawn(run)?;
        let bell = hung.recv().map_err(io::Error::other)?;
        Ok(Self { bell, obituary, thread: Some(thread) })
    }
}

impl Drop for BelledThread {
    fn drop(&mut self) {
        self.bell.ring(Cause::Stop);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("{}", self.obituary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU8, Ordering};

    #[test]
    fn it_has_begun_when_it_is_started_and_ended_when_it_is_dropped() {
        let stage = Arc::new(AtomicU8::new(0));
        let reached = Arc::clone(&stage);
        let thread = BelledThread::start("belled".to_owned(), "it panicked", move |bell| {
            reached.store(1, Ordering::SeqCst);
            move || {
                while !bell.wait(None).contains(Cause::Stop) {}
                reached.store(2, Ordering::SeqCst);
            }
        });
        assert_eq!(stage.load(Ordering::SeqCst), 1);
        drop(thread.unwrap());
        assert_eq!(stage.load(Ordering::SeqCst), 2);
    }
}
