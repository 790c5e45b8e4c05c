//! Scripted servers.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use mapcast::frame::Frame;
use mapcast::{Format, Map, builtin_map};

use crate::support::free_port;

/// Serves one client after the other with `script`, which gets the number of earlier clients. Returns the address. A
/// script keeps the stream to keep a connection open. The thread ends with the process.
pub(super) fn serve(script: impl FnMut(usize, TcpStream) + Send + 'static) -> String {
    serve_on(TcpListener::bind("127.0.0.1:0").unwrap(), script).to_string()
}

/// As [`serve`], on the caller's own listener.
pub(super) fn serve_on(listener: TcpListener, mut script: impl FnMut(usize, TcpStream) + Send + 'static) -> SocketAddr {
    let address = listener.local_addr().unwrap();
    let run = move || {
        for (number, stream) in listener.incoming().enumerate() {
            let stream = stream.unwrap();
            stream.set_nodelay(true).unwrap();
            script(number, stream);
        }
    };
    thread::Builder::new().spawn(run).unwrap();
    address
}

/// Serves every client with these bytes and keeps the connection.
pub(super) fn serve_bytes(bytes: Vec<u8>) -> String {
    let mut kept = Vec::new();
    serve(move |_, mut stream| {
        std::io::Write::write_all(&mut stream, &bytes).unwrap();
        kept.push(stream);
    })
}

/// Returns an address without a listener.
pub(super) fn closed_address() -> String {
    format!("127.0.0.1:{}", free_port())
}

/// Lets time pass in a peer that is meant to be slow.
pub(super) fn delay(time: Duration) {
    let (_sender, receiver) = mpsc::channel::<()>();
    let _ = receiver.recv_timeout(time);
}

/// Returns the frame of a payload.
pub(super) fn frame(payload: &[u8]) -> Vec<u8> {
    Frame::new(payload, usize::MAX).unwrap().as_bytes().to_vec()
}

/// Returns the frame of a map in bincode.
pub(super) fn map_frame(map: &Map) -> Vec<u8> {
    frame(&Format::Bincode.encode_map(map).unwrap())
}

/// Returns the frame of the built-in map in bincode.
pub(super) fn builtin_frame() -> Vec<u8> {
    map_frame(&builtin_map())
}

/// Returns the frame of `{"n": number}` in bincode.
pub(super) fn numbered_frame(number: i64) -> Vec<u8> {
    map_frame(&Map::from([("n".into(), number.into())]))
}

/// The built-in map as the client prints it.
pub(super) const BUILTIN_LINE: &str = "{\"1\":\"Hola\",\"2\":\"Bienvenido\",\"3\":\"Al\",\"4\":\"Servidor\"}\n";
