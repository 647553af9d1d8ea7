//! `writ top`, where standard output is no terminal: lines, and JSON. What its screen shows is held by texts beside it.

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::scene::{Scene, Served, note, with, writ};

#[test]
fn it_says_each_second_what_a_ledger_does() {
    let scene = Scene::new();
    let served = Served::new(&scene);
    let url = format!("http://{}", served.http);
    let first = writ(["top", "--data", scene.data(), "--count", "2"]).ended(0);
    let lines: Vec<&str> = first.out.lines().collect();
    assert_eq!(lines.len(), 2, "{}", first.out);
    assert!(lines.iter().all(|line| line.starts_with("intents 0.0/s  pass 0.0")), "{}", first.out);
    assert!(lines.iter().all(|line| line.contains("disk ok  clock ok")), "{}", first.out);

    // Whatever happens between its two questions is in the answer.
    let watched = std::thread::spawn(move || writ(["top", "--url", &url, "--count", "5", "--json"]).ended(0));
    while !watched.is_finished() {
        scene.submit(with(note("n-1"), "action", json!("other")).to_string().as_bytes(), &[]);
    }
    let told: Vec<Value> = watched.join().expect("it ends").out.lines().map(|it| it.parse().expect("JSON")).collect();
    assert_eq!(told.len(), 5);
    let sums = |of: &str| told.iter().filter_map(|it| it.pointer(of)?.as_f64()).sum::<f64>();
    assert!(sums("/intents/REFUSED") > 0.0 && sums("/codes/ERR_ID_REUSED") > 0.0, "{told:?}");
    assert!(told.iter().all(|it| it["entries"].as_f64() > Some(8.0) && it["process"]["memory"].as_f64() > Some(0.0)));
    served.stop();

    let gone = writ(["top", "--data", scene.data(), "--count", "1"]).ended(2);
    assert!(gone.err.contains("ERR_UNREACHABLE"), "{}", gone.err);
    assert_eq!(gone.out, "");
}

#[test]
fn whoever_answers_something_else_is_refused_with_a_code() {
    let endless = "a 1\n".repeat(1 << 12);
    let rows: [(&str, &str, &str, bool); 6] = [
        ("HTTP/1.1 200 OK\r\n\r\n<html>", "ERR_IO", "line 1 is no metric", false),
        ("HTTP/1.1 200 OK\r\n\r\n", "ERR_IO", "answers more than 8388608 bytes", true),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "ERR_IO", "404", false),
        ("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "ERR_IO", "302", false),
        (
            "HTTP/1.1 421 Misdirected\r\n\r\n{\"code\":\"ERR_MISDIRECTED\",\"detail\":\"other\"}",
            "ERR_MISDIRECTED",
            "other",
            false,
        ),
        ("nothing of HTTP\r\n\r\n", "ERR_U", "http://127.0.0.1", false),
    ];
    for (answer, code, why, is_endless) in rows {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (sent, endless) = (answer.to_owned(), endless.clone());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(sent.as_bytes());
            while is_endless && stream.write_all(endless.as_bytes()).is_ok() {}
        });
        let run = writ(["top", "--url", &url, "--count", "1"]);
        assert!(run.status > 0 && run.err.contains(code) && run.err.contains(why), "{answer:?}: {}", run.err);
        assert_eq!(run.out, "");
        server.join().expect("it ends");
    }
    for (url, code) in [("http://127.0.0.1:1", "ERR_UNREACHABLE"), ("no url", "ERR_USAGE"), ("ftp://x", "ERR_USAGE")] {
        let run = writ(["top", "--url", url]).ended(2);
        assert!(run.err.contains(code), "{url}: {}", run.err);
    }
    writ(["top"]).ended(2);
    writ(["top", "--data", "x", "--url", "http://x"]).ended(2);
    writ(["top", "--data", "x", "--count", "0"]).ended(2);
}
