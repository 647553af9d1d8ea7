//! The gates one by one, each at its limit and on either side of it, and the decision that follows.

use serde_json::{Value, json};

use writ_kernel::decide::{INPUT_LEN_MAX, Identity, claims_id, decide, identify, judge};
use writ_schemas::act::Statement;
use writ_schemas::decision::{Answer, ApprovalFact, Decision, Facts, Gate, KeyFact, Verdict};
use writ_schemas::dsse::Signed;
use writ_schemas::errors::Code;
use writ_schemas::ids::{Digest, KeyId, LedgerId};
use writ_schemas::intent::{EXPIRY_AHEAD_MAX, Intent};
use writ_schemas::receipt::Status;

use crate::desk::{
    ANN, BOB, Desk, EVE, HOUR, LEDGER, START, ZED, args, ending, freeze, intent, intent_of_beta, name, payment, policy,
    rule_of, signed, success, thaw, trust,
};

const PASS: (Verdict, Code) = (Verdict::Pass, Code::Ok);

fn fail(code: Code) -> (Verdict, Code) {
    (Verdict::Fail, code)
}

fn note() -> Intent {
    intent("i-1", "note")
}

#[test]
fn what_is_frozen_is_refused_and_nothing_else() {
    let mut desk = Desk::furnished();
    desk.administer(trust(ZED, "acme", "zed", &[]));
    let answers = |desk: &Desk| {
        let zed = Intent { principal: name("zed"), ..note() };
        let of = |intent, key| desk.judge(&signed(intent, &[key])).code == Code::Frozen;
        [of(note(), ANN), of(zed, ZED), of(intent_of_beta("i-1", "note"), EVE)]
    };
    assert_eq!(answers(&desk), [false; 3]);
    for (tenant, principal, frozen) in [
        (None, None, [true, true, true]),
        (Some("acme"), None, [true, true, false]),
        (Some("acme"), Some("ann"), [true, false, false]),
        (Some("beta"), Some("ann"), [false, false, false]),
        (Some("beta"), None, [false, false, true]),
    ] {
        desk.administer(freeze(tenant, principal));
        assert_eq!(answers(&desk), frozen, "{tenant:?} {principal:?}");
        let ann = desk.state.is_frozen(&name("acme"), &name("ann"));
        assert_eq!((ann, desk.judge(&signed(note(), &[ANN])).facts.frozen), (frozen[0], frozen[0]));
        desk.later(1);
        desk.administer(thaw(tenant, principal));
        assert_eq!(answers(&desk), [false; 3], "thawed {tenant:?} {principal:?}");
    }
}

#[test]
fn a_key_asks_for_the_tenant_and_principal_for_whom_it_is_trusted() {
    let mut desk = Desk::furnished();
    let answer = |desk: &Desk, intent: Intent, key| {
        let decision = desk.judge(&signed(intent, &[key]));
        (decision.code, decision.facts.key.is_some())
    };
    assert_eq!(answer(&desk, note(), ANN), (Code::Ok, true));
    assert_eq!(answer(&desk, note(), ZED), (Code::KeyUnknown, false));
    assert_eq!(answer(&desk, Intent { tenant: name("beta"), ..note() }, ANN), (Code::TenantMismatch, true));
    assert_eq!(answer(&desk, Intent { principal: name("bob"), ..note() }, ANN), (Code::TenantMismatch, true));
    let seq = desk.administer(Statement::RevokeKey { key: ANN });
    assert_eq!(answer(&desk, note(), ANN), (Code::KeyRevoked, true));
    let fact = KeyFact { principal: name("ann"), revoked: Some(seq), tenant: name("acme") };
    assert_eq!(desk.judge(&signed(note(), &[ANN])).facts.key, Some(fact));
}

#[test]
fn a_decision_tells_a_stranger_nothing_of_the_tenant() {
    let mut desk = Desk::furnished();
    desk.pass(payment("i-1", 10));
    let of = |key| desk.judge(&signed(Intent { evidence: vec![Digest([9; 32])], ..payment("i-2", 1) }, &[key])).facts;
    assert_eq!((of(ANN).budget.len(), of(ANN).evidence.len()), (1, 1));
    assert_eq!(of(ZED), Facts::default());
}

#[test]
fn an_intent_expires_later_than_now_and_in_seven_days_at_most() {
    let desk = Desk::furnished();
    let until = |micros| Intent { expires_at: START.plus(micros), ..note() };
    assert_eq!(desk.answer(until(0)), fail(Code::IntentExpired));
    assert_eq!(desk.answer(until(1)), PASS);
    assert_eq!(desk.answer(until(EXPIRY_AHEAD_MAX)), PASS);
    assert_eq!(desk.answer(until(EXPIRY_AHEAD_MAX + 1)), fail(Code::ExpiryTooFar));
}

#[test]
fn nothing_passes_without_a_policy_or_without_a_rule() {
    let mut desk = Desk::opened();
    desk.administer(trust(ANN, "acme", "ann", &[]));
    assert_eq!(desk.answer(note()), fail(Code::PolicyNone));
    assert_eq!(desk.judge(&signed(note(), &[ANN])).policy, None);
    let desk = Desk::furnished();
    assert_eq!(desk.answer(intent("i-1", "delete-everything")), fail(Code::PolicyNoRule));
    let in_force = desk.state.policy().map(|policy| policy.digest());
    assert_eq!(desk.judge(&signed(note(), &[ANN])).policy, in_force);
}

#[test]
fn args_have_the_shape_that_the_connector_takes_and_64_kib_at_most() {
    let mut policy = policy();
    policy["connectors"]["web"]["input_schema"] = json!({"type": "object", "required": ["text"]});
    let desk = Desk::under(policy);
    let call = |of: Value| Intent { args: args(of), ..intent("i-1", "call") };
    assert_eq!(desk.answer(call(json!({"text": "x"}))), PASS);
    assert_eq!(desk.answer(call(json!({"txet": "x"}))), fail(Code::InputSchema));
    let room = INPUT_LEN_MAX - call(json!({"text": ""})).effect().expect("JSON").len();
    assert_eq!(INPUT_LEN_MAX, 65_536);
    let long = |bytes| json!({"text": "x".repeat(bytes)});
    assert_eq!(desk.answer(call(long(room))), PASS);
    assert_eq!(desk.answer(call(long(room + 1))), fail(Code::InputSchema));
    let free = Intent { args: args(long(room + 100)), ..note() };
    assert_eq!(desk.answer(free), PASS, "nothing is pinned for this connector");
}

#[test]
fn a_requirement_for_a_receipt_is_met_while_its_session_lasts() {
    let mut policy = policy();
    rule_of(&mut policy, "note")["requires"] = json!({"requirement": "paid"});
    policy["requirements"] = json!({"paid": {"receipt": {"action": "pay"}}});
    let mut desk = Desk::under(policy);
    let within = |session: &str, intent: Intent| Intent { session: Some(name(session)), ..intent };
    let later = |session| Intent { expires_at: START.plus(2 * HOUR), ..within(session, note()) };
    assert_eq!(desk.answer(later("s-1")), fail(Code::ProofMissing));
    let paid = desk.start(within("s-1", payment("i-2", 5))).seq;
    assert_eq!(desk.answer(later("s-1")), fail(Code::ProofMissing), "it has not ended");
    desk.end(&success(paid));
    let receipts = desk.judge(&signed(later("s-1"), &[ANN])).facts.receipts;
    assert_eq!(receipts.len(), 1);
    assert_eq!((receipts[0].action.as_str(), receipts[0].seq.map(|seq| seq.0)), ("pay", Some(desk.state.next().0 - 1)));
    assert_eq!(desk.answer(later("s-2")), fail(Code::ProofMissing), "in another session");
    assert_eq!(desk.answer(note()), fail(Code::ProofMissing), "in no session");
    desk.now = START.plus(HOUR - 1);
    assert_eq!(desk.answer(later("s-1")), PASS);
    desk.now = START.plus(HOUR);
    assert_eq!(desk.answer(later("s-1")), fail(Code::ProofMissing), "its intents have expired");
}

#[test]
fn only_a_budget_that_is_enforced_is_reserved() {
    let reserved = |policy| {
        let decision = Desk::under(policy).judge(&signed(payment("i-1", 7), &[ANN]));
        decision.execution.expect("it passes").reservation.iter().map(|it| it.amount).collect::<Vec<_>>()
    };
    assert_eq!(reserved(policy()), [7]);
    let mut free = policy();
    free["gates"]["budget"] = json!({"disabled": "a holiday"});
    assert!(reserved(free).is_empty());
}

#[test]
fn the_first_gate_that_refuses_decides_and_those_after_it_are_not_asked() {
    let mut desk = Desk::furnished();
    let answers = |desk: &Desk, intent: Intent| -> Vec<(Gate, Answer)> {
        let gates = desk.judge(&signed(intent, &[ANN])).gates;
        gates.into_iter().map(|it| (it.gate, it.answer)).collect()
    };
    let why = "not needed here".to_owned();
    let (disabled, exempt) = (Answer::Disabled(why.clone()), Answer::Exempt(why));
    let first = [(Gate::Freeze, Answer::Passed), (Gate::Trust, Answer::Passed), (Gate::Envelope, Answer::Passed)];
    let of = |rest: [Answer; 5]| {
        let gates = [Gate::Policy, Gate::Temporal, Gate::Proof, Gate::Budget, Gate::Escalation];
        first.iter().cloned().chain(gates.into_iter().zip(rest)).collect::<Vec<_>>()
    };
    let passed = || Answer::Passed;
    assert_eq!(
        answers(&desk, payment("i-1", 1000)),
        of([passed(), disabled.clone(), exempt.clone(), passed(), exempt.clone()])
    );
    assert_eq!(
        answers(&desk, payment("i-1", 1001)),
        of([passed(), disabled.clone(), exempt.clone(), Answer::Refused, Answer::NotReached])
    );
    assert_eq!(answers(&desk, intent("i-1", "ask")), of([passed(), disabled, exempt.clone(), exempt, Answer::Asks]));
    desk.administer(freeze(None, None));
    let frozen = answers(&desk, note());
    assert_eq!(frozen[0], (Gate::Freeze, Answer::Refused));
    assert!(frozen[1..].iter().all(|(_, answer)| *answer == Answer::NotReached));
}

#[test]
fn a_decision_says_what_it_was_made_from() {
    let mut desk = Desk::furnished();
    desk.later(3);
    let asked = signed(payment("i-1", 7), &[ANN]);
    let decision = desk.judge(&asked);
    assert_eq!((decision.ledger, decision.intent_digest, decision.signer), (LEDGER, asked.digest(), ANN));
    assert_eq!((decision.tenant.as_str(), decision.id.as_str()), ("acme", "i-1"));
    assert_eq!((decision.intent_seq, decision.now, decision.round), (desk.state.next(), desk.now, 0));
    assert_eq!((decision.because.as_str(), &decision.asks), ("", &None));
    let execution = decision.execution.expect("it passes");
    assert_eq!(execution.effect_digest, asked.value().effect_digest().expect("JSON"));
    assert_eq!((execution.connector.as_str(), execution.not_before), ("echo", desk.now));
    assert_eq!(execution.not_after, START.plus(HOUR), "the intent's expiry cuts the window");
    let long = Intent { expires_at: START.plus(2 * HOUR), ..payment("i-1", 7) };
    let window = desk.judge(&signed(long, &[ANN])).execution.expect("it passes").not_after;
    assert_eq!(window, desk.now.plus(HOUR));
}

#[test]
fn every_run_has_an_idempotency_key_of_its_own() {
    let desk = Desk::furnished();
    let key = |decision: Decision| decision.execution.expect("it passes").idempotency_key;
    let of = |intent| key(desk.judge(&signed(intent, &[ANN])));
    let of_beta = key(desk.judge(&signed(intent_of_beta("i-1", "note"), &[EVE])));
    let elsewhere = LedgerId([8; 16]);
    let elsewhere = decide(&desk.state, elsewhere, &signed(note(), &[ANN]), ANN, desk.state.next(), desk.now, &mut ());
    let other = Intent { args: args(json!({"a": 1})), ..note() };
    let keys = [of(note()), of(intent("i-2", "note")), of(intent("i-1", "call")), of(other), of_beta, key(elsewhere)];
    for (at, one) in keys.iter().enumerate() {
        assert!(!keys[..at].contains(one), "{at}");
    }
    let told = Intent { session: Some(name("s")), expires_at: START.plus(9), ..note() };
    assert_eq!(of(told), of(note()), "the same effect under the same id");
}

#[test]
fn an_id_is_claimed_by_what_got_past_trust_and_envelope() {
    let desk = Desk::furnished();
    for (what, intent, key, claims) in [
        ("a pass", note(), ANN, true),
        ("no rule", intent("i-1", "delete-everything"), ANN, true),
        ("over budget", payment("i-1", 1001), ANN, true),
        ("asks", intent("i-1", "ask"), ANN, true),
        ("a stranger", note(), ZED, false),
        ("another tenant's", intent_of_beta("i-1", "note"), ANN, false),
        ("expired", Intent { expires_at: START, ..note() }, ANN, false),
    ] {
        let mut desk = desk.clone();
        let (tenant, id) = (intent.tenant.clone(), intent.id.clone());
        let decided = desk.submit(intent, key);
        assert_eq!(claims_id(&decided.decision), claims, "{what}");
        assert_eq!(desk.state.decision_of(&tenant, &id), claims.then_some(decided.seq), "{what}");
    }
}

#[test]
fn an_intent_that_is_known_is_answered_as_before_until_it_expires_and_has_ended() {
    let mut desk = Desk::furnished();
    let ask = |intent: Intent| signed(intent, &[ANN]);
    let known = |desk: &Desk, intent: &Signed<Intent>| identify(&desk.state, intent, desk.now);
    assert_eq!(known(&desk, &ask(note())), Identity::New);
    let seq = desk.pass(note()).seq;
    assert_eq!(known(&desk, &ask(note())), Identity::Known(seq));
    assert_eq!(known(&desk, &signed(note(), &[BOB])), Identity::Known(seq), "whoever signs the same bytes");
    assert_eq!(known(&desk, &ask(intent("i-1", "call"))), Identity::Reused);
    assert_eq!(
        known(&desk, &signed(intent("i-1", "call"), &[BOB])),
        Identity::New,
        "in another's name: the gates say no"
    );
    assert_eq!(known(&desk, &ask(intent("i-2", "note"))), Identity::New);
    assert_eq!(known(&desk, &ask(intent_of_beta("i-1", "note"))), Identity::New);
    desk.now = START.plus(HOUR - 1);
    assert_eq!(known(&desk, &ask(note())), Identity::Known(seq));
    desk.now = START.plus(HOUR);
    assert_eq!(known(&desk, &ask(note())), Identity::Known(seq), "its execution is open");
    let later = ask(Intent { expires_at: START.plus(3 * HOUR), ..note() });
    assert_eq!(known(&desk, &later), Identity::Reused);
    desk.end(&ending(seq, Status::Expired, Code::WindowClosed));
    assert_eq!(known(&desk, &later), Identity::New);

    let mut desk = Desk::furnished();
    let seq = desk.start(note()).seq;
    desk.end(&success(seq));
    assert_eq!(known(&desk, &ask(note())), Identity::Known(seq), "its execution has ended, and it has not expired");
    desk.now = START.plus(HOUR);
    assert_eq!(known(&desk, &later), Identity::New, "also where no entry has come since");
}

/// Who is trusted by nobody, and who comes too late, learns nothing of an id, and gets no entry.
#[test]
fn a_stranger_is_told_that_and_nothing_of_the_id() {
    let mut desk = Desk::furnished();
    let stranger =
        |desk: &Desk, intent: Intent, key: KeyId| match identify(&desk.state, &signed(intent, &[key]), desk.now) {
            Identity::Stranger(refusal) => Some(refusal.code),
            Identity::New | Identity::Known(_) | Identity::Reused => None,
        };
    let late = || Intent { expires_at: START, ..intent("i-1", "call") };
    for _ in ["a free id", "one that is taken"] {
        assert_eq!(stranger(&desk, intent("i-1", "call"), ZED), Some(Code::KeyUnknown));
        assert_eq!(stranger(&desk, late(), ANN), Some(Code::IntentExpired));
        if desk.state.decision_of(&note().tenant, &note().id).is_none() {
            desk.pass(note());
        }
    }
    assert_eq!(stranger(&desk, intent_of_beta("i-9", "note"), ANN), None, "trusted, but for another tenant");
    desk.administer(Statement::RevokeKey { key: ANN });
    assert_eq!(stranger(&desk, intent("i-2", "note"), ANN), Some(Code::KeyRevoked));
}

#[test]
fn a_policy_author_asks_under_facts_from_anywhere() {
    let desk = Desk::furnished();
    let key = KeyFact { principal: name("ann"), revoked: None, tenant: name("acme") };
    let facts = Facts { key: Some(key), waiting: Some(0), ..Facts::default() };
    let policy = desk.state.policy().map(|policy| &**policy);
    let of = |intent: &Intent, facts: &Facts| {
        let judged = judge(policy, intent, ANN, facts, START);
        assert_eq!(judged.gates.len(), 8);
        (judged.verdict, judged.code, judged.because)
    };
    assert_eq!(of(&note(), &facts), (Verdict::Pass, Code::Ok, String::new()));
    assert_eq!(of(&note(), &Facts::default()).1, Code::KeyUnknown);
    assert_eq!(judge(None, &note(), ANN, &facts, START).code, Code::PolicyNone);
    let ask = intent("i-1", "ask");
    assert_eq!(of(&ask, &facts).0, Verdict::Escalate);
    // Who was asked once is not asked whether there is room to wait.
    let approval = ApprovalFact { deadline: START, passed: false, votes: Vec::new() };
    let asked = Facts { approval: Some(Box::new(approval)), waiting: None, ..facts.clone() };
    assert_eq!(of(&ask, &asked), (Verdict::Escalate, Code::ApprovalNeeded, "0 of 2 in role manager".to_owned()));
    assert_eq!(of(&ask, &Facts { waiting: None, ..facts }).1, Code::ApprovalsFull);
}
