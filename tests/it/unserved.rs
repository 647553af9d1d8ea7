//! Commands on a ledger that nobody serves, and in which executions wait: what they cause in the world outside, and what not.

use std::io::Read;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use writ::clock::Clock;
use writ::folder::Folder;
use writ::ledger::{self, Opened};
use writ::sequencer::{Answer, Passed, Submitted};
use writ_log::Reader;
use writ_schemas::act::Statement;
use writ_schemas::errors::Code;
use writ_schemas::event::Event;
use writ_schemas::evidence::Evidence;
use writ_schemas::ids::Seq;
use writ_schemas::intent::Intent;
use writ_schemas::receipt::Status;

use crate::ledgers::{HOUR, Kept, NOW, Who, ask, bundle, create, name, sign};
use crate::scene::{Scene, Served, holds, init, note, with, writ};

/// The other side of a connector: it counts calls, and answers none.
pub(crate) struct Endpoint {
    pub(crate) port: u16,
    calls: Arc<AtomicUsize>,
}

impl Endpoint {
    pub(crate) fn new() -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (port, calls) = (listener.local_addr().expect("an address").port(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&calls);
        // It ends with the process of the test.
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for mut stream in listener.incoming().flatten() {
                let _ = stream.read(&mut [0; 4096]);
                counted.fetch_add(1, Ordering::SeqCst);
                held.push(stream);
            }
        });
        Endpoint { port, calls }
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

/// A ledger whose policy lets `call` and `note` pass, an hour long; `call` calls this port of the machine, one call at a time, and waits
/// so many seconds for its answer.
pub(crate) fn calling(port: u16, seconds: u64) -> Scene {
    let mut policy = serde_json::to_value(bundle(port)).expect("JSON");
    for rule in policy["rules"].as_array_mut().expect("rules") {
        rule["window_us"] = json!(3_600_000_000_u64);
    }
    policy["connectors"]["far"]["kind"]["http"]["timeout_us"] = json!(seconds * 1_000_000);
    let scene = Scene::bare();
    let dir = scene.policy(policy.to_string());
    writ(init(scene.data()).into_iter().chain(["--policy", &dir])).ended(0);
    scene.configure("connector_calls_max = 1\n");
    scene
}

fn lines(action: &str, ids: std::ops::Range<usize>) -> Vec<u8> {
    let line = |id| with(note(&format!("{action}-{id}")), "action", json!(action)).to_string() + "\n";
    ids.map(line).collect::<String>().into_bytes()
}

fn receipts(scene: &Scene) -> Vec<(Status, Code)> {
    let reader = Reader::open(scene.inside("log")).expect("a log");
    let events = reader.entries(Seq(0)).expect("entries").map(|it| it.expect("an entry").entry.event());
    let receipt = |event| match event {
        Ok(Event::ReceiptIssued(issued)) => Some((issued.receipt.value().status, issued.receipt.value().code)),
        _ => None,
    };
    events.filter_map(receipt).collect()
}

#[test]
fn what_is_meant_to_stop_effects_causes_none() {
    let endpoint = Endpoint::new();
    let scene = calling(endpoint.port, 20);
    let served = Served::new(&scene);
    scene.submit(&lines("call", 0..3), &[]).ended(0);
    while endpoint.calls() == 0 {
        std::thread::yield_now();
    }
    drop(served); // killed: one call is under way, two wait for their turn

    let add = ["evidence", "add", "--data", scene.data(), "--tenant", "acme", "--kind", "ticket"];
    writ(add).ended(0);
    writ(["freeze", "--data", scene.data(), "--reason", "calls go astray"]).ended(0);
    let interrupted = (Status::Uncertain, Code::Interrupted);
    assert_eq!((endpoint.calls(), receipts(&scene)), (1, vec![interrupted]), "the others wait");

    // The next that carries out anything finds the freeze.
    scene.submit(&lines("note", 0..1), &[]).ended(1);
    let expired = (Status::Expired, Code::Frozen);
    assert_eq!((endpoint.calls(), receipts(&scene)), (1, vec![interrupted, expired, expired]));
    holds(scene.data());
}

#[test]
fn where_partitions_are_bound_nothing_is_carried_out_without_kafka() {
    let endpoint = Endpoint::new();
    let scene = calling(endpoint.port, 20);
    bind(&scene);
    let run = scene.submit(&lines("call", 0..1), &["--json"]).ended(0);
    assert_eq!(run.json()["decision"]["payload"]["verdict"], json!("PASS"));
    assert!(run.err.contains("writ serve"), "{}", run.err);
    assert_eq!((endpoint.calls(), receipts(&scene)), (0, vec![]));
    let run = writ(["serve", "--data", scene.data()]).ended(2);
    assert!(run.err.contains(Code::Config.as_str()), "{}", run.err);
    assert_eq!((endpoint.calls(), receipts(&scene)), (0, vec![]));
}

/// Where nobody carries out what passed, waiting for room would never end.
#[test]
fn what_waits_is_bounded() {
    let kept = Kept::empty();
    let clock = Clock::manual(NOW);
    create(&kept.folder, &clock).expect("creates");
    let opened = Opened::open(&kept.folder, clock).expect("opens");
    let ledger = opened.start_with(Passed::Waits, |failure| panic!("{failure}")).expect("starts");
    let handle = ledger.handle();
    let act = |statement| {
        let act = ledger::act(&kept.folder, &handle.genesis, statement, &handle.clock).expect("an act");
        (Submitted::Act(Box::new(act)), 1)
    };
    let acts = [Who::Agent.trust(), Who::Approver.trust(), Statement::ActivatePolicy { bundle: bundle(9) }];
    handle.submit_all(acts.map(act).into()).expect("answers");

    let asked = ask("n", Who::Agent, "note", 5).intent(&[]);
    let intent = |number: usize| {
        let intent = Intent { id: name(&format!("n-{number}")), ..asked.value().clone() };
        (Submitted::Intent(Box::new(sign(intent, &Who::Agent.key()))), 1)
    };
    let answers = handle.submit_all((0..8200).map(intent).collect()).expect("answers");
    let (decided, refused) = answers.split_at(8192);
    assert!(decided.iter().all(|answer| matches!(answer, Answer::Decided(..))));
    let overloaded = |answer: &Answer| matches!(answer, Answer::Refused(why) if why.code == Code::Overloaded);
    assert!(refused.iter().all(overloaded), "{refused:?}");
    let evidence = Evidence {
        ledger: handle.genesis.ledger,
        tenant: name("acme"),
        kind: name("ticket"),
        artifact: None,
        effect: None,
        issued_at: NOW,
        expires_at: NOW.plus(HOUR),
    };
    let evidence = Submitted::Evidence(Box::new(sign(evidence, &Who::Approver.key())));
    let answers = handle.submit_all(
        [(evidence, 1), act(Statement::Freeze { principal: None, reason: "a drill".to_owned(), tenant: None })].into(),
    );
    let answers = answers.expect("answers");
    assert!(answers.iter().all(|answer| matches!(answer, Answer::Recorded(_))), "{answers:?}");
    ledger.stop().expect("stops");
}

/// Binds partitions of a Kafka that is nowhere.
fn bind(scene: &Scene) {
    let folder = Folder::at(scene.data());
    let ledger = Opened::open(&folder, Clock::Wall).expect("opens").start(|failure| panic!("{failure}"));
    let ledger = ledger.expect("starts");
    let statement = Statement::BindPartitions {
        cluster: "nowhere".to_owned(),
        topic: "writ.intents.v1".to_owned(),
        topic_id: "AAAAAAAAAAAAAAAAAAAAAA".to_owned(),
        partitions: 1,
    };
    let genesis = ledger.handle().genesis;
    let act = ledger::act(&folder, &genesis, statement, &Clock::Wall).expect("an act");
    let answers = ledger.handle().submit_all(vec![(Submitted::Act(Box::new(act)), 1)]).expect("answers");
    assert!(matches!(answers.first(), Some(Answer::Recorded(_))), "{answers:?}");
    ledger.finish().expect("finishes");
}
