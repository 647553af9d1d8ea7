//! Sends intents, as any client does: used by `writ submit --kafka` and by the demo.

use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _};

use writ_schemas::errors::Code;

use crate::clock::Stopwatch;
use crate::error::{Failure, Result};
use crate::kafka::cluster::Cluster;
use crate::kafka::failure::{Asked, failure};
use crate::kafka::{INTENTS, PATIENCE, context};
use crate::telemetry::context::TraceContext;

/// How often it looks whether what was sent is stored.
const TICK: Duration = Duration::from_millis(1);

/// Sends records to the intents topic, keyed by tenant and in the trace of this span, and returns when the broker has all of them.
///
/// # Errors
/// `ERR_KAFKA_UNAVAILABLE`, that the brokers refuse this client, or what they say of a record; some may then have arrived, and sending
/// all of them again is safe.
pub fn send(cluster: &Cluster, records: &[(String, Vec<u8>)], trace: Option<TraceContext>) -> Result<()> {
    let topic = cluster.topic(INTENTS);
    let producer = cluster.producer(&[("delivery.timeout.ms", "15000"), ("linger.ms", "5")], &[])?;
    let since = Stopwatch::start();
    // How much is on its way; or why a record was not stored, or nobody can be asked: the library itself goes on until the time of each
    // record is over.
    let serve = || {
        let left = context::serve(&producer);
        if let Some((error, topic)) = producer.context().take_undelivered() {
            return Err(producer.context().take_refusal().unwrap_or_else(|| failure(Asked::Write(&topic), &error)));
        }
        if let Some(why) = producer.context().take_refusal().filter(|_| !cluster.asks_for_tokens()) {
            return Err(why);
        }
        if left > 0 && since.elapsed() > PATIENCE * 4 {
            return Err(Failure::new(Code::KafkaUnavailable, format!("{topic}: not all was stored in time")));
        }
        std::thread::sleep(TICK);
        Ok(left)
    };
    let trace = trace.map(|trace| trace.to_string());
    let headers =
        trace.as_ref().map(|trace| OwnedHeaders::new().insert(Header { key: "traceparent", value: Some(trace) }));
    for (key, value) in records {
        let mut record = BaseRecord::to(&topic).key(key).payload(value);
        record.headers.clone_from(&headers);
        while let Err((error, back)) = producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(failure(Asked::Write(&topic), &error));
            }
            record = back;
            serve()?;
        }
    }
    while serve()? > 0 {}
    Ok(())
}
