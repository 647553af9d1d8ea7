//! Which evidence is registered, and what a decision is told of it.

use serde_json::json;

use writ_kernel::apply::Fault;
use writ_kernel::execution::Ending;
use writ_kernel::state::State;
use writ_kernel::{admission, execution};
use writ_schemas::act::Statement;
use writ_schemas::decision::{EvidenceFact, Verdict};
use writ_schemas::errors::Code;
use writ_schemas::event::Event;
use writ_schemas::evidence::{Evidence, VALIDITY_MAX};
use writ_schemas::ids::{Digest, KeyId, LedgerId, Name, Seq};
use writ_schemas::intent::{EVIDENCE_MAX, Intent};
use writ_schemas::receipt::Status;

use crate::desk::{
    ANN, BOB, CYD, Desk, EVE, HOUR, START, ZED, approve, args, ending, intent, name, policy, rule_of, scan, signed,
    success, trust,
};

/// Whether evidence by these keys would be registered now, and not for the second time.
fn would(desk: &Desk, evidence: Evidence, keys: &[KeyId]) -> Result<(), Code> {
    let event = admission::evidence(&desk.state, &signed(evidence, keys), desk.now).map_err(|refusal| refusal.code)?;
    event.map(|_| ()).ok_or(Code::Ok)
}

/// Bob is not trusted any more.
fn without_bob(desk: &mut Desk) {
    desk.administer(Statement::RevokeKey { key: BOB });
}

#[test]
fn evidence_is_for_this_ledger_in_time_and_by_one_key_of_its_tenant() {
    let mut desk = Desk::furnished();
    let until = |micros: u64| Evidence { expires_at: START.plus(micros), ..scan() };
    let beta = || Evidence { tenant: name("beta"), ..scan() };
    let cases: [(&str, Evidence, &[KeyId], Result<(), Code>); 10] = [
        ("as it should be", scan(), &[BOB], Ok(())),
        ("of its own tenant", beta(), &[EVE], Ok(())),
        ("of another ledger", Evidence { ledger: LedgerId([8; 16]), ..scan() }, &[BOB], Err(Code::LedgerMismatch)),
        ("not signed", scan(), &[], Err(Code::EvidenceInvalid)),
        ("signed by two", scan(), &[BOB, CYD], Err(Code::EvidenceInvalid)),
        ("over now", until(0), &[BOB], Err(Code::EvidenceInvalid)),
        ("as far ahead as can be", until(VALIDITY_MAX), &[BOB], Ok(())),
        ("too far ahead", until(VALIDITY_MAX + 1), &[BOB], Err(Code::EvidenceInvalid)),
        ("by a stranger", scan(), &[ZED], Err(Code::EvidenceInvalid)),
        ("of another tenant", beta(), &[BOB], Err(Code::EvidenceInvalid)),
    ];
    for (what, evidence, keys, expected) in cases {
        assert_eq!(would(&desk, evidence, keys), expected, "{what}");
    }
    without_bob(&mut desk);
    assert_eq!(would(&desk, scan(), &[BOB]), Err(Code::EvidenceInvalid), "its signer is revoked");
    let unopened = Desk { state: State::default(), now: START };
    assert_eq!(would(&unopened, scan(), &[BOB]), Err(Code::LedgerMismatch));
}

#[test]
fn one_key_registers_a_payload_once() {
    let mut desk = Desk::furnished();
    desk.show(scan(), BOB);
    assert_eq!(would(&desk, scan(), &[BOB]), Err(Code::Ok), "nothing is to be recorded");
    assert_eq!(would(&desk, scan(), &[CYD]), Ok(()));
    assert_eq!(would(&desk, Evidence { kind: name("ticket"), ..scan() }, &[BOB]), Ok(()));
}

#[test]
fn eight_keys_sign_one_payload_at_most() {
    let mut desk = Desk::furnished();
    let keys: Vec<KeyId> = [32, 34, 35, 36, 37, 40, 42, 44, 46].map(|byte| KeyId([byte; 32])).to_vec();
    for key in &keys {
        desk.administer(trust(*key, "acme", "scanner", &[]));
    }
    let digest = desk.show(scan(), keys[0]);
    for key in &keys[1..8] {
        assert_eq!(would(&desk, scan(), &[*key]), Ok(()));
        desk.show(scan(), *key);
    }
    assert_eq!(would(&desk, scan(), &[keys[8]]), Err(Code::EvidenceInvalid));
    let named = Intent { evidence: vec![digest], ..intent("i-1", "note") };
    assert_eq!(desk.judge(&signed(named, &[ANN])).facts.evidence.len(), 8, "a fact for each");
}

/// What a decision about `note` is told of this evidence.
fn told(desk: &Desk, evidence: Vec<Digest>) -> Vec<EvidenceFact> {
    desk.judge(&signed(Intent { evidence, ..intent("i-1", "note") }, &[ANN])).facts.evidence
}

#[test]
fn evidence_is_known_in_its_tenant_until_it_ends() {
    let mut desk = Desk::furnished();
    let effect = Some(Digest([9; 32]));
    let ours = desk.show(Evidence { effect, expires_at: START.plus(HOUR / 2), ..scan() }, BOB);
    let theirs = desk.show(Evidence { tenant: name("beta"), ..scan() }, EVE);
    let nobodys = Digest([8; 32]);
    let facts = told(&desk, vec![nobodys, ours, theirs]);
    let digests: Vec<Digest> = facts.iter().map(|fact| fact.digest).collect();
    assert_eq!(digests, [nobodys, ours, theirs], "in the order in which the intent names it");
    assert_eq!((&facts[0].known, &facts[2].known), (&None, &None));
    let known = facts[1].known.as_ref().expect("it is registered");
    assert_eq!((known.kind.as_str(), known.signer, known.seq.0), ("scan", BOB, desk.state.next().0 - 2));
    assert_eq!((known.effect, known.expires_at), (effect, START.plus(HOUR / 2)));
    assert_eq!((known.issued_at, &known.principal), (None, &None), "nobody asks");

    desk.now = START.plus(HOUR / 2 - 1);
    assert!(told(&desk, vec![ours])[0].known.is_some());
    desk.now = START.plus(HOUR / 2);
    assert!(told(&desk, vec![ours])[0].known.is_none(), "its end is no part of it");
}

#[test]
fn the_roles_of_evidence_are_those_that_its_signer_has_now_in_its_tenant() {
    let mut desk = Desk::furnished();
    let digest = desk.show(scan(), BOB);
    let roles = |desk: &Desk| -> Vec<Name> {
        let facts = told(desk, vec![digest]);
        facts[0].known.as_ref().expect("it is registered").roles.iter().cloned().collect()
    };
    assert_eq!(roles(&desk), [name("manager")]);
    let mut less = desk.clone();
    less.administer(trust(BOB, "acme", "bob", &["agent"]));
    assert_eq!(roles(&less), [name("agent")], "its signer has other roles by now");
    without_bob(&mut desk);
    assert!(roles(&desk).is_empty(), "its signer is revoked");
}

#[test]
fn a_decision_is_told_when_evidence_was_issued_and_by_whom_where_the_rule_asks() {
    let mut policy = policy();
    rule_of(&mut policy, "note")["requires"] = json!({"requirement": "fresh"});
    rule_of(&mut policy, "pay")["requires"] = json!({"requirement": "others"});
    policy["requirements"] = json!({
        "fresh": {"evidence": {"kind": "scan", "role": "manager", "about_effect": false, "max_age_us": HOUR}},
        "others": {"evidence": {"kind": "scan", "role": "manager", "about_effect": false, "not_submitter": true}},
    });
    let mut desk = Desk::under(policy);
    let evidence = vec![desk.show(scan(), BOB)];
    for (action, issued_at, principal) in
        [("note", Some(START), None), ("pay", None, Some(name("bob"))), ("ask", None, None)]
    {
        let decision = desk.judge(&signed(Intent { evidence: evidence.clone(), ..intent("i-1", action) }, &[ANN]));
        let known = decision.facts.evidence[0].known.clone().expect("it is registered");
        assert_eq!((known.issued_at, known.principal), (issued_at, principal), "{action}");
    }
}

#[test]
fn a_requirement_is_met_by_what_is_shown_and_nothing_else() {
    let mut policy = policy();
    rule_of(&mut policy, "note")["requires"] = json!({"requirement": "scanned"});
    rule_of(&mut policy, "ask")["requires"] = json!({"requirement": "odd"});
    policy["requirements"] = json!({
        "scanned": {"evidence": {"kind": "scan", "role": "manager", "about_effect": false}},
        "odd": {"expression": "intent.args.cents > 5"},
    });
    let mut desk = Desk::under(policy);
    assert_eq!(desk.answer(intent("i-1", "note")), (Verdict::Fail, Code::ProofMissing));
    let evidence = vec![desk.show(scan(), BOB)];
    let shown = Intent { evidence, ..intent("i-1", "note") };
    assert_eq!(desk.answer(shown.clone()), (Verdict::Pass, Code::Ok));
    assert_eq!(desk.answer(intent("i-2", "ask")), (Verdict::Fail, Code::ProofError), "there are no cents to tell");
    without_bob(&mut desk);
    assert_eq!(desk.answer(shown), (Verdict::Fail, Code::ProofMissing));
}

#[test]
fn an_intent_names_64_pieces_of_evidence_at_most() {
    let desk = Desk::furnished();
    let named = |count: usize| {
        let evidence = (0..count).map(|number| Digest::of(&number.to_le_bytes())).collect();
        Intent { evidence, ..intent("i-1", "note") }
    };
    assert_eq!(desk.answer(named(EVIDENCE_MAX)), (Verdict::Pass, Code::Ok));
    assert_eq!(desk.answer(named(EVIDENCE_MAX + 1)), (Verdict::Fail, Code::Schema));
    assert_eq!(desk.judge(&signed(named(EVIDENCE_MAX + 1), &[ANN])).facts.evidence.len(), EVIDENCE_MAX);
}

/// A ledger in which a note needs a scan that was not used before, and so does a question; a payment needs any.
fn desk_of_once() -> Desk {
    let mut policy = policy();
    let scan =
        |once: bool| json!({"evidence": {"kind": "scan", "role": "manager", "about_effect": false, "once": once}});
    policy["requirements"] = json!({"once": scan(true), "often": scan(false)});
    rule_of(&mut policy, "note")["requires"] = json!({"requirement": "once"});
    rule_of(&mut policy, "ask")["requires"] = json!({"requirement": "once"});
    rule_of(&mut policy, "pay")["requires"] = json!({"requirement": "often"});
    Desk::under(policy)
}

fn showing(evidence: Digest, id: &str, action: &str) -> Intent {
    let args = args(json!({"cents": 1}));
    Intent { evidence: vec![evidence], args, ..intent(id, action) }
}

const MISSING: (Verdict, Code) = (Verdict::Fail, Code::ProofMissing);
const PASSES: (Verdict, Code) = (Verdict::Pass, Code::Ok);

#[test]
fn a_pass_uses_evidence_up_and_only_what_was_not_done_gives_it_back() {
    let drift =
        |seq| Ending { output: Some(Digest::of(b"{}")), ..ending(seq, Status::Failed, Code::ConnectorContractDrift) };
    type How = fn(&mut Desk, Seq);
    let endings: [(&str, How, bool); 8] = [
        ("it is under way", |desk, seq| desk.dispatch(seq), false),
        ("it never began", |desk, seq| _ = desk.end(&ending(seq, Status::Expired, Code::WindowClosed)), true),
        (
            "it was done",
            |desk, seq| {
                desk.dispatch(seq);
                desk.end(&success(seq));
            },
            false,
        ),
        (
            "it was refused",
            |desk, seq| {
                desk.dispatch(seq);
                desk.end(&ending(seq, Status::Failed, Code::ConnectorRefused));
            },
            true,
        ),
        (
            "nobody knows",
            |desk, seq| {
                desk.dispatch(seq);
                desk.lose(seq);
            },
            false,
        ),
        (
            "it was found out to be done",
            |desk, seq| {
                desk.dispatch(seq);
                let receipt = desk.lose(seq);
                desk.administer(Statement::Reconcile { receipt, applied: true });
            },
            false,
        ),
        (
            "it was found out not to be",
            |desk, seq| {
                desk.dispatch(seq);
                let receipt = desk.lose(seq);
                desk.administer(Statement::Reconcile { receipt, applied: false });
            },
            true,
        ),
        ("it came to nothing that can be used", |_, _| {}, false),
    ];
    for (what, how, is_back) in endings {
        let mut desk = desk_of_once();
        let shown = desk.show(scan(), BOB);
        let first = desk.pass(showing(shown, "i-1", "note"));
        assert_eq!(first.decision.execution.expect("it passes").uses, [shown]);
        if what.starts_with("it came") {
            desk.dispatch(first.seq);
            desk.end(&drift(first.seq));
        }
        how(&mut desk, first.seq);
        let again = desk.judge(&signed(showing(shown, "i-2", "note"), &[ANN]));
        let known = again.facts.evidence[0].known.clone().expect("it is registered");
        assert_eq!(known.used, Some(first.seq).filter(|_| !is_back), "{what}");
        let expected = if is_back { PASSES } else { MISSING };
        assert_eq!((again.verdict, again.code), expected, "{what}");
        if !is_back {
            assert!(again.because.contains(&format!("used up by entry {}", first.seq)), "{}", again.because);
        }
    }
}

#[test]
fn only_who_asks_for_it_once_uses_evidence_up_and_minds() {
    let mut desk = desk_of_once();
    let shown = desk.show(scan(), BOB);
    let often = desk.pass(showing(shown, "i-1", "pay")).decision;
    assert_eq!(
        (often.execution.expect("it passes").uses, often.facts.evidence[0].known.clone().expect("known").used),
        (vec![], None)
    );
    assert_eq!(
        desk.submit(showing(shown, "i-2", "ask"), ANN).decision.code,
        Code::ApprovalNeeded,
        "it is not used by asking"
    );
    desk.pass(showing(shown, "i-3", "note"));
    let often = desk.pass(showing(shown, "i-4", "pay")).decision;
    assert_eq!(often.facts.evidence[0].known.clone().expect("known").used, None, "nobody asks");
    // What waits is decided again with what is there by then.
    let waits = desk.state.escalated().next().expect("it waits").digest();
    desk.does(approve(waits, true), &[BOB]);
    desk.does(approve(waits, true), &[CYD]);
    assert_eq!(desk.again().expect("it is decided").answer(), MISSING);
}

/// The same statement, whoever signs it.
#[test]
fn what_is_used_up_does_not_come_back_by_another_signature_but_is_forgotten_with_the_evidence() {
    let mut desk = desk_of_once();
    let shown = desk.show(scan(), BOB);
    let first = desk.pass(showing(shown, "i-1", "note")).seq;
    desk.show(scan(), CYD);
    assert_eq!(desk.answer(showing(shown, "i-2", "note")), MISSING);
    let weight = desk.state.weight();
    desk.end(&ending(first, Status::Expired, Code::WindowClosed));
    assert_eq!(desk.state.weight(), weight - 2, "an execution, and what it had used up");

    let mut desk = desk_of_once();
    let shown = desk.show(Evidence { expires_at: START.plus(HOUR / 2), ..scan() }, BOB);
    let first = desk.pass(showing(shown, "i-1", "note")).seq;
    desk.now = START.plus(HOUR / 2);
    let weight = desk.state.weight();
    desk.record(Event::StateHashed(Digest([9; 32])));
    assert_eq!(desk.state.weight(), weight - 2, "the evidence, and that it was used up");
    desk.end(&ending(first, Status::Expired, Code::WindowClosed));
}

#[test]
fn a_decision_that_uses_up_what_is_not_there_is_not_folded_in() {
    let mut desk = desk_of_once();
    let shown = desk.show(scan(), BOB);
    desk.pass(showing(shown, "i-1", "note"));
    let other = desk.show(Evidence { expires_at: START.plus(HOUR / 2), ..scan() }, BOB);
    for uses in [vec![shown], vec![Digest([9; 32])], vec![other, other]] {
        let mut desk = desk.clone();
        let mut decision = desk.judge(&signed(showing(other, "i-2", "note"), &[ANN]));
        desk.admit(signed(showing(other, "i-2", "note"), &[ANN]));
        decision.execution.as_mut().expect("it passes").uses = uses;
        let document = execution::document(decision).expect("it can be written");
        assert_eq!(desk.fault(&Event::DecisionMade(document)), Some(Fault::Evidence));
    }
}
