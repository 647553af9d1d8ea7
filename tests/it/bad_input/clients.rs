//! Clients that do not send what they announced, or send too much at once.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;
use writ_schemas::errors::Code;

use crate::scene::{Scene, Served, holds, note, signed, within};

/// A server that answers nothing for so long hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// The head of a request with a body of so many bytes.
fn head(path: &str, kind: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: writ\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n")
}

/// The head of the only request of its connection.
fn only(kind: &str, length: usize) -> String {
    head("/v1/intents", kind, length).replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")
}

fn connect(served: &Served) -> TcpStream {
    let stream = TcpStream::connect(&served.http).expect("a listener");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    stream
}

/// What comes until the server closes the connection.
fn rest(mut stream: impl Read) -> String {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&buffer[..read]),
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(e) => panic!("the server holds the connection: {e}"),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[track_caller]
fn tells(answer: &str, code: Code) {
    let entry = code.entry();
    assert!(answer.starts_with(&format!("HTTP/1.1 {} ", entry.http)), "{answer}");
    let problem: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap_or_default().1).expect("a problem");
    assert_eq!((&problem["code"], &problem["remedy"]), (&entry.code.into(), &entry.remedy.into()));
}

/// Of many that send far more than they may, or what nobody takes, each hears so; who asks before hears it without sending.
#[test]
fn who_sends_too_much_hears_it() {
    let scene = Scene::new();
    let served = Served::new(&scene);
    let body = vec![b' '; 8 << 20];
    let requests = [
        (only("application/json", body.len()), Code::TooLarge),
        (only("text/plain", body.len()), Code::ContentType),
        (only("application/json", body.len()).replace("POST", "PUT"), Code::Method),
        (only("application/json", body.len()).replace("intents", "nothing"), Code::NotFound),
    ];
    std::thread::scope(|scope| {
        for (head, code) in requests.iter().cycle().take(48) {
            let (served, body) = (&served, &body);
            scope.spawn(move || {
                let mut stream = connect(served);
                stream.write_all(head.as_bytes()).expect("sent");
                stream.write_all(body).expect("it is read to its end");
                tells(&rest(stream), *code);
            });
        }
    });
    let asking =
        head("/v1/intents", "application/json", 8 << 20).replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
    let mut stream = connect(&served);
    stream.write_all(asking.as_bytes()).expect("sent");
    tells(&rest(stream), Code::TooLarge);
    served.stop();
}

#[test]
fn a_request_that_does_not_arrive_is_given_up() {
    const JSON: &str = "application/json";
    let scene = Scene::new();
    scene.configure("request_patience_ms = 500\n");
    let served = Served::new(&scene);
    let sending = |text: &str| {
        let mut stream = connect(&served);
        stream.write_all(text.as_bytes()).expect("sent");
        stream
    };
    let half = head("/v1/intents", JSON, 100) + "{\"payload\"";
    let slow_bodies = [
        sending(&half),
        sending(&head("/v1/intents", JSON, 100)),
        sending(&(head("/v1/intents", "application/x-ndjson", 100) + "\n\n\n")),
        sending("POST /v1/intents HTTP/1.1\r\nHost: writ\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"),
    ];
    let slow_heads = [sending(""), sending("POST /v1/inte"), sending("GET /metrics HTTP/1.1\r\nHost: wr")];
    let mut local = UnixStream::connect(scene.inside("writ.sock")).expect("a socket");
    local.set_read_timeout(Some(PATIENCE)).expect("a limit");
    local.write_all(head("/v1/acts", JSON, 100).as_bytes()).expect("sent");

    slow_bodies.into_iter().for_each(|stream| tells(&rest(stream), Code::RequestIncomplete));
    tells(&rest(local), Code::RequestIncomplete);
    for stream in slow_heads {
        assert_eq!(rest(stream), "", "without a head there is nothing to answer");
    }
    served.stop();
    holds(scene.data());
}

#[test]
fn many_large_bodies_at_once_are_refused_and_leave_nothing_behind() {
    const LINES: &str = "application/x-ndjson";
    let scene = Scene::new();
    // However slow this machine is, what is refused here is refused for its size.
    scene.configure("request_patience_ms = 600000\n");
    let served = Served::new(&scene);
    // Four times 19 MiB are more than the 64 MiB that all bodies may fill, and none of them is whole.
    let blank = vec![b'\n'; 19 << 20];
    let streams: Vec<TcpStream> = (0..4).map(|_| connect(&served)).collect();
    let (told, answers) = mpsc::channel();
    std::thread::scope(|scope| {
        for stream in &streams {
            let (told, blank) = (told.clone(), &blank);
            scope.spawn(move || {
                let mut writing = stream;
                // The one that is refused may not be read to its end.
                let _ = writing.write_all(head("/v1/intents", LINES, 20 << 20).as_bytes());
                let _ = writing.write_all(blank);
                told.send(rest(stream)).expect("the test listens");
            });
        }
        let refused = answers.recv_timeout(PATIENCE).expect("one is refused");
        // The others end here: what they filled is free again.
        streams.iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
        tells(&refused, Code::Overloaded);
    });
    within("the memory of bodies", || served.ask("POST", "/v1/intents", LINES, &blank).0 == 200);
    let line = signed(&note("after"), &scene.key("producer.key"));
    assert_eq!(served.ask("POST", "/v1/intents", "application/json", &line).0, 200);
    served.stop();
    holds(scene.data());
}
