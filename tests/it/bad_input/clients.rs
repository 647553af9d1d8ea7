//! Clients that do not send what they announced, or send too much at once.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;
use writ_schemas::errors::Code;

use crate::scene::{Scene, Served, WRIT, holds, note, signed, within};

/// A server that answers nothing for so long hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// The head of a request with a body of so many bytes.
fn head(path: &str, kind: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n")
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
        sending("POST /v1/intents HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"),
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

/// What comes to a request with these lines in its head: status line and head, and the body.
fn answered(served: &Served, target: &str, lines: &str) -> (String, String) {
    let mut stream = connect(served);
    let request = format!("GET {target} HTTP/1.1\r\n{lines}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let answer = rest(stream);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.to_owned(), body.to_owned())
}

#[test]
fn a_listener_answers_to_its_own_names_only() {
    let scene = Scene::new();
    scene.configure("http_hosts = [\"ledger.example\"]\n");
    let served = Served::new(&scene);
    let port = served.http.rsplit_once(':').expect("a port").1;
    let routes = ["/v1/usage", "/v1/decisions/acme/n-1", "/v1/entries/0", "/metrics", "/health/ready", "/v2"];
    for route in routes {
        for host in [served.http.clone(), format!("localhost:{port}"), "LEDGER.example".to_owned()] {
            let (head, body) = answered(&served, route, &format!("Host: {host}\r\n"));
            let expected = if route == "/v2" { "HTTP/1.1 404 " } else { "HTTP/1.1 200 " };
            assert!(head.starts_with(expected), "{host} {route}: {head} {body}");
        }
        for (lines, code) in [
            ("Host: evil.example\r\n".to_owned(), Code::Misdirected),
            (format!("Host: evil.example:{port}\r\n"), Code::Misdirected),
            ("Host: 127.0.0.1.evil.example\r\n".to_owned(), Code::Misdirected),
            (String::new(), Code::Usage),
            ("Host: \r\n".to_owned(), Code::Usage),
            ("Host: localhost\r\nHost: evil.example\r\n".to_owned(), Code::Usage),
        ] {
            let (head, body) = answered(&served, route, &lines);
            let problem: Value = serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {head} {body}"));
            let status = format!("HTTP/1.1 {} ", code.entry().http);
            assert!(head.starts_with(&status) && problem["code"] == code.as_str(), "{lines} {route}: {head} {body}");
            assert!(!body.contains("acme"), "{body}");
        }
    }
    let (head, _) = answered(&served, "http://evil.example/v1/usage", "Host: localhost\r\n");
    assert!(head.starts_with("HTTP/1.1 421 "), "{head}");
    // The socket is no browser's.
    assert_eq!(Served::ask_socket(&scene, "GET", "/v1/usage", "", b"").0, 200);
    served.stop();
}

#[test]
fn browsers_keep_nothing_and_guess_nothing() {
    let scene = Scene::new();
    let served = Served::new(&scene);
    for route in ["/v1/usage", "/v1/decisions/acme/n-1", "/v1/decisions/acme/none", "/health/live", "/metrics", "/v2"] {
        for host in ["localhost", "evil.example"] {
            let (head, _) = answered(&served, route, &format!("Host: {host}\r\n"));
            let head = head.to_ascii_lowercase();
            for line in ["\r\nx-content-type-options: nosniff", "\r\ncache-control: no-store"] {
                assert!(head.contains(line), "{host} {route}: {head}");
            }
        }
    }
    served.stop();
}

/// Who opens it to a network is told, before anything else, what that means.
#[test]
fn who_opens_it_is_told_who_reads_what() {
    let scene = Scene::new();
    for (address, host) in [("0.0.0.0:0", "192.0.2.7"), ("[::]:0", "[2001:db8::7]")] {
        if std::net::TcpListener::bind(address).is_err() {
            continue; // this machine has no such addresses
        }
        let mut serve = std::process::Command::new(WRIT);
        serve.args([
            "serve",
            "--data",
            scene.data(),
            "--http",
            address,
            "--http-open",
            "--http-host",
            "ledger.example",
        ]);
        let mut child = serve.stderr(std::process::Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
        let first = lines.next().expect("a line");
        assert!(first.contains("whoever reaches") && first.contains("reads the intents, decisions"), "{first}");
        let http =
            lines.find_map(|line| line.strip_prefix("writ: and on http://").map(str::to_owned)).expect("an address");
        let port = http.rsplit_once(':').expect("a port").1;
        let ask = |host: &str| {
            let mut stream = TcpStream::connect(format!("localhost:{port}")).expect("a listener");
            let request = format!("GET /health/live HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).expect("sent");
            rest(stream).split(' ').nth(1).unwrap_or_default().to_owned()
        };
        let asked = [host, "localhost", "ledger.example", "evil.example"].map(ask);
        assert_eq!(asked, ["200", "200", "200", "421"], "{address}");
        crate::scene::signal(&child, "TERM");
        assert_eq!(child.wait().expect("a child").code(), Some(0));
    }
}
