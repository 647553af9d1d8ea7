//! `writ serve --kafka` where Kafka is not the one that was bound, over librdkafka's mock cluster in this process.

use std::collections::BTreeSet;

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use writ::kafka::{INTENTS, producer};
use writ::sequencer::REFUSALS_MAX;
use writ_schemas::errors::Code;
use writ_schemas::event::{Event, Partition, Position};
use writ_schemas::ids::Seq;
use writ_schemas::keys::SecretKey;

use crate::forged::continued;
use crate::ledgers::Kept;
use crate::scene::{Run, holds, note, signed, within, writ};
use crate::submit_kafka::World;

fn serve(world: &World, folder: &std::path::Path) -> Run {
    writ(["serve", "--data", &folder.to_string_lossy(), "--kafka", &world.bootstrap])
}

#[track_caller]
pub(super) fn refused(run: &Run, code: Code, why: &str) {
    let entry = code.entry();
    assert_eq!(run.status, i32::from(entry.exit), "{run:?}");
    let told = [entry.code, entry.remedy, why].iter().all(|it| run.err.contains(it));
    assert!(told, "{code}, {why}: {run:?}");
}

#[test]
fn a_topic_that_is_not_as_it_was_bound_is_not_read() {
    let world = World::new();
    world.bind(1);
    let run = serve(&world, std::path::Path::new(world.scene.data()));
    refused(&run, Code::KafkaTopic, "has 2 partitions, 3 were bound");
}

/// The log says that it has read what this broker never had: the broker lost it, or is another one.
#[test]
fn a_position_beyond_the_end_of_a_topic_is_refused() {
    let world = World::new();
    let kept = Kept::copy_of(std::path::Path::new(world.scene.data()));
    let last = kept.entries().pop().expect("entries").entry.header;
    let topic_id = world.kafka.ask().and_then(|it| it.describe(INTENTS)).expect("a topic").topic_id;
    let position = Position { partition: Partition { topic_id, number: 0 }, next: 7 };
    let event = Event::SourceAdvanced(vec![position]);
    let ahead = continued(&kept, last.seq, &[(last.recorded_at.plus(1), event)]);
    refused(&serve(&world, ahead.folder.root()), Code::KafkaPosition, "the log has read up to 7, the broker ends at 0");
}

#[test]
fn a_producer_that_was_fenced_ends_the_process() {
    let world = World::new();
    let fenced = RDKafkaRespErr::RD_KAFKA_RESP_ERR_PRODUCER_FENCED;
    world.cluster.request_errors(RDKafkaApiKey::InitProducerId, &[fenced; 8]);
    let before = Kept::copy_of(std::path::Path::new(world.scene.data())).entries().len();
    let run = serve(&world, std::path::Path::new(world.scene.data()));
    refused(&run, Code::KafkaFenced, "fenced");
    let after = Kept::copy_of(std::path::Path::new(world.scene.data()));
    assert_eq!(after.entries().len(), before, "nothing was decided");
    assert!(after.verified().ok);
}

/// What of the log speaks of records: how many refusals, how many that were counted, and each intent.
#[derive(Debug, Default, PartialEq)]
struct OfRecords {
    kept: u64,
    counted: u64,
    intents: Vec<String>,
    /// What is told of what was counted.
    codes: BTreeSet<String>,
    /// How long after what was counted before something was counted again, with nothing else of a record between: in microseconds.
    pauses: Vec<u64>,
}

impl OfRecords {
    fn of(folder: &std::path::Path) -> OfRecords {
        let (mut found, mut before) = (OfRecords::default(), None);
        let log = writ_log::Reader::open(folder.join("log")).expect("a log");
        for located in log.entries(Seq(0)).expect("a walk") {
            let entry = located.expect("no damage").entry;
            let at = entry.header.recorded_at.0;
            match entry.event().expect("an event") {
                Event::RecordRefused(_) => (found.kept, before) = (found.kept + 1, None),
                Event::RecordsOverQuota(over) => {
                    assert!(over.is_valid(), "{over:?}");
                    found.codes.insert(over.to_json(Seq(0))["code"].to_string());
                    found.counted += over.count;
                    found.pauses.extend(before.replace(at).map(|before: u64| at - before));
                }
                Event::IntentAdmitted(admitted) => {
                    found.intents.push(admitted.intent.value().id.to_string());
                    before = None;
                }
                _ => {}
            }
        }
        found
    }
}

/// Whoever can write to the topic writes what nobody trusted signed: a few have entries of their own, the others are counted, and none
/// keeps others from being decided.
#[test]
fn strangers_over_kafka_are_counted_above_their_quota() {
    const MORE: u64 = 6000;
    let world = World::new();
    let folder = std::path::Path::new(world.scene.data());
    let stranger = signed(&note("strange"), &SecretKey::from_seed(&[7; 32]));
    let honest = |id: &str| ("same".to_owned(), signed(&note(id), &world.scene.key("producer.key")));
    let all = REFUSALS_MAX + MORE;
    let mut records: Vec<(String, Vec<u8>)> = (0..all)
        .map(|n| ("same".to_owned(), if n % 2 == 0 { stranger.clone() } else { format!("no JSON {n}").into_bytes() }))
        .collect();
    records.push(honest("honest"));
    records.extend((0..3).map(|_| ("same".to_owned(), stranger.clone())));
    producer::send(&world.kafka, &records, None).expect("sent");

    let service = world.service(Some(&world.kafka));
    within("an end of the topic", || {
        let found = OfRecords::of(folder);
        found.kept + found.counted == all + 3
    });
    service.stop().expect("it ends");
    let found = OfRecords::of(folder);
    // One more each second has an entry.
    assert!(found.kept >= REFUSALS_MAX && found.counted > 0 && found.kept + found.counted == all + 3, "{found:?}");
    assert_eq!(found.codes.iter().collect::<Vec<_>>(), [&format!("{:?}", Code::OverQuota.as_str())]);
    assert_eq!(found.intents.iter().filter(|id| *id == "honest").count(), 1);
    // The last comes with the close.
    let early = found.pauses.iter().rev().skip(1).find(|pause| **pause < 500_000);
    assert_eq!(early, None, "however many they are: {found:?}");
    holds(world.scene.data());

    // Read again from the log's position, nothing is counted twice.
    producer::send(&world.kafka, &[honest("honest-2")], None).expect("sent");
    let service = world.service(Some(&world.kafka));
    within("the record behind them", || OfRecords::of(folder).intents.iter().any(|id| id == "honest-2"));
    service.stop().expect("it ends");
    let again = OfRecords::of(folder);
    assert_eq!((again.kept, again.counted), (found.kept, found.counted));
}
