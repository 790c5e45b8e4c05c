//! A client as the registry knows it: whom it rings, and what it cuts.

use std::io;
use std::net::Shutdown as Direction;

use shuttle::sync::{Condvar, Mutex};

/// Why it is rung, of the causes that the registry has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    Stop,
    Cut,
}

/// What has rung stays rung.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: Mutex<(bool, bool)>,
    ringing: Condvar,
}

impl Bell {
    pub(crate) fn ring(&self, cause: Cause) {
        let mut rung = self.rung.lock().unwrap();
        match cause {
            Cause::Stop => rung.0 = true,
            Cause::Cut => rung.1 = true,
        }
        drop(rung);
        self.ringing.notify_all();
    }

    /// Waits for either: the cut says that the stop was before it.
    pub(crate) fn wait_stop(&self) {
        let rung = self.rung.lock().unwrap();
        drop(self.ringing.wait_while(rung, |rung| !rung.0 && !rung.1).unwrap());
    }

    pub(crate) fn wait_cut(&self) {
        let rung = self.rung.lock().unwrap();
        drop(self.ringing.wait_while(rung, |rung| !rung.1).unwrap());
    }
}

pub(crate) trait Belled {
    fn bell(&self) -> &Bell;
}

#[derive(Debug, Default)]
pub(crate) struct ClientOutlet {
    bell: Bell,
}

impl Belled for ClientOutlet {
    fn bell(&self) -> &Bell {
        &self.bell
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

impl ClientOutlet {
    #[allow(clippy::unused_self, reason = "as the library's outlet has it")]
    pub(crate) fn socket(&self) -> Socket {
        Socket
    }
}
