//! What is asked in the demo, and what must come of it.

use serde_json::{Map, Value, json};

use writ_schemas::dsse::Signed;
use writ_schemas::errors::Code;
use writ_schemas::evidence::Evidence;
use writ_schemas::ids::{Digest, Name, UnixMicros};
use writ_schemas::intent::Intent;
use writ_schemas::keys::SecretKey;

use super::name;
use super::world::{Heard, Keys, World};
use crate::error::Result;
use crate::kafka::{DECISIONS, RECEIPTS, REFUSALS};
use crate::ledger;

/// An hour, in microseconds.
const HOUR: u64 = 3_600_000_000;

/// One record, and what must come of it: verdict, code, receipt, the receipt's code.
pub(super) struct Scenario {
    /// What it shows.
    pub(super) what: &'static str,
    /// `tenant/id`, or what the record is.
    pub(super) name: String,
    /// The key of the record.
    pub(super) key: String,
    /// The record; empty where an earlier one is answered again.
    pub(super) record: Vec<u8>,
    /// What must come of it.
    pub(super) expected: [String; 4],
}

impl Scenario {
    /// What was heard of it. A duplicate is not heard of a second time; its first answer counts for both.
    pub(super) fn outcome(&self, heard: &[Heard]) -> [String; 4] {
        let mut outcome = [const { String::new() }; 4];
        if self.expected[0] == "REFUSED" {
            let digest = Digest::of(&self.record);
            if let Some(it) = heard.iter().find(|it| it.topic == REFUSALS && it.digest == Some(digest)) {
                outcome[0].clone_from(&it.word);
                outcome[1].clone_from(&it.code);
            }
            return outcome;
        }
        for it in heard.iter().filter(|it| it.name == self.name) {
            let at = if it.topic == DECISIONS { 0 } else { 2 };
            if it.topic == DECISIONS || it.topic == RECEIPTS {
                outcome[at].clone_from(&it.word);
                outcome[at + 1].clone_from(&it.code);
            }
        }
        outcome
    }

    /// How many records must be heard of it.
    pub(super) fn answers(&self) -> usize {
        match (self.what, self.expected[2].is_empty()) {
            ("duplicate: nothing is added", _) => 0,
            _ if self.expected[0].is_empty() => 0,
            (_, true) => 1,
            (_, false) => 2,
        }
    }
}

/// Builds intents for one tenant.
struct Asker<'a> {
    tenant: &'static str,
    principal: &'static str,
    key: &'a SecretKey,
    now: UnixMicros,
}

impl Asker<'_> {
    fn intent(&self, id: &str, action: &str, args: Value) -> Result<Intent> {
        let args = if let Value::Object(args) = args { args } else { Map::new() };
        Ok(Intent {
            tenant: name(self.tenant)?,
            id: name(id)?,
            principal: name(self.principal)?,
            session: Some(name("demo")?),
            action: name(action)?,
            args,
            evidence: Vec::new(),
            expires_at: self.now.plus(HOUR),
        })
    }

    fn ask(&self, what: &'static str, intent: Intent, expected: [&str; 4]) -> Result<Scenario> {
        self.ask_as(self.key, what, intent, expected)
    }

    fn ask_as(&self, key: &SecretKey, what: &'static str, intent: Intent, expected: [&str; 4]) -> Result<Scenario> {
        let name = format!("{}/{}", intent.tenant, intent.id);
        let record = ledger::sign(intent, key)?.to_envelope();
        Ok(Scenario { what, name, key: self.tenant.to_owned(), record, expected: expected.map(str::to_owned) })
    }
}

fn refused(what: &'static str, name: &str, record: Vec<u8>, code: Code) -> Scenario {
    let expected = ["REFUSED", code.as_str(), "", ""].map(str::to_owned);
    Scenario { what, name: name.to_owned(), key: "acme".to_owned(), record, expected }
}

const DONE: [&str; 4] = ["PASS", "OK", "SUCCEEDED", "OK"];

fn fails(code: Code) -> [&'static str; 4] {
    ["FAIL", code.as_str(), "", ""]
}

/// What somebody does.
pub(super) enum Deed {
    /// Operators activate the policy.
    Activate,
    /// The approver grants what this intent asks.
    Grant(Name, Name),
    /// Operators freeze a tenant.
    Freeze(Name),
    /// And thaw it.
    Thaw(Name),
    /// Operators say that the effect of this intent's uncertain receipt did happen.
    Reconcile(Name, Name),
}

/// A deed, if there is one, and what is asked after it.
pub(super) struct Phase {
    pub(super) deed: Option<Deed>,
    pub(super) scenarios: Vec<Scenario>,
}

/// The whole story, phase by phase.
pub(super) fn phases(world: &World) -> Result<Vec<Phase>> {
    let now = world.now();
    let Keys { acme, globex, approver, .. } = world.keys();
    let asker = |tenant, principal, key| Asker { tenant, principal, key, now };
    let (acme, globex) = (asker("acme", "agent-1", acme), asker("globex", "agent-9", globex));
    let phase = |deed: Option<Deed>, scenarios| Phase { deed, scenarios };
    let ticket = world.register(approver, |ledger| Evidence {
        ledger,
        tenant: acme_name(),
        kind: kind("ticket"),
        artifact: Some(Digest::of(b"ticket 4711")),
        effect: None,
        issued_at: now,
        expires_at: now.plus(HOUR),
    })?;
    let early = acme.intent("early-1", "notes.add", json!({"text": "too early"}))?;
    let early = acme.ask("no policy in force yet", early, fails(Code::PolicyNone))?;

    let mut large = acme.intent("refund-5", "payments.refund", json!({"amount_cents": 7_500}))?;
    large.evidence = vec![ticket];
    let asked = acme.ask("a large refund asks people", large, ["ESCALATE", Code::ApprovalNeeded.as_str(), "", ""])?;
    let granted = heard_of("an approver grants it", &asked.name, DONE);

    let frozen = globex.intent("note-94", "notes.add", json!({"text": "under a freeze"}))?;
    let frozen = globex.ask("its tenant is frozen", frozen, fails(Code::Frozen))?;
    let beside = acme.intent("note-94", "notes.add", json!({"text": "beside a freeze"}))?;
    let beside = acme.ask("another tenant is not", beside, DONE)?;
    let thawed = globex.intent("note-95", "notes.add", json!({"text": "after a thaw"}))?;
    let thawed = globex.ask("and thawed", thawed, DONE)?;
    let found = heard_of("operators found out: it did happen", "globex/ship-2", ["", "", "RECONCILED", "applied"]);

    Ok(vec![
        // Alone, before there is a policy.
        phase(None, vec![early]),
        phase(Some(Deed::Activate), over_kafka(world, ticket, &acme, &globex)?),
        phase(None, vec![asked]),
        phase(Some(Deed::Grant(acme_name(), kind("refund-5"))), vec![granted]),
        phase(Some(Deed::Freeze(kind("globex"))), vec![frozen, beside]),
        phase(Some(Deed::Thaw(kind("globex"))), vec![thawed]),
        phase(Some(Deed::Reconcile(kind("globex"), kind("ship-2"))), vec![found]),
    ])
}

/// What comes of something that was asked before.
fn heard_of(what: &'static str, name: &str, expected: [&str; 4]) -> Scenario {
    let (name, key, record) = (name.to_owned(), String::new(), Vec::new());
    Scenario { what, name, key, record, expected: expected.map(str::to_owned) }
}

/// What agents ask under the policy, in the order in which the records are produced.
fn over_kafka(world: &World, ticket: Digest, acme: &Asker<'_>, globex: &Asker<'_>) -> Result<Vec<Scenario>> {
    let now = world.now();
    let stranger = &world.keys().stranger;
    let mut all = Vec::new();
    for n in 1..=5 {
        let intent = acme.intent(&format!("note-{n}"), "notes.add", json!({"text": format!("note {n}")}))?;
        all.push(acme.ask("a note", intent, DONE)?);
    }
    for n in 1..=4 {
        let intent = globex.intent(&format!("note-{n}"), "notes.add", json!({"text": format!("note {n}")}))?;
        all.push(globex.ask("a note of another tenant", intent, DONE)?);
    }
    for (n, cents) in [(1, 4_200), (2, 5_300)] {
        let mut intent = acme.intent(&format!("refund-{n}"), "payments.refund", json!({"amount_cents": cents}))?;
        intent.evidence = vec![ticket];
        all.push(acme.ask("a refund with its ticket", intent, DONE)?);
    }
    let mut large = acme.intent("refund-3", "payments.refund", json!({"amount_cents": 90_000}))?;
    large.evidence = vec![ticket];
    all.push(acme.ask("over the budget", large, fails(Code::BudgetExceeded))?);
    let without = acme.intent("refund-4", "payments.refund", json!({"amount_cents": 100}))?;
    all.push(acme.ask("evidence is missing", without, fails(Code::ProofMissing))?);
    let mut borrowed = globex.intent("refund-1", "payments.refund", json!({"amount_cents": 100}))?;
    borrowed.evidence = vec![ticket];
    all.push(globex.ask("another tenant's evidence", borrowed, fails(Code::ProofMissing))?);
    let no_rule = acme.intent("delete-1", "servers.delete", json!({"host": "db-1"}))?;
    all.push(acme.ask("no rule for the action", no_rule, fails(Code::PolicyNoRule))?);

    let shipped = globex.intent("ship-1", "orders.ship", json!({"order": 1}))?;
    all.push(globex.ask("over HTTP", shipped, DONE)?);
    let slow = globex.intent("ship-2", "orders.ship_slowly", json!({"order": 2}))?;
    let uncertain = ["PASS", "OK", "UNCERTAIN", Code::ConnectorUncertain.as_str()];
    all.push(globex.ask("the connector times out", slow, uncertain)?);
    let drifts = acme.intent("report-1", "reports.make", json!({"pages": "three"}))?;
    let drift = ["PASS", "OK", "FAILED", Code::ConnectorContractDrift.as_str()];
    all.push(acme.ask("the output is not of the pinned shape", drifts, drift)?);

    let unknown = acme.intent("note-90", "notes.add", json!({}))?;
    let unknown = ledger::sign(unknown, stranger)?.to_envelope();
    all.push(refused("an unknown key", "acme/note-90", unknown, Code::KeyUnknown));
    let foreign = globex.intent("note-91", "notes.add", json!({}))?;
    all.push(globex.ask_as(acme.key, "a key of another tenant", foreign, fails(Code::TenantMismatch))?);
    let mut expired = acme.intent("note-92", "notes.add", json!({}))?;
    expired.expires_at = UnixMicros(now.0 - 1);
    let expired = ledger::sign(expired, acme.key)?.to_envelope();
    all.push(refused("expired", "acme/note-92", expired, Code::IntentExpired));

    let again = acme.intent("note-1", "notes.add", json!({"text": "note 1"}))?;
    all.push(acme.ask("duplicate: nothing is added", again, DONE)?);
    let reused = ledger::sign(acme.intent("note-1", "notes.add", json!({"text": "another"}))?, acme.key)?;
    all.push(refused("the same id, other content", "acme/note-1", reused.to_envelope(), Code::IdReused));
    all.push(refused("bad signature", "acme/note-93", forged(acme)?, Code::SignatureInvalid));
    all.push(refused("unreadable", "(not JSON)", b"hello, ledger".to_vec(), Code::JsonSyntax));
    let twice = br#"{"payload":"","payload":"","payloadType":"","signatures":[]}"#.to_vec();
    all.push(refused("a key twice", "(duplicate key)", twice, Code::JsonDuplicateKey));
    Ok(all)
}

/// An envelope whose signature is another document's.
fn forged(asker: &Asker<'_>) -> Result<Vec<u8>> {
    let honest = ledger::sign(asker.intent("note-93", "notes.add", json!({"cents": 1}))?, asker.key)?;
    let greedy = writ_kernel::execution::document(asker.intent("note-93", "notes.add", json!({"cents": 1_000}))?)?;
    let forged = Signed::<Intent>::from_parts(greedy.payload().to_vec(), honest.signatures().to_vec())?;
    Ok(forged.to_envelope())
}

fn acme_name() -> writ_schemas::ids::Name {
    kind("acme")
}

/// A name that is written in this file.
#[allow(clippy::expect_used, reason = "a constant of this file")]
fn kind(text: &str) -> writ_schemas::ids::Name {
    text.parse().expect("a name")
}
