//! Whether a decision may be dispatched now, and the receipt of how an execution ended.

use writ_schemas::dsse::{Document, Signed};
use writ_schemas::errors::Code;
use writ_schemas::ids::{Digest, Lamport, LedgerId, Seq, UnixMicros};
use writ_schemas::receipt::{Receipt, Status};
use writ_schemas::several::Several;
use writ_schemas::strict::Refusal;

use crate::state::{Open, State};

/// What is to be done with a `PASS` whose turn has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dispatch {
    /// Record `DispatchStarted`, make it durable, call the connector.
    Start,
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
        Dispatch::Start
    })
}

/// How an execution ended, as far as it is an input: replay takes it from the receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The entry of the decision.
    pub decision: Seq,
    /// How it ended.
    pub status: Status,
    /// Why.
    pub code: Code,
    /// The digest of the canonical output.
    pub output: Option<Digest>,
}

/// Every way in which an execution ends, and whether it has an output: what the executor may report, and what replay takes
/// for possible.
#[rustfmt::skip] // A table is read by columns.
const ENDINGS: [(Status, Code, bool); 12] = [
    (Status::Succeeded, Code::Ok,                     true),
    (Status::Failed,    Code::ConnectorContractDrift, true),
    (Status::Failed,    Code::ConnectorRefused,       false),
    (Status::Failed,    Code::ConnectorUnknown,       false),
    (Status::Failed,    Code::EffectDigest,           false),
    (Status::Uncertain, Code::ConnectorUncertain,     false),
    (Status::Uncertain, Code::OutputNotCanonical,     false),
    (Status::Uncertain, Code::ContentIntegrity,       false),
    (Status::Uncertain, Code::Interrupted,            false),
    (Status::Expired,   Code::Frozen,                 false),
    (Status::Expired,   Code::KeyRevoked,             false),
    (Status::Expired,   Code::WindowClosed,           false),
];

impl Ending {
    /// Whether an execution can end like this.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        ENDINGS.contains(&(self.status, self.code, self.output.is_some()))
    }
}

/// The receipt of an ending: everything in it but the ending is derived from the state.
///
/// # Errors
/// `ERR_DECISION_MISSING` without an open execution; `ERR_DISPATCH_REFUSED` if the ending does not fit: only what was never
/// dispatched can expire, only what was dispatched can end otherwise, and each in one of the ways that there are.
pub fn conclude(state: &State, ledger: LedgerId, ending: Ending, now: UnixMicros) -> Result<Receipt, Refusal> {
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
    let session = open.session.clone();
    let before = session.as_ref().and_then(|session| state.sessions.get(&(open.tenant.clone(), session.clone())));
    // Its own entry will forget what has ended by now.
    let before = before.filter(|session| session.expires_at > now);
    Ok(Receipt {
        ledger,
        tenant: open.tenant.clone(),
        id: open.id.clone(),
        principal: open.principal.clone(),
        action: open.action.clone(),
        decision_seq: ending.decision,
        decision_digest: open.decision,
        effect_digest: open.effect,
        connector: open.connector.clone(),
        status: ending.status,
        code: ending.code,
        output: ending.output,
        usage: if is_charged(ending.status, ending.code) { open.reservation.clone() } else { Several::default() },
        previous: before.map(|before| before.receipt),
        lamport: Lamport(before.map_or(0, |before| before.lamport.0) + 1),
        session,
        dispatched_at: open.dispatched_at,
        ended_at: now,
    })
}

/// Whether an ending commits its reservation: the connector said that it did it. That it said so in another shape than the
/// pinned one makes the receipt `FAILED`, but the money is spent.
fn is_charged(status: Status, code: Code) -> bool {
    status == Status::Succeeded || (status == Status::Failed && code == Code::ConnectorContractDrift)
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
