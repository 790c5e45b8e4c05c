use super::*;
use crate::map::builtin;
use std::task::Wake;
use std::thread;

fn feed() -> Feed {
    Feed::new(Format::Json, 100)
}

fn numbered(number: i64) -> Map {
    Map::from([("n".into(), number.into())])
}

#[test]
fn a_feed_without_a_map_has_version_0() {
    assert!(feed().latest().is_none());
    assert_eq!(feed().version(), 0);
}

#[test]
fn an_equal_map_is_not_a_change() {
    let feed = feed();
    assert!(feed.publish(&builtin()).unwrap());
    assert!(!feed.publish(&builtin()).unwrap());
    assert_eq!(feed.version(), 1);
}

#[test]
fn a_map_of_an_earlier_server_keeps_its_age_until_a_change() {
    let (feed, day) = (feed(), Duration::from_hours(24));
    let age_of = |number| feed.age_of(&feed.prepare(&numbered(number)).unwrap());
    assert!(feed.publish_kept(&numbered(1), day).unwrap());
    assert!(!feed.publish(&numbered(1)).unwrap());
    assert!(feed.latest().unwrap().age() >= day && age_of(1) >= day);
    assert_eq!(age_of(2), Duration::ZERO);
    feed.publish(&numbered(2)).unwrap();
    assert!(feed.latest().unwrap().age() < day);
}

#[test]
fn a_prepared_map_is_published_without_encoding_it_again() {
    let feed = feed();
    let prepared = feed.prepare(&numbered(1)).unwrap();
    assert!(feed.latest().is_none(), "preparing publishes nothing");
    let bytes = prepared.frame.as_bytes().as_ptr();
    assert!(feed.publish_prepared(prepared));
    assert_eq!(feed.latest().unwrap().frame.as_bytes().as_ptr(), bytes);
    assert!(!feed.publish_prepared(feed.prepare(&numbered(1)).unwrap()), "an equal map is no change");
}

#[test]
fn a_map_above_the_limit_is_refused_and_the_previous_one_stays() {
    let feed = feed();
    feed.publish(&numbered(1)).unwrap();
    let large = Map::from([("text".into(), "x".repeat(200).into())]);
    assert!(matches!(feed.check(&large), Err(Error::TooLarge { len: 211, max: 100, .. })));
    assert!(matches!(feed.publish(&large), Err(Error::TooLarge { len: 211, max: 100, .. })));
    assert_eq!(feed.latest().unwrap().frame.payload(), br#"{"n":1}"#);
}

#[test]
fn a_value_of_zero_bytes_is_refused() {
    let feed = Feed::new(Format::Bincode, 100);
    assert!(matches!(feed.publish_typed(&()), Err(Error::Empty(Format::Bincode))));
    assert!(feed.latest().is_none());
}

#[test]
fn an_empty_map_can_be_published_in_every_format() {
    for format in Format::ALL {
        assert!(Feed::new(format, 100).publish(&Map::new()).unwrap(), "{format}");
    }
}

fn in_all_formats() -> Arc<Feed> {
    Arc::new(Feed::new(Format::Bincode, 100).with_formats(&Format::ALL).with_backlog(Backlog::new(7)))
}

#[test]
fn a_map_is_published_in_every_format_at_once() {
    let feed = in_all_formats();
    assert!(feed.publish(&numbered(1)).unwrap() && !feed.publish(&numbered(1)).unwrap());
    assert!(feed.publish_prepared(feed.prepare(&numbered(2)).unwrap()));
    for format in Format::ALL {
        let latest = feed.in_format(format).unwrap().latest().unwrap();
        assert_eq!((latest.version, latest.frame.payload()), (2, &format.encode_map(&numbered(2)).unwrap()[..]));
        assert!(Arc::ptr_eq(feed.in_format(format).unwrap().backlog(), feed.backlog()));
    }
    assert!(Arc::new(Feed::new(Format::Json, 100)).in_format(Format::Text).is_none());
}

#[test]
fn a_map_that_one_format_refuses_is_published_in_none() {
    let feed = in_all_formats();
    feed.publish(&numbered(1)).unwrap();
    // Two keys that are one in JSON, and a map that is small enough in all formats but bincode.
    let clash = Map::from([(1.into(), 1.into()), ("1".into(), 1.into())]);
    let large = (0..5).map(|number| (number.into(), number.into())).collect();
    assert!(matches!(feed.publish(&clash), Err(Error::Format(_))));
    assert!(matches!(feed.publish(&large), Err(Error::TooLarge { format: Format::Bincode, .. })));
    assert!(feed.check(&clash).is_err() && feed.prepare(&large).is_err());
    for format in Format::ALL {
        assert_eq!(feed.in_format(format).unwrap().version(), 1, "{format}");
    }
}

#[test]
fn a_change_in_one_format_alone_is_a_change() {
    let feed = Arc::new(Feed::new(Format::Json, 100).with_formats(&[Format::Bincode]));
    assert!(feed.publish(&Map::from([(1.into(), 1.into())])).unwrap());
    assert!(feed.publish(&Map::from([("1".into(), 1.into())])).unwrap(), "another key, but not in JSON");
    assert_eq!((feed.version(), feed.in_format(Format::Bincode).unwrap().version()), (1, 2));
}

#[test]
fn a_subscriber_of_any_format_is_woken() {
    let (feed, count) = (in_all_formats(), Arc::new(Count::default()));
    let feeds = Format::ALL.map(|format| feed.in_format(format).unwrap());
    let _subscriptions = feeds.each_ref().map(|feed| feed.subscribe(Arc::clone(&count).into()));
    feed.publish(&numbered(1)).unwrap();
    feed.publish(&numbered(1)).unwrap();
    assert_eq!(count.0.load(Ordering::SeqCst), 5);
}

#[test]
fn all_readers_share_one_encoded_map() {
    let feed = feed();
    feed.publish(&builtin()).unwrap();
    let (first, second) = (feed.latest().unwrap(), feed.latest().unwrap());
    assert!(std::ptr::eq(first.frame.as_bytes(), second.frame.as_bytes()));
}

#[test]
fn a_waiter_skips_to_the_newest_map() {
    let feed = feed();
    for number in 1..=5 {
        feed.publish(&numbered(number)).unwrap();
    }
    assert_eq!(feed.wait(1, Duration::ZERO).unwrap().version, 5);
    assert!(feed.wait(5, Duration::ZERO).is_none());
}

#[test]
fn a_publication_ends_a_wait() {
    let feed = feed();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| feed.wait(0, Duration::from_hours(1)).unwrap().version);
        feed.publish(&builtin()).unwrap();
        assert_eq!(waiter.join().unwrap(), 1);
    });
}

#[derive(Default)]
struct Count(AtomicU64);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_subscriber_is_woken_by_each_change_until_it_is_dropped() {
    let (feed, count) = (feed(), Arc::new(Count::default()));
    let subscription = feed.subscribe(count.clone().into());
    feed.publish(&numbered(1)).unwrap();
    feed.publish(&numbered(1)).unwrap();
    feed.publish(&numbered(2)).unwrap();
    drop(subscription);
    feed.publish(&numbered(3)).unwrap();
    assert_eq!(count.0.load(Ordering::SeqCst), 2);
}

#[test]
fn concurrent_publications_keep_the_versions_in_order() {
    let feed = feed();
    thread::scope(|scope| {
        for thread in 0..4 {
            let feed = &feed;
            scope.spawn(move || {
                for number in 0..50 {
                    feed.publish(&numbered(thread * 1000 + number)).unwrap();
                }
            });
        }
        let mut seen = 0;
        while seen < 200 {
            let snapshot = feed.wait(seen, Duration::from_mins(1)).expect("a newer map");
            assert!(snapshot.version > seen);
            seen = snapshot.version;
        }
    });
}

#[test]
fn every_error_has_its_text() {
    crate::testing::check_texts!(Error {
        Format(format::Error::TooDeep { depth: 40 }) =>
            "the map is nested 40 levels deep, above the limit of 32; nest it less deep";
        Empty(Format::Bincode) =>
            "cannot publish a value of zero bytes as bincode: it means \"nothing changed\"; publish a map or a structure";
        TooLarge { len: 101, max: 100, format: Format::Json } =>
            "the map takes 101 bytes as json, above the limit of 100";
    });
}
