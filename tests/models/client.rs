//! A client as the registry knows it: whom it notifies, and what it cuts.

use std::io;
use std::net::Shutdown as Direction;

use shuttle::sync::{Condvar, Mutex};

/// Why it is pending, of the causes that the registry has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WakeReason {
    Stop,
    Cut,
}

/// What has pending stays pending.
#[derive(Debug, Default)]
pub(crate) struct Notifier {
    pending: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Notifier {
    pub(crate) fn notify(&self, cause: WakeReason) {
        let mut pending = self.pending.lock().unwrap();
        match cause {
            WakeReason::Stop => pending.0 = true,
            WakeReason::Cut => pending.1 = true,
        }
        drop(pending);
        self.changed.notify_all();
    }

    /// Waits for either: the cut says that the stop was before it.
    pub(crate) fn wait_stop(&self) {
        let pending = self.pending.lock().unwrap();
        drop(self.changed.wait_while(pending, |pending| !pending.0 && !pending.1).unwrap());
    }

    pub(crate) fn wait_cut(&self) {
        let pending = self.pending.lock().unwrap();
        drop(self.changed.wait_while(pending, |pending| !pending.1).unwrap());
    }
}

#[derive(Debug, Default)]
pub(crate) struct ClientSender {
    notifier: Notifier,
}

impl ClientSender {
    pub(crate) fn notifier(&self) -> &Notifier {
        &self.notifier
    }
}

/// A socket that is only ever shut down.
pub(crate) struct Socket;

impl Socket {
    pub(crate) fn tcp(&self) -> &Self {
        self
    }

    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "as std's socket has it")]
    pub(crate) fn shutdown(&self, _: Direction) -> io::Result<()> {
        Ok(())
    }
}

impl ClientSender {
    #[allow(clippy::unused_self, reason = "as the library's sender has it")]
    pub(crate) fn socket(&self) -> Socket {
        Socket
    }
}
