//! A ledger and its Kafka: what each says of the other.
//!
//! The Kafka is librdkafka's mock, in this process: it keeps records, and has no real transactions.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use writ::clock::{Clock, Stopwatch};
use writ::error::Result;
use writ::folder::Folder;
use writ::holds::Hold;
use writ::kafka::answers::{Answers, Heard};
use writ::kafka::cluster::Cluster;
use writ::kafka::{DECISIONS, INTENTS, PROGRESS, RECEIPTS, REFUSALS, producer};
use writ::ledger::{self, Opened};
use writ::sequencer::{Answer, Input, Passed, Submission, Submitted};
use writ::service::Service;
use writ::telemetry::facts::Arrival;
use writ_schemas::errors::Code;
use writ_schemas::event::{Event, Partition, Source};
use writ_schemas::ids::Digest;

use crate::ledgers::{Kept, NOW, Who, ask, create};
use crate::scene::within;

fn open(folder: &Folder, kafka: Option<&Cluster>) -> Result<Service> {
    let passed = if kafka.is_some() { Passed::CarriedOut } else { Passed::Waits };
    Service::start(Opened::open(folder, Clock::manual(NOW))?, kafka, passed, |failure| panic!("{failure}"))
}

/// Opens a ledger, submits, and closes it again.
fn work(folder: &Folder, kafka: Option<&Cluster>, what: Vec<Submitted>) {
    let service = open(folder, kafka).expect("starts");
    let answers = service.handle().submit_all(what.into_iter().map(|it| (it, 1)).collect()).expect("answers");
    let told = |answer: &Answer| matches!(answer, Answer::Recorded(_) | Answer::Decided(..));
    assert!(answers.iter().all(told), "{answers:?}");
    service.stop().expect("stops");
}

fn intents(ids: &[&'static str]) -> Vec<Submitted> {
    ids.iter().map(|id| Submitted::Intent(Box::new(ask(id, Who::Agent, "note", 5).intent(&[])))).collect()
}

/// librdkafka's mock, in this process, with so many partitions of intents, decisions, receipts, refusals and progress.
pub(crate) fn mock_kafka(partitions: [i32; 5]) -> (MockCluster<'static, DefaultProducerContext>, Cluster) {
    let mock = MockCluster::new(1).expect("a mock");
    for (topic, partitions) in [INTENTS, DECISIONS, RECEIPTS, REFUSALS, PROGRESS].into_iter().zip(partitions) {
        mock.create_topic(topic, partitions, 1).expect("a topic");
    }
    let cluster = Cluster::at(&mock.bootstrap_servers()).expect("a cluster");
    (mock, cluster)
}

/// A ledger whose partitions are bound to a Kafka, and that has published nothing yet.
struct World {
    kept: Kept,
    kafka: Cluster,
    mock: MockCluster<'static, DefaultProducerContext>,
}

impl World {
    fn new() -> World {
        let ((mock, kafka), kept) = (mock_kafka([1; 5]), Kept::empty());
        let genesis = create(&kept.folder, &Clock::manual(NOW)).expect("creates");
        let bind = kafka.ask().and_then(|it| it.describe(INTENTS)).expect("a topic").binding();
        let acts = [Who::Agent.trust(), bind].map(|statement| {
            let act = ledger::act(&kept.folder, genesis.value(), statement, &Clock::manual(NOW)).expect("an act");
            Submitted::Act(Box::new(act))
        });
        work(&kept.folder, None, acts.into());
        World { kept, kafka, mock }
    }
}

/// A folder that is an older copy and went another way since must dispatch nothing, however long it has grown.
#[test]
fn a_longer_log_of_another_history_is_refused() {
    let World { kept, kafka, mock: _mock } = World::new();
    let older = kept.copy();
    work(&kept.folder, Some(&kafka), intents(&["one"]));
    let forked = |kept: &Kept| {
        let failure = open(&kept.folder, Some(&kafka)).err().expect("is refused");
        assert_eq!(failure.code, Code::LogForked, "{failure}");
    };
    forked(&older);
    work(&older.folder, None, intents(&["other", "another", "a-third", "a-fourth"]));
    assert!(older.entries().len() > kept.entries().len(), "it is long enough");
    forked(&older);
    work(&kept.folder, Some(&kafka), intents(&["two"]));
}

/// Two contents under one id; the second comes as its producer likes to write JSON, which is not how we would.
#[test]
fn a_refusal_names_the_bytes_that_were_sent() {
    let World { kept, kafka, mock: _mock } = World::new();
    let envelope = |size| ask("one", Who::Agent, "note", size).intent(&[]).to_envelope();
    let second: serde_json::Value = serde_json::from_slice(&envelope(6)).expect("JSON");
    let second = serde_json::to_vec_pretty(&second).expect("JSON");
    let service = open(&kept.folder, Some(&kafka)).expect("starts");
    let records = [envelope(5), second.clone()].map(|it| ("acme".to_owned(), it));
    producer::send(&kafka, &records, None).expect("sends");
    let refused = || {
        kept.events().into_iter().find_map(|event| match event {
            Event::RecordRefused(refused) => Some(refused),
            _ => None,
        })
    };
    let (progress, watch) = (service.handle().progress, Stopwatch::start());
    while refused().is_none() && watch.elapsed() < Duration::from_secs(60) {
        progress.wait_beyond(progress.next(), Duration::from_millis(200));
    }
    service.stop().expect("stops");
    let refused = refused().expect("it is refused");
    assert_eq!(refused.code, Code::IdReused.as_str());
    assert_eq!(refused.digest, Digest::of(&second));
    assert_eq!(refused.length, u64::try_from(second.len()).expect("small"));
    assert_eq!(refused.prefix, second[..refused.prefix.len()]);
}

/// Records are not refused for want of room, since nobody would send them again: they wait, and come in their order. Something else
/// in the place of what is kept leaves no room.
#[test]
fn records_wait_for_room_on_the_disk() {
    let World { kept, kafka, mock: _mock } = World::new();
    let reserve = kept.folder.reserve();
    let opened = Opened::open(&kept.folder, Clock::manual(NOW)).expect("opens").keeping_space().expect("keeps");
    let fatal = |failure: &_| panic!("{failure}");
    let service = Service::start(opened, Some(&kafka), Passed::CarriedOut, fatal).expect("starts");
    let ids: Vec<&str> = (0..300).map(|at| &*format!("n-{at}").leak()).collect();
    let send = |ids: &[&'static str]| {
        let records = ids.iter().map(|id| ask(id, Who::Agent, "note", 5).intent(&[]).to_envelope());
        producer::send(&kafka, &records.map(|it| ("acme".to_owned(), it)).collect::<Vec<_>>(), None).expect("sends");
    };
    let decided = || {
        let decided = kept.events().into_iter().filter_map(|event| match event {
            Event::DecisionMade(decision) => Some(decision.value().id.to_string()),
            Event::RecordRefused(refused) => panic!("{}", refused.code),
            _ => None,
        });
        decided.collect::<Vec<_>>()
    };
    let handle = service.handle();
    send(&ids[..100]);
    within("the first", || !decided().is_empty());
    std::fs::remove_file(&reserve).expect("removes");
    std::fs::create_dir(&reserve).expect("takes its place");
    handle.space.notice();
    send(&ids[100..]);
    let before = || (handle.progress.next(), handle.queue.len());
    // Whatever was on its way when room ran out has come to rest.
    let mut seen = before();
    within("rest", || {
        std::thread::sleep(Duration::from_millis(300));
        let resting = before() == seen;
        seen = before();
        resting
    });
    assert!(handle.space.is_short() && decided().len() < ids.len());
    let intent = Submitted::Intent(Box::new(ask("other", Who::Agent, "note", 5).intent(&[])));
    let answers = handle.submit_all(vec![(intent, 1)]).expect("answers");
    assert!(matches!(&answers[..], [Answer::Refused(why)] if why.code == Code::DiskFull), "{answers:?}");
    std::fs::remove_dir(&reserve).expect("makes room");
    within("all of them", || decided().len() == ids.len());
    assert_eq!(decided(), ids);
    service.stop().expect("stops");
    assert!(kept.verified().ok);
}

/// What intake had already handed over when room ran out: the writer holds the first record, and has the others read again.
#[test]
fn what_was_read_when_room_ran_out_is_held_in_its_order() {
    let World { kept, mock: _mock, .. } = World::new();
    std::fs::create_dir(kept.folder.reserve()).expect("takes the place of what is kept");
    let opened = Opened::open(&kept.folder, Clock::manual(NOW)).expect("opens").keeping_space().expect("keeps");
    let holds = Arc::clone(opened.holds());
    let service = Service::start(opened, None, Passed::Waits, |failure| panic!("{failure}")).expect("starts");
    let queue = service.handle().queue;
    let ids = ["n-0", "n-1", "n-2", "n-3", "n-4"];
    let partition = Partition { topic_id: "AAAAAAAAAAAAAAAAAAAAAA".to_owned(), number: 0 };
    let hand_over = |at: usize| {
        let what = Submitted::Intent(Box::new(ask(ids[at], Who::Agent, "note", 5).intent(&[])));
        let source = Source::Kafka { partition: partition.clone(), offset: at as u64 };
        let submission = Submission { what, raw: Vec::new(), source, arrival: Arrival::now(), reply: None };
        queue.put(Input::Submit(submission), 1).expect("there is room in the queue");
    };
    // Those who are answered come after them in the queue, so they have been taken.
    let refused = |id| {
        let intent = Submitted::Intent(Box::new(ask(id, Who::Agent, "note", 5).intent(&[])));
        let answers = service.handle().submit_all(vec![(intent, 1)]).expect("answers");
        assert!(matches!(&answers[..], [Answer::Refused(why)] if why.code == Code::DiskFull), "{answers:?}");
    };
    let decided = || {
        let decided = kept.events().into_iter().filter_map(|event| match event {
            Event::DecisionMade(decision) => Some(decision.value().id.to_string()),
            _ => None,
        });
        decided.collect::<Vec<_>>()
    };
    let held = || holds.of(&partition.topic_id);
    (0..3).for_each(hand_over);
    refused("x");
    assert_eq!((decided(), queue.len(), held()), (Vec::new(), 0, vec![(partition.clone(), Hold::Waits)]));
    hand_over(3);
    refused("y");
    std::fs::remove_dir(kept.folder.reserve()).expect("makes room");
    within("the first", || held() == [(partition.clone(), Hold::ResumesAt(1))]);
    within("its decision", || decided() == ["n-0"]);
    // What was on its way still comes before it is read again, and is not taken for what comes next.
    hand_over(4);
    holds.heeded(&partition);
    queue.put(Input::Resumed(partition.clone()), 0).expect("there is room in the queue");
    (1..5).for_each(hand_over);
    within("all of them", || decided().len() == ids.len());
    assert_eq!((decided(), held()), (ids.map(str::to_owned).into(), Vec::new()));
    service.stop().expect("stops");
    assert!(kept.verified().ok);
}

/// A broker that never heard of a transaction refuses to end it, and the producer is of no use any more.
#[test]
fn a_producer_that_cannot_go_on_is_replaced() {
    let World { kept, kafka, mock } = World::new();
    let service = open(&kept.folder, Some(&kafka)).expect("starts");
    mock.request_errors(RDKafkaApiKey::EndTxn, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE]);
    for id in ["one", "two"] {
        let intents = intents(&[id]).into_iter().map(|it| (it, 1)).collect();
        service.handle().submit_all(intents).expect("answers");
        let wanted = ask(id, Who::Agent, "note", 5).intent(&[]).digest();
        let published = Answers::listen(&kafka).expect("listens").hear(Duration::from_secs(60), |heard| match heard {
            Heard::Decided(it) | Heard::Known(it) if it.value().intent_digest == wanted => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        });
        assert_eq!(published, Ok(true), "{id} is published");
    }
    service.stop().expect("stops");
    work(&kept.folder, Some(&kafka), intents(&["three"]));
}
