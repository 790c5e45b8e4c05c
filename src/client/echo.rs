//! The clients of the smaller services: echo and greet.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown as Half;
use std::time::Instant;

use log::debug;

use super::config::ClientConfig;
use super::connect;
use super::connection::refusal;
use super::error::Error;
use super::resolver::Resolver;
use super::socket::{Cancellation, ClientSocket, is_tls_alert};
use crate::platform::{self, AsFd, BorrowedFd, PollableFile, Readiness};
use crate::shutdown::Shutdown;
use crate::stream::{ReadCount, Stream as Transport};

/// Bytes per read: the capacity of a pipe on Linux. At most twice as many are buffered.
const CHUNK: usize = 64 * 1024;

/// What to send to an echo server.
#[derive(Debug)]
pub enum Input {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Everything from a file until its end: a regular file, a pipe, a terminal.
    Stream(File),
}

impl Input {
    /// Returns everything from standard input until its end.
    ///
    /// # Errors
    /// `Input` if the system has no descriptor left.
    pub fn standard_input() -> Result<Self, Error> {
        platform::standard_input().map(Self::Stream).map_err(Error::Input)
    }
}

/// Sends `input` to the echo server at `address`, half-closes, and writes what comes back to `output` as it arrives,
/// until the server closes. Returns how many bytes came back, if and only if that is as many as were sent.
///
/// Sends and receives at the same time: a server that stops reading until its output is read would otherwise block
/// both. Buffers at most 128 KiB. `shutdown` and `deadline` (`None` never comes) end every wait except for `output`.
///
/// # Errors
/// `Connect`, `Tls`, `PlainToTls`, `Connection`, `NotEchoed`; `Input` and `Output`; `TimedOut` and `Stopped`.
pub fn echo(
    address: &str,
    input: Input,
    mut output: impl Write,
    config: &ClientConfig,
    shutdown: &Shutdown,
    deadline: Option<Instant>,
) -> Result<u64, Error> {
    let cancellation = Cancellation { shutdown: shutdown.clone(), deadline };
    let stream = connect::connect(address, config, &Resolver::new(), &cancellation)?;
    debug!("connected to {} from {}", stream.peer(), stream.local());
    let failed = |error| refusal(error, config.tls.as_deref()).unwrap_or_else(Error::Connection);
    let mut echo = Echo::new(&stream, input)?;
    let mut chunk = vec![0; CHUNK];
    loop {
        let ready = echo.wait()?;
        if ready.answer {
            match retryable(echo.socket.try_take(&mut chunk)).map_err(failed)? {
                None => {}
                Some(None) => break,
                Some(Some(ReadCount { data, .. })) => {
                    if echo.is_refused(&chunk[..data]) {
                        return Err(Error::PlainToTls);
                    }
                    echo.received += data as u64;
                    output.write_all(&chunk[..data]).map_err(Error::Output)?;
                }
            }
        }
        if ready.next_step {
            echo.advance()?;
        }
    }
    output.flush().map_err(Error::Output)?;
    let (sent, received) = (echo.sent, echo.received);
    if received < sent || !echo.is_half_closed {
        return Err(Error::NotEchoed { sent, received });
    }
    Ok(received)
}

/// Writes what the server at `address` sends to `output` as it arrives, until the server closes. Returns the number of
/// bytes. `shutdown` and `deadline` (`None` never comes) end every wait except for `output`.
///
/// # Errors
/// `Connect`, `Tls`, `PlainToTls`, `Connection`; `Output`; `TimedOut` and `Stopped`.
pub fn greet(
    address: &str,
    mut output: impl Write,
    config: &ClientConfig,
    shutdown: &Shutdown,
    deadline: Option<Instant>,
) -> Result<u64, Error> {
    let cancellation = Cancellation { shutdown: shutdown.clone(), deadline };
    let mut stream = connect::connect(address, config, &Resolver::new(), &cancellation)?;
    debug!("connected to {} from {}", stream.peer(), stream.local());
    let mut chunk = vec![0; CHUNK];
    let mut received = 0;
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => {
                received += read as u64;
                output.write_all(&chunk[..read]).map_err(Error::Output)?;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(stream.cancellation().reason()),
            Err(error) => return Err(refusal(error, config.tls.as_deref()).unwrap_or_else(Error::Connection)),
        }
    }
    output.flush().map_err(Error::Output)?;
    Ok(received)
}

/// The state of an echo.
struct Echo<'stream> {
    socket: &'stream Transport,
    cancellation: &'stream Cancellation,
    /// `None` after its end.
    input: Option<PollableFile>,
    /// The last chunk of the input; [`unsent`](Self::unsent) begins at `at`.
    chunk: Vec<u8>,
    at: usize,
    is_half_closed: bool,
    /// The first byte sent.
    first_byte: Option<u8>,
    sent: u64,
    received: u64,
}

/// The result of a wait.
struct Ready {
    /// More has come back, or the server has closed.
    answer: bool,
    /// [`Echo::next_step`] is possible.
    next_step: bool,
}

impl<'stream> Echo<'stream> {
    fn new(stream: &'stream ClientSocket, input: Input) -> Result<Self, Error> {
        let (chunk, input) = match input {
            Input::Bytes(bytes) => (bytes, None),
            Input::Stream(file) => (Vec::new(), Some(platform::pollable(file).map_err(Error::Input)?)),
        };
        let (socket, cancellation) = (stream.socket(), stream.cancellation());
        Ok(Self {
            socket,
            cancellation,
            input,
            chunk,
            at: 0,
            is_half_closed: false,
            first_byte: None,
            sent: 0,
            received: 0,
        })
    }

    fn unsent(&self) -> &[u8] {
        &self.chunk[self.at..]
    }

    /// Half-closes when there is nothing more to send, then waits until something can be done.
    fn wait(&mut self) -> Result<Ready, Error> {
        if self.unsent().is_empty() && self.input.is_none() && !self.is_half_closed {
            self.half_close().map_err(Error::Connection)?;
        }
        if self.socket.has_input() && !self.cancellation.is_over() {
            // Bytes that are buffered in the TLS session do not make the socket readable.
            return Ok(Ready { answer: true, next_step: false });
        }
        let answer = (self.socket.as_fd(), Readiness::Readable);
        let stop = (self.cancellation.shutdown.as_fd(), Readiness::Readable);
        let sources = [answer, self.next_step(), stop];
        let ready = platform::wait_ready(sources, self.cancellation.deadline).map_err(Error::Connection)?;
        if self.cancellation.is_over() {
            return Err(self.cancellation.reason());
        }
        Ok(Ready { answer: ready[0], next_step: ready[1] })
    }

    /// Signals the end of the input if the socket accepts it now.
    fn half_close(&mut self) -> io::Result<()> {
        match self.socket.try_close() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            closed => closed?,
        }
        self.is_half_closed = true;
        self.socket.tcp().shutdown(Half::Write)
    }

    /// Returns what the next step waits for: room for unsent bytes or for the half-close, otherwise more input. After
    /// all that, only the server's answer, twice.
    fn next_step(&self) -> (BorrowedFd<'_>, Readiness) {
        match &self.input {
            _ if !self.unsent().is_empty() => (self.socket.as_fd(), Readiness::Writable),
            Some(input) => (input.as_fd(), Readiness::Readable),
            None if !self.is_half_closed => (self.socket.as_fd(), Readiness::Writable),
            None => (self.socket.as_fd(), Readiness::Readable),
        }
    }

    /// True if and only if `answer` is the first one, a TLS alert to a plain client, and not an echo.
    fn is_refused(&self, answer: &[u8]) -> bool {
        self.received == 0
            && !self.socket.is_tls()
            && is_tls_alert(answer)
            && self.first_byte != answer.first().copied()
    }

    /// Sends unsent bytes, or reads more of the input.
    fn advance(&mut self) -> Result<(), Error> {
        if !self.unsent().is_empty() {
            self.first_byte = self.first_byte.or(self.unsent().first().copied());
            let sent = retryable(self.socket.try_send(self.unsent())).map_err(Error::Connection)?.unwrap_or(0);
            self.sent += sent as u64;
            self.at += sent;
            return Ok(());
        }
        let Some(input) = &mut self.input else { return Ok(()) };
        self.chunk.resize(CHUNK, 0);
        let read = retryable(input.read(&mut self.chunk)).map_err(Error::Input)?;
        self.chunk.truncate(read.unwrap_or(0));
        self.at = 0;
        if read == Some(0) {
            self.input = None;
        }
        Ok(())
    }
}

/// Returns `None` for a call that is to be repeated once the descriptor is ready.
fn retryable<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Err(error) if [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&error.kind()) => Ok(None),
        outcome => outcome.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::thread;
    use std::time::Duration;

    /// Serves one client with `script` and returns the address.
    fn serve(script: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::Builder::new().spawn(move || script(listener.accept().unwrap().0)).unwrap();
        address
    }

    /// Sends back what it reads, with one small buffer and in no hurry.
    fn echo_back(mut stream: TcpStream) {
        let mut reader = stream.try_clone().unwrap();
        io::copy(&mut reader, &mut stream).unwrap();
    }

    /// Far more than any test takes.
    fn late() -> Instant {
        Instant::now() + Duration::from_mins(1)
    }

    fn echo_to_vec(address: SocketAddr, input: Input, deadline: Instant) -> (Vec<u8>, Result<u64, Error>) {
        let mut output = Vec::new();
        let shutdown = Shutdown::new().unwrap();
        let outcome =
            echo(&address.to_string(), input, &mut output, &ClientConfig::default(), &shutdown, Some(deadline));
        (output, outcome)
    }

    #[test]
    fn everything_sent_comes_back() {
        let (output, outcome) = echo_to_vec(serve(echo_back), Input::Bytes(b"Hola".to_vec()), late());
        assert_eq!((output.as_slice(), outcome.unwrap()), (b"Hola".as_slice(), 4));
    }

    #[test]
    fn an_empty_input_is_an_empty_echo() {
        let (output, outcome) = echo_to_vec(serve(echo_back), Input::Bytes(Vec::new()), late());
        assert_eq!((output.len(), outcome.unwrap()), (0, 0));
    }

    #[test]
    fn more_data_than_all_buffers_hold_does_not_deadlock() {
        let bytes: Vec<u8> = (0..20_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
        let (output, outcome) = echo_to_vec(serve(echo_back), Input::Bytes(bytes.clone()), late());
        assert_eq!(outcome.unwrap(), 20_000_000);
        assert!(output == bytes);
    }

    #[test]
    fn a_file_is_sent_completely() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; 200_000]).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        let (output, outcome) = echo_to_vec(serve(echo_back), Input::Stream(file), late());
        assert_eq!(outcome.unwrap(), 200_000);
        assert!(output == vec![7; 200_000]);
    }

    #[test]
    fn a_server_that_sends_less_back_is_not_an_echo() {
        let address = serve(|mut stream| {
            stream.read_exact(&mut [0; 4]).unwrap();
            stream.write_all(b"Ho").unwrap();
        });
        let (output, outcome) = echo_to_vec(address, Input::Bytes(b"Hola".to_vec()), late());
        assert_eq!(output, b"Ho");
        assert!(matches!(outcome, Err(Error::NotEchoed { sent: 4, received: 2 })), "{outcome:?}");
    }

    #[test]
    fn a_deadline_ends_an_echo_without_an_answer() {
        let address = serve(|stream| drop(stream.peek(&mut [0; 1]).and_then(|_| stream.peek(&mut [0; 10]))));
        let (silent, _writer) = io::pipe().unwrap();
        let input = Input::Stream(File::from(std::os::fd::OwnedFd::from(silent)));
        let (_, outcome) = echo_to_vec(address, input, Instant::now() + Duration::from_millis(50));
        assert!(matches!(outcome, Err(Error::TimedOut)), "{outcome:?}");
    }

    #[test]
    fn a_stop_ends_an_echo_with_a_silent_input() {
        let (address, shutdown) = (serve(echo_back), Shutdown::new().unwrap());
        let (silent, _writer) = io::pipe().unwrap();
        let input = Input::Stream(File::from(std::os::fd::OwnedFd::from(silent)));
        thread::scope(|scope| {
            let echo = scope.spawn(|| {
                echo(&address.to_string(), input, io::sink(), &ClientConfig::default(), &shutdown, Some(late()))
            });
            shutdown.trigger();
            assert!(matches!(echo.join().unwrap(), Err(Error::Stopped)));
        });
    }

    #[test]
    fn a_greeting_is_read_completely() {
        let address = serve(|mut stream| stream.write_all("¡Hola!".as_bytes()).unwrap());
        let (mut output, shutdown) = (Vec::new(), Shutdown::new().unwrap());
        let received =
            greet(&address.to_string(), &mut output, &ClientConfig::default(), &shutdown, Some(late())).unwrap();
        assert_eq!((received, output.as_slice()), (7, "¡Hola!".as_bytes()));
    }

    #[test]
    fn a_deadline_ends_an_endless_greeting() {
        let address = serve(|mut stream| {
            let end = late();
            while Instant::now() < end && stream.write_all(&[b'x'; 1000]).is_ok() {}
        });
        let (deadline, shutdown) = (Instant::now() + Duration::from_millis(50), Shutdown::new().unwrap());
        let outcome = greet(&address.to_string(), io::sink(), &ClientConfig::default(), &shutdown, Some(deadline));
        assert!(matches!(outcome, Err(Error::TimedOut)), "{outcome:?}");
    }
}
