//! Whether a decision may be dispatched now, and the receipt of how an execution ended.

use writ_schemas::decision::Amount;
use writ_schemas::dsse::{Document, Signed};
use writ_schemas::errors::Code;
use writ_schemas::event::DispatchRetried;
use writ_schemas::ids::{Digest, Lamport, LedgerId, Seq, UnixMicros};
use writ_schemas::policy::Retry;
use writ_schemas::receipt::{Receipt, Status};
use writ_schemas::several::Several;
use writ_schemas::strict::Refusal;

use crate::budget;
use crate::state::{Open, State};

/// What is to be done with a `PASS` whose turn has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dispatch {
    /// Record `DispatchStarted`, make it durable, call the connector.
    Start,
    /// Not before this time: the last attempt was just made, or the connector is left alone.
    Wait(UnixMicros),
    /// Never call it: record a receipt `EXPIRED` with this code.
    Expire(Code),
}

/// Asks again, at dispatch, what may have changed since the decision: freeze, revocation, the window.
///
/// # Errors
/// `ERR_DECISION_MISSING` without an open execution; `ERR_DISPATCH_REFUSED` if it was dispatched before: a single winner.
pub fn dispatch(state: &State, decision: Seq, now: UnixMicros) -> Result<Dispatch, Refusal> {
    let open = open(state, decision)?;
    if open.dispatched_at.is_some() {
        return Err(Refusal::new(Code::DispatchRefused, format!("decision {decision} was dispatched before")));
    }
    let trusted = state.keys.get(&open.signer).is_some_and(|key| key.revoked.is_none());
    Ok(if state.is_frozen(&open.tenant, &open.principal) {
        Dispatch::Expire(Code::Frozen)
    } else if !trusted {
        Dispatch::Expire(Code::KeyRevoked)
    } else if open.not_after <= now {
        Dispatch::Expire(Code::WindowClosed)
    } else {
        let until = state.left_alone_until(&open.connector).max(open.due);
        let until = until.max(state.room_outside(open, now));
        if until > now { Dispatch::Wait(until.min(open.not_after)) } else { Dispatch::Start }
    })
}

/// Whether an attempt that certainly did nothing is made again, and when: if the policy in force says so of its connector, not
/// before the `asked_us` microseconds for which that asked, and if the window still holds then. Nothing: it has failed for good.
#[must_use]
pub fn retry(state: &State, decision: Seq, because: &str, asked_us: u64, now: UnixMicros) -> Option<DispatchRetried> {
    let open = state.open.get(&decision).filter(|open| open.dispatched_at.is_some())?;
    if state.is_outside(decision) {
        return None;
    }
    let retry = state.policy.as_ref()?.connector(&open.connector)?.retry.as_ref()?;
    let attempts = open.attempts.saturating_add(1);
    let due = now.plus(backoff(retry, open.decision, attempts).max(asked_us));
    let again = attempts < retry.attempts && due < open.not_after;
    again.then(|| DispatchRetried { decision, attempts, due, because: bounded(because), asked_us })
}

/// Between half of what doubles with each attempt up to the cap, and all of it: by the digest of the decision, so that many do not come
/// back at once and replay finds the same.
fn backoff(retry: &Retry, decision: Digest, attempts: u32) -> u64 {
    let doubled = 1_u64.checked_shl(attempts.saturating_sub(1)).and_then(|times| retry.base_us.checked_mul(times));
    let most = doubled.unwrap_or(u64::MAX).min(retry.cap_us);
    let half = most / 2;
    let hash = Digest::of(format!("{decision}\n{attempts}\n").as_bytes());
    let (first, _) = hash.0.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    most - u64::from_le_bytes(*first) % (half + 1)
}

/// What an ending says of its connector: that it answers, that it does not, or nothing.
pub(crate) fn answered_well(code: Code) -> Option<bool> {
    let well = [Code::Ok, Code::ConnectorContractDrift, Code::ConnectorRefused, Code::OutputNotCanonical];
    let ill = [Code::ConnectorUnavailable, Code::ConnectorUncertain, Code::OutcomeMissing];
    if well.contains(&code) { Some(true) } else { ill.contains(&code).then_some(false) }
}

/// A text for people, as short and tame as all that is kept of others.
pub(crate) fn bounded(because: &str) -> String {
    Refusal::new(Code::Ok, because).detail
}

/// How an execution ended, as far as it is an input: replay takes it from the receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The entry of the decision.
    pub decision: Seq,
    /// How it ended.
    pub status: Status,
    /// Why.
    pub code: Code,
    /// The digest of the canonical output.
    pub output: Option<Digest>,
    /// More of the code, for a person.
    pub because: Option<String>,
}

/// Every way in which an execution ends, and whether it has an output: what the executor may report, and what replay takes
/// for possible.
#[rustfmt::skip] // A table is read by columns.
const ENDINGS: [(Status, Code, bool); 14] = [
    (Status::Succeeded, Code::Ok,                     true),
    (Status::Failed,    Code::ConnectorContractDrift, true),
    (Status::Failed,    Code::ConnectorRefused,       false),
    (Status::Failed,    Code::ConnectorUnavailable,   false),
    (Status::Failed,    Code::ConnectorUnknown,       false),
    (Status::Failed,    Code::EffectDigest,           false),
    (Status::Uncertain, Code::ConnectorUncertain,     false),
    (Status::Uncertain, Code::OutputNotCanonical,     false),
    (Status::Uncertain, Code::ContentIntegrity,       false),
    (Status::Uncertain, Code::Interrupted,            false),
    (Status::Uncertain, Code::OutcomeMissing,         false),
    (Status::Expired,   Code::Frozen,                 false),
    (Status::Expired,   Code::KeyRevoked,             false),
    (Status::Expired,   Code::WindowClosed,           false),
];

/// Every way in which an execution ends: the status of its receipt, and why.
pub fn endings() -> impl Iterator<Item = (Status, Code)> {
    ENDINGS.into_iter().map(|(status, code, _)| (status, code))
}

impl Ending {
    /// What a receipt says of it.
    #[must_use]
    pub fn of(receipt: &Receipt) -> Ending {
        let Receipt { decision_seq: decision, status, code, output, because, .. } = receipt;
        Ending { decision: *decision, status: *status, code: *code, output: *output, because: because.clone() }
    }

    /// Whether an execution can end like this.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        ENDINGS.contains(&(self.status, self.code, self.output.is_some()))
    }
}

/// The receipt of an ending: everything in it but the ending is derived from the state, and from the output that is kept beside
/// it.
///
/// # Errors
/// `ERR_DECISION_MISSING` without an open execution; `ERR_DISPATCH_REFUSED` if the ending does not fit: only what was never
/// dispatched can expire, only what was dispatched can end otherwise, and each in one of the ways that there are.
pub fn conclude(
    state: &State,
    ledger: LedgerId,
    ending: &Ending,
    output: Option<&[u8]>,
    now: UnixMicros,
) -> Result<Receipt, Refusal> {
    let open = open(state, ending.decision)?;
    if (ending.status == Status::Expired) == open.dispatched_at.is_some() {
        return Err(Refusal::new(
            Code::DispatchRefused,
            format!("{} does not fit its dispatch", ending.status.as_str()),
        ));
    }
    if !ending.is_possible() {
        let with = if ending.output.is_some() { "with" } else { "without" };
        let what = format!("nothing ends {} {} {with} an output", ending.status.as_str(), ending.code);
        return Err(Refusal::new(Code::DispatchRefused, what));
    }
    let told = state.ending();
    if (told.is_some() || state.is_outside(ending.decision)) && told != Some(ending) {
        return Err(Refusal::new(
            Code::DispatchRefused,
            "what is carried out outside ends as its report says, or its deadline",
        ));
    }
    let session = open.session.clone();
    let before = session.as_ref().and_then(|session| state.sessions.get(&(open.tenant.clone(), session.clone())));
    // Its own entry will forget what has ended by now.
    let before = before.filter(|session| session.expires_at > now);
    Ok(Receipt {
        ledger,
        tenant: open.tenant.clone(),
        id: open.id.clone(),
        principal: open.principal.clone(),
        because: ending.because.as_deref().map(bounded),
        action: open.action.clone(),
        decision_seq: ending.decision,
        decision_digest: open.decision,
        effect_digest: open.effect,
        connector: open.connector.clone(),
        status: ending.status,
        code: ending.code,
        output: ending.output,
        usage: charges(open, ending.status, ending.code, output),
        previous: before.map(|before| before.receipt),
        lamport: Lamport(before.map_or(0, |before| before.lamport.0) + 1),
        session,
        dispatched_at: open.dispatched_at,
        ended_at: now,
    })
}

/// What an ending charges: something, where the connector said that it did it. That it said so in another shape than the pinned
/// one makes the receipt `FAILED`, but the money is spent; what such an output says of costs is not believed.
pub(crate) fn charges(open: &Open, status: Status, code: Code, output: Option<&[u8]>) -> Several<Amount> {
    match status {
        _ if !was_done(status, code) => Several::default(),
        Status::Succeeded => budget::charges(&open.reservation, output),
        Status::Failed | Status::Uncertain | Status::Expired => budget::charges(&open.reservation, None),
    }
}

/// Whether an ending says that the effect came about.
pub(crate) fn was_done(status: Status, code: Code) -> bool {
    matches!((status, code), (Status::Succeeded, _) | (Status::Failed, Code::ConnectorContractDrift))
}

fn open(state: &State, decision: Seq) -> Result<&Open, Refusal> {
    state.open.get(&decision).ok_or_else(|| {
        Refusal::new(Code::DecisionMissing, format!("entry {decision} is no decision with an open execution"))
    })
}

/// The canonical bytes of a document of our own, not signed yet.
///
/// # Errors
/// What would keep it from being read again; limits elsewhere see to it that it does not come to that.
pub fn document<T: Document>(value: T) -> Result<Signed<T>, Refusal> {
    Signed::unsigned(value)
}
