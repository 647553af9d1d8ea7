//! Property: bytes read and compiled as a policy bundle never panic and end quickly; an accepted policy has a digest that
//! survives writing and reading, and decides any intent without panic, twice alike, with a decision that can be written and
//! folded in; what it lets wait is refused when nobody answers.
//!
//! The input is the bundle's JSON, then, behind a zero byte, the JSON of an intent's args. What is no bundle is taken for an
//! expression, and stands in a small bundle as the requirement of its only rule.
use serde_json::{Map, Value, json};
use writ_kernel::decide::{decide, decide_again};
use writ_kernel::execution::document;
use writ_kernel::policy::Policy;
use writ_kernel::state::State;
use writ_schemas::act::{Act, Statement};
use writ_schemas::canonical;
use writ_schemas::decision::Verdict;
use writ_schemas::dsse::{DOCUMENT_BYTES_MAX, Document, Signature, Signed};
use writ_schemas::event::{Event, IntentAdmitted, Source};
use writ_schemas::evidence::Evidence;
use writ_schemas::genesis::{Genesis, SigningMode};
use writ_schemas::ids::{Digest, KeyId, LedgerId, Name, UnixMicros};
use writ_schemas::intent::Intent;
use writ_schemas::policy::{Bundle, Cost};
use writ_schemas::strict;

const LEDGER: LedgerId = LedgerId([0x4c; 16]);
const KEY: KeyId = KeyId([9; 32]);
const NOW: UnixMicros = UnixMicros(1_790_000_000_000_000);

/// Rules that are asked; a bundle may have thousands.
const RULES_ASKED: usize = 16;

/// Holds the property against an input.
pub fn check(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let bundle = parts.next().unwrap_or_default();
    let args = parts.next().unwrap_or_default();
    let Some(bundle) = strict::parse(bundle, DOCUMENT_BYTES_MAX).ok().or_else(|| around(bundle)) else { return };
    let Ok(policy) = Policy::compile(&bundle) else { return };

    let canonical = canonical::bytes(&bundle).expect("it compiled");
    let again: Bundle = strict::parse(&canonical, DOCUMENT_BYTES_MAX).expect("what is canonical can be read");
    assert_eq!(Policy::compile(&again).map(|policy| policy.digest()), Ok(policy.digest()), "one bundle, one digest");

    let state = state_under(&bundle);
    let args: Map<String, Value> = strict::parse(args, DOCUMENT_BYTES_MAX).unwrap_or_default();
    for rule in bundle.rules.iter().take(RULES_ASKED) {
        check_intent(&state, &rule.action, args.clone());
        for key in rule.spends.each().iter().filter_map(|spend| match &spend.cost {
            Cost::Arg(key) => Some(key),
            Cost::Fixed(_) => None,
        }) {
            for cost in [json!(0), json!(1), json!((1_u64 << 53) - 1), json!(-1), json!(0.5), json!("1"), json!(null)] {
                let mut args = args.clone();
                args.insert(key.clone(), cost);
                check_intent(&state, &rule.action, args);
            }
        }
    }
    check_intent(&state, &name("no.rule"), args);
}

/// A bundle that asks for an expression.
fn around(expression: &[u8]) -> Option<Bundle> {
    let expression = std::str::from_utf8(expression).ok()?;
    let off = json!({"disabled": "not now"});
    let rule = json!({"action": "pay", "requires": {"requirement": "r"}, "spends": {"exempt": "free"}, "connector": "e",
                      "window_us": 1});
    let bundle = json!({
        "name": "p", "rules": [rule], "requirements": {"r": {"expression": expression}},
        "gates": {"temporal": off, "proof": "enforced", "budget": "enforced", "escalation": off},
        "connectors": {"e": {"kind": "echo", "output_schema": {}}},
    });
    serde_json::from_value(bundle).ok()
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn signed<T: Document>(value: T) -> Signed<T> {
    let signature = Signature { key: KEY, bytes: [1; 64] };
    let payload = Signed::unsigned(value).expect("can be written").payload().to_vec();
    Signed::from_parts(payload, vec![signature]).expect("can be read")
}

/// What every intent shows.
fn evidence() -> Signed<Evidence> {
    signed(Evidence {
        artifact: None,
        effect: None,
        expires_at: NOW.plus(1_000_000),
        issued_at: NOW,
        kind: name("ticket"),
        ledger: LEDGER,
        tenant: name("acme"),
    })
}

/// A ledger with this policy in force, one trusted key and a piece of evidence.
fn state_under(bundle: &Bundle) -> State {
    let genesis = Genesis {
        ledger: LEDGER,
        origin: "writ.example/ledger/4c".to_owned(),
        operators: vec![KEY],
        quorum: 1,
        decision_key: KEY,
        checkpoint_key: KEY,
        signing_mode: SigningMode::Each,
        created_at: NOW,
    };
    let roles = [name("agent"), name("approver")].into();
    let trust = Statement::TrustKey { key: KEY, tenant: name("acme"), principal: name("agent-7"), roles };
    let act = |statement| signed(Act { ledger: LEDGER, nonce: name("n"), expires_at: NOW.plus(1_000_000), statement });
    let events = [
        Event::LedgerOpened(signed(genesis)),
        Event::KeyTrusted(act(trust)),
        Event::PolicyActivated(act(Statement::ActivatePolicy { bundle: bundle.clone() })),
        Event::EvidenceRegistered(evidence()),
    ];
    let mut state = State::default();
    for event in events {
        state.apply(state.next(), NOW, &event).expect("an accepted policy comes in force");
    }
    state
}

fn check_intent(state: &State, action: &Name, args: Map<String, Value>) {
    let intent = Intent {
        tenant: name("acme"),
        id: name("i-1"),
        principal: name("agent-7"),
        session: None,
        action: action.clone(),
        args,
        evidence: vec![Digest([9; 32]), evidence().digest()],
        expires_at: NOW.plus(60_000_000),
    };
    // Args of the greatest depth are beyond it inside of an intent.
    let Ok(unsigned) = Signed::unsigned(intent) else { return };
    let signature = Signature { key: KEY, bytes: [1; 64] };
    let intent = Signed::from_parts(unsigned.payload().to_vec(), vec![signature]).expect("can be read");
    let decided = || {
        let decision = decide(state, LEDGER, &intent, KEY, state.next(), NOW, &mut ());
        assert_eq!(decision.verdict == Verdict::Pass, decision.execution.is_some());
        document(decision).expect("a decision can be written").payload().to_vec()
    };
    assert_eq!(decided(), decided());
    follow(state.clone(), intent);
}

/// What the kernel decides it can fold in; who is asked and says nothing is refused when the deadline passes.
fn follow(mut state: State, intent: Signed<Intent>) {
    let decision = decide(&state, LEDGER, &intent, KEY, state.next(), NOW, &mut ());
    let asks = decision.verdict == Verdict::Escalate;
    let admitted = IntentAdmitted { intent, source: Source::Local, trace: None };
    state.apply(state.next(), NOW, &Event::IntentAdmitted(admitted)).expect("an intent follows anything");
    state.apply(state.next(), NOW, &Event::DecisionMade(signed(decision))).expect("the decision of this intent");
    let later = NOW.plus(60_000_000);
    assert_eq!(state.due(later).is_some(), asks, "it waits until it expires, at most");
    let Some(due) = state.due(later) else { return };
    state.apply(state.next(), later, &Event::DeadlinePassed(due)).expect("it is due");
    let (_, again) = decide_again(&state, LEDGER, later, &mut ()).expect("it must be decided again");
    assert_eq!((again.round, again.verdict), (1, Verdict::Fail));
    state.apply(state.next(), later, &Event::DecisionMade(signed(again))).expect("the decision of this round");
    assert_eq!((state.due(later), state.escalated().count()), (None, 0));
}
