//! What deciding needs to remember, and for how long.
//!
//! Every map here is bounded by something that ends: ids, evidence, acts and sessions expire at times that are in the log;
//! so do what was counted of a principal and what a window of a budget holds; open executions end by events, what waits for
//! approval by a deadline. Uncertain receipts, and what they hold reserved, are as many as nobody has reconciled. Keys,
//! budgets, connectors and bindings are as many as operators make.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bincode::Encode;
use bincode::enc::Encoder;
use bincode::error::EncodeError;

use writ_schemas::decision::Amount;
use writ_schemas::dsse::Signed;
use writ_schemas::event::Partition;
use writ_schemas::genesis::Genesis;
use writ_schemas::ids::{Digest, KeyId, Lamport, Name, Seq, UnixMicros};
use writ_schemas::intent::Intent;
use writ_schemas::several::Several;

use crate::budget::{AccountKey, Accounts};
use crate::execution::Ending;
use crate::outcome::{Missing, Outside};
use crate::policy::Policy;
use crate::temporal::Pace;

/// So many executions that wait for another attempt say that their connector is down; a few say that it is busy.
const TRIED_MAX: u64 = 16;

/// The state after some entry: a fold of the log, nothing else.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    pub(crate) next: Seq,
    pub(crate) last_at: UnixMicros,
    pub(crate) genesis: Option<Genesis>,
    /// The key that signs decisions and receipts, where it is not the one of genesis any more.
    pub(crate) decision_key: Option<KeyId>,
    /// Those that it was before, but for genesis': none comes back.
    pub(crate) retired: BTreeSet<KeyId>,
    /// The whole ledger.
    pub(crate) frozen: bool,
    /// Tenants, and principals of tenants.
    pub(crate) frozen_parts: BTreeSet<(Name, Option<Name>)>,
    pub(crate) policy: Option<Arc<Policy>>,
    pub(crate) keys: BTreeMap<KeyId, TrustedKey>,
    pub(crate) ids: BTreeMap<(Name, Name), Known>,
    /// By payload and signer: what one key has stated keeps nobody else from stating it.
    pub(crate) evidence: BTreeMap<(Digest, KeyId), Registered>,
    /// What of it is used up, by payload, and by which decision: until it expires, or is given back.
    pub(crate) used: BTreeMap<Digest, Seq>,
    pub(crate) acts: BTreeMap<Digest, UnixMicros>,
    pub(crate) accounts: Accounts,
    /// Those whose window is over and from which something is still reserved: nobody has found out. Deciding does not pass over them.
    pub(crate) past: Accounts,
    /// By tenant, principal and action.
    pub(crate) paces: BTreeMap<(Name, Name, Name), Pace>,
    /// By tenant and the digest of the intent.
    pub(crate) escalated: BTreeMap<(Name, Digest), Escalated>,
    /// When what waits was to be answered: (deadline, seq of the intent, tenant, intent); and what is outside, reported: (due, seq of
    /// the decision, tenant, decision). Says nothing that `escalated` and `outside` do not.
    pub(crate) deadlines: BTreeSet<(UnixMicros, Seq, Name, Digest)>,
    pub(crate) open: BTreeMap<Seq, Open>,
    /// What of it was dispatched to the outside, by the digest of the decision.
    pub(crate) outside: BTreeMap<Digest, Outside>,
    pub(crate) uncertain: BTreeMap<Digest, Held>,
    /// What of it can still be reported, by the digest of the decision.
    pub(crate) missing: BTreeMap<Digest, Missing>,
    /// How the execution ends whose receipt must come next. Not hashed: no hash can come between.
    pub(crate) ending: Option<Ending>,
    /// Connectors that have been failing, by name.
    pub(crate) failing: BTreeMap<Name, Failing>,
    /// What is open, by connector. Says nothing that `open` and `outside` do not.
    pub(crate) loads: BTreeMap<Name, Load>,
    /// How much is outside, by tenant. Says nothing that `outside` does not.
    pub(crate) places: BTreeMap<Name, usize>,
    pub(crate) sessions: BTreeMap<(Name, Name), Session>,
    pub(crate) positions: BTreeMap<Partition, u64>,
    pub(crate) bindings: BTreeMap<String, Binding>,
    /// What operators said last of the clock.
    pub(crate) adjusted: Option<Adjusted>,
    /// The intent of the entry just applied; its decision must come next.
    pub(crate) admitted: Option<Admitted>,
    /// What ends when; says nothing that the maps above do not say.
    pub(crate) expiries: BTreeSet<(UnixMicros, Expiring)>,
}

/// A key that operators trust, or trusted.
#[derive(Clone, Debug, PartialEq, Encode)]
pub(crate) struct TrustedKey {
    pub(crate) tenant: Name,
    pub(crate) principal: Name,
    pub(crate) roles: BTreeSet<Name>,
    pub(crate) revoked: Option<Seq>,
}

/// An id that is taken until its intent expires.
#[derive(Clone, Debug, PartialEq, Encode)]
pub(crate) struct Known {
    pub(crate) intent: Digest,
    pub(crate) decision: Seq,
    pub(crate) expires_at: UnixMicros,
}

/// A piece of evidence.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Registered {
    pub(crate) seq: Seq,
    pub(crate) tenant: Name,
    pub(crate) kind: Name,
    pub(crate) signer: KeyId,
    pub(crate) effect: Option<Digest>,
    pub(crate) expires_at: UnixMicros,
    /// Not hashed, so that hashes stay as they were: the digest under which it is registered commits to it, and folding the log
    /// gives it. A snapshot would have to bind it.
    pub(crate) issued_at: UnixMicros,
}

impl Encode for Registered {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let Registered { seq, tenant, kind, signer, effect, expires_at, issued_at: _ } = self;
        (seq, tenant, kind, signer, effect, expires_at).encode(encoder)
    }
}

/// An intent that waits for approval.
#[derive(Clone, Debug, PartialEq, Encode)]
pub(crate) struct Escalated {
    pub(crate) intent: Box<Signed<Intent>>,
    pub(crate) signer: KeyId,
    pub(crate) seq: Seq,
    /// The round that asked.
    pub(crate) round: u32,
    pub(crate) deadline: UnixMicros,
    /// Whether that has been recorded as passed.
    pub(crate) passed: bool,
    pub(crate) votes: BTreeMap<KeyId, Vote>,
}

/// What an approver said.
#[derive(Clone, Copy, Debug, PartialEq, Encode)]
pub(crate) struct Vote {
    pub(crate) seq: Seq,
    pub(crate) granted: bool,
    /// The rule that they saw.
    pub(crate) rule: Digest,
}

/// An execution that has no receipt yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Open {
    /// The entry of the intent.
    pub intent_seq: Seq,
    /// The digest of the decision.
    pub decision: Digest,
    /// The intent's tenant.
    pub tenant: Name,
    /// The intent's id.
    pub id: Name,
    /// The intent's principal.
    pub principal: Name,
    /// The intent's action.
    pub action: Name,
    /// The intent's session.
    pub session: Option<Name>,
    /// When the intent expires.
    pub expires_at: UnixMicros,
    /// The key that signed the intent.
    pub signer: KeyId,
    /// What was authorised.
    pub effect: Digest,
    /// Which connector carries it out.
    pub connector: Name,
    /// What the connector gets to tell one run from another.
    pub idempotency_key: Digest,
    /// From when on it must not be dispatched any more.
    pub not_after: UnixMicros,
    /// What is reserved.
    pub reservation: Several<Amount>,
    /// The evidence that is used up.
    pub uses: Vec<Digest>,
    /// When it was dispatched.
    pub dispatched_at: Option<UnixMicros>,
    /// How many attempts certainly did nothing.
    pub attempts: u32,
    /// From when on the next one may be made.
    pub due: UnixMicros,
}

impl Encode for Open {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let Open { intent_seq, decision, tenant, id, principal, action, session, expires_at, .. } = self;
        (intent_seq, decision, tenant, id, principal, action, session, expires_at).encode(encoder)?;
        let Open { signer, effect, connector, idempotency_key, not_after, reservation, uses, dispatched_at, .. } = self;
        (signer, effect, connector, idempotency_key, not_after).encode(encoder)?;
        if self.attempts > 0 {
            (3_u8, self.attempts, self.due).encode(encoder)?;
        }
        encode_uses(uses, encoder)?;
        encode_amounts(reservation, encoder, |it| (&it.budget, &it.unit, it.amount))?;
        dispatched_at.encode(encoder)
    }
}

/// A reservation that is held until somebody finds out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Held {
    pub(crate) tenant: Name,
    pub(crate) reservation: Several<Amount>,
    /// The evidence that is used up.
    pub(crate) uses: Vec<Digest>,
    /// The decision, if its outcome can still be reported: `missing` says so, and its hash.
    pub(crate) missing: Option<Digest>,
}

impl Encode for Held {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.tenant.encode(encoder)?;
        encode_uses(&self.uses, encoder)?;
        encode_amounts(&self.reservation, encoder, |it| (&it.budget, it.amount))
    }
}

/// 5 and all of it; nothing where there is none.
fn encode_uses<E: Encoder>(uses: &Vec<Digest>, encoder: &mut E) -> Result<(), EncodeError> {
    if uses.is_empty() { Ok(()) } else { (5_u8, uses).encode(encoder) }
}

/// 0 for none, 1 and `plain` for one out of a tenant's budget for ever, as since the first ledgers; 2 and all of it for others.
/// 3 and 5 stand for something else before it; 4 for all of it where some of it is settled by the output.
fn encode_amounts<'a, E: Encoder, P: Encode>(
    amounts: &'a Several<Amount>,
    encoder: &mut E,
    plain: impl FnOnce(&'a Amount) -> P,
) -> Result<(), EncodeError> {
    match &**amounts {
        [] => 0_u8.encode(encoder),
        [one] if one.principal.is_none() && one.action.is_none() && one.since.is_none() && one.actual.is_none() => {
            1_u8.encode(encoder)?;
            plain(one).encode(encoder)
        }
        all => {
            let settled = all.iter().any(|it| it.actual.is_some());
            (if settled { 4_u8 } else { 2_u8 }).encode(encoder)?;
            let each =
                |it: &'a Amount| ((&it.budget, &it.unit, it.amount), (&it.principal, &it.action, it.since, it.until));
            all.iter().map(each).collect::<Vec<_>>().encode(encoder)?;
            if settled { all.iter().map(|it| &it.actual).collect::<Vec<_>>().encode(encoder) } else { Ok(()) }
        }
    }
}

/// A connector that has failed lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Encode)]
pub(crate) struct Failing {
    /// How often in a row.
    pub(crate) failures: u32,
    /// Until when it is left alone.
    pub(crate) until: UnixMicros,
}

/// The open executions of a connector.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Load {
    pub(crate) open: u64,
    /// Those of which an attempt has failed.
    pub(crate) again: u64,
    /// Those that are outside.
    pub(crate) outside: u64,
}

/// A session: the end of its chain of receipts, and what succeeded in it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Session {
    pub(crate) receipt: Digest,
    pub(crate) lamport: Lamport,
    pub(crate) expires_at: UnixMicros,
    /// The last receipt `SUCCEEDED` of each action. Not hashed, so that hashes stay as they were: the chain of receipts commits to
    /// what succeeded, and folding the log gives the seqs. A snapshot would have to bind it.
    pub(crate) succeeded: BTreeMap<Name, Seq>,
}

impl Encode for Session {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let Session { receipt, lamport, expires_at, succeeded: _ } = self;
        (receipt, lamport, expires_at).encode(encoder)
    }
}

/// A topic whose partitions belong to this ledger.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
pub struct Binding {
    /// The Kafka cluster.
    pub cluster: String,
    /// The topic's id.
    pub topic_id: String,
    /// How many partitions.
    pub partitions: u32,
}

/// What operators said of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode)]
pub struct Adjusted {
    /// How late it was.
    pub now: UnixMicros,
    /// The time of the entry that says so: not before the entries until then, whatever they were stamped with.
    pub at: UnixMicros,
}

/// An intent that waits for the decision of the next entry.
#[derive(Clone, Debug, PartialEq, Encode)]
pub(crate) struct Admitted {
    pub(crate) seq: Seq,
    pub(crate) intent: Digest,
    pub(crate) signer: KeyId,
    pub(crate) tenant: Name,
    pub(crate) id: Name,
    pub(crate) principal: Name,
    pub(crate) action: Name,
    pub(crate) session: Option<Name>,
    pub(crate) expires_at: UnixMicros,
    pub(crate) round: u32,
    /// All of it, if people may be asked.
    pub(crate) whole: Option<Box<Signed<Intent>>>,
}

/// Something that is forgotten at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Expiring {
    Id(Name, Name),
    Evidence(Digest, KeyId),
    Act(Digest),
    Session(Name, Name),
    Pace(Name, Name, Name),
    Account(AccountKey),
}

impl State {
    /// The registered evidence of this payload, by signer.
    pub(crate) fn evidence_of(&self, digest: Digest) -> impl Iterator<Item = &Registered> {
        self.evidence.range((digest, KeyId([0; 32]))..=(digest, KeyId([u8::MAX; 32]))).map(|(_, it)| it)
    }

    /// Whether operators have frozen the ledger, this tenant, or this principal of it.
    #[must_use]
    pub fn is_frozen(&self, tenant: &Name, principal: &Name) -> bool {
        let part = |principal: Option<&Name>| (tenant.clone(), principal.cloned());
        self.frozen
            || !self.frozen_parts.is_empty()
                && (self.frozen_parts.contains(&part(None)) || self.frozen_parts.contains(&part(Some(principal))))
    }

    /// The seq of the next entry.
    #[must_use]
    pub fn next(&self) -> Seq {
        self.next
    }

    /// The time of the last entry.
    #[must_use]
    pub fn last_at(&self) -> UnixMicros {
        self.last_at
    }

    /// Who the ledger is, once it is opened.
    #[must_use]
    pub fn genesis(&self) -> Option<&Genesis> {
        self.genesis.as_ref()
    }

    /// The key that signs decisions and receipts now, once the ledger is opened.
    #[must_use]
    pub fn decision_key(&self) -> Option<KeyId> {
        self.decision_key.or(self.genesis.as_ref().map(|genesis| genesis.decision_key))
    }

    /// Whether a key signs decisions or checkpoints of this ledger, or did.
    pub(crate) fn signs_ledger(&self, key: KeyId) -> bool {
        let first = self.genesis.as_ref().is_some_and(|it| [it.decision_key, it.checkpoint_key].contains(&key));
        first || self.decision_key == Some(key) || self.retired.contains(&key)
    }

    /// What operators said last of the clock, if they ever had to.
    #[must_use]
    pub fn adjusted(&self) -> Option<Adjusted> {
        self.adjusted
    }

    /// Whether the last entry is an intent, whose decision must come next.
    #[must_use]
    pub fn awaits_decision(&self) -> bool {
        self.admitted.is_some()
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Option<&Arc<Policy>> {
        self.policy.as_ref()
    }

    /// Executions without a receipt, by the seq of their decision.
    #[must_use]
    pub fn open(&self) -> &BTreeMap<Seq, Open> {
        &self.open
    }

    /// How many executions wait for a connector that is down: it is left alone, or 16 were tried in vain; else those that
    /// were.
    #[must_use]
    pub fn stuck(&self, connector: &Name) -> u64 {
        let down = self.failing.get(connector).is_some_and(|failing| failing.until > self.last_at);
        let load = self.loads.get(connector).copied().unwrap_or_default();
        if down || load.again >= TRIED_MAX { load.open.saturating_sub(load.outside) } else { load.again }
    }

    /// Until when a connector that fails is left alone; a time that has passed where it is not.
    #[must_use]
    pub fn left_alone_until(&self, connector: &Name) -> UnixMicros {
        self.failing.get(connector).map_or(UnixMicros(0), |failing| failing.until)
    }

    /// The connectors that have work, or have been failing; some of them twice. Of all others nothing waits, and none is left alone.
    pub fn connectors_at_work(&self) -> impl Iterator<Item = &Name> {
        self.loads.keys().chain(self.failing.keys())
    }

    /// The offset that is read next in each partition that anything was read of.
    #[must_use]
    pub fn positions(&self) -> &BTreeMap<Partition, u64> {
        &self.positions
    }

    /// The bound topics, by name.
    #[must_use]
    pub fn bindings(&self) -> &BTreeMap<String, Binding> {
        &self.bindings
    }

    /// The seq of the decision of an id that is remembered.
    #[must_use]
    pub fn decision_of(&self, tenant: &Name, id: &Name) -> Option<Seq> {
        self.ids.get(&(tenant.clone(), id.clone())).map(|known| known.decision)
    }

    /// What each tenant has reserved and committed of each budget, a line a share and a window: (tenant, budget, reserved,
    /// committed).
    pub fn budgets(&self) -> impl Iterator<Item = (&Name, &Name, u64, u64)> {
        let all = self.accounts.iter().chain(&self.past);
        all.map(|(key, account)| (&key.tenant, &key.budget, account.reserved, account.committed))
    }

    /// How many things of each kind the state remembers.
    #[must_use]
    pub fn remembered(&self) -> [(&'static str, usize); 11] {
        [
            ("ids", self.ids.len()),
            ("evidence", self.evidence.len()),
            ("used_evidence", self.used.len()),
            ("sessions", self.sessions.len()),
            ("open", self.open.len()),
            ("accounts", self.accounts.len() + self.past.len()),
            ("paces", self.paces.len()),
            ("escalated", self.escalated.len()),
            ("uncertain", self.uncertain.len()),
            ("acts", self.acts.len()),
            ("keys", self.keys.len()),
        ]
    }

    /// About how many things the state remembers; hashing it takes time in proportion.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.remembered().iter().map(|(_, count)| count).sum()
    }

    /// The hash of everything that deciding depends on: BLAKE3 in derive-key mode over the fields in order, each in the
    /// encoding of payloads. Replay compares it with the `StateHashed` events.
    #[must_use]
    pub fn hash(&self) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key("writ 2026-11 state v1");
        let part = |encoded: Result<usize, EncodeError>| {
            debug_assert!(encoded.is_ok(), "a hasher takes every byte");
        };
        let encoding = bincode::config::standard().with_fixed_int_encoding();
        // A map's length comes first, so the fields cannot run into each other.
        macro_rules! fields {
            ($($field:expr),* $(,)?) => { $(part(bincode::encode_into_std_write(&$field, &mut hasher, encoding));)* };
        }
        fields![
            self.next,
            self.last_at,
            self.genesis.as_ref().map(|genesis| (genesis.ledger, genesis.quorum, genesis.operators.clone())),
            self.frozen,
            self.policy.as_ref().map(|policy| policy.digest()),
            self.keys,
            self.ids,
            self.evidence.iter().map(|((digest, _), it)| (digest, it)).collect::<Vec<_>>(),
            self.acts,
            self.accounts
                .iter()
                .filter(|(key, _)| key.is_plain())
                .map(|(key, it)| ((&key.tenant, &key.budget), it))
                .collect::<Vec<_>>(),
            self.open,
            self.uncertain,
            self.sessions,
            self.positions,
            self.bindings,
            self.admitted,
        ];
        // What came later is said only where there is any, each after its number: so hashes of older ledgers stay as they were.
        macro_rules! later {
            ($($number:literal $field:expr;)*) => { $(if !$field.is_empty() { fields![$number, $field]; })* };
        }
        let mut windows: Vec<_> = self.accounts.iter().chain(&self.past).filter(|(key, _)| !key.is_plain()).collect();
        windows.sort_unstable_by_key(|(key, _)| *key);
        later! {
            1_u8 self.frozen_parts;
            2_u8 windows;
            3_u8 self.paces;
            4_u8 self.escalated;
            5_u8 self.failing;
            6_u8 self.decision_key.as_slice();
            7_u8 self.outside;
            8_u8 self.missing;
            9_u8 self.adjusted.as_slice();
            10_u8 self.retired;
            11_u8 self.used;
        }
        Digest(*hasher.finalize().as_bytes())
    }
}
