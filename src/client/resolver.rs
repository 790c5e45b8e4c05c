//! Name resolution with a time limit.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::thread;

use super::address;
use super::socket::Cancellation;
use crate::platform::{self, AsFd, OwnedFd, Readiness};
use crate::sync::Mutex;

/// How many different names may be looked up at once: a client has one name, a Redis source has one per sentinel.
const MAX_LOOKUPS: usize = 4;

/// Resolves names. The system's lookup (getaddrinfo(3)) can be neither cancelled nor limited: without an answering
/// name server it takes 10 s by default (resolv.conf(5)), or much longer. So each lookup runs in a thread of its own.
/// Another request for the same name waits for the running lookup: retries do not accumulate threads.
pub(crate) struct Resolver {
    lookup: Arc<Lookup>,
    /// Running lookups, and finished ones whose result has not been fetched. The lock guards the list alone.
    pending: Mutex<Vec<Pending>>,
}

/// Returns the addresses of a name with a port. Blocks.
type Lookup = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// A started lookup.
#[derive(Debug, Clone)]
struct Pending {
    name: String,
    /// Set by its thread before the thread ends.
    answer: Arc<OnceLock<io::Result<Vec<SocketAddr>>>>,
    /// Readable once the thread, which holds the writing end, has ended.
    ended: Arc<OwnedFd>,
}

impl Resolver {
    pub(crate) fn new() -> Self {
        Self::with(address::resolve)
    }

    /// As [`new`](Self::new), with another lookup function.
    pub(super) fn with(lookup: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static) -> Self {
        Self { lookup: Arc::new(lookup), pending: Mutex::default() }
    }

    /// Returns the addresses of `name`, which is `HOST:PORT`; `None` if and only if it was cancelled first. The lookup
    /// then continues, and the next call for the same name returns its result.
    ///
    /// # Errors
    /// The system's error for the name; no thread or descriptor left; `ResourceBusy` if too many other names are being
    /// looked up.
    pub(super) fn resolve(&self, name: &str, cancellation: &Cancellation) -> io::Result<Option<Vec<SocketAddr>>> {
        if let Ok(address) = name.parse::<SocketAddr>() {
            return Ok(Some(vec![address]));
        }
        let pending = self.join_or_start(name)?;
        if !cancellation.wait_ready(pending.ended.as_fd(), Readiness::Readable)? {
            return Ok(None);
        }
        self.pending.lock().retain(|other| !Arc::ptr_eq(&other.answer, &pending.answer));
        match pending.answer.get() {
            Some(Ok(addresses)) => Ok(Some(addresses.clone())),
            Some(Err(error)) => Err(io::Error::new(error.kind(), error.to_string())),
            None => Err(io::Error::other("the name lookup has panicked")),
        }
    }

    /// Returns the running or finished lookup of `name`, or starts one. A lookup that has failed meanwhile is
    /// repeated.
    fn join_or_start(&self, name: &str) -> io::Result<Pending> {
        let mut pending = self.pending.lock();
        pending.retain(|lookup| !matches!(lookup.answer.get(), Some(Err(_))));
        if let Some(lookup) = pending.iter().find(|lookup| lookup.name == name) {
            return Ok(lookup.clone());
        }
        pending.retain(|lookup| lookup.answer.get().is_none());
        if pending.len() >= MAX_LOOKUPS {
            return Err(io::Error::new(
                ErrorKind::ResourceBusy,
                "too many names are being looked up; does a name server answer?",
            ));
        }
        let lookup = self.begin(name)?;
        pending.push(lookup.clone());
        Ok(lookup)
    }

    fn begin(&self, name: &str) -> io::Result<Pending> {
        let (ended, writer) = platform::pipe()?;
        let pending = Pending { name: name.to_owned(), answer: Arc::default(), ended: Arc::new(ended) };
        let (lookup, name, answer) = (Arc::clone(&self.lookup), name.to_owned(), Arc::clone(&pending.answer));
        let run = move || {
            let _ended = writer;
            // Only this thread sets it.
            let _ = answer.set(lookup(&name));
        };
        // The thread ends with the process, or when the system's lookup returns.
        thread::Builder::new().name("resolver".to_owned()).spawn(run)?;
        Ok(pending)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("pending", &self.pending).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shutdown::Shutdown;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Sender, channel};
    use std::time::Duration;

    fn cancellation() -> Cancellation {
        Cancellation { shutdown: Shutdown::new().unwrap(), deadline: None }
    }

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    /// Returns a resolver whose lookups return what the sender sends, and the number of started lookups.
    fn held() -> (Resolver, Sender<io::Result<Vec<SocketAddr>>>, Arc<AtomicUsize>) {
        let (sender, answers) = channel();
        let (answers, begun) = (Mutex::new(answers), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&begun);
        let lookup = move |_: &str| {
            counted.fetch_add(1, Ordering::SeqCst);
            answers.lock().recv().unwrap_or_else(|_| Err(ErrorKind::NotFound.into()))
        };
        (Resolver::with(lookup), sender, begun)
    }

    #[test]
    fn a_stop_or_a_deadline_ends_the_wait_for_a_lookup() {
        let (resolver, _answers, _) = held();
        let soon = cancellation().within(Duration::from_millis(20));
        assert_eq!(resolver.resolve("h:1", &soon).unwrap(), None);
        let stopped = cancellation();
        stopped.shutdown.trigger();
        assert_eq!(resolver.resolve("h:1", &stopped).unwrap(), None);
    }

    #[test]
    fn another_request_waits_for_the_running_lookup() {
        let (resolver, answers, begun) = held();
        for _ in 0..10 {
            assert_eq!(resolver.resolve("h:1", &cancellation().within(Duration::from_millis(2))).unwrap(), None);
        }
        answers.send(Ok(vec![address(7)])).unwrap();
        assert_eq!(resolver.resolve("h:1", &cancellation()).unwrap(), Some(vec![address(7)]));
        assert_eq!(begun.load(Ordering::SeqCst), 1);
        // A fetched result is not cached.
        answers.send(Ok(vec![address(8)])).unwrap();
        assert_eq!(resolver.resolve("h:1", &cancellation()).unwrap(), Some(vec![address(8)]));
    }

    #[test]
    fn an_unfetched_failure_is_discarded() {
        let (resolver, answers, _) = held();
        assert_eq!(resolver.resolve("h:1", &cancellation().within(Duration::from_millis(2))).unwrap(), None);
        answers.send(Err(ErrorKind::NotFound.into())).unwrap();
        let hung = resolver.pending.lock()[0].clone();
        assert!(cancellation().wait_ready(hung.ended.as_fd(), Readiness::Readable).unwrap());
        answers.send(Ok(vec![address(7)])).unwrap();
        assert_eq!(resolver.resolve("h:1", &cancellation()).unwrap(), Some(vec![address(7)]));
    }

    #[test]
    fn after_a_failure_the_next_lookup_is_new() {
        let (resolver, answers, begun) = held();
        for _ in 0..2 {
            answers.send(Err(io::Error::new(ErrorKind::NotFound, "no such name"))).unwrap();
            let error = resolver.resolve("h:1", &cancellation()).unwrap_err();
            assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::NotFound, "no such name"));
        }
        assert_eq!(begun.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn hanging_names_take_a_limited_number_of_threads() {
        let (resolver, _answers, _) = held();
        let ask = |number: usize| resolver.resolve(&format!("h{number}:1"), &cancellation().within(Duration::ZERO));
        assert!((0..MAX_LOOKUPS).all(|number| ask(number).unwrap().is_none()));
        assert_eq!(ask(MAX_LOOKUPS).unwrap_err().kind(), ErrorKind::ResourceBusy);
        assert!(ask(0).unwrap().is_none());
    }

    #[test]
    fn a_panic_of_the_lookup_is_an_error() {
        let resolver = Resolver::with(|_| panic!("as a name service's module may"));
        assert!(resolver.resolve("h:1", &cancellation()).is_err());
    }

    #[test]
    fn an_address_needs_no_lookup() {
        let resolver = Resolver::with(|_| Err(ErrorKind::NotFound.into()));
        assert_eq!(resolver.resolve("127.0.0.1:7", &cancellation()).unwrap(), Some(vec![address(7)]));
        assert!(resolver.resolve("[::1]:7", &cancellation()).unwrap().is_some());
    }

    #[test]
    fn a_local_name_is_resolved() {
        let found = Resolver::new().resolve("localhost:7", &cancellation()).unwrap().unwrap();
        assert!(found.iter().any(|address| address.ip().is_loopback()), "{found:?}");
    }
}
