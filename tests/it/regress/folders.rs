//! Folders that are not what they were: rewound behind what was published, or lengthened by somebody without keys. They
//! are refused before anything is dispatched.

use writ::clock::Clock;
use writ::error::Failure;
use writ::kafka::cluster::Cluster;
use writ::ledger::{self, Opened};
use writ::sequencer::Passed;
use writ::service::Service;
use writ_schemas::act::Statement;
use writ_schemas::dsse::Signed;
use writ_schemas::errors::Code;
use writ_schemas::event::{Event, EventKind};
use writ_schemas::ids::UnixMicros;

use super::{TIMEOUT_MAX_US, call, called, ends, founded, open, pass, sealed, silent};
use crate::kafka::mock_kafka;
use crate::ledgers::{Kept, Who, sign};
use crate::planted::appended;

fn serve(kept: &Kept, kafka: Option<&Cluster>) -> Result<Service, Failure> {
    Service::start(Opened::open(&kept.folder, Clock::Wall)?, kafka, Passed::CarriedOut, |failure| panic!("{failure}"))
}

#[test]
fn a_rewound_folder_whose_outputs_were_published_serves_nobody_and_dispatches_nothing() {
    let ((_kafka, cluster), far) = (mock_kafka([1; 5]), silent(1));
    let kept = founded(&far, 1, TIMEOUT_MAX_US);
    let ledger = open(&kept);
    pass(&ledger.handle(), "called");
    called(&far, 1);
    pass(&ledger.handle(), "waits");
    sealed(&kept, &ledger.handle());
    let older = kept.copy();
    far.answer();
    ledger.finish().expect("finishes");
    assert_eq!(far.calls(), 2, "the folder went on: the second was called too");
    let published = serve(&kept, Some(&cluster)).expect("serves");
    ends("publishing everything", || published.stop().expect("stops"));

    let before = older.entries().len();
    let refused = serve(&older, Some(&cluster)).err().map(|failure| failure.code);
    assert_eq!(refused, Some(Code::LogForked));
    assert_eq!((far.calls(), older.entries().len()), (2, before), "nothing was dispatched and nothing written");

    // What nobody can notice without Kafka shows that there was something to dispatch.
    let unaware = serve(&older, None).expect("serves");
    unaware.finish().expect("finishes");
    assert_eq!(far.calls(), 3);
}

/// What a ledger adds to this folder when the connector is called once: intent, decision, dispatch, receipt; and when it
/// decided.
fn one_call(closed: &Kept) -> (Vec<Event>, UnixMicros) {
    let goes_on = closed.copy();
    let ledger = open(&goes_on);
    pass(&ledger.handle(), "called");
    ledger.finish().expect("finishes");
    let added = goes_on.entries().split_off(closed.entries().len());
    let at = added.first().expect("the intent").entry.header.recorded_at;
    let named = |event: &Event| event.kind() == EventKind::CheckpointSigned;
    let events = added.iter().map(|located| located.entry.event().expect("an event"));
    (events.filter(|event| !named(event)).take(4).collect(), at)
}

#[test]
fn what_no_checkpoint_covers_is_refused_unless_those_signed_it_who_must() {
    use Event::{DecisionMade, Frozen, IntentAdmitted, KeyTrusted, ReceiptIssued};
    let far = silent(1);
    far.answer();
    let closed = founded(&far, 1, TIMEOUT_MAX_US);
    let (genuine, at) = one_call(&closed);
    let [IntentAdmitted(admitted), DecisionMade(decision), dispatch, ReceiptIssued(issued)] = &genuine[..] else {
        panic!("{genuine:?}")
    };
    let stranger = Who::Stranger.key();
    let act = |statement| {
        let act = ledger::act(&closed.folder, &closed.genesis(), statement, &Clock::Wall).expect("an act");
        sign(act.value().clone(), &stranger)
    };
    let other = call("another").signatures().to_vec();
    let intent = |signed| {
        IntentAdmitted({
            let mut forged = admitted.clone();
            forged.intent = signed;
            forged
        })
    };
    let unsigned = Signed::unsigned(admitted.intent.value().clone()).expect("canonical");
    let moved = Signed::from_parts(admitted.intent.payload().to_vec(), other).expect("parses");
    let own = DecisionMade(sign(decision.value().clone(), &stranger));
    let mut receipt = issued.clone();
    receipt.receipt = sign(issued.receipt.value().clone(), &stranger);
    let (calls, mut believed) = (far.calls(), Vec::new());
    for (story, events) in [
        ("an intent that nobody signed", vec![intent(unsigned), genuine[1].clone()]),
        ("an intent with another's signature", vec![intent(moved), genuine[1].clone()]),
        ("a decision by another key", vec![genuine[0].clone(), own]),
        (
            "a receipt by another key",
            vec![genuine[0].clone(), genuine[1].clone(), dispatch.clone(), ReceiptIssued(receipt)],
        ),
        ("a key that no operator trusts", vec![KeyTrusted(act(Who::Stranger.trust()))]),
        (
            "a freeze that no operator ordered",
            vec![Frozen(act(Statement::Freeze { principal: None, reason: "mine".to_owned(), tenant: None }))],
        ),
    ] {
        let forged = appended(&closed, at, &[events]);
        let before = forged.entries().len();
        let refused = Opened::open(&forged.folder, Clock::Wall).err().map(|failure| failure.code);
        // What is not signed as it must be is damage; what is signed and does not follow from the log diverges.
        let caught = matches!(refused, Some(Code::LogDamaged | Code::ReplayDiverged));
        believed.extend((!caught).then_some((story, refused)));
        assert_eq!((far.calls(), forged.entries().len()), (calls, before), "{story}: it changed something");
    }
    assert_eq!(believed, [], "what was not refused for what it is");

    // The same hand, with what was really signed: it is believed, and what waits is dispatched.
    let honest = appended(&closed, at, &[genuine[..2].to_vec()]);
    open(&honest).finish().expect("finishes");
    assert_eq!(far.calls(), calls + 1);
    assert!(honest.verified().ok);
}
