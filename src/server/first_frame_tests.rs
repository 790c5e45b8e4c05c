//! The first frame of each client: which thread sends it, and what the server shows by then.

use std::io::{self, Read};
use std::net::TcpStream;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::client::MAX_FIRST_FRAME;
use super::{Config, Handle, Server};
use crate::connection::{Connection, Error};
use crate::feed::Feed;
use crate::format::Format;
use crate::frame::Frame;
use crate::map::{Map, Value};
use crate::service::{Cast, CloseReason, SendMode, Service};
use crate::shutdown::Shutdown;
use crate::stream::SENDS;

/// Longer than any test takes.
const NEVER: Duration = Duration::from_hours(1);

/// Sends the map, and reports how often each client's own thread has sent.
#[derive(Debug)]
struct Counting {
    cast: Cast,
    sends: mpsc::Sender<u64>,
}

impl Service for Counting {
    fn start(&self) -> io::Result<()> {
        self.cast.start()
    }

    fn first_frame(&self) -> Option<(Frame, u64)> {
        self.cast.first_frame()
    }

    fn serve(&self, connection: &mut Connection, stop: &Shutdown) -> Result<CloseReason, Error> {
        let outcome = self.cast.serve(connection, stop);
        self.sends.send(SENDS.get()).unwrap();
        outcome
    }

    fn describe(&self) -> String {
        self.cast.describe()
    }
}

/// Sends the map, and panics when the accept loop asks for the first frame.
#[derive(Debug)]
struct Panicking(Cast);

impl Service for Panicking {
    fn first_frame(&self) -> Option<(Frame, u64)> {
        panic!("as a service may");
    }

    fn serve(&self, connection: &mut Connection, stop: &Shutdown) -> Result<CloseReason, Error> {
        self.0.serve(connection, stop)
    }

    fn describe(&self) -> String {
        self.0.describe()
    }
}

/// Returns a feed whose frame has `bytes` bytes.
fn feed(bytes: usize) -> Arc<Feed> {
    let map = |text: usize| Map::from([("text".into(), Value::Text("x".repeat(text)))]);
    let feed = Arc::new(Feed::new(Format::Json, 1 << 20));
    feed.publish(&map(0)).unwrap();
    let rest = bytes - feed.latest().unwrap().frame.as_bytes().len();
    feed.publish(&map(rest)).unwrap();
    assert_eq!(feed.latest().unwrap().frame.as_bytes().len(), bytes);
    feed
}

fn serve(service: impl Service) -> Handle {
    let mut server = Server::new(Config::default());
    server.bind(&[([127, 0, 0, 1], 0).into()], service).unwrap();
    server.spawn(Shutdown::new().unwrap()).unwrap()
}

/// Connects, and reads the first frame.
fn client(server: &Handle, feed: &Feed) -> TcpStream {
    let mut client = TcpStream::connect(server.local_addrs()[0]).unwrap();
    client.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let mut frame = vec![0; feed.latest().unwrap().frame.as_bytes().len()];
    client.read_exact(&mut frame).unwrap();
    assert_eq!(frame, feed.latest().unwrap().frame.as_bytes());
    client
}

/// Returns how often the own thread of a client has sent by the time that the client leaves, with a frame of `bytes`.
fn sends_of_thread(mode: SendMode, bytes: usize) -> u64 {
    let (feed, (sends, sent)) = (feed(bytes), mpsc::channel());
    let cast = Cast::new(Arc::clone(&feed), NEVER).with_send_mode(mode);
    let server = serve(Counting { cast, sends });
    drop(client(&server, &feed));
    let sent = sent.recv_timeout(Duration::from_mins(1)).unwrap();
    server.stop().unwrap();
    sent
}

#[test]
fn the_thread_of_an_idle_client_never_sends() {
    assert_eq!(sends_of_thread(SendMode::Plain, 100), 0);
    assert_eq!(sends_of_thread(SendMode::Plain, MAX_FIRST_FRAME), 0);
}

#[test]
fn a_large_first_frame_is_sent_by_the_clients_thread() {
    assert!(sends_of_thread(SendMode::Plain, MAX_FIRST_FRAME + 1) >= 1);
}

#[test]
fn the_first_frame_without_publishers_is_sent_by_the_thread() {
    assert_eq!(sends_of_thread(SendMode::Thread, 100), 1);
}

#[test]
fn no_client_is_ahead_of_what_the_server_shows() {
    for mode in [SendMode::Thread, SendMode::Plain, SendMode::detect()] {
        let feed = feed(100);
        let server = serve(Cast::new(Arc::clone(&feed), NEVER).with_send_mode(mode));
        let mut clients = Vec::new();
        for number in 1..=200 {
            clients.push(client(&server, &feed));
            let (stats, snapshot) = (server.stats(), server.monitor().snapshot(1));
            let shown = [stats.served(), stats.active(), snapshot.total, snapshot.frames, snapshot.firsts];
            assert_eq!(shown, [number; 5], "{mode}");
            let newest = &snapshot.newest[0];
            assert_eq!((newest.id, newest.frames, newest.bytes), (number, 1, 100), "{mode}");
        }
        drop(clients);
        assert_eq!(server.stop().unwrap().served, 200);
    }
}

#[test]
fn a_panic_before_the_first_frame_leaves_it_to_the_thread() {
    let feed = feed(100);
    let server = serve(Panicking(Cast::new(Arc::clone(&feed), NEVER)));
    (0..2).for_each(|_| drop(client(&server, &feed)));
    assert_eq!((server.stats().panics(), server.stats().served()), (2, 2));
    server.stop().unwrap();
}
