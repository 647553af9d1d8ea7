//! Realistic documents and events. Every variant of every enum stands in one of them at least once.

use std::fmt::Debug;
use std::str::FromStr;

use serde_json::{Map, Value, json};
use writ_schemas::act::{Act, Statement};
use writ_schemas::decision::{
    Amount, Answer, ApprovalFact, Asked, BudgetFact, Decision, EvidenceFact, EvidenceKnown, ExecutionIntent, Facts,
    Gate, GateAnswer, KeyFact, PaceFact, ReceiptFact, SEMANTICS, Verdict, VoteFact,
};
use writ_schemas::dsse::{Document, Signed};
use writ_schemas::errors::Code;
use writ_schemas::event::{
    DispatchRetried, Event, IntentAdmitted, Partition, Position, ReceiptIssued, RecordRefused, RecordsOverQuota,
    Source, SourceGap, TailCut,
};
use writ_schemas::evidence::Evidence;
use writ_schemas::genesis::{Genesis, SigningMode};
use writ_schemas::ids::{Digest, KeyId, Lamport, LedgerId, Seq, UnixMicros};
use writ_schemas::intent::Intent;
use writ_schemas::keys::SecretKey;
use writ_schemas::receipt::{Receipt, Status};
use writ_schemas::several::Several;
use writ_schemas::strict::{INTEGER_MAX, Refusal};

mod bundles;

pub(crate) use bundles::bundles;

/// The ledger of all samples.
pub(crate) const LEDGER: LedgerId = LedgerId([0x4c; 16]);

/// The time around which the samples lie: 2026-09-21T14:13:20Z.
pub(crate) const T0: u64 = 1_790_000_000_000_000;

const HOUR: u64 = 3_600_000_000;

/// The keys of the samples, by what they do. A seed is 32 times its byte.
pub(crate) const ROLES: [(&str, u8); 6] =
    [("producer", 1), ("decision", 2), ("operator-a", 3), ("operator-b", 4), ("checkpoint", 5), ("approver", 6)];

/// A key by what it does.
pub(crate) fn key(role: &str) -> SecretKey {
    let (_, byte) = ROLES.into_iter().find(|(name, _)| *name == role).expect("a role of the list");
    SecretKey::from_seed(&[byte; 32])
}

fn id(role: &str) -> KeyId {
    key(role).id()
}

fn at(micros: u64) -> UnixMicros {
    UnixMicros(T0 + micros)
}

/// Anything that parses from text.
pub(crate) fn n<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().expect("a valid name")
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

/// A document with the signatures of these keys.
pub(crate) fn signed<T: Document>(document: T, roles: &[&str]) -> Signed<T> {
    roles.iter().fold(Signed::unsigned(document).expect("JSON"), |signed, role| signed.sign(&key(role)))
}

pub(crate) fn geneses() -> Vec<Genesis> {
    let genesis = Genesis {
        ledger: LEDGER,
        origin: "writ.example/ledger/4c".into(),
        operators: vec![id("operator-a"), id("operator-b")],
        quorum: 2,
        decision_key: id("decision"),
        checkpoint_key: id("checkpoint"),
        signing_mode: SigningMode::Each,
        created_at: at(0),
    };
    let alone = Genesis {
        operators: vec![id("operator-a")],
        quorum: 1,
        created_at: UnixMicros(INTEGER_MAX),
        ..genesis.clone()
    };
    vec![genesis, alone]
}

pub(crate) fn intents() -> Vec<Intent> {
    let refund = Intent {
        tenant: n("acme"),
        id: n("refund-2026-0001"),
        principal: n("agent:support-7"),
        session: Some(n("case/4711")),
        action: n("payments.refund"),
        args: object(
            json!({"amount_cents": 1250, "currency": "EUR", "order": "O-1", "note": "late: 3 days – sorry 😀", "weights": [0.5, -1, 1e-7, null, true]}),
        ),
        evidence: vec![evidence_digest(), Digest::of(b"unknown")],
        expires_at: at(24 * HOUR),
    };
    let echo = Intent {
        id: n("echo-1"),
        session: None,
        action: n("demo.echo"),
        args: Map::new(),
        evidence: vec![],
        ..refund.clone()
    };
    vec![refund, echo]
}

fn effect_digest() -> Digest {
    Digest::of(&intents()[0].effect().expect("JSON"))
}

fn evidence_digest() -> Digest {
    Digest::of(b"the approval that the evidence speaks of")
}

pub(crate) fn evidence() -> Vec<Evidence> {
    let bare = Evidence {
        ledger: LEDGER,
        tenant: n("acme"),
        kind: n("approval"),
        artifact: None,
        effect: None,
        issued_at: at(1),
        expires_at: at(HOUR),
    };
    let full = Evidence { artifact: Some(evidence_digest()), effect: Some(Digest::of(b"effect")), ..bare.clone() };
    vec![full, bare]
}

fn amount(cents: u64) -> Amount {
    Amount {
        action: None,
        actual: None,
        amount: cents,
        budget: n("refunds"),
        overdrawn: None,
        principal: None,
        since: None,
        unit: n("cents"),
        until: None,
    }
}

/// An amount out of a share that counts for a day.
fn share(cents: u64) -> Amount {
    Amount {
        action: Some(n("payments.refund")),
        principal: Some(n("agent:support-7")),
        since: Some(at(0)),
        until: Some(at(24 * HOUR)),
        ..amount(cents)
    }
}

fn budget(cost: Option<u64>) -> BudgetFact {
    BudgetFact {
        action: None,
        committed: 98_000,
        cost,
        limit: 100_000,
        name: n("refunds"),
        principal: None,
        reserved: 0,
        since: None,
        unit: n("cents"),
        until: None,
    }
}

pub(crate) fn decisions() -> Vec<Decision> {
    let answer = |gate, answer| GateAnswer { gate, answer };
    let pass = Decision {
        asks: None,
        ledger: LEDGER,
        semantics: SEMANTICS,
        intent_seq: Seq(7),
        intent_digest: Digest::of(b"intent"),
        signer: id("producer"),
        tenant: n("acme"),
        id: n("refund-2026-0001"),
        round: 0,
        now: at(5),
        policy: Some(Digest::of(b"policy")),
        gates: vec![
            answer(Gate::Freeze, Answer::Passed),
            answer(Gate::Trust, Answer::Passed),
            answer(Gate::Envelope, Answer::Passed),
            answer(Gate::Policy, Answer::Passed),
            answer(Gate::Temporal, Answer::Disabled("no hours at this desk".into())),
            answer(Gate::Proof, Answer::Passed),
            answer(Gate::Budget, Answer::Exempt("reading is free".into())),
            answer(Gate::Escalation, Answer::Disabled("one level only".into())),
        ],
        facts: Facts {
            frozen: false,
            key: Some(KeyFact { tenant: n("acme"), principal: n("agent:support-7"), revoked: None }),
            evidence: vec![
                EvidenceFact {
                    digest: evidence_digest(),
                    known: Some(EvidenceKnown {
                        seq: Seq(3),
                        kind: n("approval"),
                        signer: id("approver"),
                        roles: [n("manager"), n("auditor")].into(),
                        effect: Some(effect_digest()),
                        expires_at: at(HOUR),
                        issued_at: None,
                        principal: None,
                        used: None,
                    }),
                },
                EvidenceFact { digest: Digest::of(b"unknown"), known: None },
            ],
            budget: [budget(Some(1250))].into_iter().collect(),
            ..Facts::default()
        },
        verdict: Verdict::Pass,
        code: Code::Ok,
        because: String::new(),
        execution: Some(ExecutionIntent {
            effect_digest: effect_digest(),
            connector: n("payments"),
            idempotency_key: Digest::of(b"run"),
            not_before: at(5),
            not_after: at(HOUR),
            reservation: [amount(1250)].into_iter().collect(),
            uses: Vec::new(),
        }),
    };
    let fail = Decision {
        policy: None,
        round: 1,
        gates: vec![answer(Gate::Freeze, Answer::Refused), answer(Gate::Trust, Answer::NotReached)],
        facts: Facts {
            frozen: true,
            key: Some(KeyFact { tenant: n("acme"), principal: n("agent:support-7"), revoked: Some(Seq(6)) }),
            ..Facts::default()
        },
        verdict: Verdict::Fail,
        code: Code::Frozen,
        because: "frozen by operators".into(),
        execution: None,
        ..pass.clone()
    };
    let mut escalate =
        Decision { verdict: Verdict::Escalate, code: Code::ProofMissing, execution: None, ..pass.clone() };
    if let Some(known) = &mut escalate.facts.evidence[0].known {
        known.effect = None;
        known.roles.clear();
    }
    escalate.facts.budget = [budget(None)].into_iter().collect();
    let mut free = pass.clone();
    if let Some(execution) = &mut free.execution {
        execution.reservation = Several::default();
    }
    let mut asking = pass.clone();
    if let Some(known) = &mut asking.facts.evidence[0].known {
        known.issued_at = Some(at(0));
        known.principal = Some(n("person:approver"));
        known.used = Some(Seq(4));
    }
    asking.facts.receipts = vec![
        ReceiptFact { action: n("payments.quote"), seq: Some(Seq(2)) },
        ReceiptFact { action: n("payments.scan"), seq: None },
    ];
    let mut granted = pass.clone();
    let rule = Digest::of(b"rule");
    let vote = |seq, granted, principal, roles| {
        let signer = id("approver");
        VoteFact { granted, principal, roles, rule, seq: Seq(seq), signer }
    };
    let votes = vec![
        vote(9, true, Some(n("person:ada")), [n("auditor"), n("manager")].into()),
        vote(10, false, None, [].into()),
    ];
    let share_fact = BudgetFact {
        action: Some(n("payments.refund")),
        principal: Some(n("agent:support-7")),
        since: Some(at(0)),
        until: Some(at(24 * HOUR)),
        ..budget(Some(1250))
    };
    granted.facts.approval = Some(Box::new(ApprovalFact { deadline: at(HOUR), passed: false, votes }));
    granted.facts.budget = [budget(Some(1250)), share_fact].into_iter().collect();
    granted.facts.pace = Some(PaceFact { cooling_until: None, paced_until: Some(at(7)) });
    granted.facts.waiting = Some(3);
    granted.gates.push(answer(Gate::Escalation, Answer::Asks));
    if let Some(execution) = &mut granted.execution {
        let settled = Amount { actual: Some("refunded_cents".into()), ..share(1250) };
        execution.reservation = [amount(1250), settled].into_iter().collect();
        execution.uses = vec![evidence_digest()];
    }
    let mut asked = escalate.clone();
    asked.asks = Some(Box::new(Asked { deadline: at(HOUR), quorum: 2, role: n("manager"), rule }));
    vec![pass, fail, escalate, free, asking, granted, asked]
}

pub(crate) fn receipts() -> Vec<Receipt> {
    let succeeded = Receipt {
        because: None,
        ledger: LEDGER,
        tenant: n("acme"),
        id: n("refund-2026-0001"),
        principal: n("agent:support-7"),
        action: n("payments.refund"),
        decision_seq: Seq(8),
        decision_digest: Digest::of(b"decision"),
        effect_digest: effect_digest(),
        connector: n("payments"),
        status: Status::Succeeded,
        code: Code::Ok,
        output: Some(Digest::of(b"{\"refunded\":true}")),
        usage: [amount(1250)].into_iter().collect(),
        session: Some(n("case/4711")),
        previous: Some(Digest::of(b"receipt before")),
        lamport: Lamport(2),
        dispatched_at: Some(at(6)),
        ended_at: at(9),
    };
    let bare = |status, code| Receipt { status, code, output: None, usage: Several::default(), ..succeeded.clone() };
    let mut expired = bare(Status::Expired, Code::WindowClosed);
    expired.session = None;
    expired.previous = None;
    expired.lamport = Lamport(1);
    expired.dispatched_at = None;
    vec![
        succeeded.clone(),
        bare(Status::Failed, Code::ConnectorRefused),
        bare(Status::Uncertain, Code::ConnectorUncertain),
        expired,
        Receipt {
            usage: [amount(1250), Amount { overdrawn: Some(50), ..share(1300) }].into_iter().collect(),
            ..succeeded.clone()
        },
        Receipt { because: Some("answered 409".into()), ..bare(Status::Failed, Code::ConnectorRefused) },
        bare(Status::Uncertain, Code::OutcomeMissing),
    ]
}

pub(crate) fn acts() -> Vec<Act> {
    let act = |at_: usize, statement| Act {
        ledger: LEDGER,
        nonce: n(&format!("act-{at_}")),
        expires_at: at(HOUR),
        statement,
    };
    let approve = |granted, reason: &str| {
        let digest = |of: &str| Digest::of(of.as_bytes());
        let (intent, policy, rule) = (digest("intent"), digest("policy"), digest("rule"));
        Statement::Approve { granted, intent, policy, reason: reason.into(), rule }
    };
    [
        Statement::ActivatePolicy { bundle: bundles().remove(0) },
        Statement::TrustKey {
            key: id("approver"),
            tenant: n("acme"),
            principal: n("person:ada"),
            roles: [n("auditor"), n("manager")].into(),
        },
        Statement::TrustKey {
            key: id("producer"),
            tenant: n("acme"),
            principal: n("agent:support-7"),
            roles: [].into(),
        },
        Statement::RevokeKey { key: id("producer") },
        Statement::Freeze { principal: None, reason: "an agent runs wild".into(), tenant: None },
        Statement::Thaw { principal: None, tenant: None },
        Statement::Reconcile { receipt: Digest::of(b"receipt"), applied: true },
        Statement::Reconcile { receipt: Digest::of(b"receipt"), applied: false },
        Statement::BindPartitions {
            cluster: "5L6g3nShT-eMCtK--X86sw".into(),
            topic: "writ.intents.v1".into(),
            topic_id: "vHdJVRYNTWiAbnJHdMdZ8A".into(),
            partitions: 12,
        },
        Statement::Freeze {
            principal: Some(n("agent:support-7")),
            reason: "it runs wild".into(),
            tenant: Some(n("acme")),
        },
        Statement::Thaw { principal: None, tenant: Some(n("acme")) },
        approve(true, "the customer is right"),
        approve(false, "twice"),
        Statement::RotateDecisionKey { key: id("approver") },
        Statement::Report {
            applied: true,
            because: None,
            decision: Digest::of(b"decision"),
            output: Some(json!({"refunded": true})),
        },
        Statement::Report {
            applied: false,
            because: Some("the account is closed".into()),
            decision: Digest::of(b"decision"),
            output: None,
        },
        Statement::AdjustClock { now: at(40) },
    ]
    .into_iter()
    .enumerate()
    .map(|(at, statement)| act(at, statement))
    .collect()
}

fn partition() -> Partition {
    Partition { topic_id: "vHdJVRYNTWiAbnJHdMdZ8A".into(), number: 3 }
}

pub(crate) fn sources() -> [Source; 3] {
    [Source::Local, Source::Http, Source::Kafka { partition: partition(), offset: 1041 }]
}

pub(crate) fn refusals() -> Vec<RecordRefused> {
    let mut out: Vec<_> = sources()
        .into_iter()
        .map(|source| {
            RecordRefused::new(source, Refusal::new(Code::JsonSyntax, "expected value at line 1"), b"no", None)
        })
        .collect();
    let long = Refusal::new(Code::IdReused, "é".repeat(1000));
    out.push(RecordRefused::new(Source::Http, long, &[7; 1000], Some((n("acme"), n("refund-2026-0001")))));
    out
}

/// Every kind of event that has a payload.
pub(crate) fn events() -> Vec<Event> {
    let operators = ["operator-a", "operator-b"];
    let act = |at: usize| signed(acts().remove(at), &operators);
    let admitted = |at: usize, source, trace: Option<&str>| {
        let intent = signed(intents().remove(at), &["producer"]);
        Event::IntentAdmitted(IntentAdmitted { intent, source, trace: trace.map(str::to_owned) })
    };
    let [local, http, kafka] = sources();
    let mut out = vec![
        Event::LedgerOpened(signed(geneses().remove(0), &["decision", "operator-a", "operator-b"])),
        admitted(0, kafka, Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")),
        admitted(1, local, None),
        admitted(1, http, None),
    ];
    out.extend(refusals().into_iter().map(Event::RecordRefused));
    out.extend(decisions().into_iter().map(|decision| Event::DecisionMade(signed(decision, &["decision"]))));
    out.extend([
        Event::SourceAdvanced(vec![Position { partition: partition(), next: 1042 }]),
        Event::DispatchStarted(Seq(8)),
        Event::ReceiptIssued(ReceiptIssued {
            receipt: signed(receipts().remove(0), &["decision"]),
            output: Some(b"{\"refunded\":true}".to_vec()),
        }),
        Event::ReceiptIssued(ReceiptIssued { receipt: signed(receipts().remove(3), &["decision"]), output: None }),
        Event::EvidenceRegistered(signed(evidence().remove(0), &["approver"])),
        Event::PolicyActivated(act(0)),
        Event::KeyTrusted(act(1)),
        Event::KeyRevoked(act(3)),
        Event::Frozen(act(4)),
        Event::Thawed(act(5)),
        Event::OutcomeReconciled(act(6)),
        Event::PartitionsBound(act(8)),
        Event::StateHashed(Digest::of(b"state")),
        Event::CheckpointSigned("a note\n".into()),
        Event::TailCut(TailCut { segment: 2, offset: 8192, bytes: 517 }),
        Event::SourceGap(SourceGap { partition: partition(), expected: 5, found: 9 }),
        Event::ApprovalRecorded(signed(acts().remove(11), &["approver"])),
        Event::DeadlinePassed(Digest::of(b"intent")),
        Event::RecordsOverQuota(RecordsOverQuota { partition: partition(), first: 7, next: 2_000, count: 1_001 }),
        Event::DispatchRetried(DispatchRetried {
            decision: Seq(8),
            attempts: 1,
            due: at(10),
            because: "answered 429".into(),
            asked_us: 10,
        }),
        Event::LedgerKeyRotated(act(13)),
        Event::ClockAdjusted(act(16)),
    ]);
    out
}
