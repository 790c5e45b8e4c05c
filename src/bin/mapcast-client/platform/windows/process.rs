//! Child processes, each in a job object that is terminated and waited for as a whole.

use std::io;
use std::os::windows::io::AsRawHandle;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use log::debug;
use win32job::{ExtendedLimitInfo, Job};

use super::signal::Signal;

/// The running processes. The lock guards the list; no thread waits for another process while it holds the lock, except to
/// start one.
static RUNNING: Mutex<Vec<RunningProcess>> = Mutex::new(Vec::new());

/// The number of processes that were started. Windows uses the number of a process again as soon as its handle is closed.
static STARTED: AtomicU64 = AtomicU64::new(0);

struct RunningProcess {
    key: u64,
    /// The process and its descendants, which end when this is closed; `None` once they are to end.
    job: Option<Job>,
    /// `None` while the process runs.
    status: Option<ExitStatus>,
    changed: Box<dyn Fn() + Send>,
}

/// A child with a job object: what ends it ends its descendants too, and so does the end of this process.
#[derive(Debug)]
pub(crate) struct Process {
    key: u64,
    id: u32,
}

impl Process {
    /// Starts `command`. Another thread calls `changed` when the process has exited.
    ///
    /// # Errors
    /// If the command cannot be started, or the system refuses a job or a thread.
    pub(crate) fn start(command: &mut Command, changed: impl Fn() + Send + 'static) -> io::Result<Self> {
        let mut limits = ExtendedLimitInfo::new();
        limits.limit_kill_on_job_close();
        let job = Job::create_with_limit_info(&limits).map_err(io::Error::other)?;
        let (mut running, key) = (running(), STARTED.fetch_add(1, Ordering::Relaxed));
        let mut child = command.spawn()?;
        let id = child.id();
        if let Err(error) = job.assign_process(child.as_raw_handle().addr().cast_signed())
            // One that has exited cannot be assigned, and need not be.
            && child.try_wait()?.is_none()
        {
            // Nothing could end its descendants later.
            child.kill()?;
            return Err(io::Error::other(error));
        }
        running.push(RunningProcess { key, job: Some(job), status: None, changed: Box::new(changed) });
        drop(running);
        let process = Self { key, id };
        let reaper = thread::Builder::new().name("reaper".to_owned()).spawn(move || reap(key, child));
        if let Err(error) = reaper {
            process.signal(Signal::KILL);
            return Err(error);
        }
        Ok(process)
    }

    /// The number of the process.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Ends the process and its descendants: Windows has no request that every program would get. `SIGINT` does nothing: the
    /// console has told the process of Ctrl-C, too.
    pub(crate) fn signal(&self, signal: Signal) {
        if signal == Signal::INT {
            return;
        }
        // The job is closed after the lock is released.
        let job = running().iter_mut().find(|found| found.key == self.key).and_then(|found| found.job.take());
        drop(job);
    }

    /// Returns the exit status; `None` while the process runs. Its descendants may still run.
    pub(crate) fn status(&self) -> Option<ExitStatus> {
        running().iter().find(|found| found.key == self.key).and_then(|found| found.status)
    }

    /// True if and only if the process and its descendants have exited, or are to end.
    pub(crate) fn has_group_ended(&self) -> bool {
        running().iter().find(|found| found.key == self.key).is_none_or(RunningProcess::has_group_ended)
    }
}

impl Drop for Process {
    /// Remaining descendants keep running.
    fn drop(&mut self) {
        let mut running = running();
        let Some(index) = running.iter().position(|found| found.key == self.key) else { return };
        let process = running.swap_remove(index);
        if let Some(job) = &process.job
            && let Err(error) = job.set_extended_limit_info(&ExtendedLimitInfo::new())
        {
            debug!("the descendants of process {} end with its job: {error}", self.id);
        }
    }
}

impl RunningProcess {
    fn has_group_ended(&self) -> bool {
        let is_empty = |job: &Job| job.query_process_id_list().is_ok_and(|list| list.is_empty());
        self.status.is_some() && self.job.as_ref().is_none_or(is_empty)
    }
}

/// Does nothing: each process has a thread that waits for it.
#[allow(clippy::unnecessary_wraps, reason = "other systems may refuse")]
pub(crate) fn start_reaper() -> anyhow::Result<()> {
    Ok(())
}

/// Waits for `child`, and stores its status.
fn reap(key: u64, mut child: Child) {
    let status = child.wait().unwrap_or_default();
    if let Some(found) = running().iter_mut().find(|found| found.key == key) {
        found.status = Some(status);
        (found.changed)();
    }
}

fn running() -> MutexGuard<'static, Vec<RunningProcess>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns false: Windows has no first process that keeps others running.
pub(crate) fn is_init() -> bool {
    false
}

/// Returns the exit code for `status`, which has 32 bits on Windows: 255 for all above.
pub(crate) fn exit_code(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// Ends all running processes, for an immediate exit.
pub(crate) fn kill_running() {
    running().iter_mut().for_each(|running| drop(running.job.take()));
}
