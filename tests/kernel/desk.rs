//! A ledger in this process: a state and its time. Every event goes in as the sequencer would have it go in.
//!
//! Nothing is signed in earnest: the kernel is asked after signatures were checked as mathematics.

use serde_json::{Value, json};

use writ_kernel::admission;
use writ_kernel::apply::Fault;
use writ_kernel::decide::{Observer, decide, decide_again};
use writ_kernel::execution::{self, Dispatch, Ending, conclude};
use writ_kernel::state::State;
use writ_schemas::act::{Act, Statement};
use writ_schemas::decision::{Answer, Decision, Gate, GateAnswer, Verdict};
use writ_schemas::dsse::{Document, Signature, Signed};
use writ_schemas::errors::Code;
use writ_schemas::event::{Event, IntentAdmitted, ReceiptIssued, Source};
use writ_schemas::evidence::Evidence;
use writ_schemas::genesis::{Genesis, SigningMode};
use writ_schemas::ids::{Digest, KeyId, LedgerId, Name, Seq, UnixMicros};
use writ_schemas::intent::Intent;
use writ_schemas::receipt::{Receipt, Status};
use writ_schemas::strict::Refusal;

pub(crate) const LEDGER: LedgerId = LedgerId([7; 16]);
pub(crate) const START: UnixMicros = UnixMicros(1_800_000_000_000_000);
pub(crate) const SECOND: u64 = 1_000_000;
pub(crate) const HOUR: u64 = 3_600 * SECOND;
pub(crate) const DAY: u64 = 24 * HOUR;

// Points of the curve, as it happens, of which nobody knows the other half: what the kernel is asked is signed by nobody.

/// The agent of `acme` that asks.
pub(crate) const ANN: KeyId = KeyId([1; 32]);
/// Managers of `acme`, who approve.
pub(crate) const BOB: KeyId = KeyId([3; 32]);
pub(crate) const CYD: KeyId = KeyId([6; 32]);
/// The runner of `acme`, who carries out what is outside.
pub(crate) const DAN: KeyId = KeyId([9; 32]);
/// An agent, manager and runner of `beta`, all in one.
pub(crate) const EVE: KeyId = KeyId([10; 32]);
/// Trusted by nobody.
pub(crate) const ZED: KeyId = KeyId([26; 32]);

/// Of whom any two rule.
pub(crate) const OPERATORS: [KeyId; 3] = [KeyId([102; 32]), KeyId([103; 32]), KeyId([104; 32])];
pub(crate) const DECISION_KEY: KeyId = KeyId([111; 32]);
pub(crate) const CHECKPOINT_KEY: KeyId = KeyId([113; 32]);

pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// A document as if these keys had signed it.
pub(crate) fn signed<T: Document>(value: T, keys: &[KeyId]) -> Signed<T> {
    let payload = Signed::unsigned(value).expect("it can be written").payload().to_vec();
    let signatures = keys.iter().map(|key| Signature { key: *key, bytes: [0; 64] });
    Signed::from_parts(payload, signatures.collect()).expect("it can be read")
}

/// Entry 0's document.
pub(crate) fn genesis() -> Genesis {
    Genesis {
        checkpoint_key: CHECKPOINT_KEY,
        created_at: START,
        decision_key: DECISION_KEY,
        ledger: LEDGER,
        operators: OPERATORS.to_vec(),
        origin: "ledger.example/desk".to_owned(),
        quorum: 2,
        signing_mode: SigningMode::Each,
    }
}

/// A policy with an action of each sort: `note` costs nothing and asks nobody, `pay` spends, `ask` waits for two managers,
/// `call` is tried again over the network, `ship` is carried out outside.
pub(crate) fn policy() -> Value {
    let exempt = json!({"exempt": "not needed here"});
    let rule = |action: &str, connector: &str| {
        json!({"action": action, "connector": connector, "requires": exempt, "spends": exempt, "escalates": exempt,
               "window_us": HOUR})
    };
    let mut policy = json!({
        "name": "desk",
        "gates": {"temporal": {"disabled": "not needed here"}, "proof": "enforced", "budget": "enforced",
                  "escalation": "enforced"},
        "rules": [rule("note", "echo"), rule("pay", "echo"), rule("ask", "echo"), rule("call", "web"),
                  rule("ship", "dock")],
        "budgets": {"gold": {"unit": "cents", "limit": 1000}},
        "connectors": {
            "echo": {"kind": "echo", "output_schema": {}},
            "web": {"kind": {"http": {"url": "http://web.example", "timeout_us": SECOND}}, "output_schema": {},
                    "retry": {"attempts": 3, "base_us": SECOND, "cap_us": SECOND}},
            "dock": {"kind": {"external": {"role": "runner", "within_us": HOUR}}, "output_schema": {"type": "object"}},
        },
    });
    rule_of(&mut policy, "pay")["spends"] = json!({"budget": {"name": "gold", "cost": {"arg": "cents"}}});
    rule_of(&mut policy, "ask")["escalates"] = json!({"to": {"quorum": 2, "role": "manager", "within_us": HOUR}});
    policy
}

/// The rule of an action, to be changed.
pub(crate) fn rule_of<'a>(policy: &'a mut Value, action: &str) -> &'a mut Value {
    let rules = policy["rules"].as_array_mut().expect("rules");
    rules.iter_mut().find(|rule| rule["action"] == action).expect("a rule for it")
}

/// What `ann` asks for: good for an hour.
pub(crate) fn intent(id: &str, action: &str) -> Intent {
    Intent {
        action: name(action),
        args: serde_json::Map::new(),
        evidence: Vec::new(),
        expires_at: START.plus(HOUR),
        id: name(id),
        principal: name("ann"),
        session: None,
        tenant: name("acme"),
    }
}

/// The same of the agent of `beta`.
pub(crate) fn intent_of_beta(id: &str, action: &str) -> Intent {
    Intent { tenant: name("beta"), principal: name("eve"), ..intent(id, action) }
}

/// A payment of so much.
pub(crate) fn payment(id: &str, cents: u64) -> Intent {
    Intent { args: args(json!({"cents": cents})), ..intent(id, "pay") }
}

pub(crate) fn args(of: Value) -> serde_json::Map<String, Value> {
    of.as_object().expect("an object").clone()
}

/// A scan of `acme`, good for an hour.
pub(crate) fn scan() -> Evidence {
    Evidence {
        artifact: None,
        effect: None,
        expires_at: START.plus(HOUR),
        issued_at: START,
        kind: name("scan"),
        ledger: LEDGER,
        tenant: name("acme"),
    }
}

pub(crate) fn trust(key: KeyId, tenant: &str, principal: &str, roles: &[&str]) -> Statement {
    let roles = roles.iter().map(|role| name(role)).collect();
    Statement::TrustKey { key, tenant: name(tenant), principal: name(principal), roles }
}

pub(crate) fn freeze(tenant: Option<&str>, principal: Option<&str>) -> Statement {
    Statement::Freeze { principal: principal.map(name), reason: "to look".to_owned(), tenant: tenant.map(name) }
}

pub(crate) fn thaw(tenant: Option<&str>, principal: Option<&str>) -> Statement {
    Statement::Thaw { principal: principal.map(name), tenant: tenant.map(name) }
}

pub(crate) fn activate(policy: Value) -> Statement {
    Statement::ActivatePolicy { bundle: serde_json::from_value(policy).expect("a bundle") }
}

/// An answer by somebody who looks at the rule in force when it is signed: [`Desk::act`] puts it in.
pub(crate) fn approve(intent: Digest, granted: bool) -> Statement {
    Statement::Approve { granted, intent, policy: UNSEEN, reason: "so it seems".to_owned(), rule: UNSEEN }
}

const UNSEEN: Digest = Digest([0; 32]);

/// That it happened, with this output.
pub(crate) fn applied(decision: Digest, output: Value) -> Statement {
    Statement::Report { applied: true, because: None, decision, output: Some(output) }
}

/// That it did not happen.
pub(crate) fn not_applied(decision: Digest, because: &str) -> Statement {
    Statement::Report { applied: false, because: Some(because.to_owned()), decision, output: None }
}

/// An ending without an output.
pub(crate) fn ending(decision: Seq, status: Status, code: Code) -> Ending {
    Ending { decision, status, code, output: None, because: None }
}

/// An ending as it should be: with the output `{}`.
pub(crate) fn success(decision: Seq) -> Ending {
    Ending { output: Some(Digest::of(b"{}")), ..ending(decision, Status::Succeeded, Code::Ok) }
}

/// A decision in its place.
#[derive(Clone, Debug)]
pub(crate) struct Decided {
    pub(crate) seq: Seq,
    pub(crate) digest: Digest,
    pub(crate) decision: Decision,
}

impl Decided {
    pub(crate) fn answer(&self) -> (Verdict, Code) {
        (self.decision.verdict, self.decision.code)
    }
}

/// The ledger.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    pub(crate) state: State,
    /// The time of what comes next.
    pub(crate) now: UnixMicros,
}

/// What an observer of the gates hears.
#[derive(Default)]
struct Heard {
    asked: Option<Gate>,
    gates: Vec<GateAnswer>,
    refusal: Option<Refusal>,
}

impl Observer for Heard {
    fn asks(&mut self, gate: Gate) {
        assert_eq!(self.asked.replace(gate), None, "one after the other");
    }

    fn answered(&mut self, gate: Gate, answer: &Answer, refusal: Option<&Refusal>) {
        assert_eq!(self.asked.take(), Some(gate));
        self.gates.push(GateAnswer { answer: answer.clone(), gate });
        self.refusal = refusal.cloned();
    }
}

impl Desk {
    /// With its entry 0 and nothing else.
    pub(crate) fn opened() -> Desk {
        let mut desk = Desk { state: State::default(), now: START };
        desk.record(Event::LedgerOpened(signed(genesis(), &[DECISION_KEY])));
        desk
    }

    /// With keys that are trusted, and [`policy`] in force.
    pub(crate) fn furnished() -> Desk {
        Desk::under(policy())
    }

    /// The same under this policy.
    pub(crate) fn under(policy: Value) -> Desk {
        let mut desk = Desk::opened();
        for (key, tenant, principal, roles) in [
            (ANN, "acme", "ann", &["agent"][..]),
            (BOB, "acme", "bob", &["manager"]),
            (CYD, "acme", "cyd", &["manager"]),
            (DAN, "acme", "dan", &["runner"]),
            (EVE, "beta", "eve", &["agent", "manager", "runner"]),
        ] {
            desk.administer(trust(key, tenant, principal, roles));
        }
        desk.administer(activate(policy));
        desk
    }

    pub(crate) fn later(&mut self, micros: u64) {
        self.now = self.now.plus(micros);
    }

    /// Folds an event in, in its place.
    pub(crate) fn record(&mut self, event: Event) -> Seq {
        let seq = self.state.next();
        self.state.apply(seq, self.now, &event).unwrap_or_else(|fault| panic!("{}: {fault}", event.kind().as_str()));
        seq
    }

    /// Why an event cannot be folded in, if it cannot.
    pub(crate) fn fault(&self, event: &Event) -> Option<Fault> {
        self.state.clone().apply(self.state.next(), self.now, event).err()
    }

    /// An act with this statement, for the next hour.
    pub(crate) fn act(&self, mut statement: Statement, keys: &[KeyId]) -> Signed<Act> {
        if let Statement::Approve { intent, policy, rule, .. } = &mut statement
            && *rule == UNSEEN
            && let Some(in_force) = self.state.policy()
        {
            let asked = self.state.escalated().find(|it| it.digest() == *intent);
            *policy = in_force.digest();
            *rule = asked.and_then(|it| in_force.rule_digest(&it.value().action)).unwrap_or(UNSEEN);
        }
        let nonce = name(&format!("n-{}", self.state.next()));
        signed(Act { expires_at: self.now.plus(HOUR), ledger: LEDGER, nonce, statement }, keys)
    }

    /// Whether such an act would be recorded now.
    pub(crate) fn would(&self, statement: Statement, keys: &[KeyId]) -> Result<(), Code> {
        self.admits(&self.act(statement, keys))
    }

    /// Whether this act would be recorded now, and not for the second time.
    pub(crate) fn admits(&self, act: &Signed<Act>) -> Result<(), Code> {
        let event = admission::act(&self.state, act, self.now).map_err(|refusal| refusal.code)?;
        event.map(|_| ()).ok_or(Code::Ok)
    }

    /// An act that is recorded.
    pub(crate) fn does(&mut self, statement: Statement, keys: &[KeyId]) -> Seq {
        let act = self.act(statement, keys);
        let event = admission::act(&self.state, &act, self.now).expect("it is admitted");
        self.record(event.expect("it is new"))
    }

    /// An act of two operators.
    pub(crate) fn administer(&mut self, statement: Statement) -> Seq {
        self.does(statement, &OPERATORS[..2])
    }

    /// Evidence that is registered, and its digest.
    pub(crate) fn show(&mut self, evidence: Evidence, key: KeyId) -> Digest {
        let evidence = signed(evidence, &[key]);
        let event = admission::evidence(&self.state, &evidence, self.now).expect("it is admitted");
        self.record(event.expect("it is new"));
        evidence.digest()
    }

    /// How an intent would be decided now. Whoever observes the gates hears what the decision says, and changes nothing.
    pub(crate) fn judge(&self, intent: &Signed<Intent>) -> Decision {
        let signer = intent.signer().expect("one signer");
        let (seq, now, mut heard) = (self.state.next(), self.now, Heard::default());
        let observed = decide(&self.state, LEDGER, intent, signer, seq, now, &mut heard);
        let decision = decide(&self.state, LEDGER, intent, signer, seq, now, &mut ());
        assert_eq!(observed, decision);
        let reached = decision.gates.iter().filter(|it| it.answer != Answer::NotReached);
        assert_eq!(heard.gates, reached.cloned().collect::<Vec<_>>());
        let code = heard.refusal.map_or(Code::Ok, |refusal| refusal.code);
        assert_eq!(code, decision.code);
        decision
    }

    /// How an intent of `ann` would be answered now.
    pub(crate) fn answer(&self, intent: Intent) -> (Verdict, Code) {
        let decision = self.judge(&signed(intent, &[ANN]));
        (decision.verdict, decision.code)
    }

    /// An intent comes in, and is decided.
    pub(crate) fn submit(&mut self, intent: Intent, key: KeyId) -> Decided {
        let intent = signed(intent, &[key]);
        let decision = self.judge(&intent);
        self.admit(intent);
        self.decide(decision)
    }

    /// An intent comes in; its decision must come next.
    pub(crate) fn admit(&mut self, intent: Signed<Intent>) -> Seq {
        self.record(Event::IntentAdmitted(IntentAdmitted { intent, source: Source::Local, trace: None }))
    }

    /// A decision is recorded.
    pub(crate) fn decide(&mut self, decision: Decision) -> Decided {
        let document = execution::document(decision).expect("it can be written");
        let (digest, decision) = (document.digest(), document.value().clone());
        let seq = self.record(Event::DecisionMade(document));
        Decided { seq, digest, decision }
    }

    /// What waited is decided again, if it must be now.
    pub(crate) fn again(&mut self) -> Option<Decided> {
        let (_, decision) = decide_again(&self.state, LEDGER, self.now, &mut ())?;
        Some(self.decide(decision))
    }

    /// An intent of `ann` that passes.
    pub(crate) fn pass(&mut self, intent: Intent) -> Decided {
        let decided = self.submit(intent, ANN);
        assert_eq!(decided.answer(), (Verdict::Pass, Code::Ok), "{}", decided.decision.because);
        decided
    }

    /// One that passes and is dispatched at once.
    pub(crate) fn start(&mut self, intent: Intent) -> Decided {
        let decided = self.pass(intent);
        self.dispatch(decided.seq);
        decided
    }

    pub(crate) fn dispatch(&mut self, decision: Seq) {
        assert_eq!(self.turn(decision), Ok(Dispatch::Start));
        self.record(Event::DispatchStarted(decision));
    }

    /// What is to be done with a decision whose turn has come.
    pub(crate) fn turn(&self, decision: Seq) -> Result<Dispatch, Code> {
        execution::dispatch(&self.state, decision, self.now).map_err(|refusal| refusal.code)
    }

    /// The receipt that an ending would have now.
    pub(crate) fn receipt(&self, ending: &Ending) -> Result<Receipt, Refusal> {
        conclude(&self.state, LEDGER, ending, None, self.now)
    }

    /// An execution ends; its receipt, and the digest of that.
    pub(crate) fn end(&mut self, ending: &Ending) -> (Digest, Receipt) {
        let receipt = execution::document(self.receipt(ending).expect("it fits")).expect("it can be written");
        let (digest, value) = (receipt.digest(), receipt.value().clone());
        self.record(issued(receipt));
        (digest, value)
    }

    /// One that nobody knows about: the digest of its receipt.
    pub(crate) fn lose(&mut self, decision: Seq) -> Digest {
        self.end(&ending(decision, Status::Uncertain, Code::ConnectorUncertain)).0
    }

    /// What is reserved and committed of a tenant's budgets.
    pub(crate) fn spent(&self) -> (u64, u64) {
        self.state
            .budgets()
            .fold((0, 0), |(held, spent), (_, _, reserved, committed)| (held + reserved, spent + committed))
    }
}

/// A receipt in its event.
pub(crate) fn issued(receipt: Signed<Receipt>) -> Event {
    Event::ReceiptIssued(ReceiptIssued { receipt, output: None })
}
