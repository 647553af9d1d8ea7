//! A service outside that connectors call: it answers as it is told, and remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::scene::within;

/// How it answers one call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Says {
    /// With this status, and `{}`.
    Status(u16),
    /// With this status, these header lines, each with its end, and nothing else.
    Head(u16, &'static str),
    /// With 200 and this body.
    Body(&'static str),
    /// With 200 and half of an answer: it closes the connection before the end.
    Half,
    /// Not at all: it closes the connection when it has read everything.
    Nothing,
}

/// One call: its idempotency key and its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) key: String,
    pub(crate) body: String,
    /// The span that it was asked from (`traceparent`).
    pub(crate) trace: String,
}

/// The service. It ends with the test.
pub(crate) struct Shop {
    /// Its address.
    pub(crate) url: String,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Shop {
    /// Answers each call by its number, from 0.
    pub(crate) fn new(says: impl Fn(usize) -> Says + Send + 'static) -> Shop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        let heard = Arc::clone(&calls);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Some((stream, call)) = read(stream) {
                    let number = {
                        let mut heard = heard.lock().expect("no panic");
                        heard.push(call);
                        heard.len() - 1
                    };
                    answer(stream, says(number));
                }
            }
        });
        Shop { url, calls }
    }

    /// What it was asked so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().expect("no panic").clone()
    }

    /// Waits until it was asked so often.
    pub(crate) fn wait_for(&self, calls: usize) {
        within(&format!("{calls} calls"), || self.calls().len() >= calls);
    }
}

fn read(stream: TcpStream) -> Option<(TcpStream, Call)> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut key, mut trace, mut length) = (String::new(), String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        match name.to_ascii_lowercase().as_str() {
            "idempotency-key" => key = value.trim().to_owned(),
            "traceparent" => trace = value.trim().to_owned(),
            "content-length" => length = value.trim().parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((stream, Call { key, body: String::from_utf8(body).ok()?, trace }))
}

fn answer(mut stream: TcpStream, says: Says) {
    let (status, body, missing) = match says {
        Says::Status(status) => (status, "{}", 0),
        Says::Head(status, lines) => {
            let head = format!("HTTP/1.1 {status} So\r\nConnection: close\r\n{lines}\r\n");
            let _ = stream.write_all(head.as_bytes()); // who asked may be gone
            return;
        }
        Says::Body(body) => (200, body, 0),
        Says::Half => (200, "{", 1),
        Says::Nothing => return,
    };
    let head = format!(
        "HTTP/1.1 {status} So\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len() + missing
    );
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())); // who asked may be gone
}
