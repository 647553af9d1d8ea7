//! What is carried out outside: until when its outcome is due, who may report it, and the receipt that follows from what was
//! reported, or from nothing.
//!
//! **Invariant:** a report of what is open, or that none came in time, is followed at once by the receipt, which says the same.
//! Nothing else ends an execution that was dispatched to the outside.

use std::sync::Arc;

use bincode::Encode;
use bincode::enc::Encoder;
use bincode::error::EncodeError;

use writ_schemas::act::{Act, Statement};
use writ_schemas::canonical;
use writ_schemas::dsse::Signed;
use writ_schemas::errors::Code;
use writ_schemas::ids::{Digest, Name, Seq, UnixMicros};
use writ_schemas::policy::{Connector, ConnectorKind};
use writ_schemas::receipt::{Receipt, Status};
use writ_schemas::strict::Refusal;

use crate::apply::Fault;
use crate::execution::{Ending, bounded};
use crate::policy::Policy;
use crate::state::{Open, State};

/// The most executions of a tenant that are outside at once: what more passes waits for its dispatch, as long as its window
/// holds.
pub const OUTSIDE_MAX: usize = 8192;

/// The largest report, in bytes of its act: 256 KiB.
pub const REPORT_BYTES_MAX: usize = 256 << 10;

/// The longest time to report: 7 days in microseconds.
const WITHIN_MAX_US: u64 = 7 * 24 * 3_600 * 1_000_000;

/// How long what finds no room outside waits before it asks again: a second in microseconds.
const NO_ROOM_US: u64 = 1_000_000;

/// An execution that was dispatched to the outside and has no receipt yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Outside {
    /// The entry of the decision.
    pub decision: Seq,
    /// Until when its outcome may be reported in time.
    pub due: UnixMicros,
    /// The role in which a key is trusted that reports.
    pub(crate) role: Name,
    /// The policy of its dispatch: by its shapes the output is judged.
    pub(crate) policy: Arc<Policy>,
}

impl Encode for Outside {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let Outside { decision, due, role, policy } = self;
        (decision, due, role, policy.digest()).encode(encoder)
    }
}

/// An execution whose outcome was not reported in time: it can still be.
#[derive(Clone, Debug, PartialEq, Encode)]
pub(crate) struct Missing {
    /// Its receipt `UNCERTAIN`.
    pub(crate) receipt: Digest,
    pub(crate) role: Name,
}

/// Checks a connector whose effects are carried out outside.
pub(crate) fn check(connector: &Connector, within_us: u64) -> Result<(), &'static str> {
    if !(1..=WITHIN_MAX_US).contains(&within_us) {
        return Err("within_us is not between 1 microsecond and 7 days");
    }
    if connector.retry.is_some() {
        return Err(
            "retry does not go with external: who carries it out tries again, or reports that it did not happen",
        );
    }
    Ok(())
}

impl State {
    /// Whether this decision was dispatched to the outside and has no receipt yet.
    #[must_use]
    pub fn is_outside(&self, decision: Seq) -> bool {
        self.open.get(&decision).is_some_and(|open| self.outside.contains_key(&open.decision))
    }

    /// Executions that are not outside: they are carried out here, or wait, for whatever it is.
    #[must_use]
    pub fn open_here(&self) -> usize {
        self.open.len().saturating_sub(self.outside.len())
    }

    /// Executions that this process, or one after it, carries out itself: not those that are outside, nor those that wait to be
    /// dispatched there.
    #[must_use]
    pub fn open_inside(&self) -> usize {
        let (mut inside, policy) = (0_u64, self.policy.as_ref());
        for (connector, load) in &self.loads {
            let waits = load.open.saturating_sub(load.outside);
            inside = inside.saturating_add(if external(policy, connector).is_some() { 0 } else { waits });
        }
        usize::try_from(inside).unwrap_or(usize::MAX)
    }

    /// Whether what this tenant has outside by this connector leaves no room for more.
    #[must_use]
    pub fn is_full_outside(&self, tenant: &Name, connector: &Name) -> bool {
        self.places.get(tenant).is_some_and(|places| *places >= OUTSIDE_MAX)
            && external(self.policy.as_ref(), connector).is_some()
    }

    /// How the execution ends whose receipt must be the next entry, if one must.
    #[must_use]
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// When a dispatch to the outside that finds no room there may ask again.
    pub(crate) fn room_outside(&self, open: &Open, now: UnixMicros) -> UnixMicros {
        if self.is_full_outside(&open.tenant, &open.connector) { now.plus(NO_ROOM_US) } else { UnixMicros(0) }
    }

    /// A dispatch, where the policy in force has its connector outside.
    pub(crate) fn let_out(&mut self, decision: Seq, at: UnixMicros) -> Result<(), Fault> {
        let open = self.open.get(&decision).ok_or(Fault::Execution)?;
        let Some((policy, role, within_us)) = external(self.policy.as_ref(), &open.connector) else {
            return Ok(());
        };
        let outside = Outside { decision, due: at.plus(within_us), role: role.clone(), policy: Arc::clone(policy) };
        self.deadlines.insert((outside.due, decision, open.tenant.clone(), open.decision));
        self.loads.entry(open.connector.clone()).or_default().outside += 1;
        *self.places.entry(open.tenant.clone()).or_default() += 1;
        self.outside.insert(open.decision, outside);
        Ok(())
    }

    /// A report: the receipt must come next; or it settles the one that was given for want of it.
    pub(crate) fn reported(&mut self, statement: &Statement) -> Result<(), Fault> {
        let Statement::Report { decision, applied, .. } = statement else { return Err(Fault::Statement) };
        if let Some(missing) = self.missing.get(decision) {
            return self.settled(missing.receipt, *applied);
        }
        let (ending, _) = reported(self, statement).ok_or(Fault::Execution)?;
        self.ending = Some(ending);
        Ok(())
    }

    /// The deadline of an outcome; nothing if no outcome of this decision is awaited.
    pub(crate) fn not_reported(&mut self, decision: Digest) -> Option<()> {
        let decision = self.outside.get(&decision)?.decision;
        let (status, code) = (Status::Uncertain, Code::OutcomeMissing);
        self.ending = Some(Ending { decision, status, code, output: None, because: None });
        Some(())
    }

    /// A receipt of this execution, which has just been closed. Returns the decision, if a late report may still settle it.
    pub(crate) fn came_back(
        &mut self,
        open: &Open,
        receipt: &Receipt,
        digest: Digest,
    ) -> Result<Option<Digest>, Fault> {
        let (outside, ending) = match (self.outside.remove(&open.decision), self.ending.take()) {
            (None, None) => return Ok(None),
            (Some(outside), Some(ending)) if ending == Ending::of(receipt) => (outside, ending),
            (Some(_), _) | (None, Some(_)) => return Err(Fault::Outcome),
        };
        self.deadlines.remove(&(outside.due, outside.decision, open.tenant.clone(), open.decision));
        if let Some(places) = self.places.get_mut(&open.tenant) {
            *places = places.saturating_sub(1);
            if *places == 0 {
                self.places.remove(&open.tenant);
            }
        }
        if ending.status != Status::Uncertain {
            return Ok(None);
        }
        self.missing.insert(open.decision, Missing { receipt: digest, role: outside.role });
        Ok(Some(open.decision))
    }

    /// Whose outcome a report of this decision tells: the tenant, and the role in which it is told.
    fn awaited(&self, decision: &Digest) -> Option<(&Name, &Name)> {
        if let Some(outside) = self.outside.get(decision) {
            return Some((&self.open.get(&outside.decision)?.tenant, &outside.role));
        }
        let missing = self.missing.get(decision)?;
        Some((&self.uncertain.get(&missing.receipt)?.tenant, &missing.role))
    }
}

/// What the policy says of a connector, if it is outside.
fn external<'a>(policy: Option<&'a Arc<Policy>>, connector: &Name) -> Option<(&'a Arc<Policy>, &'a Name, u64)> {
    let policy = policy?;
    match &policy.connector(connector)?.kind {
        ConnectorKind::External { role, within_us } => Some((policy, role, *within_us)),
        ConnectorKind::Echo | ConnectorKind::Http { .. } => None,
    }
}

/// How an open execution ends by this report, with its canonical output. Nothing if the statement reports none that is open.
#[must_use]
pub fn reported(state: &State, statement: &Statement) -> Option<(Ending, Option<Vec<u8>>)> {
    let Statement::Report { applied, because, decision, output } = statement else { return None };
    let outside = state.outside.get(decision)?;
    let ending = |status, code, output, because: Option<&str>| Ending {
        decision: outside.decision,
        status,
        code,
        output,
        because: because.map(bounded),
    };
    if !applied {
        return Some((ending(Status::Failed, Code::ConnectorRefused, None, because.as_deref()), None));
    }
    let connector = &state.open.get(&outside.decision)?.connector;
    let shape = &outside.policy.shapes(connector)?.output;
    let value = output.clone().unwrap_or_default();
    let bytes = canonical::bytes(&value).ok()?;
    let digest = Some(Digest::of(&bytes));
    let ending = if shape.holds(&value) {
        ending(Status::Succeeded, Code::Ok, digest, None)
    } else {
        ending(Status::Failed, Code::ConnectorContractDrift, digest, Some(&shape.difference(&value)))
    };
    Some((ending, Some(bytes)))
}

/// Whether a report is recorded.
///
/// # Errors
/// `ERR_TOO_LARGE`, `ERR_SCHEMA`; `ERR_OUTCOME_UNKNOWN` if no such outcome is awaited, `ERR_REPORTER_INVALID` if it is not this
/// key's to report.
pub(crate) fn admit(state: &State, act: &Signed<Act>) -> Result<(), Refusal> {
    let statement = &act.value().statement;
    let Statement::Report { applied, because, decision, output } = statement else {
        return Err(Refusal::new(Code::Schema, "not a report"));
    };
    let refuse = |why: &str| Err(Refusal::new(Code::ReporterInvalid, why));
    if act.payload().len() > REPORT_BYTES_MAX {
        return Err(Refusal::new(Code::TooLarge, format!("a report has at most {REPORT_BYTES_MAX} bytes")));
    }
    if (*applied && because.is_some()) || (!*applied && output.is_some()) {
        let why = "an output goes with what happened, and `because` with what did not";
        return Err(Refusal::new(Code::Schema, why));
    }
    let Some(signer) = act.signer() else { return refuse("it does not have exactly one signature") };
    let Some(key) = state.keys.get(&signer).filter(|key| key.revoked.is_none()) else {
        return refuse("its signer is not trusted");
    };
    // Whether another tenant waits for it is not this key's to know.
    let Some((_, role)) = state.awaited(decision).filter(|(tenant, _)| **tenant == key.tenant) else {
        let why = format!("no outcome of {decision} is awaited in tenant {}", key.tenant);
        return Err(Refusal::new(Code::OutcomeUnknown, why));
    };
    if !key.roles.contains(role) {
        return refuse("its signer is not in the role that the connector names");
    }
    if state.outside.contains_key(decision) && reported(state, statement).is_none() {
        return Err(Refusal::new(Code::OutputNotCanonical, "the output has no canonical form"));
    }
    Ok(())
}
