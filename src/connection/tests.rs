use super::*;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use crate::testing::check_texts;

/// Returns a connection owned by the calling thread, and its client.
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
fn input_before_the_first_wait_wakes_the_thread() {
    let (mut connection, client) = connection(Duration::from_mins(1));
    drop(client);
    assert!(connection.wait(soon()).unwrap().contains(WakeReason::Input));
}

#[test]
fn a_wait_without_a_notification_times_out() {
    let (mut connection, _client) = connection(Duration::from_mins(1));
    assert!(connection.wait(Some(Instant::now())).unwrap().is_empty());
}

#[test]
fn a_sent_frame_is_counted_with_its_bytes() {
    let (mut connection, mut client) = connection(Duration::from_mins(1));
    connection.send_frame(&Frame::new(b"Hola", 10).unwrap(), 1, None).unwrap();
    assert_eq!((connection.frames(), connection.bytes()), (1, 14));
    let mut received = [0; 14];
    client.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"4         Hola");
}

#[test]
fn a_send_to_a_client_that_does_not_read_fails_at_its_deadline() {
    let (mut connection, _client) = connection(Duration::from_millis(50));
    let began = Instant::now();
    let error = connection.send(&vec![0; 20_000_000]).unwrap_err();
    assert!(matches!(error, Error::TimedOut(_)), "{error}");
    assert!(began.elapsed() >= Duration::from_millis(50));
}

#[test]
fn a_cut_ends_a_send_and_differs_from_a_reset() {
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
fn a_stop_ends_a_receive() {
    let (mut receiving, mut client) = connection(Duration::from_mins(1));
    let stop = Shutdown::new().unwrap();
    client.write_all(b"xy").unwrap();
    let mut buffer = [0; 10];
    assert_eq!(receiving.receive(&mut buffer, &stop).unwrap(), Received::Bytes(2));
    let (requested, (go, start)) = (stop.clone(), mpsc::channel());
    let stopper = thread::Builder::new()
        .spawn(move || {
            start.recv().unwrap();
            requested.trigger();
        })
        .unwrap();
    go.send(()).unwrap();
    assert_eq!(receiving.receive(&mut buffer, &stop).unwrap(), Received::Stopping);
    stopper.join().unwrap();
}

#[test]
fn a_graceful_close_with_unread_input_loses_no_data() {
    let (mut connection, client) = connection(Duration::from_mins(1));
    (&client).write_all(&vec![b'x'; 30_000]).unwrap();
    let reader = thread::Builder::new().spawn(move || io::copy(&mut &client, &mut io::sink()).unwrap()).unwrap();
    connection.send(&vec![0; 4_000_000]).unwrap();
    finish(connection, ()).unwrap();
    assert_eq!(reader.join().unwrap(), 4_000_000);
}

#[test]
fn parts_of_any_size_arrive_concatenated() {
    let (mut connection, mut client) = connection(Duration::from_mins(1));
    let sizes = [0, 1, 16_383, 1, 16_384, 5, 0, 70_000, 16_385, 3];
    let parts: Vec<Vec<u8>> = sizes.into_iter().zip(1..).map(|(size, byte)| vec![byte; size]).collect();
    let mut received = vec![0; parts.concat().len()];
    thread::scope(|scope| {
        scope.spawn(|| client.read_exact(&mut received).unwrap());
        send_parts(&mut connection, parts.iter().map(Vec::as_slice), None).unwrap();
    });
    assert!(connection.bytes() == received.len() as u64 && received == parts.concat());
}

/// Puts two newer maps of 10 bytes into the backlog.
fn enter_newer(backlog: &Arc<Backlog>) -> [Pending; 2] {
    let no_client: std::sync::Weak<ClientSender> = std::sync::Weak::new();
    [2, 3].map(|version| backlog.enter(Payload::new(version, &[0; 10]), no_client.clone()))
}

#[test]
fn a_client_that_is_slow_to_accept_an_old_map_is_evicted() {
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
                send_parts(&mut connection, [frame.as_bytes()], Some(payload))
            };
            assert!(matches!(sent, Err(Error::Backlog)), "{sent:?}");
        });
        assert_eq!((backlog.bytes(), backlog.evicted()), (0, 1));
    }
}

#[test]
fn a_client_that_reads_in_time_is_not_counted_in_the_backlog() {
    let (mut connection, mut client) = connection(Duration::from_mins(1));
    let backlog = Arc::new(Backlog::new(0));
    connection.count_in(&backlog);
    // A counted connection with an older map would be evicted at once.
    let newer = enter_newer(&backlog);
    let frame = Frame::new(b"Hola", 10).unwrap();
    connection.send_frame(&frame, 1, None).unwrap();
    send_parts(&mut connection, [b"Hola" as &[u8]], Some(Payload::new(1, b"Hola"))).unwrap();
    client.read_exact(&mut [0; 18]).unwrap();
    assert_eq!((backlog.bytes(), backlog.evicted()), (20, 0));
    drop(newer);
}

#[test]
fn every_error_has_its_text() {
    let reset = || io::Error::from(ErrorKind::ConnectionReset);
    check_texts!(Error {
        TimedOut(Duration::from_secs(90)) => "not taken within 1m 30s: too slow, cut";
        Backlog => "too slow: cut to free the memory of an older map; the backlog limit was exceeded";
        TooMuchInput => "sent more than 65536 bytes of unexpected input: closed";
        Reset(reset()) => "connection reset by the client";
        Cut => "cut at the end of the drain";
        System(reset()) => "the system refused: connection reset";
    } except Tls);
}
