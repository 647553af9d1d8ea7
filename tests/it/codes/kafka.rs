//! `writ serve --kafka` where Kafka is not the one that was bound, over librdkafka's mock cluster in this process.

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use writ::kafka::{INTENTS, cluster};
use writ_schemas::errors::Code;
use writ_schemas::event::{Event, Partition, Position};

use crate::forged::continued;
use crate::ledgers::Kept;
use crate::scene::{Run, writ};
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
