//! Property: a tag and bytes read as an event never panic; an accepted one is of that kind and encodes to the same bytes;
//! folding it into a state gives another state or a fault, never a panic.
use writ_kernel::state::State;
use writ_schemas::event::{Event, EventKind};
use writ_schemas::ids::{Seq, UnixMicros};

/// Holds the property against an input.
pub fn check(bytes: &[u8]) {
    let Some((tag, payload)) = bytes.split_first_chunk() else { return };
    let Some(kind) = EventKind::from_tag(u16::from_le_bytes(*tag)) else { return };
    let Ok(event) = Event::from_payload(kind, payload) else { return };
    assert_eq!(event.kind(), kind);
    assert_eq!(event.to_payload().as_deref().ok(), Some(payload));

    let mut state = State::default();
    let opened = state.apply(Seq(0), UnixMicros(1), &event);
    assert!(opened.is_err() || kind == EventKind::LedgerOpened, "only a genesis opens a ledger");
    if opened.is_ok() {
        let (before, hash) = (state.clone(), state.hash());
        assert!(state.apply(Seq(1), UnixMicros(1), &event).is_err(), "and only once");
        assert_eq!(before.hash(), hash);
    }
}
