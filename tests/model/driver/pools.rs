//! The small pools that a run draws from, and the documents of what is drawn.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use writ_model::documents::{Act, Arg, Evidence, Intent, Statement, Word};
use writ_schemas::act;
use writ_schemas::canonical;
use writ_schemas::dsse::{Document, Signature, Signed};
use writ_schemas::genesis::{Genesis, SigningMode};
use writ_schemas::ids::{Digest, KeyId, LedgerId, Name, UnixMicros};
use writ_schemas::keys::SecretKey;
use writ_schemas::{evidence, intent};

use crate::grammar;

pub(crate) const LEDGER: LedgerId = LedgerId([7; 16]);
const OTHER_LEDGER: LedgerId = LedgerId([8; 16]);

pub(crate) const TENANTS: [Word; 2] = ["acme", "beta"];
pub(crate) const PRINCIPALS: [Word; 5] = ["ann", "bob", "cyd", "dan", "eve"];
pub(crate) const ACTIONS: [Word; 4] = ["pay", "refund", "note", "ship"];
pub(crate) const ROLES: [Word; 2] = ["manager", "approver"];
pub(crate) const KINDS: [Word; 2] = ["scan", "approval"];
pub(crate) const SESSIONS: [Word; 3] = ["s1", "s2", "s3"];
pub(crate) const BUDGETS: [(Word, Word); 3] = [("gold", "cents"), ("silver", "cents"), ("calls", "requests")];

/// Who is trusted at first, by key: nine keys of `acme`, so that more may sign one payload than are registered.
pub(crate) const TRUSTED: [(Word, Word, &[Word]); 12] = [
    ("acme", "ann", &["approver"]),
    ("acme", "ann", &["manager"]),
    ("acme", "bob", &["manager"]),
    ("acme", "bob", &["manager", "approver"]),
    ("acme", "cyd", &["manager", "approver"]),
    ("acme", "dan", &["manager"]),
    ("beta", "ann", &["manager", "approver"]),
    ("beta", "bob", &["manager"]),
    ("beta", "cyd", &["manager", "approver"]),
    ("acme", "dan", &["approver"]),
    ("acme", "cyd", &[]),
    ("acme", "eve", &["manager", "approver"]),
];

/// The keys of agents and people; the last one is trusted later or never.
pub(crate) const KEYS: std::ops::Range<u64> = 0..13;

/// The keys of operators.
pub(crate) const OPERATORS: [u32; 3] = [100, 101, 102];

/// How many operators an act needs.
pub(crate) const QUORUM: u32 = 2;

/// The pool's word for a text of the kernel's; what is in no pool equals nothing.
pub(crate) fn word(text: &str) -> Word {
    let budgets = BUDGETS.iter().flat_map(|(name, unit)| [*name, *unit]);
    let mut all = PRINCIPALS.into_iter().chain(ACTIONS).chain(ROLES).chain(TENANTS).chain(budgets);
    all.find(|word| *word == text).unwrap_or("a word of no pool")
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// A key with which nothing is signed: the kernel is asked after signatures were checked.
pub(crate) fn key(number: u32) -> KeyId {
    static KEYS: LazyLock<Vec<KeyId>> =
        LazyLock::new(|| (0..=u8::MAX).map(|seed| SecretKey::from_seed(&[seed; 32]).id()).collect());
    KEYS[usize::try_from(number).expect("a small number")]
}

fn signed<T: Document>(value: T, signers: &[u32]) -> Signed<T> {
    let payload = Signed::unsigned(value).expect("it can be written").payload().to_vec();
    let signatures = signers.iter().map(|signer| Signature { key: key(*signer), bytes: [0; 64] });
    Signed::from_parts(payload, signatures.collect()).expect("it can be read")
}

/// Entry 0.
pub(crate) fn genesis(at: u64) -> Signed<Genesis> {
    let genesis = Genesis {
        checkpoint_key: key(111),
        created_at: UnixMicros(at),
        decision_key: key(110),
        ledger: LEDGER,
        operators: OPERATORS.map(key).to_vec(),
        origin: "ledger.example/model".to_owned(),
        quorum: QUORUM,
        signing_mode: SigningMode::Each,
    };
    signed(genesis, &[110])
}

/// The numbers that stand for digests in the model.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    numbers: BTreeMap<Digest, u32>,
    digests: Vec<Digest>,
}

impl Numbers {
    /// The number of a digest; a new one gets the next.
    pub(crate) fn of(&mut self, digest: Digest) -> u32 {
        let next = u32::try_from(self.digests.len()).expect("few");
        *self.numbers.entry(digest).or_insert_with(|| {
            self.digests.push(digest);
            next
        })
    }

    /// The digest of a number.
    pub(crate) fn digest(&self, number: u32) -> Digest {
        let unknown = || Digest::of(&number.to_le_bytes());
        usize::try_from(number).ok().and_then(|at| self.digests.get(at)).copied().unwrap_or_else(unknown)
    }
}

/// The document of an intent; its numbers of payload and effect are set by it.
pub(crate) fn intent(of: &mut Intent, numbers: &mut Numbers) -> Signed<intent::Intent> {
    let amount = match of.amount {
        Arg::Absent => None,
        Arg::Number(amount) => Some(serde_json::Value::from(amount)),
        Arg::Text => Some(serde_json::Value::from("three")),
    };
    let document = intent::Intent {
        action: name(of.action),
        args: amount.into_iter().map(|amount| ("amount".to_owned(), amount)).collect(),
        evidence: of.evidence.iter().map(|number| numbers.digest(*number)).collect(),
        expires_at: UnixMicros(of.expires_at),
        id: name(&format!("i-{}", of.id)),
        principal: name(of.principal),
        session: of.session.map(name),
        tenant: name(of.tenant),
    };
    of.effect = numbers.of(document.effect_digest().expect("canonical"));
    let document = signed(document, &[of.key]);
    of.content = numbers.of(document.digest());
    document
}

/// The document of evidence; the number of its payload is set by it.
pub(crate) fn evidence(of: &mut Evidence, numbers: &mut Numbers) -> Signed<evidence::Evidence> {
    let document = evidence::Evidence {
        artifact: None,
        effect: of.effect.map(|number| numbers.digest(number)),
        expires_at: UnixMicros(of.expires_at),
        issued_at: UnixMicros(of.issued_at),
        kind: name(of.kind),
        ledger: if of.ours { LEDGER } else { OTHER_LEDGER },
        tenant: name(of.tenant),
    };
    let document = signed(document, &of.signers);
    of.payload = numbers.of(document.digest());
    document
}

/// The document of an act, about this receipt if it reconciles one; the number of its payload is set by it.
pub(crate) fn act(of: &mut Act, nonce: u32, receipt: Digest, numbers: &mut Numbers) -> Signed<act::Act> {
    let reason = "as the dice fell".to_owned();
    let statement = match &of.statement {
        Statement::Activate(policy) => act::Statement::ActivatePolicy { bundle: grammar::bundle(policy) },
        Statement::Trust { key: which, tenant, principal, roles } => act::Statement::TrustKey {
            key: key(*which),
            tenant: name(tenant),
            principal: name(principal),
            roles: roles.iter().map(|role| name(role)).collect(),
        },
        Statement::Revoke(which) => act::Statement::RevokeKey { key: key(*which) },
        Statement::Freeze(tenant, principal) => {
            act::Statement::Freeze { principal: principal.map(name), reason, tenant: tenant.map(name) }
        }
        Statement::Thaw(tenant, principal) => {
            act::Statement::Thaw { principal: principal.map(name), tenant: tenant.map(name) }
        }
        Statement::Reconcile(_, applied) => act::Statement::Reconcile { receipt, applied: *applied },
        Statement::Approve { content, granted, policy, action } => {
            let bundle = grammar::bundle(policy);
            let rule = bundle.rule_digest(&name(action)).unwrap_or(Digest([0; 32]));
            let policy = Digest::of(&canonical::bytes(&bundle).expect("canonical"));
            act::Statement::Approve { granted: *granted, intent: numbers.digest(*content), policy, reason, rule }
        }
    };
    let document = act::Act {
        expires_at: UnixMicros(of.expires_at),
        ledger: if of.ours { LEDGER } else { OTHER_LEDGER },
        nonce: name(&format!("n-{nonce}")),
        statement,
    };
    let document = signed(document, &of.signers);
    of.number = numbers.of(document.digest());
    document
}
