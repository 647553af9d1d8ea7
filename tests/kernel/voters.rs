//! Who may answer, and whose answer counts.

use serde_json::{Value, json};

use writ_kernel::decide::judge;
use writ_schemas::act::Statement;
use writ_schemas::decision::{ApprovalFact, Facts, KeyFact, VoteFact};
use writ_schemas::errors::Code;
use writ_schemas::event::Event;
use writ_schemas::evidence::Evidence;
use writ_schemas::ids::{Digest, KeyId, Seq};
use writ_schemas::intent::Intent;

use crate::desk::{
    ANN, BOB, CYD, DAN, Desk, EVE, HOUR, START, ZED, activate, approve, freeze, intent, intent_of_beta, name, policy,
    rule_of, scan, trust,
};

/// A ledger in which something of `ann`'s waits.
fn asked() -> (Desk, Digest) {
    let mut desk = Desk::furnished();
    let of = desk.submit(intent("i-1", "ask"), ANN).decision.intent_digest;
    (desk, of)
}

/// Whether this key may answer after these acts.
fn may(key: KeyId, before: &[Statement]) -> Result<(), Code> {
    let (mut desk, of) = asked();
    for statement in before {
        desk.administer(statement.clone());
    }
    desk.would(approve(of, true), &[key])
}

#[test]
fn managers_of_the_tenant_answer_and_nobody_else() {
    let (desk, of) = asked();
    assert_eq!(desk.would(approve(of, true), &[BOB]), Ok(()));
    assert_eq!(desk.would(approve(of, true), &[CYD]), Ok(()));
    assert_eq!(desk.would(approve(of, true), &[BOB, CYD]), Err(Code::ApproverInvalid), "each for himself");
    assert_eq!(desk.would(approve(of, true), &[]), Err(Code::ApproverInvalid));
    assert_eq!(desk.would(approve(of, true), &[ZED]), Err(Code::ApproverInvalid), "a stranger");
    assert_eq!(desk.would(approve(of, true), &[DAN]), Err(Code::ApproverInvalid), "no manager");
    assert_eq!(desk.would(approve(of, true), &[EVE]), Err(Code::ApprovalUnknown), "of another tenant");
    assert_eq!(desk.would(approve(Digest([9; 32]), true), &[BOB]), Err(Code::ApprovalUnknown));
    assert_eq!(may(BOB, &[Statement::RevokeKey { key: BOB }]), Err(Code::ApproverInvalid));
}

#[test]
fn who_asks_cannot_answer_by_another_key() {
    let by_another_key = [trust(ZED, "acme", "ann", &["manager"])];
    assert_eq!(may(ZED, &by_another_key), Err(Code::ApproverInvalid));
    assert_eq!(may(ANN, &[trust(ANN, "acme", "ann", &["manager"])]), Err(Code::ApproverInvalid));
    let somebody_else = [trust(ZED, "acme", "zoe", &["manager"])];
    assert_eq!(may(ZED, &somebody_else), Ok(()));
}

#[test]
fn nobody_answers_what_is_frozen_and_nobody_who_is() {
    for (tenant, principal, expected) in [
        (None, None, Err(Code::Frozen)),
        (Some("acme"), None, Err(Code::Frozen)),
        (Some("acme"), Some("ann"), Err(Code::Frozen)),
        (Some("acme"), Some("bob"), Err(Code::Frozen)),
        (Some("acme"), Some("cyd"), Ok(())),
        (Some("beta"), None, Ok(())),
    ] {
        assert_eq!(may(BOB, &[freeze(tenant, principal)]), expected, "{tenant:?} {principal:?}");
    }
}

#[test]
fn nobody_answers_where_the_policy_in_force_asks_nobody() {
    let mut free = policy();
    rule_of(&mut free, "ask")["escalates"] = json!({"exempt": "free for all"});
    assert_eq!(may(BOB, &[activate(free)]), Err(Code::ApproverInvalid));
}

#[test]
fn a_principal_answers_once() {
    let (mut desk, of) = asked();
    desk.administer(trust(ZED, "acme", "bob", &["manager"]));
    desk.does(approve(of, true), &[BOB]);
    desk.later(1);
    let would = |desk: &Desk, key| desk.would(approve(of, false), &[key]);
    assert_eq!(would(&desk, BOB), Err(Code::ApproverInvalid), "with other words");
    assert_eq!(would(&desk, ZED), Err(Code::ApproverInvalid), "by his other key");
    assert_eq!(would(&desk, CYD), Ok(()));

    let mut revoked = desk.clone();
    revoked.administer(Statement::RevokeKey { key: BOB });
    assert_eq!(would(&revoked, ZED), Ok(()), "what he said by the other key counts no more");
}

#[test]
fn whose_answer_counts_is_judged_when_it_is_counted() {
    // Bob has granted it. What he was trusted for changes; then Cyd grants it, too.
    for (what, statement, decided) in [
        ("nothing changed", trust(ZED, "acme", "zed", &[]), true),
        ("he is no manager any more", trust(BOB, "acme", "bob", &["agent"]), false),
        ("he is revoked", Statement::RevokeKey { key: BOB }, false),
    ] {
        let (mut desk, of) = asked();
        desk.does(approve(of, true), &[BOB]);
        desk.administer(statement);
        if desk.would(approve(of, true), &[CYD]) == Ok(()) {
            desk.does(approve(of, true), &[CYD]);
        }
        assert_eq!(desk.again().is_some(), decided, "{what}");
    }
}

#[test]
fn what_waits_in_one_tenant_is_nothing_to_another() {
    let mut desk = Desk::furnished();
    let theirs = desk.submit(intent_of_beta("i-1", "ask"), EVE).decision.intent_digest;
    assert_eq!(desk.would(approve(theirs, true), &[BOB]), Err(Code::ApprovalUnknown));
    assert_eq!(desk.would(approve(theirs, true), &[EVE]), Err(Code::ApproverInvalid), "she asks herself");
    // An entry that no admission would have let in adds nothing to the other tenant's.
    let vote = desk.act(approve(theirs, true), &[BOB]);
    assert!(desk.fault(&Event::ApprovalRecorded(vote)).is_some());
}

#[test]
fn an_answer_counts_by_a_principal_in_the_role_that_does_not_ask() {
    let desk = Desk::furnished();
    let policy = desk.state.policy().map(|policy| &**policy);
    let rule = policy.and_then(|policy| policy.rule_digest(&name("ask"))).expect("a rule");
    let vote = |signer, principal: Option<&str>, role: &str, granted| VoteFact {
        granted,
        principal: principal.map(name),
        roles: [name(role)].into(),
        rule,
        seq: Seq(1),
        signer,
    };
    let bob = vote(BOB, Some("bob"), "manager", true);
    let code = |votes: Vec<VoteFact>| {
        let key = KeyFact { principal: name("ann"), revoked: None, tenant: name("acme") };
        let approval = ApprovalFact { deadline: START.plus(HOUR), passed: false, votes };
        let facts = Facts { key: Some(key), approval: Some(Box::new(approval)), ..Facts::default() };
        judge(policy, &intent("i-1", "ask"), ANN, &facts, START).code
    };
    assert_eq!(code(vec![bob.clone()]), Code::ApprovalNeeded);
    for (what, second, counts) in [
        ("another manager", vote(CYD, Some("cyd"), "manager", true), true),
        ("the same manager by another key", vote(CYD, Some("bob"), "manager", true), false),
        ("somebody in another role", vote(CYD, Some("cyd"), "runner", true), false),
        ("who asks, by another key", vote(CYD, Some("ann"), "manager", true), false),
        ("the key that asks", vote(ANN, Some("cyd"), "manager", true), false),
        ("a key that is revoked", vote(CYD, None, "manager", true), false),
        ("who saw another rule", VoteFact { rule: Digest([9; 32]), ..vote(CYD, Some("cyd"), "manager", true) }, false),
    ] {
        let expected = if counts { Code::Ok } else { Code::ApprovalNeeded };
        assert_eq!(code(vec![bob.clone(), second.clone()]), expected, "{what} grants it");
        let expected =
            if counts || second.principal == Some(name("bob")) { Code::ApprovalDenied } else { Code::ApprovalNeeded };
        assert_eq!(code(vec![bob.clone(), VoteFact { granted: false, ..second }]), expected, "{what} refuses it");
    }
}

/// The policy of the desk in which people are asked about what needs a scan, otherwise at one place.
fn otherwise(place: &str, value: Value) -> Value {
    let mut policy = policy();
    policy["requirements"] = json!({"seen": {"evidence": {"kind": "scan", "role": "manager", "about_effect": false}}});
    rule_of(&mut policy, "ask")["requires"] = json!({"requirement": "seen"});
    rule_of(&mut policy, "ask")["spends"] = json!({"budget": {"name": "gold", "cost": {"fixed": 1}}});
    if !place.is_empty() {
        *policy.pointer_mut(place).expect(place) = value;
    }
    policy
}

#[test]
fn an_answer_counts_under_the_rule_that_its_signer_saw() {
    let by_role = |role: &str| json!({"evidence": {"kind": "scan", "role": role, "about_effect": false}});
    for (what, place, value, counts) in [
        ("the policy's name", "/name", json!("another"), true),
        ("another rule", "/rules/0/window_us", json!(5), true),
        ("another connector", "/connectors/web/output_schema", json!({"type": "object"}), true),
        ("how much there is to spend", "/budgets/gold/limit", json!(7), true),
        ("its window", "/rules/2/window_us", json!(5), false),
        ("how many are asked", "/rules/2/escalates/to/within_us", json!(HOUR - 1), false),
        ("what it costs", "/rules/2/spends/budget/cost/fixed", json!(2), false),
        ("what must be shown", "/requirements/seen", by_role("agent"), false),
        ("what carries it out", "/connectors/echo/output_schema", json!({"type": "object"}), false),
    ] {
        let mut desk = Desk::under(otherwise("", Value::Null));
        let shown =
            [desk.show(scan(), BOB), desk.show(Evidence { expires_at: START.plus(2 * HOUR), ..scan() }, ANN)].to_vec();
        let of = desk.submit(Intent { evidence: shown, ..intent("i-1", "ask") }, ANN).decision.intent_digest;
        desk.does(approve(of, true), &[BOB]);
        desk.later(1);
        let stale = desk.act(approve(of, true), &[CYD]);
        desk.administer(activate(otherwise(place, value)));
        let expected = if counts { Ok(()) } else { Err(Code::ApproverInvalid) };
        assert_eq!(desk.admits(&stale), expected, "{what}: who saw the one before");
        desk.does(approve(of, true), &[CYD]);
        assert_eq!(desk.again().is_some(), counts, "{what}");
        if !counts {
            // Who has looked again may answer again; and the old rule has its answers still.
            desk.later(1);
            let mut back = desk.clone();
            back.administer(activate(otherwise("", Value::Null)));
            assert_eq!(back.would(approve(of, true), &[BOB]), Err(Code::ApproverInvalid), "{what}: he has");
            desk.does(approve(of, true), &[BOB]);
            assert!(desk.again().is_some(), "{what}: two of two have seen it");
        }
    }
}

/// A refusal, too, is about the rule that was seen.
#[test]
fn what_was_refused_under_another_rule_is_asked_anew() {
    let (mut desk, of) = asked();
    let stale = desk.act(approve(of, false), &[BOB]);
    let mut policy = policy();
    rule_of(&mut policy, "ask")["window_us"] = json!(5);
    desk.administer(activate(policy));
    assert_eq!(desk.admits(&stale), Err(Code::ApproverInvalid));
    desk.does(approve(of, false), &[BOB]);
    assert_eq!(desk.again().expect("it is decided").decision.code, Code::ApprovalDenied);
}
