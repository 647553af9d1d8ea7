//! What somebody can put into a ledger's folder without any of its keys, opening refuses or records.

use writ::clock::Clock;
use writ::folder::KeyRole;
use writ::ledger::Opened;
use writ_log::{Covered, DirStorage, Log, LogError};
use writ_schemas::act::{Act, Statement};
use writ_schemas::dsse::Signed;
use writ_schemas::entry::Entry;
use writ_schemas::errors::Code;
use writ_schemas::event::{Event, IntentAdmitted, Partition, Position, Source};
use writ_schemas::ids::{Digest, Seq, UnixMicros};

use crate::ledgers::{HOUR, Kept, NOW, SMALL, Who, Working, ask, passes};

/// A copy of a ledger with more batches of one entry each or more: well chained, which needs no key, and from `at` on.
pub(crate) fn appended(kept: &Kept, at: UnixMicros, batches: &[Vec<Event>]) -> Kept {
    let copy = kept.copy();
    let visit = &mut |_: &Entry| Ok::<(), LogError>(());
    let storage = DirStorage::writing(copy.folder.log());
    let mut log = Log::open(storage, None, Covered::NONE, SMALL, visit).expect("opens").log;
    for (batch, events) in (0..).zip(batches) {
        let mut chain = *log.chain();
        let put =
            |event: &Event| chain.append(event.kind(), at.plus(batch), [9; 16], event.to_payload().expect("encodes"));
        let entries: Vec<Entry> = events.iter().map(put).collect();
        log.append(&entries).expect("appends");
    }
    copy
}

fn act_of(event: &Event) -> Option<&Signed<Act>> {
    match event {
        Event::KeyTrusted(act) | Event::Thawed(act) | Event::PolicyActivated(act) | Event::OutcomeReconciled(act) => {
            Some(act)
        }
        _ => None,
    }
}

pub(crate) fn admitted(id: &'static str) -> Event {
    let intent = ask(id, Who::Agent, "note", 5).intent(&[]);
    Event::IntentAdmitted(IntentAdmitted { intent, source: Source::Local, trace: None })
}

/// The position of the one partition that is spoken of.
pub(crate) fn advanced(next: u64) -> Event {
    Event::SourceAdvanced(vec![Position { partition: partition(), next }])
}

pub(crate) fn partition() -> Partition {
    Partition { topic_id: "t".to_owned(), number: 0 }
}

#[test]
fn what_no_checkpoint_covers_must_follow_from_what_came_before() {
    let closed = Kept::closed();
    let events = closed.events();
    let old = |what: &dyn Fn(&Event) -> bool| events.iter().rfind(|event| what(event)).expect("in the story").clone();
    let former = |event: &Event| {
        let statement = act_of(event).map(|act| &act.value().statement);
        matches!(statement, Some(Statement::TrustKey { key, .. }) if *key == Who::Former.id())
    };
    let decided = |event: &Event| matches!(event, Event::DecisionMade(_));
    let decision = Seq(u64::try_from(events.iter().position(passes).expect("a PASS")).expect("small"));
    let rows = [
        ("the trust of a key that was revoked", vec![old(&former)]),
        ("a thaw", vec![old(&|event| matches!(event, Event::Thawed(_)))]),
        ("a policy", vec![old(&|event| matches!(event, Event::PolicyActivated(_)))]),
        ("a reconciliation", vec![old(&|event| matches!(event, Event::OutcomeReconciled(_)))]),
        ("evidence", vec![old(&|event| matches!(event, Event::EvidenceRegistered(_)))]),
        ("an intent without its decision", vec![admitted("planted")]),
        ("an intent with an older decision", vec![admitted("planted"), old(&decided)]),
        ("an intent that was decided", vec![old(&|event| matches!(event, Event::IntentAdmitted(_))), old(&decided)]),
        ("a decision", vec![old(&decided)]),
        ("a receipt", vec![old(&|event| matches!(event, Event::ReceiptIssued(_)))]),
        ("a dispatch of what has its receipt", vec![Event::DispatchStarted(decision)]),
        ("a dispatch of nothing", vec![Event::DispatchStarted(Seq(0))]),
        ("a position that falls", vec![advanced(5), advanced(3)]),
        ("a state hash", vec![Event::StateHashed(Digest([7; 32]))]),
    ];
    for (story, batch) in rows {
        // Soon, when the state remembers every act; and when acts have expired.
        for at in [NOW.plus(HOUR / 2), NOW.plus(200 * HOUR)] {
            let planted = appended(&closed, at, std::slice::from_ref(&batch));
            let latest = std::fs::read(planted.latest()).expect("reads");
            let refused = Opened::open(&planted.folder, Clock::manual(at.plus(HOUR))).err();
            assert_eq!(refused.map(|failure| failure.code), Some(Code::ReplayDiverged), "{story}");
            assert_eq!(std::fs::read(planted.latest()).expect("reads"), latest, "{story}: nothing was sealed");
        }
    }
}

#[test]
fn a_cut_is_recorded_although_the_ledger_does_not_start() {
    let killed = Kept::killed();
    let (segment, used) = killed.last_segment();
    let mut bytes = std::fs::read(&segment).expect("reads");
    bytes[(used - 2000) / 512 * 512..used].fill(0);
    std::fs::write(&segment, bytes).expect("writes");
    let cuts = || killed.events().iter().filter(|event| matches!(event, Event::TailCut(_))).count();
    let before = killed.entries().len();

    let (key, aside) = (killed.folder.key(KeyRole::Decision), killed.outside().join("aside"));
    std::fs::rename(&key, &aside).expect("renames");
    let started = Opened::open(&killed.folder, Clock::manual(NOW)).expect("opens").start(|_| {});
    assert_eq!(started.err().map(|failure| failure.code), Some(Code::KeyFile));
    assert_eq!((cuts(), killed.entries().len()), (1, before + 1));

    std::fs::rename(&aside, &key).expect("renames");
    let after = Working::open(killed, Clock::manual(NOW)).finish();
    let report = after.verified();
    assert!(report.ok && report.checkpoint == Some(report.entries), "{report:?}");
    assert_eq!(after.replayed().divergence, None);
    let cuts = after.events().iter().filter(|event| matches!(event, Event::TailCut(_))).count();
    assert_eq!(cuts, 1, "once");
}

#[test]
fn an_older_checkpoint_that_was_put_back_is_noticed() {
    let closed = Kept::closed();
    let notes = closed.events().into_iter().filter_map(|event| match event {
        Event::CheckpointSigned(note) => Some(note),
        _ => None,
    });
    let notes: Vec<String> = notes.collect();
    let (last, older) = notes.split_last().expect("checkpoints");
    assert!(older.len() > 1);
    for note in older {
        std::fs::write(closed.latest(), note).expect("writes");
        let report = closed.verified();
        let code = report.broken.as_ref().map(|broken| broken.code);
        assert_eq!((report.ok, code), (false, Some(Code::LogForked)), "{report:?}");
        let refused = Opened::open(&closed.folder, Clock::manual(NOW)).err();
        assert_eq!(refused.map(|failure| failure.code), Some(Code::LogForked));
    }
    let (exit, said) = closed.run("verify", &[]);
    assert_eq!((exit, &said["broken"]["code"]), (Some(1), &serde_json::json!("ERR_LOG_FORKED")), "{said}");
    // The last one that the log names is what a kill leaves.
    std::fs::write(closed.latest(), last).expect("writes");
    assert!(closed.verified().ok);
    assert!(Opened::open(&closed.folder, Clock::manual(NOW)).is_ok());
}
