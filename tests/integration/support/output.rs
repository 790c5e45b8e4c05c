//! The output of a child, read by a thread of its own so that the child never waits for a test.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};

use super::PATIENCE;

pub struct Output {
    so_far: Arc<(Mutex<Bytes>, Condvar)>,
    pump: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Bytes {
    bytes: Vec<u8>,
    ended: bool,
}

impl Output {
    /// `None` is a stream that the test reads itself.
    pub fn pump(stream: Option<impl Read + Send + 'static>) -> Self {
        let so_far = Arc::new((Mutex::new(Bytes { ended: stream.is_none(), ..Bytes::default() }), Condvar::new()));
        let pump = stream.map(|mut stream| {
            let so_far = Arc::clone(&so_far);
            let run = move || {
                let mut chunk = [0; 4096];
                loop {
                    let read = stream.read(&mut chunk).unwrap_or(0);
                    let mut output = so_far.0.lock().unwrap();
                    output.bytes.extend_from_slice(&chunk[..read]);
                    output.ended = read == 0;
                    so_far.1.notify_all();
                    if output.ended {
                        return;
                    }
                }
            };
            thread::Builder::new().spawn(run).unwrap()
        });
        Self { so_far, pump }
    }

    /// Waits for a line that contains `text`, complete unless the stream has ended. Returns it.
    pub fn wait_line(&self, text: &str) -> Option<String> {
        let whole_line = |output: &Bytes| {
            let all = String::from_utf8_lossy(&output.bytes);
            let mut lines = all.split_inclusive('\n').filter(|line| line.ends_with('\n') || output.ended);
            lines.find(|line| line.contains(text)).map(|line| line.trim_end_matches('\n').to_owned())
        };
        let output = self.so_far.0.lock().unwrap();
        let waits = |output: &mut Bytes| !output.ended && whole_line(output).is_none();
        let (output, _) = self.so_far.1.wait_timeout_while(output, PATIENCE, waits).unwrap();
        whole_line(&output)
    }

    /// Waits for the end. Returns false if and only if it takes too long.
    pub fn wait_end(&self) -> bool {
        let output = self.so_far.0.lock().unwrap();
        let (output, _) = self.so_far.1.wait_timeout_while(output, PATIENCE, |output| !output.ended).unwrap();
        output.ended
    }

    /// The output so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.so_far.0.lock().unwrap().bytes).into_owned()
    }

    /// The whole output.
    pub fn join(&mut self) -> Vec<u8> {
        self.pump.take().into_iter().for_each(|pump| pump.join().unwrap());
        std::mem::take(&mut self.so_far.0.lock().unwrap().bytes)
    }
}
