//! Sends intents, as any client does: used by `writ submit --kafka` and by the demo.

use std::time::Duration;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::error::Result;
use crate::kafka::INTENTS;
use crate::kafka::cluster::{self, PATIENCE, failure};

/// Sends records to the intents topic, keyed by tenant, and returns when the broker has all of them.
///
/// # Errors
/// `ERR_KAFKA_UNAVAILABLE`; some records may then have arrived, and sending all of them again is safe.
pub fn send(bootstrap: &str, records: &[(String, Vec<u8>)]) -> Result<()> {
    let producer: BaseProducer = cluster::client(bootstrap)
        .set("enable.idempotence", "true")
        .set("delivery.timeout.ms", "15000")
        .create()
        .map_err(|e| failure("producer", &e))?;
    for (key, value) in records {
        let mut record = BaseRecord::to(INTENTS).key(key).payload(value);
        while let Err((error, back)) = producer.send(record) {
            if error.rdkafka_error_code() != Some(rdkafka::error::RDKafkaErrorCode::QueueFull) {
                return Err(failure(INTENTS, &error));
            }
            record = back;
            producer.poll(Duration::from_millis(50));
        }
    }
    producer.flush(PATIENCE).map_err(|e| failure(INTENTS, &e))
}
