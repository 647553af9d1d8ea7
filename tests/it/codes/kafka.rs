//! `writ serve --kafka` where Kafka is not the one that was bound, over librdkafka's mock cluster in this process.

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use writ::kafka::{INTENTS, cluster, producer};
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
fn refused(run: &Run, code: Code, why: &str) {
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
    let topic_id = cluster::describe(&world.bootstrap, INTENTS).expect("a topic").topic_id;
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

/// Whoever can write to the topic writes what nobody trusted signed: a few have entries of their own, the others are counted, and none
/// keeps others from being decided.
#[test]
fn strangers_over_kafka_are_counted_above_their_quota() {
    const MORE: u64 = 700;
    let world = World::new();
    let stranger = signed(&note("strange"), &SecretKey::from_seed(&[7; 32]));
    let all = REFUSALS_MAX + MORE;
    let mut records: Vec<(String, Vec<u8>)> = (0..all)
        .map(|n| ("same".to_owned(), if n % 2 == 0 { stranger.clone() } else { format!("no JSON {n}").into_bytes() }))
        .collect();
    records.push(("same".to_owned(), signed(&note("honest"), &world.scene.key("producer.key"))));
    records.extend((0..3).map(|_| ("same".to_owned(), stranger.clone())));
    producer::send(&world.bootstrap, &records).expect("sent");

    let service = world.service(Some(&world.bootstrap));
    let folder = std::path::Path::new(world.scene.data());
    let of_log = || {
        let (mut kept, mut counted, mut honest) = (0, 0, 0);
        let log = writ_log::Reader::open(folder.join("log")).expect("a log");
        for located in log.entries(Seq(0)).expect("a walk") {
            match located.expect("no damage").entry.event().expect("an event") {
                Event::RecordRefused(_) => kept += 1,
                Event::RecordsOverQuota(over) => {
                    assert!(over.is_valid(), "{over:?}");
                    assert_eq!(over.to_json(Seq(0))["code"], Code::OverQuota.as_str());
                    counted += over.count;
                }
                Event::IntentAdmitted(admitted) => honest += u64::from(admitted.intent.value().id.as_str() == "honest"),
                _ => {}
            }
        }
        (kept, counted, honest)
    };
    within("an end of the topic", || {
        let (kept, counted, _) = of_log();
        kept + counted == all + 3
    });
    service.stop().expect("it ends");
    let (kept, counted, honest) = of_log();
    // One more each second has an entry.
    assert!(kept >= REFUSALS_MAX && counted > 0 && kept + counted == all + 3, "{kept} {counted}");
    assert_eq!(honest, 1);
    holds(world.scene.data());

    // Read again from the log's position, nothing is counted twice.
    world.service(Some(&world.bootstrap)).stop().expect("it ends");
    assert_eq!(of_log(), (kept, counted, honest));
}
