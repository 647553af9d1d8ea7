//! A folder that is an older copy and went another way since: what was published says so, and nothing is dispatched.
//!
//! The Kafka is librdkafka's mock, in this process: it keeps records, and has no real transactions.

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use writ::clock::Clock;
use writ::error::Result;
use writ::folder::Folder;
use writ::kafka::{DECISIONS, INTENTS, PROGRESS, RECEIPTS, REFUSALS, cluster};
use writ::ledger::{self, Opened};
use writ::sequencer::{Answer, Passed, Submitted};
use writ::service::Service;
use writ_schemas::act::Statement;
use writ_schemas::errors::Code;

use crate::ledgers::{Kept, NOW, Who, ask};

fn open(folder: &Folder, kafka: Option<&str>) -> Result<Service> {
    let passed = if kafka.is_some() { Passed::CarriedOut } else { Passed::Waits };
    Service::start(Opened::open(folder, Clock::manual(NOW))?, kafka, passed, |failure| panic!("{failure}"))
}

/// Opens a ledger, submits, and closes it again.
fn work(folder: &Folder, kafka: Option<&str>, what: Vec<Submitted>) {
    let service = open(folder, kafka).expect("starts");
    let answers = service.handle().submit_all(what.into_iter().map(|it| (it, 1)).collect()).expect("answers");
    let told = |answer: &Answer| matches!(answer, Answer::Recorded(_) | Answer::Decided(..));
    assert!(answers.iter().all(told), "{answers:?}");
    service.stop().expect("stops");
}

fn intents(ids: &[&'static str]) -> Vec<Submitted> {
    ids.iter().map(|id| Submitted::Intent(Box::new(ask(id, Who::Agent, "note", 5).intent(&[])))).collect()
}

#[test]
fn a_longer_log_of_another_history_is_refused() {
    let mock: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).expect("a mock");
    for topic in [INTENTS, DECISIONS, RECEIPTS, REFUSALS, PROGRESS] {
        mock.create_topic(topic, 1, 1).expect("a topic");
    }
    let kafka = mock.bootstrap_servers();
    let kept = Kept::empty();
    let genesis = ledger::create(&kept.folder, None, &Clock::manual(NOW)).expect("creates");
    let cluster::Topic { cluster, topic_id, partitions } = cluster::describe(&kafka, INTENTS).expect("a topic");
    let bind = Statement::BindPartitions { cluster, topic: INTENTS.to_owned(), topic_id, partitions };
    let acts = [Who::Agent.trust(), bind].map(|statement| {
        let act = ledger::act(&kept.folder, genesis.value(), statement, &Clock::manual(NOW)).expect("an act");
        Submitted::Act(Box::new(act))
    });
    work(&kept.folder, None, acts.into());
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
