//! A conversation that ends half way, on either side.

use std::io::{Read, Write};

use writ_schemas::errors::Code;

use crate::scene::{Scene, Served, note, signed, writ};
use crate::service::{Manner, Service};

#[test]
fn a_server_that_ends_before_it_answers_is_told() {
    let scene = Scene::new();
    let line = scene.file("one.jsonl", signed(&note("x"), &scene.key("producer.key")));
    let gone = Service::new(Manner::HangsUp);
    let run = writ(["submit", "--url", &format!("http://127.0.0.1:{}", gone.port), "--json", &line]);
    let entry = Code::Stopping.entry();
    assert_eq!((run.status, &*run.out), (i32::from(entry.exit), ""), "{run:?}");
    assert!(run.err.contains(entry.code) && run.err.contains("submitting again is safe"), "{run:?}");
    assert_eq!(gone.calls(), 1, "it was not tried again by itself");
}

#[test]
fn half_a_request_is_given_up() {
    let scene = Scene::new();
    scene.configure("request_patience_ms = 300\n");
    let served = Served::new(&scene);
    let mut stream = std::net::TcpStream::connect(&served.http).expect("a listener");
    let half =
        "POST /v1/intents HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{";
    stream.write_all(half.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let entry = Code::RequestIncomplete.entry();
    assert!(answer.starts_with(&format!("HTTP/1.1 {} ", entry.http)), "{answer}");
    assert!(answer.contains(entry.code) && answer.contains(entry.remedy), "{answer}");
    served.stop();
}
