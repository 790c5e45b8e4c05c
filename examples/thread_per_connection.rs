//! The idea of mapcast in one file: `cargo run --example thread_per_connection -- 127.0.0.1:8080 5`, then
//! `mapcast-client` in another shell.
//!
//! One thread accepts clients. Each client has a thread that sends it the map every N seconds, until the client leaves or
//! Ctrl-C stops the server. The library's own server adds changes, limits, deadlines and a log of what went wrong.

use std::error::Error;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mapcast::frame::encode_header;
use mapcast::{Format, Shutdown, builtin_map};

/// Connections that are open now.
static ACTIVE: AtomicUsize = AtomicUsize::new(0);

/// Counts one connection from its creation to its drop, so that the count is right even if the thread panics.
struct Active(SocketAddr);

impl Active {
    fn new(peer: SocketAddr) -> Self {
        let count = ACTIVE.fetch_add(1, Ordering::SeqCst) + 1;
        log::info!("{peer} connected (active connections: {count})");
        Self(peer)
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let count = ACTIVE.fetch_sub(1, Ordering::SeqCst) - 1;
        log::info!("{} disconnected (active connections: {count})", self.0);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let seconds = std::env::args().nth(2).map_or(Ok(5), |seconds| seconds.parse::<u64>())?;
    let period = Duration::from_secs(seconds.max(1));

    // `Shutdown` is an AtomicBool and a pipe: `trigger` sets the flag and wakes every thread that waits in one of its calls.
    let shutdown = Shutdown::new()?;
    let on_signal = shutdown.clone();
    ctrlc::set_handler(move || {
        on_signal.trigger();
    })?;

    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    log::info!("listening on {}: the map every {period:?}", listener.local_addr()?);
    accept_loop(&listener, period, &shutdown);
    log::info!("stopped");
    Ok(())
}

/// Starts a thread for each client. Returns once the stop was requested and every thread has ended.
fn accept_loop(listener: &TcpListener, period: Duration, shutdown: &Shutdown) {
    thread::scope(|scope| {
        while !shutdown.is_triggered() {
            let (client, peer) = match accept(listener, shutdown) {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => {
                    // Perhaps no descriptor is free. The next attempt would fail at once, so wait until some clients left.
                    log::error!("cannot accept a client: {error}");
                    shutdown.wait(Duration::from_millis(100));
                    continue;
                }
            };
            let serve = move || {
                let _active = Active::new(peer);
                if let Err(error) = serve(client, period, shutdown) {
                    log::warn!("{peer}: {error}");
                }
            };
            // If the system has no thread, the closure is dropped, which closes this client's connection alone.
            if let Err(error) = thread::Builder::new().name(format!("client-{peer}")).spawn_scoped(scope, serve) {
                log::error!("no thread for {peer}: {error}");
            }
        }
        // The scope joins the threads here.
    });
}

/// Waits for a client or the stop, and accepts a client if there is one.
fn accept(listener: &TcpListener, shutdown: &Shutdown) -> io::Result<(TcpStream, SocketAddr)> {
    shutdown.wait_readable(listener, None)?;
    // Does not block: at the stop there is no client, and one that has just left is not there either.
    listener.accept()
}

/// Sends the map every `period` until the client leaves or the stop is requested.
fn serve(mut client: TcpStream, period: Duration, shutdown: &Shutdown) -> Result<(), Box<dyn Error>> {
    client.set_nonblocking(false)?; // on Linux it is already; elsewhere it inherits the listener's mode
    // A client that does not read fills its socket's buffers. A write to it then fails after this time, which ends the thread.
    // The limit holds for each write: the library's server has one deadline for the whole frame instead.
    client.set_write_timeout(Some(Duration::from_secs(5)))?;
    while !shutdown.is_triggered() {
        let next = Instant::now().checked_add(period);
        let payload = Format::Bincode.encode_map(&builtin_map())?;
        let header = encode_header(payload.len())?; // the length in decimal, padded with spaces to 10 bytes
        client.write_all(&[&header, payload.as_slice()].concat())?;
        // A client sends nothing. Its socket becomes readable when it leaves, and when it breaks that rule: both end it.
        if shutdown.wait_readable(&client, next)? {
            return Ok(());
        }
    }
    Ok(())
}
