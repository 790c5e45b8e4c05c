use super::*;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

/// A connection of the calling thread, and its client.
fn connection(write_timeout: Duration) -> (Connection, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    platform::tune(&listener, write_timeout).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let accepted = loop {
        match platform::accept(&listener) {
            Ok(accepted) => break accepted,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    };
    let sender = Arc::new(FrameSender::new(Stream::Plain(accepted.0), Notifier::for_current_thread()));
    let (watcher, waits) =
        (Arc::new(Watcher::start(&crate::threads::Threads::default()).unwrap()), Arc::new(Histogram::new(&[])));
    (Connection::new(1, accepted.1, sender, watcher, write_timeout, waits), client)
}

fn soon() -> Option<Instant> {
    Instant::now().checked_add(Duration::from_mins(1))
}

#[test]
fn input_wakes_an_idle_thread_each_time() {
    let (mut connection, mut client) = connection(Duration::from_mins(1));
    for _ in 0..3 {
        client.write_all(b"x").unwrap();
        assert!(connection.wait(soon()).unwrap().contains(WakeReason::Input));
        assert!(!connection.discard_input().unwrap());
    }
    drop(client);
    assert!(connection.wait(soon()).unwrap().contains(WakeReason::Input));
    assert!(connection.discard_input().unwrap());
}

#[test]
fn input_that_came_before_the_first_wait_wakes_too() {
    let (mut connection, client) = connection(Duration::from_mins(1));
    drop(client);
    assert!(connection.wait(soon()).unwrap().contains(WakeReason::Input));
}

#[test]
fn a_wait_without_a_notification_is_over_in_time() {
    let (mut connection, _client) = connection(Duration::from_mins(1));
    assert!(connection.wait(Some(Instant::now())).unwrap().is_empty());
}

#[test]
fn what_is_sent_is_counted() {
    let (mut connection, mut client) = connection(Duration::from_mins(1));
    connection.send_frame(&Frame::new(b"Hola", 10).unwrap(), 1, None).unwrap();
    assert_eq!((connection.frames(), connection.bytes()), (1, 14));
    let mut came = [0; 14];
    client.read_exact(&mut came).unwrap();
    assert_eq!(&came, b"4         Hola");
}

#[test]
fn a_send_that_nobody_takes_fails_at_its_deadline() {
    let (mut connection, _client) = connection(Duration::from_millis(50));
    let began = Instant::now();
    let error = connection.send(&vec![0; 20_000_000]).unwrap_err();
    assert!(matches!(error, Error::TimedOut(_)), "{error}");
    assert!(began.elapsed() >= Duration::from_millis(50));
}

#[test]
fn a_cut_ends_a_send_and_is_told_from_a_reset() {
    let (mut cut, _client) = connection(Duration::from_mins(1));
    let sender = Arc::clone(&cut.sender);
    let cutter = thread::Builder::new()
        .spawn(move || {
            sender.notifier().notify(WakeReason::Cut);
            sender.socket().tcp().shutdown(std::net::Shutdown::Both).unwrap();
        })
        .unwrap();
    assert!(matches!(cut.send(&vec![0; 20_000_000]), Err(Error::Cut)));
    cutter.join().unwrap();

    let (mut reset, client) = connection(Duration::from_mins(1));
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    assert!(matches!(reset.send(&vec![0; 20_000_000]), Err(Error::Reset(_))));
}

#[test]
fn the_stop_ends_a_receive() {
    let (mut receiving, mut client) = connection(Duration::from_mins(1));
    let stop = Shutdown::new().unwrap();
    client.write_all(b"xy").unwrap();
    let mut buffer = [0; 10];
    assert_eq!(receiving.receive(&mut buffer, &stop).unwrap(), Received::Bytes(2));
    let (requested, (told, hears)) = (stop.clone(), mpsc::channel());
    let stopper = thread::Builder::new()
        .spawn(move || {
            hears.recv().unwrap();
            requested.trigger();
        })
        .unwrap();
    told.send(()).unwrap();
    assert_eq!(receiving.receive(&mut buffer, &stop).unwrap(), Received::Stopping);
    stopper.join().unwrap();
}

#[test]
fn an_orderly_end_after_unread_input_destroys_nothing() {
    let (mut connection, client) = connection(Duration::from_mins(1));
    (&client).write_all(&vec![b'x'; 30_000]).unwrap();
    let reader = thread::Builder::new().spawn(move || io::copy(&mut &client, &mut io::sink()).unwrap()).unwrap();
    connection.send(&vec![0; 4_000_000]).unwrap();
    connection.finish(()).unwrap();
    assert_eq!(reader.join().unwrap(), 4_000_000);
}

#[test]
fn parts_arrive_as_one_whatever_their_sizes() {
    let (mut connection, mut client) = connection(Duration::from_mins(1));
    let sizes = [0, 1, 16_383, 1, 16_384, 5, 0, 70_000, 16_385, 3];
    let parts: Vec<Vec<u8>> = sizes.into_iter().zip(1..).map(|(size, byte)| vec![byte; size]).collect();
    let mut came = vec![0; parts.concat().len()];
    thread::scope(|scope| {
        scope.spawn(|| client.read_exact(&mut came).unwrap());
        connection.send_parts(parts.iter().map(Vec::as_slice), None).unwrap();
    });
    assert!(connection.bytes() == came.len() as u64 && came == parts.concat());
}

/// Has two newer maps of 10 bytes wait.
fn enter_newer(backlog: &Arc<Backlog>) -> [Pending; 2] {
    let nobody: std::sync::Weak<ClientSender> = std::sync::Weak::new();
    [2, 3].map(|version| backlog.enter(Payload::new(version, &[0; 10]), nobody.clone()))
}

#[test]
fn a_client_that_is_slow_to_take_an_old_map_is_cut_from_its_wait() {
    let large = vec![0; 20_000_000];
    let frame = Frame::new(&large, large.len()).unwrap();
    for is_frame in [true, false] {
        let (mut connection, _client) = connection(Duration::from_hours(1));
        let backlog = Arc::new(Backlog::new(20_000_015));
        connection.count_in(&backlog);
        thread::scope(|scope| {
            scope.spawn(|| {
                while backlog.bytes() == 0 {
                    thread::park_timeout(Duration::from_millis(1));
                }
                assert!(enter_newer(&backlog).iter().all(|pending| !pending.is_evicted()));
            });
            let payload = Payload::new(1, frame.as_bytes());
            let sent = if is_frame {
                connection.send_frame(&frame, 1, None)
            } else {
                connection.send_parts([frame.as_bytes()], Some(payload))
            };
            assert!(matches!(sent, Err(Error::Backlog)), "{sent:?}");
        });
        assert_eq!((backlog.bytes(), backlog.evicted()), (0, 1));
    }
}

#[test]
fn a_client_that_takes_what_it_is_sent_is_not_counted() {
    let (mut connection, mut client) = connection(Duration::from_mins(1));
    let backlog = Arc::new(Backlog::new(0));
    connection.count_in(&backlog);
    // One with an older map would be cut at once.
    let newer = enter_newer(&backlog);
    let frame = Frame::new(b"Hola", 10).unwrap();
    connection.send_frame(&frame, 1, None).unwrap();
    connection.send_parts([b"Hola" as &[u8]], Some(Payload::new(1, b"Hola"))).unwrap();
    client.read_exact(&mut [0; 18]).unwrap();
    assert_eq!((backlog.bytes(), backlog.evicted()), (20, 0));
    drop(newer);
}
