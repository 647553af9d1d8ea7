//! Records of Kafka for a connector that is down: their partition is held, in its order, and for as long as the policy says.
//!
//! The Kafka is librdkafka's mock, in this process.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use serde_json::json;
use tokio::sync::oneshot;

use writ::clock::Clock;
use writ::holds::{Hold, Holds};
use writ::kafka::INTENTS;
use writ::kafka::cluster::Cluster;
use writ::ledger::{self, Opened};
use writ::sequencer::{Answer, Input, Passed, STUCK_MAX, Submission, Submitted};
use writ::service::Service;
use writ::telemetry::facts::Arrival;
use writ_schemas::act::Statement;
use writ_schemas::dsse::Signed;
use writ_schemas::errors::Code;
use writ_schemas::event::{Event, Partition, RecordRefused, Source};
use writ_schemas::intent::Intent;
use writ_schemas::policy::{Breaker, Bundle, Connector};

use crate::kafka::mock_kafka;
use crate::ledgers::{HOUR, Kept, Who, bundle, create, name, sign};
use crate::scene::{Served, WRIT, holds, within, writ};
use crate::shop::{Says, Shop};

/// For how long a connector that failed once is left alone.
const PAUSE_US: u64 = 600_000_000;

/// A ledger whose two partitions are bound to a Kafka, and whose connector `far` is down: as much waits for it as may.
struct World {
    kept: Kept,
    kafka: Cluster,
    bootstrap: String,
    _mock: MockCluster<'static, DefaultProducerContext>,
    topic_id: String,
    clock: Clock,
    shop: Shop,
}

/// A ledger at work.
struct Working {
    service: Service,
    held: Arc<Holds>,
}

impl World {
    fn new(hold_us: Option<u64>) -> World {
        let (mock, kafka) = mock_kafka([2, 1, 1, 1, 1]);
        let (kept, clock) = (Kept::empty(), Clock::manual(Clock::Wall.now()));
        let bootstrap = mock.bootstrap_servers();
        create(&kept.folder, &clock).expect("creates");
        let topic = kafka.ask().and_then(|it| it.describe(INTENTS)).expect("a topic");
        let shop = Shop::new(|call| if call == 0 { Says::Status(429) } else { Says::Body("{}") });
        let world = World { kept, kafka, bootstrap, _mock: mock, topic_id: topic.topic_id.clone(), clock, shop };
        let working = world.start();
        for statement in [Who::Agent.trust(), topic.binding()] {
            world.act(&working, statement);
        }
        world.activate(&working, hold_us);
        // It answers once that it cannot, and is left alone. Whatever passes then waits for it.
        assert!(matches!(world.ask(&working, "first", "call"), Answer::Decided(..)));
        within("its receipt", || world.count(|event| matches!(event, Event::ReceiptIssued(_))) == 1);
        let wait = (0..STUCK_MAX).map(|at| (world.submitted(&format!("waits-{at}"), "call"), 1)).collect();
        let answers = working.service.handle().submit_all(wait).expect("answers");
        assert!(answers.iter().all(|answer| matches!(answer, Answer::Decided(..))));
        working.service.stop().expect("stops");
        world
    }

    fn bundle(&self, hold_us: Option<u64>) -> Bundle {
        let mut bundle = bundle(9);
        for rule in &mut bundle.rules {
            rule.window_us = HOUR;
        }
        let far = bundle.connectors.get_mut(&name("far")).expect("a connector");
        let kind = json!({"http": {"url": self.shop.url, "timeout_us": 5_000_000}});
        *far = Connector {
            kind: serde_json::from_value(kind).expect("a kind"),
            breaker: Some(Breaker { failures: 1, pause_us: PAUSE_US }),
            hold_us,
            ..far.clone()
        };
        bundle
    }

    /// Before anything is bound, it is served without a Kafka.
    fn start(&self) -> Working {
        let opened = Opened::open(&self.kept.folder, self.clock.clone()).expect("opens");
        let held = Arc::clone(opened.holds());
        let kafka = (!opened.state().bindings().is_empty()).then_some(&self.kafka);
        let service = Service::start(opened, kafka, Passed::CarriedOut, |failure| panic!("{failure}"));
        Working { service: service.expect("starts"), held }
    }

    fn act(&self, working: &Working, statement: Statement) {
        let act = ledger::act(&self.kept.folder, &self.kept.genesis(), statement, &self.clock).expect("an act");
        let answers = working.service.handle().submit_all(vec![(Submitted::Act(Box::new(act)), 1)]).expect("answers");
        assert!(matches!(answers[..], [Answer::Recorded(_)]), "{answers:?}");
    }

    fn activate(&self, working: &Working, hold_us: Option<u64>) {
        self.act(working, Statement::ActivatePolicy { bundle: self.bundle(hold_us) });
    }

    fn intent(&self, id: &str, action: &str) -> Signed<Intent> {
        let intent = Intent {
            tenant: name("acme"),
            id: name(id),
            principal: name("agent-1"),
            session: None,
            action: name(action),
            args: serde_json::Map::new(),
            evidence: Vec::new(),
            expires_at: self.clock.now().plus(HOUR / 2),
        };
        sign(intent, &Who::Agent.key())
    }

    fn submitted(&self, id: &str, action: &str) -> Submitted {
        Submitted::Intent(Box::new(self.intent(id, action)))
    }

    /// Submits where an answer is waited for.
    fn ask(&self, working: &Working, id: &str, action: &str) -> Answer {
        let answers = working.service.handle().submit_all(vec![(self.submitted(id, action), 1)]).expect("answers");
        answers.into_iter().next().expect("an answer")
    }

    /// Sends records to a partition, in this order: ids and actions.
    fn send(&self, partition: i32, records: &[(&str, &str)]) {
        let producer: BaseProducer =
            ClientConfig::new().set("bootstrap.servers", &self.bootstrap).create().expect("a producer");
        for (id, action) in records {
            let value = self.intent(id, action).to_envelope();
            let record = BaseRecord::<str, [u8]>::to(INTENTS).partition(partition).key("acme").payload(&value);
            producer.send(record).map_err(|(error, _)| error).expect("there is room");
        }
        producer.flush(Duration::from_secs(60)).expect("arrives");
    }

    fn count(&self, is_one: impl Fn(&Event) -> bool) -> usize {
        self.kept.events().iter().filter(|event| is_one(event)).count()
    }

    /// The ids of the records of this partition that were admitted, in order.
    fn decided(&self, number: u32) -> Vec<String> {
        let of_it = |event| match event {
            Event::IntentAdmitted(it) => match it.source {
                Source::Kafka { partition, .. } if partition.number == number => Some(it.intent.value().id.to_string()),
                _ => None,
            },
            _ => None,
        };
        self.kept.events().into_iter().filter_map(of_it).collect()
    }

    fn refused(&self) -> Vec<RecordRefused> {
        let refused = |event| match event {
            Event::RecordRefused(refused) => Some(refused),
            _ => None,
        };
        self.kept.events().into_iter().filter_map(refused).collect()
    }

    /// Waits until the first partition is held, and the other one is not.
    fn is_held(&self, working: &Working) {
        within("a hold", || match &working.held.of(&self.topic_id)[..] {
            [(partition, Hold::Waits)] => partition.number == 0,
            _ => false,
        });
    }

    /// The connector's pause ends, and an entry says how late it is.
    fn make_room(&self, working: &Working) {
        let Clock::Manual(at) = &self.clock else { panic!("a manual clock") };
        at.fetch_add(2 * PAUSE_US, Ordering::SeqCst);
        assert!(matches!(self.ask(working, &format!("later-{}", self.clock.now().0), "note"), Answer::Decided(..)));
    }

    fn stop(&self, working: Working) {
        working.service.stop().expect("stops");
        holds(self.kept.folder.root());
    }
}

fn is_overloaded(answer: &Answer) -> bool {
    matches!(answer, Answer::Refused(why) if why.code == Code::Overloaded)
}

/// As many as intake reads in several goes, some of them for the connector.
fn ids(prefix: &str) -> Vec<(String, &'static str)> {
    (0..600).map(|at| (format!("{prefix}-{at}"), if at % 200 == 0 { "call" } else { "note" })).collect()
}

fn named<'a>(records: &'a [(String, &'static str)]) -> Vec<(&'a str, &'a str)> {
    records.iter().map(|(id, action)| (&**id, *action)).collect()
}

#[test]
fn a_record_waits_until_its_connector_has_room_and_others_go_on() {
    let world = World::new(None);
    let working = world.start();
    let behind = ids("behind");
    world.send(0, &named(&behind));
    world.is_held(&working);
    world.send(1, &[("other-0", "note"), ("other-1", "note")]);
    within("the other partition", || world.decided(1) == ["other-0", "other-1"]);
    assert!(is_overloaded(&world.ask(&working, "asks", "call")), "who waits for an answer is refused at once");
    assert!(matches!(world.ask(&working, "asks-other", "note"), Answer::Decided(..)));
    world.is_held(&working);
    assert_eq!(world.decided(0), [""; 0]);
    assert_eq!(working.service.handle().queue.len(), 0, "nothing piles up");

    world.make_room(&working);
    within("all of them", || world.decided(0).len() == behind.len());
    assert_eq!(world.decided(0), behind.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>());
    world.send(0, &[("last", "note")]);
    within("what comes later", || world.decided(0).last().is_some_and(|id| id == "last"));
    assert_eq!(world.refused(), []);
    assert_eq!(working.held.of(&world.topic_id), []);
    world.stop(working);
}

#[test]
fn it_is_refused_when_it_has_waited_as_long_as_the_policy_says() {
    let world = World::new(Some(300_000));
    let working = world.start();
    world.send(0, &[("one", "call"), ("two", "note"), ("three", "call"), ("four", "note")]);
    within("what is behind it", || world.decided(0) == ["two", "four"]);
    let refused = world.refused();
    let offset = |it: &RecordRefused| match it.source {
        Source::Kafka { offset, .. } => Some(offset),
        _ => None,
    };
    assert_eq!(refused.iter().filter_map(offset).collect::<Vec<_>>(), [0, 2]);
    for it in &refused {
        assert_eq!(it.code, Code::Overloaded.as_str());
        let waited = it.detail.split_once("for connector far, for ").and_then(|(_, rest)| rest.split_once(" us"));
        let waited: u64 = waited.expect("a time").0.parse().expect("a number");
        assert!(waited >= 300_000 && it.detail.ends_with("holds a partition for 300000 us"), "{}", it.detail);
    }
    world.make_room(&working);
    world.send(0, &[("five", "call")]);
    within("what comes when there is room", || world.decided(0) == ["two", "four", "five"]);
    assert_eq!(world.refused().len(), 2);
    world.stop(working);
}

#[test]
fn a_stop_meanwhile_loses_nothing() {
    let world = World::new(None);
    let working = world.start();
    world.send(0, &[("before", "note"), ("one", "call"), ("two", "note"), ("before", "note"), ("three", "call")]);
    world.is_held(&working);
    world.stop(working);
    let next = |world: &World| {
        let opened = Opened::open(&world.kept.folder, world.clock.clone()).expect("opens");
        opened.state().positions().values().copied().collect::<Vec<_>>()
    };
    assert_eq!((world.decided(0), next(&world)), (vec!["before".to_owned()], vec![1]));

    let working = world.start();
    world.is_held(&working);
    assert_eq!(world.decided(0), ["before"]);
    world.make_room(&working);
    let all = ["before", "one", "two", "three"];
    within("all of them", || world.decided(0) == all);
    world.stop(working);
    assert_eq!((world.decided(0), next(&world)), (all.map(str::to_owned).into(), vec![5]));
    assert_eq!(world.refused(), []);
}

/// What runs out while a record waits is refused as what it is, and by the policy that is in force then.
#[test]
fn a_record_waits_no_longer_than_it_is_of_use() {
    let world = World::new(None);
    let working = world.start();
    world.send(0, &[("one", "call"), ("two", "note")]);
    world.is_held(&working);
    world.activate(&working, Some(0));
    within("what is behind it", || world.decided(0) == ["two"]);
    assert_eq!(world.refused().iter().map(|it| &*it.code).collect::<Vec<_>>(), [Code::Overloaded.as_str()]);

    world.activate(&working, Some(PAUSE_US));
    world.send(0, &[("three", "call"), ("four", "note")]);
    world.is_held(&working);
    let Clock::Manual(at) = &world.clock else { panic!("a manual clock") };
    at.fetch_add(HOUR / 2, Ordering::SeqCst);
    within("the end of both", || world.refused().len() == 3);
    assert!(world.refused()[1..].iter().all(|it| it.code == Code::IntentExpired.as_str()), "{:?}", world.refused());
    world.stop(working);
}

/// Room comes free in the middle of a batch: who is answered does not take it from the record that has waited.
#[test]
fn room_belongs_to_the_record_that_waits_for_it() {
    let world = World::new(None);
    let Clock::Manual(at) = &world.clock else { panic!("a manual clock") };
    at.fetch_add(2 * PAUSE_US, Ordering::SeqCst);
    let opened = Opened::open(&world.kept.folder, world.clock.clone()).expect("opens");
    // All of it is one batch, whose first entry says how late it is.
    let partition = Partition { topic_id: world.topic_id.clone(), number: 0 };
    let submit = |what, source| {
        let (reply, answer) = oneshot::channel();
        let input =
            Input::Submit(Submission { what, raw: Vec::new(), source, arrival: Arrival::now(), reply: Some(reply) });
        opened.queue().put(input, 1).expect("there is room in the queue");
        answer
    };
    let record = submit(world.submitted("one", "call"), Source::Kafka { partition, offset: 0 });
    let note = submit(world.submitted("note", "note"), Source::Http);
    let call = submit(world.submitted("other", "call"), Source::Http);
    let ledger = opened.start_with(Passed::Waits, |failure| panic!("{failure}")).expect("starts");
    assert!(matches!(note.blocking_recv(), Ok(Answer::Decided(..))));
    assert!(is_overloaded(&call.blocking_recv().expect("an answer")));
    assert!(matches!(record.blocking_recv(), Ok(Answer::Decided(..))));
    ledger.stop().expect("stops");
    holds(world.kept.folder.root());
}

#[test]
fn what_is_held_and_refused_after_it_is_counted() {
    let world = World::new(None);
    let command = Command::new(WRIT);
    let served = Served::with(command, world.kept.folder.root(), &["--kafka", &world.bootstrap]);
    let shows = |line: &str| served.ask("GET", "/metrics", "", b"").1.lines().any(|it| it == line);
    let counted = |held: u64, refused: u64| {
        shows(&format!("writ_kafka_partitions_held{{reason=\"connector\"}} {held}"))
            && shows("writ_kafka_partitions_held{reason=\"disk\"} 0")
            && shows(&format!("writ_kafka_hold_refused_total {refused}"))
    };
    assert!(counted(0, 0));
    world.send(0, &[("one", "call"), ("two", "note")]);
    world.send(1, &[("three", "call")]);
    within("two that are held", || counted(2, 0));
    // Nothing more of them is read, and Kafka says how much that is.
    world.send(0, &[("four", "note")]);
    within("one that waits in Kafka", || shows("writ_kafka_intake_lag_records 1"));
    let policy = world.kept.outside().join("policy");
    std::fs::create_dir(&policy).expect("a folder");
    let bundle = serde_json::to_vec(&world.bundle(Some(0))).expect("JSON");
    std::fs::write(policy.join("policy.json"), bundle).expect("writes");
    let data = world.kept.folder.root().to_string_lossy().into_owned();
    writ(["policy", "activate", "--data", &data, &policy.to_string_lossy()]).ended(0);
    within("their refusal", || counted(0, 2));
    within("what is behind one", || world.decided(0) == ["two", "four"]);
    within("nothing waits in Kafka", || shows("writ_kafka_intake_lag_records 0"));
    served.stop();
    holds(world.kept.folder.root());
}
