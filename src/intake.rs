//! Bytes to intents: strict parsing and signatures as mathematics, on every core. Order is kept.

use rayon::prelude::*;

use writ_schemas::dsse::Signed;
use writ_schemas::errors::Code;
use writ_schemas::intent::Intent;
use writ_schemas::strict::Refusal;

use crate::clock::Stopwatch;
use crate::sequencer::Submitted;
use crate::telemetry::metrics;

/// The intent of an envelope.
///
/// # Errors
/// What is wrong with the bytes, by registered code.
pub fn parse(bytes: &[u8]) -> Result<Signed<Intent>, Refusal> {
    if bytes.is_empty() {
        return Err(Refusal::new(Code::RecordEmpty, "no bytes"));
    }
    let intent = Signed::<Intent>::from_envelope(bytes)?;
    if intent.signer().is_none() {
        return Err(Refusal::new(Code::Envelope, "an intent has exactly one signature"));
    }
    Ok(intent)
}

/// What bytes are to the writer.
#[must_use]
pub fn read(bytes: Vec<u8>) -> Submitted {
    read_record(bytes).0
}

/// The same, and the bytes of what is an intent.
fn read_record(bytes: Vec<u8>) -> (Submitted, Vec<u8>) {
    let since = Stopwatch::start();
    let parsed = parse(&bytes);
    metrics::stage(metrics::Stage::Parse, since.elapsed());
    match parsed {
        Ok(intent) => (Submitted::Intent(Box::new(intent)), bytes),
        Err(refusal) => {
            metrics::stage_error(metrics::Stage::Parse, refusal.code);
            (Submitted::Unreadable(refusal, bytes), Vec::new())
        }
    }
}

/// Reads many records at once, in order.
#[must_use]
pub fn read_all(records: Vec<Vec<u8>>) -> Vec<Submitted> {
    records.into_par_iter().with_min_len(4).map(read).collect()
}

/// The same, with the bytes of each intent, which a refusal may have to name.
#[must_use]
pub fn read_records(records: Vec<Vec<u8>>) -> Vec<(Submitted, Vec<u8>)> {
    records.into_par_iter().with_min_len(4).map(read_record).collect()
}
