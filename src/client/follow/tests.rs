use super::*;
use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

#[test]
fn a_connection_that_lasted_5_s_resets_the_backoff() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    for (lasted, has_frame, is_reset) in
        [(PROVEN_AFTER, true, true), (PROVEN_AFTER, false, false), (Duration::ZERO, true, false)]
    {
        let mut follower = Follower::new(&address, FollowConfig::default(), &Shutdown::new().unwrap());
        follower.backoff.next_delay();
        follower.connect().unwrap();
        let mut server = listener.accept().unwrap().0;
        if has_frame {
            server.write_all(b"4         Hola").unwrap();
            follower.next_payload().unwrap();
        }
        assert_eq!(follower.first_frame.is_some(), has_frame);
        set_lasted(&mut follower, lasted);
        follower.give_up();
        let mut wanted = Backoff::new();
        for _ in 0..if is_reset { 1 } else { 2 } {
            wanted.next_delay();
        }
        assert_eq!(follower.backoff, wanted, "{lasted:?}, frame: {has_frame}");
    }
}

/// Sets how long the connection has lasted since its first frame, if it has received one, whatever time the test takes.
fn set_lasted(follower: &mut Follower, lasted: Duration) {
    let at = if lasted.is_zero() {
        Instant::now().checked_add(PROVEN_AFTER * 60)
    } else {
        Instant::now().checked_sub(lasted)
    };
    follower.first_frame = follower.first_frame.and(at);
}

#[test]
fn delays_grow_if_the_server_sends_one_map_and_closes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut follower = Follower::new(&address, FollowConfig::default(), &Shutdown::new().unwrap());
    let mut wanted = Backoff::new();
    for _ in 0..4 {
        assert_eq!(follower.backoff, wanted);
        assert!(matches!(follower.next_event(), Ok(FollowEvent::Connected { .. })));
        listener.accept().unwrap().0.write_all(b"4         Hola").unwrap();
        assert!(matches!(follower.next_event(), Ok(FollowEvent::Payload(_))));
        set_lasted(&mut follower, Duration::ZERO);
        assert!(matches!(follower.next_event(), Ok(FollowEvent::Lost { reason: None, .. })));
        wanted.next_delay();
        follower.retry_at = None;
    }
    assert_eq!(follower.backoff, wanted);
}

#[test]
fn the_observer_gets_a_connection_and_its_loss() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = listener.local_addr().unwrap();
    let shutdown = Shutdown::new().unwrap();
    let mut follower = Follower::new(&peer.to_string(), FollowConfig::default(), &shutdown);
    let (sender, changes) = std::sync::mpsc::channel();
    let mut listener = Some(listener);
    follower.on_connectivity(move |change| {
        // Dropping the listener resets the connection, which is not accepted yet.
        drop(listener.take());
        if matches!(change, Connectivity::Lost { .. }) {
            shutdown.trigger();
        }
        sender.send(change).unwrap();
    });
    assert!(matches!(follower.next_payload(), Err(Error::Stopped)));
    assert_eq!(changes.recv().unwrap(), Connectivity::Connected { peer });
    let lost = changes.recv().unwrap();
    let Connectivity::Lost { cause: LossCause::Failed, reason, .. } = &lost else { panic!("{lost:?}") };
    assert!(reason.starts_with("connection lost: "), "{reason}");
}

#[test]
fn a_hanging_name_lookup_blocks_nothing_and_takes_one_thread() {
    let begun = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&begun);
    let lookup = move |_: &str| {
        counted.fetch_add(1, Ordering::SeqCst);
        loop {
            thread::park();
        }
    };
    let client = ClientConfig { connect_timeout: Duration::from_millis(5), ..ClientConfig::default() };
    let shutdown = Shutdown::new().unwrap();
    let mut follower = Follower::new("h:1", FollowConfig { client, ..FollowConfig::default() }, &shutdown);
    follower.resolver = Resolver::with(lookup);
    for _ in 0..10 {
        let event = follower.next_event().unwrap();
        assert!(matches!(event, FollowEvent::Lost { reason: Some(Error::Connect { .. }), .. }), "{event:?}");
        follower.retry_at = None;
    }
    // The thread may not have started yet.
    while begun.load(Ordering::SeqCst) == 0 {
        thread::yield_now();
    }
    assert_eq!(begun.load(Ordering::SeqCst), 1);
    follower.config.client.connect_timeout = Duration::from_hours(1);
    follower.set_deadline(Some(Instant::now() + Duration::from_millis(20)));
    assert!(matches!(follower.next_event(), Err(Error::TimedOut)));
    follower.set_deadline(None);
    thread::scope(|scope| {
        let waiting = scope.spawn(move || follower.next_event());
        shutdown.trigger();
        assert!(matches!(waiting.join().unwrap(), Err(Error::Stopped)));
    });
}

#[test]
fn the_deadline_ends_the_delay_before_an_attempt() {
    let mut follower = Follower::new("127.0.0.1:1", FollowConfig::default(), &Shutdown::new().unwrap());
    let retry_at = Instant::now() + Duration::from_hours(1);
    follower.retry_at = Some(retry_at);
    follower.set_deadline(Some(Instant::now() + Duration::from_millis(50)));
    assert!(matches!(follower.next_map(), Err(Error::TimedOut)));
    assert!(Instant::now() < retry_at);
}
