//! Which administrative acts become events: for this ledger, in time, once, and by enough operators.

use serde_json::json;

use writ_kernel::admission;
use writ_kernel::state::State;
use writ_schemas::act::{Act, EXPIRY_AHEAD_MAX, Statement};
use writ_schemas::errors::Code;
use writ_schemas::event::Event;
use writ_schemas::ids::{Digest, KeyId, LedgerId, UnixMicros};

use crate::desk::{
    ANN, BOB, CHECKPOINT_KEY, CYD, DECISION_KEY, Desk, HOUR, LEDGER, OPERATORS, START, ZED, activate, approve, freeze,
    genesis, intent, name, policy, signed, thaw, trust,
};

#[test]
fn an_act_is_for_this_ledger_and_in_time() {
    let desk = Desk::furnished();
    let of = |ledger, expires_at| {
        let statement = freeze(None, None);
        desk.admits(&signed(Act { expires_at, ledger, nonce: name("n"), statement }, &OPERATORS))
    };
    assert_eq!(of(LEDGER, START.plus(1)), Ok(()));
    assert_eq!(of(LedgerId([8; 16]), START.plus(1)), Err(Code::LedgerMismatch));
    assert_eq!(of(LEDGER, START), Err(Code::ActRefused), "it expires now");
    assert_eq!(of(LEDGER, START.plus(EXPIRY_AHEAD_MAX)), Ok(()));
    assert_eq!(of(LEDGER, START.plus(EXPIRY_AHEAD_MAX + 1)), Err(Code::ActRefused));
    let act = desk.act(freeze(None, None), &OPERATORS);
    let closed = admission::act(&State::default(), &act, START);
    assert_eq!(closed.map_err(|refusal| refusal.code), Err(Code::ActRefused), "there is no ledger yet");
}

#[test]
fn the_same_act_is_carried_out_once() {
    let mut desk = Desk::furnished();
    let act = desk.act(trust(ZED, "acme", "zed", &[]), &OPERATORS);
    let event = admission::act(&desk.state, &act, desk.now).expect("it is admitted").expect("it is new");
    desk.record(event);
    assert_eq!(admission::act(&desk.state, &act, desk.now), Ok(None));
    desk.later(HOUR);
    assert_eq!(admission::act(&desk.state, &act, desk.now), Ok(None), "while nothing has made it forgotten");
    desk.administer(thaw(None, None));
    assert_eq!(desk.admits(&act), Err(Code::ActRefused), "it is forgotten, and has expired");
}

#[test]
fn a_quorum_of_operators_rules() {
    let desk = Desk::furnished();
    let [a, b, c] = OPERATORS;
    let cases: [(&[KeyId], Result<(), Code>); 6] = [
        (&[], Err(Code::ActRefused)),
        (&[a], Err(Code::ActRefused)),
        (&[a, ANN, ZED], Err(Code::ActRefused)),
        (&[a, c], Ok(())),
        (&[b, ANN, c], Ok(())),
        (&[a, b, c], Ok(())),
    ];
    for (keys, expected) in cases {
        assert_eq!(desk.would(freeze(None, None), keys), expected, "{keys:?}");
    }
}

#[test]
fn one_operator_who_signs_twice_is_one() {
    let desk = Desk::furnished();
    assert_eq!(desk.would(freeze(None, None), &[OPERATORS[0], OPERATORS[0]]), Err(Code::ActRefused));
}

#[test]
fn a_policy_comes_in_force_if_it_compiles() {
    let desk = Desk::furnished();
    assert_eq!(desk.would(activate(policy()), &OPERATORS), Ok(()));
    let mut broken = policy();
    broken["rules"][0]["connector"] = json!("nowhere");
    assert_eq!(desk.would(activate(broken), &OPERATORS), Err(Code::PolicyInvalid));
}

#[test]
fn a_key_is_trusted_in_32_roles_at_most() {
    let desk = Desk::furnished();
    let roles: Vec<String> = (0..33).map(|number| format!("role-{number}")).collect();
    let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
    assert_eq!(desk.would(trust(ZED, "acme", "zed", &roles[..32]), &OPERATORS), Ok(()));
    assert_eq!(desk.would(trust(ZED, "acme", "zed", &roles), &OPERATORS), Err(Code::Schema));
}

#[test]
fn a_key_is_one_principals_for_ever_and_none_of_the_ledgers_own() {
    let mut desk = Desk::furnished();
    for key in [DECISION_KEY, CHECKPOINT_KEY] {
        assert_eq!(desk.would(trust(key, "acme", "zed", &[]), &OPERATORS), Err(Code::ActRefused), "{key}");
    }
    for (tenant, principal, expected) in
        [("acme", "bob", Ok(())), ("acme", "cyd", Err(Code::ActRefused)), ("beta", "bob", Err(Code::ActRefused))]
    {
        assert_eq!(desk.would(trust(BOB, tenant, principal, &["agent"]), &OPERATORS), expected);
        let mut revoked = desk.clone();
        revoked.administer(Statement::RevokeKey { key: BOB });
        assert_eq!(revoked.would(trust(BOB, tenant, principal, &["agent"]), &OPERATORS), expected, "also once revoked");
    }
    let [a, b, _] = OPERATORS;
    for next in [ZED, KeyId([29; 32])] {
        let now = desk.state.decision_key().expect("a key");
        desk.does(Statement::RotateDecisionKey { key: next }, &[a, b, now, next]);
    }
    for key in [DECISION_KEY, ZED, KeyId([29; 32])] {
        assert_eq!(desk.would(trust(key, "acme", "zed", &[]), &OPERATORS), Err(Code::ActRefused), "{key}");
        let back = Statement::RotateDecisionKey { key };
        assert_eq!(desk.would(back, &[a, b, KeyId([29; 32]), key]), Err(Code::ActRefused), "{key} does not come back");
    }
}

#[test]
fn what_operators_say_of_the_clock_is_taken_once_and_does_not_expire_by_it() {
    let mut desk = Desk::furnished();
    let said = |now| Statement::AdjustClock { now };
    assert_eq!(desk.would(said(START), &OPERATORS[..1]), Err(Code::ActRefused), "below the quorum");
    assert_eq!(desk.state.adjusted(), None);
    desk.later(5);
    let hash = desk.state.hash();
    let seq = desk.administer(said(START));
    let adjusted = desk.state.adjusted().expect("it was said");
    assert_eq!((adjusted.now, adjusted.at), (START, desk.now));
    assert_ne!(hash, desk.state.hash());
    assert!(seq < desk.state.next());

    let act = desk.act(said(START), &OPERATORS);
    assert_eq!(admission::act(&desk.state, &act, desk.now), Ok(None), "the same was said before");
    let earlier = desk.act(said(UnixMicros(START.0 - 1)), &OPERATORS);
    desk.later(2 * HOUR);
    let event = admission::act(&desk.state, &earlier, desk.now);
    assert!(matches!(event, Ok(Some(Event::ClockAdjusted(_)))), "{event:?}");
}

/// Everybody could sign with a key of small order, and nobody with what is no point of the curve.
#[test]
fn a_key_with_which_nobody_can_sign_is_not_trusted() {
    let desk = Desk::furnished();
    let mut neutral = [0; 32];
    neutral[0] = 1;
    for weak in [KeyId([0; 32]), KeyId(neutral), KeyId([2; 32])] {
        assert_eq!(desk.would(trust(weak, "acme", "zed", &[]), &OPERATORS), Err(Code::Schema), "{weak}");
    }
    assert_eq!(desk.would(trust(ZED, "acme", "zed", &[]), &OPERATORS), Ok(()));
}

#[test]
fn a_key_is_revoked_while_it_is_trusted() {
    let mut desk = Desk::furnished();
    let revoke = |key| Statement::RevokeKey { key };
    assert_eq!(desk.would(revoke(ZED), &OPERATORS), Err(Code::KeyUnknown));
    desk.administer(revoke(BOB));
    assert_eq!(desk.would(revoke(BOB), &OPERATORS), Err(Code::KeyUnknown));
    desk.administer(trust(BOB, "acme", "bob", &[]));
    assert_eq!(desk.would(revoke(BOB), &OPERATORS), Ok(()), "it is trusted again");
}

#[test]
fn the_decision_key_is_rotated_by_operators_and_both_keys_to_one_that_is_free() {
    let mut desk = Desk::furnished();
    let [a, b, c] = OPERATORS;
    let rotate = |key| Statement::RotateDecisionKey { key };
    assert_eq!(desk.would(rotate(ZED), &[a, b, DECISION_KEY, ZED]), Ok(()));
    for keys in [&[a, b][..], &[a, b, ZED], &[a, b, DECISION_KEY], &[a, DECISION_KEY, ZED]] {
        assert_eq!(desk.would(rotate(ZED), keys), Err(Code::ActRefused), "{keys:?}");
    }
    for used in [DECISION_KEY, CHECKPOINT_KEY, c, ANN] {
        assert_eq!(desk.would(rotate(used), &[a, b, DECISION_KEY, used]), Err(Code::ActRefused), "{used}");
    }
    assert_eq!(desk.state.decision_key(), Some(DECISION_KEY));
    desk.does(rotate(ZED), &[a, b, DECISION_KEY, ZED]);
    assert_eq!(desk.state.decision_key(), Some(ZED));
    let next = KeyId([29; 32]);
    assert_eq!(desk.would(rotate(next), &[a, b, DECISION_KEY, next]), Err(Code::ActRefused), "the old key is another");
    assert_eq!(desk.would(rotate(next), &[a, b, ZED, next]), Ok(()));
    assert_eq!(desk.would(rotate(DECISION_KEY), &[a, b, ZED, DECISION_KEY]), Err(Code::ActRefused), "it was used");
    assert_eq!(desk.would(rotate(ZED), &[a, b, ZED]), Err(Code::ActRefused), "it is in use");
}

#[test]
fn a_principal_is_frozen_and_thawed_in_its_tenant() {
    let desk = Desk::furnished();
    for (tenant, principal, expected) in [
        (None, None, Ok(())),
        (Some("acme"), None, Ok(())),
        (Some("acme"), Some("ann"), Ok(())),
        (None, Some("ann"), Err(Code::Schema)),
    ] {
        assert_eq!(desk.would(freeze(tenant, principal), &OPERATORS), expected, "freeze {tenant:?} {principal:?}");
        assert_eq!(desk.would(thaw(tenant, principal), &OPERATORS), expected, "thaw {tenant:?} {principal:?}");
    }
}

#[test]
fn a_reason_has_1024_bytes_at_most() {
    let mut desk = Desk::furnished();
    let waits = desk.submit(intent("i-1", "ask"), ANN).decision.intent_digest;
    for (long, expected) in [(1024, Ok(())), (1025, Err(Code::Schema))] {
        let reason = "r".repeat(long);
        let freeze = Statement::Freeze { principal: None, reason: reason.clone(), tenant: None };
        assert_eq!(desk.would(freeze, &OPERATORS), expected, "{long}");
        let mut approve = approve(waits, true);
        if let Statement::Approve { reason: of, .. } = &mut approve {
            *of = reason;
        }
        assert_eq!(desk.would(approve, &[BOB]), expected, "{long}");
    }
}

#[test]
fn only_what_is_uncertain_is_reconciled() {
    let mut desk = Desk::furnished();
    let reconcile = |receipt| Statement::Reconcile { receipt, applied: true };
    assert_eq!(desk.would(reconcile(Digest([9; 32])), &OPERATORS), Err(Code::ReceiptUnknown));
    let decision = desk.start(intent("i-1", "note")).seq;
    let receipt = desk.lose(decision);
    assert_eq!(desk.would(reconcile(receipt), &OPERATORS[..1]), Err(Code::ActRefused));
    desk.administer(reconcile(receipt));
    assert_eq!(desk.would(reconcile(receipt), &OPERATORS), Err(Code::ReceiptUnknown), "it is known by now");
}

#[test]
fn the_same_words_of_two_approvers_are_two_acts() {
    let mut desk = Desk::furnished();
    let waits = desk.submit(intent("i-1", "ask"), ANN).decision.intent_digest;
    let words = desk.act(approve(waits, true), &[BOB]);
    let of = |key| signed(words.value().clone(), &[key]);
    let event = admission::act(&desk.state, &of(BOB), desk.now).expect("it is admitted").expect("it is new");
    desk.record(event);
    assert_eq!(admission::act(&desk.state, &of(BOB), desk.now), Ok(None));
    assert_eq!(desk.admits(&of(CYD)), Ok(()));
}

#[test]
fn an_act_of_operators_is_the_same_whoever_of_them_signs() {
    let mut desk = Desk::furnished();
    let words = desk.act(freeze(None, None), &OPERATORS[..2]);
    let event = admission::act(&desk.state, &words, desk.now).expect("it is admitted").expect("it is new");
    desk.record(event);
    let again = signed(words.value().clone(), &OPERATORS[1..]);
    assert_eq!(admission::act(&desk.state, &again, desk.now), Ok(None));
}

#[test]
fn partitions_are_bound_anew() {
    let mut desk = Desk::furnished();
    let bind = |partitions| Statement::BindPartitions {
        cluster: "c-1".to_owned(),
        topic: "intents".to_owned(),
        topic_id: "t-1".to_owned(),
        partitions,
    };
    assert!(desk.state.bindings().is_empty());
    for partitions in [3, 6] {
        desk.administer(bind(partitions));
        let bound: Vec<_> = desk.state.bindings().iter().collect();
        assert_eq!(bound.len(), 1);
        assert_eq!((bound[0].0.as_str(), bound[0].1.cluster.as_str()), ("intents", "c-1"));
        assert_eq!((bound[0].1.topic_id.as_str(), bound[0].1.partitions), ("t-1", partitions));
    }
}

#[test]
fn what_the_ledger_is_can_be_asked() {
    assert_eq!(State::default().genesis(), None);
    assert_eq!(State::default().decision_key(), None);
    let mut desk = Desk::opened();
    assert_eq!(desk.state.genesis(), Some(&genesis()));
    assert!(desk.state.policy().is_none());
    desk.later(5);
    desk.administer(activate(policy()));
    let named = desk.state.policy().map(|policy| policy.bundle().name.clone());
    assert_eq!(named, Some(name("desk")));
    assert_eq!((desk.state.next().0, desk.state.last_at()), (2, UnixMicros(START.0 + 5)));
}
