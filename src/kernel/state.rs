//! What deciding needs to remember, and for how long.
//!
//! Every map here is bounded by something that ends: ids, evidence, acts and sessions expire at times that are in the log;
//! open executions and uncertain receipts end by events. Keys, budgets and bindings are as many as operators make.

use std::collections::{BTreeMap, BTreeSet};

use bincode::Encode;
use bincode::enc::Encoder;
use bincode::error::EncodeError;

use writ_schemas::decision::Amount;
use writ_schemas::event::Partition;
use writ_schemas::genesis::Genesis;
use writ_schemas::ids::{Digest, KeyId, Lamport, Name, Seq, UnixMicros};

use crate::policy::Policy;

/// The state after some entry: a fold of the log, nothing else.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    pub(crate) next: Seq,
    pub(crate) last_at: UnixMicros,
    pub(crate) genesis: Option<Genesis>,
    pub(crate) frozen: bool,
    pub(crate) policy: Option<Policy>,
    pub(crate) keys: BTreeMap<KeyId, TrustedKey>,
    pub(crate) ids: BTreeMap<(Name, Name), Known>,
    /// By payload and signer: what one key has stated keeps nobody else from stating it.
    pub(crate) evidence: BTreeMap<(Digest, KeyId), Registered>,
    pub(crate) acts: BTreeMap<Digest, UnixMicros>,
    pub(crate) accounts: BTreeMap<(Name, Name), Account>,
    pub(crate) open: BTreeMap<Seq, Open>,
    pub(crate) uncertain: BTreeMap<Digest, Held>,
    pub(crate) sessions: BTreeMap<(Name, Name), Session>,
    pub(crate) positions: BTreeMap<Partition, u64>,
    pub(crate) bindings: BTreeMap<String, Binding>,
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

/// What a tenant has spent of a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Encode)]
pub(crate) struct Account {
    pub(crate) reserved: u64,
    pub(crate) committed: u64,
}

/// An execution that has no receipt yet.
#[derive(Clone, Debug, PartialEq, Encode)]
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
    /// Budget, unit and amount that are reserved.
    pub reservation: Option<(Name, Name, u64)>,
    /// When it was dispatched.
    pub dispatched_at: Option<UnixMicros>,
}

impl Open {
    /// The reservation as it stands in documents.
    #[must_use]
    pub fn amount(&self) -> Option<Amount> {
        let (budget, unit, amount) = self.reservation.clone()?;
        Some(Amount { budget, unit, amount })
    }
}

/// A reservation that is held until somebody finds out.
#[derive(Clone, Debug, PartialEq, Encode)]
pub(crate) struct Held {
    pub(crate) tenant: Name,
    pub(crate) reservation: Option<(Name, u64)>,
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
}

/// Something that is forgotten at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Expiring {
    Id(Name, Name),
    Evidence(Digest, KeyId),
    Act(Digest),
    Session(Name, Name),
}

impl State {
    /// The registered evidence of this payload, by signer.
    pub(crate) fn evidence_of(&self, digest: Digest) -> impl Iterator<Item = &Registered> {
        self.evidence.range((digest, KeyId([0; 32]))..=(digest, KeyId([u8::MAX; 32]))).map(|(_, it)| it)
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

    /// Whether the last entry is an intent, whose decision must come next.
    #[must_use]
    pub fn awaits_decision(&self) -> bool {
        self.admitted.is_some()
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Option<&Policy> {
        self.policy.as_ref()
    }

    /// Executions without a receipt, by the seq of their decision.
    #[must_use]
    pub fn open(&self) -> &BTreeMap<Seq, Open> {
        &self.open
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

    /// What each tenant has reserved and committed of each budget: (tenant, budget, reserved, committed).
    pub fn budgets(&self) -> impl Iterator<Item = (&Name, &Name, u64, u64)> {
        self.accounts.iter().map(|((tenant, budget), account)| (tenant, budget, account.reserved, account.committed))
    }

    /// About how many things the state remembers; hashing it takes time in proportion.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.ids.len()
            + self.evidence.len()
            + self.sessions.len()
            + self.open.len()
            + self.accounts.len()
            + self.keys.len()
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
            self.policy.as_ref().map(Policy::digest),
            self.keys,
            self.ids,
            self.evidence.iter().map(|((digest, _), it)| (digest, it)).collect::<Vec<_>>(),
            self.acts,
            self.accounts,
            self.open,
            self.uncertain,
            self.sessions,
            self.positions,
            self.bindings,
            self.admitted,
        ];
        Digest(*hasher.finalize().as_bytes())
    }
}
