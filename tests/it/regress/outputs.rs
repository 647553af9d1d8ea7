//! Outputs that are too long for the log: kept once, however many calls end with them at the same moment.

use writ::sequencer::Submitted;
use writ_schemas::event::{Event, INLINE_OUTPUT_MAX};
use writ_schemas::receipt::Status;

use super::{TIMEOUT_MAX_US, call, called, founded, open, silent};
use crate::ledgers::files;

#[test]
fn calls_that_end_at_the_same_moment_with_the_same_long_output_all_succeed() {
    const CALLS: usize = 64;
    let far = silent(INLINE_OUTPUT_MAX + 1);
    let kept = founded(&far, CALLS, TIMEOUT_MAX_US);
    let ledger = open(&kept);
    let intents = (0..CALLS).map(|at| (Submitted::Intent(Box::new(call(&format!("call-{at}")))), 1)).collect();
    ledger.handle().submit_all(intents).expect("answers");
    called(&far, CALLS);
    far.answer();
    ledger.finish().expect("finishes");
    let ended: Vec<Status> = kept
        .events()
        .iter()
        .filter_map(|event| match event {
            Event::ReceiptIssued(issued) => Some(issued.receipt.value().status),
            _ => None,
        })
        .collect();
    assert_eq!(ended, [Status::Succeeded; CALLS]);
    assert_eq!(files(&kept.folder.content()).len(), 1, "it is kept once");
    let report = kept.verified();
    assert!(report.ok, "{:?}", report.broken);
}
