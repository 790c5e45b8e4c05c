use std::io::Read;
use std::net::{Shutdown as Half, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use super::publisher::start_publishers;
use super::round::Round;
use super::subscribers::{ClientSubscription, PublisherHandle};
use super::*;
use crate::connection::{ClientSender, FrameSender, Watcher};
use crate::format::Format;
use crate::map::builtin;
use crate::platform;
use crate::stats::Stats;
use crate::stream::Stream;
use crate::threads::Notifier;

/// Short enough for a test, long enough for a busy machine.
const INTERVAL: Duration = Duration::from_millis(50);

/// Longer than any test takes.
const NEVER: Duration = Duration::from_hours(1);

/// Returns a sender owned by the calling thread, and its client.
fn sender() -> (Arc<ClientSender>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let (socket, _) = platform::accept(&listener).unwrap();
    (Arc::new(FrameSender::new(Stream::Plain(socket), Notifier::for_current_thread())), client)
}

fn feed() -> Arc<Feed> {
    let feed = Feed::new(Format::Json, 1000);
    feed.publish(&builtin()).unwrap();
    Arc::new(feed)
}

/// Returns the modes with publishers that the system allows.
fn publishing_modes() -> impl Iterator<Item = SendMode> {
    let is_allowed = |mode: &SendMode| {
        mode.check().inspect_err(|_| crate::testing::skip("batch: the system refuses io_uring")).is_ok()
    };
    [SendMode::Plain, SendMode::Batch].into_iter().filter(is_allowed)
}

/// Returns clients in the calling thread, enough for a batch in each shard.
fn enough_for_a_batch() -> Vec<(Arc<ClientSender>, TcpStream)> {
    (0..8).map(|_| sender()).collect()
}

/// Returns the handle of a publisher in the calling thread.
fn publisher() -> PublisherHandle {
    let worker = Threads::default().register("publisher-0", "sending the map");
    PublisherHandle { notifier: Arc::new(Notifier::for_current_thread()), worker }
}

fn was_notified(notifier: &Notifier) -> bool {
    was_notified_within(notifier, Duration::ZERO)
}

fn was_notified_within(notifier: &Notifier, limit: Duration) -> bool {
    !notifier.wait(Some(Instant::now() + limit)).is_empty()
}

/// Reads `count` frames and compares each with the feed's.
fn read_frames(client: &mut TcpStream, feed: &Feed, count: usize) {
    let mut frame = vec![0; feed.latest().unwrap().frame.as_bytes().len()];
    for _ in 0..count {
        client.read_exact(&mut frame).unwrap();
        assert_eq!(frame, feed.latest().unwrap().frame.as_bytes());
    }
}

#[test]
fn a_repeat_by_a_publisher_does_not_wake_the_clients_thread() {
    for mode in publishing_modes() {
        let (feed, subscribers) = (feed(), Subscribers::new(INTERVAL));
        let publishers = start_publishers(&Threads::default(), &feed, &subscribers, mode).unwrap();
        let mut clients = enough_for_a_batch();
        let subscriptions: Vec<_> = clients.iter().map(|(sender, _)| subscribers.subscribe(sender)).collect();
        for (_, client) in &mut clients {
            read_frames(client, &feed, 4);
        }
        assert!(subscriptions.iter().all(ClientSubscription::has_publisher), "{mode}");
        assert!(!clients.iter().any(|(sender, _)| was_notified(sender.notifier())), "{mode}");
        drop(publishers);
    }
}

#[test]
fn a_publisher_that_ends_notifies_the_clients_threads() {
    for mode in publishing_modes() {
        let (feed, subscribers) = (feed(), Subscribers::new(NEVER));
        let publishers = start_publishers(&Threads::default(), &feed, &subscribers, mode).unwrap();
        let (sender, _client) = sender();
        let subscription = subscribers.subscribe(&sender);
        assert!(subscription.has_publisher());
        drop(publishers);
        assert!(!subscription.has_publisher() && was_notified(sender.notifier()), "{mode}");
    }
}

#[test]
fn a_publisher_that_panics_is_restarted_and_sends_the_change() {
    for mode in publishing_modes() {
        let (threads, feed, subscribers) = (Threads::default(), feed(), Subscribers::new(NEVER));
        let publishers = start_publishers(&threads, &feed, &subscribers, mode).unwrap();
        let mut clients = enough_for_a_batch();
        let subscriptions: Vec<_> = clients.iter().map(|(sender, _)| subscribers.subscribe(sender)).collect();
        subscribers.shards().iter().for_each(|shard| shard.panic_next.store(true, std::sync::atomic::Ordering::SeqCst));
        feed.publish(&[("news".into(), 1.into())].into()).unwrap();
        // Only the publisher can send it: the next repeat is in an hour, and the clients' thread is this one.
        for (_, client) in &mut clients {
            read_frames(client, &feed, 1);
        }
        assert!(subscriptions.iter().all(ClientSubscription::has_publisher) && threads.panics() >= 1, "{mode}");
        drop(publishers);
        assert_eq!(threads.unfinished(), [""; 0]);
    }
}

#[test]
fn a_publisher_that_panics_during_repeats_keeps_its_clients() {
    let (threads, feed, subscribers) = (Threads::default(), feed(), Subscribers::new(INTERVAL));
    let publishers = start_publishers(&threads, &feed, &subscribers, SendMode::detect()).unwrap();
    let (sender, _client) = sender();
    let subscription = subscribers.subscribe(&sender);
    subscribers.shards().iter().for_each(|shard| shard.panic_next.store(true, std::sync::atomic::Ordering::SeqCst));
    let wait = |what: &str, is_so: &dyn Fn() -> bool| {
        let deadline = Instant::now() + Duration::from_mins(1);
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}");
            thread::yield_now();
        }
    };
    wait("the publisher did not panic", &|| threads.panics() >= 1);
    let before = sender.sent().frames;
    wait("the client gets no repeats", &|| sender.sent().frames >= before + 3);
    assert!(subscription.has_publisher());
    drop(publishers);
}

#[test]
fn a_blocked_publisher_is_detached_until_it_resumes() {
    let (feed, subscribers) = (feed(), Subscribers::new(INTERVAL));
    let publishers = start_publishers(&Threads::default(), &feed, &subscribers, SendMode::detect()).unwrap();
    let (sender, mut client) = sender();
    let subscription = subscribers.subscribe(&sender);
    read_frames(&mut client, &feed, 1);
    let frozen: Vec<_> = subscribers.shards().iter().map(|shard| shard.publisher_lock.lock()).collect();
    let deadline = Instant::now() + Duration::from_secs(20);
    while subscription.has_publisher() {
        assert!(Instant::now() < deadline, "the publisher is not detached");
        sender.notifier().wait(Some(Instant::now() + INTERVAL));
        subscription.check_publisher(sender.last().map(|(_, started_at)| started_at));
    }
    assert!(was_notified(sender.notifier()), "the client's thread is not notified");
    drop(frozen);
    let has_resumed = (0..100).any(|_| {
        read_frames(&mut client, &feed, 1);
        subscription.has_publisher()
    });
    assert!(has_resumed);
    drop(publishers);
}

#[test]
fn one_overdue_repeat_does_not_detach_the_publisher() {
    // As after a pause of the whole process.
    let subscribers = Subscribers::new(INTERVAL);
    let publisher = publisher();
    subscribers.shards().iter().for_each(|shard| shard.attach_publisher(&publisher));
    let (sender, _client) = sender();
    let subscription = subscribers.subscribe(&sender);
    let overdue = Instant::now().checked_sub(INTERVAL * 2);
    let wait = || assert!(!was_notified_within(sender.notifier(), INTERVAL));
    subscription.check_publisher(overdue);
    wait();
    publisher.worker.round();
    subscription.check_publisher(overdue);
    assert!(subscription.has_publisher());
    wait();
    subscription.check_publisher(overdue);
    assert!(!subscription.has_publisher());
}

#[test]
fn the_checks_of_many_clients_are_spread_over_each_interval() {
    let interval = Duration::from_secs(8);
    let (sender, _client) = sender();
    for count in [16, 20, 64, 1000] {
        let subscribers = Subscribers::new(interval);
        let publisher = publisher();
        subscribers.shards().iter().for_each(|shard| shard.attach_publisher(&publisher));
        let subscriptions: Vec<_> =
            (0..count * subscribers.shards().len()).map(|_| subscribers.subscribe(&sender)).collect();
        let now = Instant::now();
        let checks = subscriptions.iter().map(|subscription| subscription.next_check(Some(now)).unwrap());
        let mut checks: Vec<_> = checks.chain([now]).collect();
        checks.sort();
        let longest = checks.windows(2).map(|two| two[1] - two[0]).max().unwrap();
        assert!(longest <= interval, "{count} clients: {longest:?} without a check");
        assert!(*checks.last().unwrap() <= now + interval * 9, "{count} clients");
    }
}

#[test]
fn a_blocked_publisher_delays_a_repeat_by_two_intervals_at_most() {
    // Long enough for a busy machine.
    let (feed, interval) = (feed(), Duration::from_secs(2));
    let cast = Cast::new(Arc::clone(&feed), interval);
    cast.start().unwrap();
    serve(&cast, |client, sender| {
        read_frames(client, &feed, 1);
        let frozen: Vec<_> = cast.subscribers.shards().iter().map(|shard| shard.publisher_lock.lock()).collect();
        for _ in 0..2 {
            let (_, started_at) = sender.last().unwrap();
            read_frames(client, &feed, 1);
            let gap = sender.last().unwrap().1 - started_at;
            assert!(gap < 3 * interval, "{gap:?}");
        }
        drop(frozen);
    });
}

#[test]
fn a_helper_sends_the_batches_that_the_publisher_leaves() {
    let (feed, subscribers) = (feed(), Subscribers::new(NEVER));
    let helpers = start_helpers(&Threads::default(), &feed, &subscribers, &(1..=20), SendMode::detect()).unwrap();
    let shard = &subscribers.shards()[0];
    let Some(helper) = shard.helper() else {
        return crate::testing::skip("skipped: there is one core, and a helper does not help");
    };
    let mut clients: Vec<_> = (0..10).map(|_| sender()).collect();
    let list: Vec<_> = clients.iter().map(|(sender, _)| Arc::downgrade(sender)).collect();
    let round = Arc::new(Round::new(feed.latest().unwrap(), Arc::new(list)));
    helper.ask(&round, 21);
    helper.ask(&round, 10);
    for (_, client) in &mut clients {
        read_frames(client, &feed, 1);
    }
    assert!(round.take().is_none());
    drop(helpers);
}

/// Serves one client of `cast` on a new thread while the calling thread runs `be_client` with the client's socket and its
/// sender.
fn serve(cast: &Cast, be_client: impl FnOnce(&mut TcpStream, &ClientSender)) {
    let (sender, client) = sender();
    let peer = client.local_addr().unwrap();
    let socket = sender.socket().tcp().try_clone().unwrap();
    drop(sender);
    let (senders, served) = mpsc::channel();
    // Moved: a failing test drops the client, which ends the serving thread.
    thread::scope(move |scope| {
        let mut client = client;
        scope.spawn(move || {
            let sender = Arc::new(FrameSender::new(Stream::Plain(socket), Notifier::for_current_thread()));
            senders.send(Arc::clone(&sender)).unwrap();
            let (watcher, waits) =
                (Arc::new(Watcher::start(&Threads::default()).unwrap()), Arc::clone(Stats::default().waits()));
            let mut connection = Connection::new(1, peer, sender, watcher, Duration::from_mins(1), waits);
            assert_eq!(cast.serve(&mut connection, &Shutdown::new().unwrap()).unwrap(), CloseReason::Client);
        });
        be_client(&mut client, &served.recv().unwrap());
        // Not dropped: with an unread repeat, the close would be a reset.
        client.shutdown(Half::Write).unwrap();
    });
}

#[test]
fn a_clients_thread_without_a_publisher_sends_the_repeats() {
    let feed = feed();
    // `start` is not called, so there is no publisher.
    serve(&Cast::new(Arc::clone(&feed), INTERVAL), |client, _| read_frames(client, &feed, 4));
}

#[test]
fn a_repeat_deferred_by_the_publisher_is_sent_at_once() {
    // Long enough for the publisher's whole lead.
    let (feed, interval) = (feed(), Duration::from_millis(1700));
    let cast = Cast::new(Arc::clone(&feed), interval);
    let (notifier, publisher) = (Arc::new(Notifier::for_current_thread()), publisher());
    cast.subscribers.shards().iter().for_each(|shard| shard.attach_publisher(&publisher));
    serve(&cast, |client, sender| {
        read_frames(client, &feed, 1);
        let (_, started_at) = sender.last().unwrap();
        // Acts as an early publisher that finds the sender locked by the client's thread.
        notifier.wait((started_at + interval).checked_sub(Duration::from_millis(26)));
        sender.notifier().notify(WakeReason::Update);
        read_frames(client, &feed, 1);
        let gap = sender.last().unwrap().1 - started_at;
        // On its own, the thread checks after eight intervals.
        assert!(gap < 7 * interval, "{gap:?}");
    });
}

#[test]
fn a_publisher_is_notified_only_of_a_client_that_is_due_first() {
    let subscribers = Subscribers::new(NEVER);
    let publisher = publisher();
    let notifier = Arc::clone(&publisher.notifier);
    subscribers.shards().iter().for_each(|shard| shard.attach_publisher(&publisher));
    let (sender, _client) = sender();
    let _first: Vec<_> = subscribers.shards().iter().map(|_| subscribers.subscribe(&sender)).collect();
    assert!(was_notified(&notifier));
    let _second = subscribers.subscribe(&sender);
    assert!(!was_notified(&notifier));
}

#[test]
fn clients_that_connect_and_leave_do_not_fill_the_timer_queue() {
    let subscribers = Subscribers::new(NEVER);
    let (sender, _client) = sender();
    (0..10_000).for_each(|_| drop(subscribers.subscribe(&sender)));
    let pending_timers: usize = subscribers.shards().iter().map(|shard| shard.pending_timers()).sum();
    assert!(pending_timers < 1000, "{pending_timers} stale entries");
}

#[test]
fn an_infinite_interval_schedules_no_repeat() {
    let subscribers = Subscribers::new(Duration::MAX);
    let (sender, _client) = sender();
    let _subscription = subscribers.subscribe(&sender);
    assert_eq!(subscribers.shards()[0].reschedule([(1, Instant::now())].into_iter()), None);
}
