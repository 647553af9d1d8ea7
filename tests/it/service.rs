//! The other side of an `http` connector: it counts its calls, and answers as it was told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// No test waits this long unless something hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// What it does with a call.
#[derive(Clone, Debug)]
pub(crate) enum Manner {
    /// Takes it and closes the connection: nobody knows what came of it.
    HangsUp,
    /// Answers 422: nothing was done.
    Refuses,
    /// Answers 200 with these bytes.
    Answers(Vec<u8>),
    /// The same, but not before it is told to.
    Waits(Vec<u8>),
}

/// A service on a port of its own. It ends with the process of the test.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    manner: Manner,
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
struct Seen {
    calls: usize,
    told: bool,
}

impl Service {
    pub(crate) fn new(manner: Manner) -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared { manner, seen: Mutex::default(), changed: Condvar::new() });
        let there = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&there);
                // A caller that was killed does not hear the answer.
                std::thread::spawn(move || drop(shared.serve(stream)));
            }
        });
        Service { port, shared }
    }

    pub(crate) fn calls(&self) -> usize {
        self.shared.seen.lock().expect("nobody panics with it").calls
    }

    /// Waits until it was called so often. Whether it was.
    pub(crate) fn was_called(&self, calls: usize) -> bool {
        let seen = self.shared.seen.lock().expect("nobody panics with it");
        let waited = self.shared.changed.wait_timeout_while(seen, PATIENCE, |seen| seen.calls < calls);
        !waited.expect("nobody panics with it").1.timed_out()
    }

    /// Answers everything that waits, and whatever comes.
    pub(crate) fn answer(&self) {
        self.shared.seen.lock().expect("nobody panics with it").told = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut length = 0;
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header)? == 0 || header == "\r\n" {
                break;
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        reader.take(length).read_to_end(&mut Vec::new())?;
        let mut seen = self.seen.lock().expect("nobody panics with it");
        seen.calls += 1;
        self.changed.notify_all();
        let (status, body) = match &self.manner {
            Manner::HangsUp => return Ok(()),
            Manner::Refuses => ("422 Unprocessable Content", &b"{}"[..]),
            Manner::Answers(body) => ("200 OK", &body[..]),
            Manner::Waits(body) => {
                drop(self.changed.wait_while(seen, |seen| !seen.told).expect("nobody panics with it"));
                ("200 OK", &body[..])
            }
        };
        write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len())?;
        stream.write_all(body)
    }
}
