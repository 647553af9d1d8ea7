//! Property: whatever is submitted in whatever order, on a clock that never falls, the kernel never panics and never faults
//! on an event of its own; deciding twice gives equal bytes; what is reserved and committed is what a plain model says, and
//! no `PASS` raises it above the limit in force; an execution starts once and ends once; and the same events, encoded and
//! decoded again, give a fresh state that is equal after every step.
use std::collections::BTreeMap;

use arbitrary::{Arbitrary, Unstructured};
use serde_json::{Map, Value, json};
use writ_kernel::decide::{Identity, claims_id, decide, identify};
use writ_kernel::execution::{self, Dispatch, Ending};
use writ_kernel::state::State;
use writ_kernel::{admission, apply};
use writ_schemas::act::{Act, Statement};
use writ_schemas::decision::{Decision, Verdict};
use writ_schemas::dsse::{Document, Signature, Signed};
use writ_schemas::errors::Code;
use writ_schemas::event::{
    Event, IntentAdmitted, Partition, Position, ReceiptIssued, RecordRefused, Source, SourceGap,
};
use writ_schemas::evidence::Evidence;
use writ_schemas::genesis::{Genesis, SigningMode};
use writ_schemas::ids::{Digest, KeyId, LedgerId, Name, Seq, UnixMicros};
use writ_schemas::intent::Intent;
use writ_schemas::receipt::Status;
use writ_schemas::strict::{INTEGER_MAX, Refusal};

mod bundle;
mod model;

use bundle::BundleSpec;
use model::Model;

const LEDGER: LedgerId = LedgerId([0x4c; 16]);
const START: UnixMicros = UnixMicros(1_790_000_000_000_000);
const SECOND: u64 = 1_000_000;
const DAY: u64 = 86_400 * SECOND;

/// The endings that the executor and the sequencer report.
const ENDINGS: [(Status, Code); 6] = [
    (Status::Succeeded, Code::Ok),
    (Status::Uncertain, Code::ConnectorUncertain),
    (Status::Failed, Code::ConnectorRefused),
    (Status::Expired, Code::WindowClosed),
    (Status::Failed, Code::ConnectorContractDrift),
    (Status::Uncertain, Code::Interrupted),
];

/// Steps of one case: enough for several executions under several policies.
const STEPS_MAX: usize = 96;

/// What happens next. Small numbers choose from small pools, so that things meet.
#[derive(Debug, Arbitrary)]
enum Step {
    Wait(u8),
    Intent(IntentSpec),
    /// An intent that was submitted before.
    Again(u8),
    Evidence {
        tenant: u8,
        kind: u8,
        effect_of: u8,
        expires: u8,
        signer: u8,
        ledger: u8,
    },
    Trust {
        by: By,
        key: u8,
        tenant: u8,
        principal: u8,
        roles: u8,
    },
    Revoke {
        by: By,
        key: u8,
    },
    Policy {
        by: By,
        bundle: BundleSpec,
    },
    Freeze(By),
    Thaw(By),
    Reconcile {
        by: By,
        which: u8,
        applied: bool,
    },
    Bind {
        by: By,
        partitions: u8,
    },
    /// An act that was submitted before.
    ActAgain(u8),
    Dispatch(u8),
    Conclude {
        which: u8,
        status: u8,
        output: bool,
    },
    Advance {
        partition: u8,
        by: u8,
    },
    Gap {
        partition: u8,
        by: u8,
    },
    Hash,
}

/// Who signs an act, and for how long it holds.
#[derive(Clone, Copy, Debug, Arbitrary)]
struct By {
    signers: u8,
    expires: u8,
    nonce: u8,
}

#[derive(Clone, Copy, Debug, Arbitrary)]
struct IntentSpec {
    tenant: u8,
    id: u8,
    principal: u8,
    session: u8,
    action: u8,
    cost: u8,
    evidence: u8,
    expires: u8,
    signer: u8,
    source: u8,
}

/// Holds the property against an input.
pub fn check(bytes: &[u8]) {
    let mut bytes = Unstructured::new(bytes);
    let mut house = House::open();
    for _ in 0..STEPS_MAX {
        if bytes.is_empty() {
            break;
        }
        let Ok(step) = Step::arbitrary(&mut bytes) else { break };
        house.take(&step);
    }
}

fn pick<T: Copy, const N: usize>(from: [T; N], which: u8) -> T {
    *from.get(usize::from(which) % N).expect("in range")
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn tenant(which: u8) -> Name {
    name(pick(["acme", "globex"], which))
}

fn principal(which: u8) -> Name {
    name(pick(["agent-7", "agent-8"], which))
}

fn action(which: u8) -> Name {
    name(pick(["pay", "mail", "read", "none"], which))
}

fn kind(which: u8) -> Name {
    name(pick(["ticket", "approval"], which))
}

fn role(which: u8) -> Name {
    name(pick(["agent", "approver"], which))
}

/// Operators have the first ones, others the rest. Points of the curve, with which nothing is signed.
fn key(which: u8) -> KeyId {
    KeyId([pick([1, 3, 6, 9, 10, 11], which); 32])
}

fn operators() -> Vec<KeyId> {
    (0..3).map(key).collect()
}

fn partition(which: u8) -> Partition {
    Partition { topic_id: "t".to_owned(), number: u32::from(which % 2) }
}

/// From `now` on, a little, a lot, nothing, too much or backwards.
fn expiry(now: UnixMicros, which: u8) -> UnixMicros {
    match which % 10 {
        0..=2 => now.plus(3_600 * SECOND),
        3 => now.plus(1),
        4 => now,
        5 => UnixMicros(now.0 - 1),
        6 => now.plus(7 * DAY),
        7 => now.plus(7 * DAY + 1),
        8 => now.plus(30 * DAY),
        _ => UnixMicros(INTEGER_MAX),
    }
}

fn signed<T: Document>(value: T, keys: &[KeyId]) -> Option<Signed<T>> {
    let signatures = keys.iter().map(|key| Signature { key: *key, bytes: [1; 64] }).collect();
    let payload = Signed::unsigned(value).ok()?.payload().to_vec();
    Some(Signed::from_parts(payload, signatures).expect("what was written can be read"))
}

/// The kernel, a second one that follows by replay, and the plain model beside them.
struct House {
    live: State,
    replayed: State,
    now: UnixMicros,
    intents: Vec<Signed<Intent>>,
    acts: Vec<Signed<Act>>,
    evidence: Vec<Digest>,
    receipts: Vec<Digest>,
    model: Model,
}

impl House {
    /// A ledger of three operators, two of whom must agree.
    fn open() -> House {
        let genesis = Genesis {
            ledger: LEDGER,
            origin: "writ.example/ledger/4c".to_owned(),
            operators: operators(),
            quorum: 2,
            decision_key: key(0),
            checkpoint_key: key(1),
            signing_mode: SigningMode::Each,
            created_at: START,
        };
        let mut house = House {
            live: State::default(),
            replayed: State::default(),
            now: START,
            intents: Vec::new(),
            acts: Vec::new(),
            evidence: Vec::new(),
            receipts: Vec::new(),
            model: Model::default(),
        };
        house.record(Event::LedgerOpened(signed(genesis, &[key(0)]).expect("a genesis")));
        house
    }

    /// Puts an event in its place, live and by way of its bytes.
    fn record(&mut self, event: Event) -> Seq {
        let seq = self.live.next();
        let payload = event.to_payload().expect("encodes");
        let decoded = Event::from_payload(event.kind(), &payload).expect("an event of our own can be read");
        assert_eq!(decoded, event);
        let folded: Result<(), apply::Fault> = self.live.apply(seq, self.now, &event);
        assert_eq!(folded, Ok(()), "{event:?}");
        assert_eq!(self.replayed.apply(seq, self.now, &decoded), Ok(()));
        assert_eq!(self.live.hash(), self.replayed.hash(), "after {event:?}");
        assert!(self.live == self.replayed, "equal hashes of states that are not equal");
        self.check_budgets();
        seq
    }

    fn check_budgets(&self) {
        let found: BTreeMap<(Name, Name), (u64, u64)> = self
            .live
            .budgets()
            .map(|(tenant, budget, reserved, committed)| ((tenant.clone(), budget.clone()), (reserved, committed)))
            .filter(|(_, amounts)| *amounts != (0, 0))
            .collect();
        // The model is told of a step before its last event is recorded, so that the two agree after it.
        assert_eq!(found, self.model.accounts());
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Wait(unit) => {
                let micros = pick([1, 1_000, SECOND, 60 * SECOND, 3_600 * SECOND, DAY, 7 * DAY, 30 * DAY, 0], unit);
                // A time beyond 2^53 cannot be written; it lies in the year 2255.
                self.now = UnixMicros(self.now.plus(micros).0.min(INTEGER_MAX - 1_000 * DAY));
            }
            Step::Intent(spec) => {
                let intent = self.intent(spec);
                let signer = if spec.signer == 0xff { vec![] } else { vec![key(spec.signer)] };
                if let Some(intent) = signed(intent, &signer) {
                    self.intents.push(intent.clone());
                    self.submit(intent, spec.source);
                }
            }
            Step::Again(which) => {
                if let Some(intent) = self.nth(which, &self.intents).cloned() {
                    self.submit(intent, which);
                }
            }
            Step::Evidence { tenant: of, kind: sort, effect_of, expires, signer, ledger } => {
                let about = self.nth(effect_of, &self.intents).and_then(|intent| intent.value().effect().ok());
                let evidence = Evidence {
                    ledger: if ledger == 0xff { LedgerId([0; 16]) } else { LEDGER },
                    tenant: tenant(of),
                    kind: kind(sort),
                    artifact: None,
                    effect: about.filter(|_| effect_of & 0x80 == 0).map(|bytes| Digest::of(&bytes)),
                    issued_at: self.now,
                    expires_at: expiry(self.now, expires),
                };
                let Some(evidence) = signed(evidence, &[key(signer)]) else { return };
                let admitted = admission::evidence(&self.live, &evidence, self.now);
                assert_eq!(admitted, admission::evidence(&self.replayed, &evidence, self.now));
                if let Ok(Some(event)) = admitted {
                    self.evidence.push(evidence.digest());
                    self.record(event);
                    let again = admission::evidence(&self.live, &evidence, self.now);
                    assert_eq!(again, Ok(None), "registered once");
                }
            }
            Step::Trust { by, key: which, tenant: of, principal: who, roles } => {
                let all: [Name; 2] = [role(0), role(1)];
                let roles = all.into_iter().zip([1, 2]).filter(|(_, bit)| roles & bit != 0).map(|(role, _)| role);
                let (tenant, principal) = (tenant(of), principal(who));
                let roles = roles.collect();
                self.act(by, Statement::TrustKey { key: key(which), tenant, principal, roles });
            }
            Step::Revoke { by, key: which } => self.act(by, Statement::RevokeKey { key: key(which) }),
            Step::Policy { by, bundle } => self.act(by, Statement::ActivatePolicy { bundle: bundle.bundle() }),
            Step::Freeze(by) => {
                self.act(by, Statement::Freeze { principal: None, reason: "fuzz".to_owned(), tenant: None })
            }
            Step::Thaw(by) => self.act(by, Statement::Thaw { principal: None, tenant: None }),
            Step::Reconcile { by, which, applied } => {
                let receipt = self.nth(which, &self.receipts).copied().unwrap_or(Digest([which; 32]));
                self.act(by, Statement::Reconcile { receipt, applied });
            }
            Step::Bind { by, partitions } => {
                let (cluster, topic, topic_id) = ("c".to_owned(), "intents".to_owned(), "t".to_owned());
                self.act(by, Statement::BindPartitions { cluster, topic, topic_id, partitions: partitions.into() });
            }
            Step::ActAgain(which) => {
                if let Some(act) = self.nth(which, &self.acts).cloned() {
                    self.admit(act);
                }
            }
            Step::Dispatch(which) => self.dispatch(self.run(which)),
            Step::Conclude { which, status, output } => {
                let (status, code) = pick(ENDINGS, status);
                let output = output.then(|| Digest::of(&[which]));
                self.conclude(Ending { decision: self.run(which), status, code, output, because: None });
            }
            Step::Advance { partition: of, by } => {
                let next = self.position(&partition(of)) + u64::from(by);
                self.record(Event::SourceAdvanced(vec![Position { partition: partition(of), next }]));
            }
            Step::Gap { partition: of, by } => {
                let expected = self.position(&partition(of));
                let found = expected + u64::from(by);
                self.record(Event::SourceGap(SourceGap { partition: partition(of), expected, found }));
            }
            Step::Hash => {
                self.record(Event::StateHashed(self.live.hash()));
            }
        }
    }

    fn nth<'a, T>(&self, which: u8, of: &'a [T]) -> Option<&'a T> {
        of.get(usize::from(which & 0x7f) % of.len().max(1))
    }

    /// An execution, open, ended or never there.
    fn run(&self, which: u8) -> Seq {
        if which & 0xc0 == 0xc0 {
            return Seq(u64::from(which & 0x3f));
        }
        let open: Vec<Seq> = self.live.open().keys().copied().collect();
        self.nth(which, &open).copied().unwrap_or(Seq(u64::from(which)))
    }

    fn position(&self, of: &Partition) -> u64 {
        self.live.positions().get(of).copied().unwrap_or(0)
    }

    fn intent(&self, spec: IntentSpec) -> Intent {
        let amount = match spec.cost % 9 {
            0 => Some(json!(1)),
            1 => Some(json!(40)),
            2 => Some(json!(60)),
            3 => Some(json!(0)),
            4 => Some(json!(INTEGER_MAX)),
            5 => Some(json!(-1)),
            6 => Some(json!(0.5)),
            7 => Some(json!("40")),
            _ => None,
        };
        let args: Map<String, Value> = amount.map(|it| ("amount".to_owned(), it)).into_iter().collect();
        let shown = |bit: &u8| spec.evidence & (1 << bit) != 0;
        Intent {
            tenant: tenant(spec.tenant),
            id: name(&format!("i-{}", spec.id % 8)),
            principal: principal(spec.principal),
            session: (!spec.session.is_multiple_of(3)).then(|| name(pick(["s-0", "s-1", "s-2"], spec.session))),
            action: action(spec.action),
            args,
            // The last ones that were registered, twice where there are few.
            evidence: (0..4).filter(shown).filter_map(|back| self.nth_back(back)).collect(),
            expires_at: expiry(self.now, spec.expires),
        }
    }

    fn nth_back(&self, back: u8) -> Option<Digest> {
        self.evidence.iter().rev().cycle().take(self.evidence.len().max(4)).nth(back.into()).copied()
    }

    /// As the sequencer does it.
    fn submit(&mut self, intent: Signed<Intent>, source: u8) {
        let source = match source % 4 {
            0 => Source::Local,
            1 => Source::Http,
            _ => {
                let partition = partition(source >> 2);
                let offset = self.position(&partition);
                Source::Kafka { partition, offset }
            }
        };
        let identity = identify(&self.live, &intent, self.now);
        assert_eq!(identity, identify(&self.replayed, &intent, self.now));
        match identity {
            Identity::New => self.judge(intent, source),
            Identity::Known(_) | Identity::Stranger(_) => {}
            Identity::Reused => {
                let refusal = Refusal::new(Code::IdReused, "was used for other content");
                let refused = RecordRefused::new(source, refusal, intent.payload(), None);
                self.record(Event::RecordRefused(refused));
            }
        }
    }

    fn judge(&mut self, intent: Signed<Intent>, source: Source) {
        let Some(signer) = intent.signer() else { return };
        let seq = self.live.next();
        let decided = |state: &State| -> Signed<Decision> {
            let decision = decide(state, LEDGER, &intent, signer, seq, self.now, &mut ());
            execution::document(decision).expect("a decision can be written")
        };
        let decision = decided(&self.live);
        assert_eq!(decision.payload(), decided(&self.live).payload(), "decided twice");
        assert_eq!(decision.payload(), decided(&self.replayed).payload(), "decided in replay");
        let it = decision.value().clone();
        assert_eq!(it.verdict == Verdict::Pass, it.execution.is_some());
        assert_eq!(it.verdict == Verdict::Pass, it.code == Code::Ok);

        let value = intent.value().clone();
        self.record(Event::IntentAdmitted(IntentAdmitted { intent: intent.clone(), source, trace: None }));
        if it.verdict == Verdict::Pass {
            let bundle = self.live.policy().expect("a policy").bundle();
            self.model.passed(bundle, self.now, &it, &value, signer, seq.next());
        }
        let made = self.decided(Event::DecisionMade(signed_again(&decision)), seq.next());
        if claims_id(&it) {
            assert_eq!(identify(&self.live, &intent, self.now), Identity::Known(made));
        }
    }

    fn decided(&mut self, event: Event, seq: Seq) -> Seq {
        assert_eq!(self.record(event), seq);
        seq
    }

    fn act(&mut self, by: By, statement: Statement) {
        let act = Act {
            ledger: if by.nonce == 0xff { LedgerId([0; 16]) } else { LEDGER },
            nonce: name(&format!("n-{}", by.nonce)),
            expires_at: expiry(self.now, by.expires),
            statement,
        };
        // Without a bit, the quorum signs.
        let bits = if by.signers == 0 { 0b11 } else { by.signers };
        let keys: Vec<KeyId> = (0..6).filter(|bit| bits & (1 << bit) != 0).map(key).collect();
        if let Some(act) = signed(act, &keys) {
            self.acts.push(act.clone());
            self.admit(act);
        }
    }

    fn admit(&mut self, act: Signed<Act>) {
        let admitted = admission::act(&self.live, &act, self.now);
        assert_eq!(admitted, admission::act(&self.replayed, &act, self.now));
        let Ok(Some(event)) = admitted else { return };
        let operators = act.signatures().iter().filter(|one| operators().contains(&one.key)).count();
        assert!(operators >= 2, "no quorum");
        let seq = self.live.next();
        self.model.administered(&act.value().statement);
        assert_eq!(self.record(event), seq);
        assert_eq!(admission::act(&self.live, &act, self.now), Ok(None), "carried out once");
    }

    fn dispatch(&mut self, decision: Seq) {
        let answer = execution::dispatch(&self.live, decision, self.now);
        assert_eq!(answer, execution::dispatch(&self.replayed, decision, self.now));
        assert_eq!(answer.is_ok(), self.model.waits(decision));
        match answer {
            Ok(Dispatch::Start) => {
                let open = self.live.open().get(&decision).expect("an open one");
                assert!(self.now < open.not_after);
                self.model.dispatched(decision, &open.signer);
                self.record(Event::DispatchStarted(decision));
                assert!(execution::dispatch(&self.live, decision, self.now).is_err(), "a single winner");
            }
            Ok(Dispatch::Expire(code)) => {
                self.conclude(Ending { decision, status: Status::Expired, code, output: None, because: None });
            }
            Ok(Dispatch::Wait(_)) => panic!("nothing is tried again here"),
            Err(_) => {}
        }
    }

    fn conclude(&mut self, ending: Ending) {
        let concluded = execution::conclude(&self.live, LEDGER, &ending, None, self.now);
        assert_eq!(concluded, execution::conclude(&self.replayed, LEDGER, &ending, None, self.now));
        assert_eq!(concluded.is_ok(), self.model.can_end(&ending));
        let Ok(receipt) = concluded else { return };
        let charged = receipt.usage.first().map(|usage| usage.amount);
        let receipt = signed_again(&execution::document(receipt).expect("a receipt can be written"));
        self.model.ended(&ending, charged, receipt.digest());
        self.receipts.push(receipt.digest());
        self.record(Event::ReceiptIssued(ReceiptIssued { receipt, output: None }));
    }
}

/// With the signature of the ledger, which stands in the log.
fn signed_again<T: Document + Clone>(document: &Signed<T>) -> Signed<T> {
    signed(document.value().clone(), &[key(0)]).expect("it was written before")
}
