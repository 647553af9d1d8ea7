//! What a receipt leaves behind that nothing outside can see.

use writ_schemas::ids::{KeyId, Lamport, LedgerId};
use writ_schemas::several::Several;

use super::*;
use crate::execution::{Ending, conclude};

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// An execution in a session that is under way, of an intent that expires then.
fn open(id: &str, expires_at: u64) -> Open {
    Open {
        intent_seq: Seq(1),
        decision: Digest::of(id.as_bytes()),
        tenant: name("acme"),
        id: name(id),
        principal: name("ann"),
        action: name("pay"),
        session: Some(name("s-1")),
        expires_at: UnixMicros(expires_at),
        signer: KeyId([9; 32]),
        effect: Digest([1; 32]),
        connector: name("till"),
        idempotency_key: Digest([2; 32]),
        not_after: UnixMicros(expires_at),
        reservation: Several::default(),
        uses: Vec::new(),
        dispatched_at: Some(UnixMicros(1)),
        attempts: 0,
        due: UnixMicros(0),
    }
}

#[test]
fn a_session_ends_by_one_line_however_many_receipts_prolong_it() {
    let mut state = State { last_at: UnixMicros(10), ..State::default() };
    for (seq, expires_at) in [(5, 100), (6, 300), (7, 200), (8, 400), (9, 400)] {
        let decision = Seq(seq);
        state.open.insert(decision, open(&format!("i-{seq}"), expires_at));
        let output = Some(Digest([3; 32]));
        let ending = Ending { decision, status: Status::Succeeded, code: Code::Ok, output, because: None };
        let receipt = conclude(&state, LedgerId([7; 16]), &ending, None, UnixMicros(10)).expect("it ends");
        assert_eq!(receipt.lamport, Lamport(seq - 4), "the session goes on");
        let receipt = Signed::unsigned(receipt).expect("JSON");
        state.concluded(Seq(seq + 100), &ReceiptIssued { receipt, output: None }).expect("it is folded");
        assert_eq!(state.expiries.len(), 1, "{:?}", state.expiries);
    }
    state.forget(UnixMicros(399));
    assert_eq!(state.sessions.len(), 1);
    state.forget(UnixMicros(400));
    assert_eq!((state.sessions.len(), state.expiries.len()), (0, 0));
}
