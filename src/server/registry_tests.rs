//! Tests of the registry. In a file of their own, because the models compile the registry's file with other locks.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::registry::Registry;
use crate::connection::{ClientSender, FrameSender, SendCounts};
use crate::stream::Stream;
use crate::threads::{Notifier, WakeReason};

const PEER: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1));

/// Returns the sender of a socket, and the listener that keeps the socket open.
fn client() -> (Arc<ClientSender>, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (Arc::new(FrameSender::new(Stream::Plain(socket), Notifier::for_current_thread())), listener)
}

fn thread() -> JoinHandle<()> {
    thread::Builder::new().spawn(|| ()).unwrap()
}

#[test]
fn leave_returns_the_connections_thread() {
    let registry = Registry::default();
    registry.enter(1, PEER);
    assert!(registry.keep_thread(1, thread()).is_none());
    assert!(registry.leave(1, SendCounts::default()).is_some());
}

#[test]
fn keep_thread_returns_the_thread_of_a_removed_connection() {
    let registry = Registry::default();
    registry.enter(1, PEER);
    assert!(registry.leave(1, SendCounts::default()).is_none());
    assert!(registry.keep_thread(1, thread()).is_some());
}

#[test]
fn a_stop_notifies_present_and_later_connections() {
    let (registry, (early, _early), (late, _late)) = (Registry::default(), client(), client());
    registry.enter(1, PEER);
    registry.keep_client(1, &early);
    registry.enter(2, PEER);
    registry.notify_stop();
    registry.keep_client(2, &late);
    assert!(
        early.notifier().wait(None).contains(WakeReason::Stop) && late.notifier().wait(None).contains(WakeReason::Stop)
    );
}

#[test]
fn a_cut_reaches_every_remaining_connection() {
    let (registry, (client, _listener)) = (Registry::default(), client());
    registry.enter(1, PEER);
    registry.keep_client(1, &client);
    assert!(!registry.wait_empty(Some(Instant::now())));
    assert_eq!(registry.cut(), 1);
    assert!(client.notifier().is_cut());
    assert_eq!(std::io::Read::read(&mut client.socket().tcp(), &mut [0]).unwrap(), 0);
}

#[test]
fn a_connection_that_registers_after_the_cut_is_cut_too() {
    let (registry, (client, _listener)) = (Registry::default(), client());
    registry.enter(1, PEER);
    registry.notify_stop();
    assert_eq!(registry.cut(), 1);
    registry.keep_client(1, &client);
    assert!(client.notifier().is_cut());
}

#[test]
fn the_last_connection_to_leave_ends_the_wait() {
    let registry = Registry::default();
    registry.enter(1, PEER);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| registry.wait_empty(Instant::now().checked_add(Duration::from_mins(1))));
        registry.leave(1, SendCounts::default());
        assert!(waiter.join().unwrap());
    });
}
