//! The source `redis://`, with a peer that sends replies that Redis never sends.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use mapcast::{Format, Map};

use crate::support::eventually;
use crate::support::program::Program;
use crate::support::reader::Reader;

/// Answers every connection: HGETALL with `reply`, other commands like a Redis without the key.
fn answer(listener: &TcpListener, reply: &Arc<Mutex<Vec<u8>>>) {
    for socket in listener.incoming() {
        let (socket, reply) = (socket.unwrap(), Arc::clone(reply));
        thread::Builder::new().spawn(move || answer_one(socket, &reply)).unwrap();
    }
}

fn answer_one(mut socket: TcpStream, reply: &Mutex<Vec<u8>>) {
    let mut commands = [0; 4096];
    while let Ok(read @ 1..) = socket.read(&mut commands) {
        let text = String::from_utf8_lossy(&commands[..read]).into_owned();
        for line in text.lines() {
            let answer = match line {
                "GET" => b"$-1\r\n".to_vec(),
                "SUBSCRIBE" => b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n".to_vec(),
                "PING" => b"*2\r\n$4\r\npong\r\n$0\r\n\r\n".to_vec(),
                "HGETALL" => reply.lock().unwrap_or_else(PoisonError::into_inner).clone(),
                _ => continue,
            };
            if socket.write_all(&answer).is_err() {
                return;
            }
        }
    }
}

#[test]
fn an_invalid_reply_is_logged_and_the_last_good_map_stays() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let reply = Arc::new(Mutex::new(b"*2\r\n$1\r\na\r\n$1\r\n1\r\n".to_vec()));
    let replies = Arc::clone(&reply);
    // Runs until the process ends.
    thread::Builder::new().spawn(move || answer(&listener, &replies)).unwrap();
    let source = format!("redis://{address}?key=k");
    let server = Program::server(&["--source", &source, "--format", "json", "--interval", "100ms"]);
    server.wait_log("source up");
    let mut client = Reader::connect(server.addr());
    let good = Map::from([("a".into(), "1".into())]);
    assert_eq!(client.map(Format::Json), good);
    let replies = [
        (&b"*3\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n"[..], "3 elements, an odd number"),
        (b"*2\r\n$1\r\na\r\n*1\r\n$1\r\n2\r\n", "an element that is not a bulk string"),
        (b"*4\r\n$1\r\na\r\n$1\r\n2\r\n$1\r\na\r\n$1\r\n3\r\n", "the field a twice"),
        (b"$1\r\na\r\n", "not an array"),
    ];
    for (round, (bad, why)) in replies.into_iter().enumerate() {
        *reply.lock().unwrap() = bad.to_vec();
        server.wait_log(&format!("the reply to HGETALL is not the fields of a hash: {why}"));
        assert_eq!(client.map(Format::Json), good, "{why}");
        *reply.lock().unwrap() = b"*2\r\n$1\r\na\r\n$1\r\n1\r\n".to_vec();
        let ups = || server.log().iter().filter(|line| line.contains("source up")).count();
        eventually("another good reply", || ups() == round + 2);
    }
}
