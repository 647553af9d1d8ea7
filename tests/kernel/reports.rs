//! Who may report what became of what is outside, and what a report looks like.

use serde_json::json;

use writ_kernel::outcome::{REPORT_BYTES_MAX, reported};
use writ_schemas::act::Statement;
use writ_schemas::errors::Code;
use writ_schemas::event::Event;
use writ_schemas::ids::{Digest, KeyId, Seq};
use writ_schemas::receipt::Status;

use crate::desk::{ANN, BOB, DAN, Desk, EVE, HOUR, OPERATORS, ZED, applied, freeze, intent, not_applied, trust};

/// A ledger in which something is outside: its decision's place and digest.
fn shipped() -> (Desk, Seq, Digest) {
    let mut desk = Desk::furnished();
    let decided = desk.start(intent("i-1", "ship"));
    (desk, decided.seq, decided.digest)
}

#[test]
fn runners_of_the_tenant_report_and_nobody_else() {
    let (mut desk, _, of) = shipped();
    desk.administer(trust(ZED, "acme", "zed", &["runner"]));
    let missed = {
        let mut desk = desk.clone();
        desk.later(HOUR);
        desk.record(Event::DeadlinePassed(of));
        let ending = desk.state.ending().expect("a receipt must come next").clone();
        desk.end(&ending);
        desk
    };
    let cases: [(&[KeyId], Result<(), Code>); 7] = [
        (&[DAN], Ok(())),
        (&[ZED], Ok(())),
        (&[DAN, ZED], Err(Code::ReporterInvalid)),
        (&[], Err(Code::ReporterInvalid)),
        (&[BOB], Err(Code::ReporterInvalid)),
        (&[EVE], Err(Code::OutcomeUnknown)),
        (&OPERATORS[..1], Err(Code::ReporterInvalid)),
    ];
    for (keys, expected) in cases {
        assert_eq!(desk.would(applied(of, json!({})), keys), expected, "in time, by {keys:?}");
        assert_eq!(missed.would(applied(of, json!({})), keys), expected, "too late, by {keys:?}");
    }
    assert_eq!(desk.would(applied(Digest([9; 32]), json!({})), &[DAN]), Err(Code::OutcomeUnknown));
    desk.administer(Statement::RevokeKey { key: DAN });
    assert_eq!(desk.would(applied(of, json!({})), &[DAN]), Err(Code::ReporterInvalid));
}

#[test]
fn what_is_frozen_is_reported_all_the_same() {
    let (mut desk, _, of) = shipped();
    desk.administer(freeze(None, None));
    assert_eq!(desk.would(applied(of, json!({})), &[DAN]), Ok(()));
}

#[test]
fn an_output_goes_with_what_happened_and_a_reason_with_what_did_not() {
    let (desk, _, decision) = shipped();
    let reason = || Some("no ship".to_owned());
    for (applied, because, output, expected) in [
        (true, None, Some(json!({})), Ok(())),
        (true, None, None, Ok(())),
        (true, reason(), None, Err(Code::Schema)),
        (true, reason(), Some(json!({})), Err(Code::Schema)),
        (false, None, None, Ok(())),
        (false, reason(), None, Ok(())),
        (false, None, Some(json!({})), Err(Code::Schema)),
        (false, reason(), Some(json!({})), Err(Code::Schema)),
    ] {
        let what = format!("{applied} {because:?} {output:?}");
        let report = Statement::Report { applied, because, decision, output };
        assert_eq!(desk.would(report, &[DAN]), expected, "{what}");
    }
}

#[test]
fn a_report_has_256_kib_at_most() {
    let (desk, _, of) = shipped();
    assert_eq!(REPORT_BYTES_MAX, 262_144);
    let long = |bytes: usize| applied(of, json!({"text": "x".repeat(bytes)}));
    let room = REPORT_BYTES_MAX - desk.act(long(0), &[DAN]).payload().len();
    assert_eq!(desk.would(long(room), &[DAN]), Ok(()));
    assert_eq!(desk.would(long(room + 1), &[DAN]), Err(Code::TooLarge));
}

#[test]
fn what_follows_from_a_report_can_be_asked_before_it_is_recorded() {
    let (desk, seq, of) = shipped();
    let (ending, output) = reported(&desk.state, &applied(of, json!({"b": 1, "a": 2}))).expect("it is outside");
    let canonical = br#"{"a":2,"b":1}"#.to_vec();
    assert_eq!((ending.decision, ending.status, ending.code), (seq, Status::Succeeded, Code::Ok));
    assert_eq!((ending.output, ending.because), (Some(Digest::of(&canonical)), None));
    assert_eq!(output, Some(canonical));
    let (ending, output) = reported(&desk.state, &not_applied(of, "no ship")).expect("it is outside");
    assert_eq!((ending.status, ending.code, output), (Status::Failed, Code::ConnectorRefused, None));
    assert_eq!(reported(&desk.state, &applied(Digest([9; 32]), json!({}))), None);
    assert_eq!(reported(&desk.state, &freeze(None, None)), None, "it reports nothing");
}

#[test]
fn who_asked_may_not_report_unless_trusted_to() {
    let (mut desk, _, of) = shipped();
    assert_eq!(desk.would(applied(of, json!({})), &[ANN]), Err(Code::ReporterInvalid));
    desk.administer(trust(ANN, "acme", "ann", &["agent", "runner"]));
    assert_eq!(desk.would(applied(of, json!({})), &[ANN]), Ok(()));
}
