//! What the state remembers and for how long; and where intake stands.

use serde_json::json;

use writ_kernel::budget::BudgetWalk;
use writ_schemas::act::Statement;
use writ_schemas::errors::Code;
use writ_schemas::event::{Event, IntentAdmitted, Partition, Position, RecordRefused, Source, SourceGap};
use writ_schemas::ids::Digest;
use writ_schemas::intent::Intent;
use writ_schemas::receipt::Status;
use writ_schemas::strict::Refusal;

use crate::desk::{
    ANN, BOB, Desk, EVE, HOUR, START, approve, args, ending, freeze, intent, intent_of_beta, name, payment, policy,
    rule_of, scan, signed, success, trust,
};

fn noise() -> Event {
    Event::StateHashed(Digest([9; 32]))
}

#[test]
fn an_id_is_remembered_until_its_intent_expires_and_its_execution_has_ended() {
    let mut desk = Desk::furnished();
    let seq = desk.pass(intent("i-1", "note")).seq;
    let of = |desk: &Desk| desk.state.decision_of(&name("acme"), &name("i-1"));
    desk.now = START.plus(HOUR - 1);
    desk.record(noise());
    assert_eq!(of(&desk), Some(seq));
    assert_eq!(desk.state.decision_of(&name("beta"), &name("i-1")), None);
    assert_eq!(desk.state.decision_of(&name("acme"), &name("i-2")), None);
    desk.now = START.plus(HOUR);
    desk.record(noise());
    assert_eq!(of(&desk), Some(seq), "it is open");
    desk.end(&ending(seq, Status::Expired, Code::WindowClosed));
    assert_eq!(of(&desk), None);

    let mut desk = Desk::furnished();
    let seq = desk.start(intent("i-1", "note")).seq;
    desk.end(&success(seq));
    assert_eq!(of(&desk), Some(seq));
    desk.now = START.plus(HOUR);
    desk.record(noise());
    assert_eq!(of(&desk), None);
}

#[test]
fn all_that_ends_is_forgotten_with_the_first_entry_after_its_end() {
    let mut desk = Desk::furnished();
    let fresh = desk.state.weight();
    let keys = 5;
    desk.show(scan(), BOB);
    let decision = desk.start(Intent { session: Some(name("s-1")), ..intent("i-1", "note") }).seq;
    desk.end(&success(decision));
    assert_eq!(desk.state.weight(), fresh + 3, "evidence, an id, a session");
    desk.now = START.plus(HOUR - 1);
    desk.record(noise());
    assert_eq!(desk.state.weight(), fresh + 3);
    desk.now = START.plus(HOUR);
    desk.record(noise());
    assert_eq!(desk.state.weight(), keys, "acts end, too; keys do not");
}

#[test]
fn each_thing_that_is_remembered_weighs_one() {
    let mut policy = policy();
    policy["gates"]["temporal"] = json!("enforced");
    for rule in policy["rules"].as_array_mut().expect("rules") {
        rule["timing"] = json!({"exempt": "not needed here"});
    }
    rule_of(&mut policy, "note")["timing"] = json!({"limits": {"rate": {"count": 9, "per_us": HOUR, "burst": 9}}});
    let mut desk = Desk::under(policy);
    let (keys, acts) = (5, 6);
    assert_eq!(desk.state.weight(), keys + acts);
    let mut weight = keys + acts;
    let mut grows = |desk: &Desk, by: usize, what: &str| {
        weight += by;
        assert_eq!(desk.state.weight(), weight, "{what}");
    };
    desk.show(scan(), BOB);
    grows(&desk, 1, "evidence");
    desk.show(scan(), ANN);
    grows(&desk, 1, "evidence by another key");
    let note = desk.pass(Intent { session: Some(name("s-1")), ..intent("i-1", "note") }).seq;
    grows(&desk, 3, "an id, an open execution, a pace");
    desk.dispatch(note);
    desk.lose(note);
    grows(&desk, 1, "a session, and what is uncertain in place of what is open");
    desk.pass(payment("i-2", 3));
    grows(&desk, 3, "an id, an open execution, an account");
    let asked = desk.submit(intent("i-3", "ask"), ANN).decision.intent_digest;
    grows(&desk, 2, "an id and what waits");
    desk.does(approve(asked, true), &[BOB]);
    grows(&desk, 1, "an act; the vote is part of what waits");
    desk.administer(freeze(Some("acme"), None));
    grows(&desk, 1, "an act; what is frozen stands beside");
}

#[test]
fn budgets_can_be_asked_line_by_line() {
    let mut policy = policy();
    policy["budgets"]["silver"] = json!({"unit": "cents", "limit": 50});
    rule_of(&mut policy, "note")["spends"] = json!({"budget": {"name": "silver", "cost": {"fixed": 5}}});
    let mut desk = Desk::under(policy);
    assert_eq!(desk.state.budgets().count(), 0);
    let done = desk.start(payment("i-1", 30)).seq;
    desk.end(&success(done));
    desk.pass(payment("i-2", 4));
    desk.pass(intent("i-3", "note"));
    let lines: Vec<_> = desk
        .state
        .budgets()
        .map(|(tenant, budget, held, spent)| (tenant.as_str(), budget.as_str(), held, spent))
        .collect();
    assert_eq!(lines, [("acme", "gold", 4, 30), ("acme", "silver", 5, 0)]);
}

/// Of each budget as the one sees it who used most of a limit of their own.
#[test]
fn how_much_of_each_budget_is_used_can_be_asked() {
    let mut policy = policy();
    policy["budgets"]["gold"]["tenants"] = json!({"beta": 20});
    policy["budgets"]["own"] =
        json!({"unit": "cents", "limit": 100, "per": ["principal"], "window": {"rolling_us": HOUR}});
    policy["budgets"]["idle"] = json!({"unit": "cents", "limit": 1});
    rule_of(&mut policy, "note")["spends"] = json!({"budget": {"name": "own", "cost": {"fixed": 10}}});
    let mut desk = Desk::under(policy);
    let used = |desk: &Desk| {
        let whole = BudgetWalk::default().step(&desk.state, desk.now, usize::MAX).expect("the end");
        // However it is divided, and the second walk as the first.
        let mut walk = BudgetWalk::default();
        for _ in 0..2 {
            let mut steps = std::iter::repeat_with(|| walk.step(&desk.state, desk.now, 1));
            assert_eq!(steps.find_map(|it| it).as_ref(), Some(&whole));
        }
        let lines = whole.iter().map(|(budget, used)| (budget.to_string(), used.amount, used.limit));
        lines.collect::<Vec<_>>()
    };
    let of = |budget: &str, amount, limit| (budget.to_owned(), amount, limit);
    assert_eq!(used(&desk), []);
    let done = desk.start(payment("i-1", 300)).seq;
    desk.end(&success(done));
    desk.pass(payment("i-2", 4));
    assert_eq!(used(&desk), [of("gold", 304, 1000)]);
    let beta = Intent { args: args(json!({"cents": 8})), ..intent_of_beta("i-1", "pay") };
    desk.submit(beta, EVE);
    assert_eq!(used(&desk), [of("gold", 8, 20)], "a larger part of a smaller limit");

    // Several pieces of one window are one sum, and others' are not added.
    desk.pass(intent("i-3", "note"));
    desk.later(HOUR / 2);
    let fresh = |id: &str| Intent { expires_at: START.plus(2 * HOUR), ..intent(id, "note") };
    desk.pass(fresh("i-4"));
    let bobs = Intent { principal: name("bob"), ..fresh("i-5") };
    desk.submit(bobs, BOB);
    assert_eq!(used(&desk)[1], of("own", 20, 100));
    desk.later(HOUR / 2 + HOUR / 16);
    assert_eq!(used(&desk)[1], of("own", 10, 100), "what is over counts no more");

    // Nobody has to look at all at once: here at one limit of two tenants and of two principals each.
    let mut walk = BudgetWalk::default();
    let ends: Vec<bool> = (0..8).map(|_| walk.step(&desk.state, desk.now, 1).is_some()).collect();
    assert_eq!(ends, [false, false, false, true, false, false, false, true]);
}

#[test]
fn intake_stands_behind_the_last_record_of_each_partition() {
    let mut desk = Desk::furnished();
    let partition = |number| Partition { topic_id: "t-1".to_owned(), number };
    let record = |number, offset| Source::Kafka { partition: partition(number), offset };
    let refused =
        |source| Event::RecordRefused(RecordRefused::new(source, Refusal::new(Code::Schema, "?"), b"{", None));
    let stands = |desk: &Desk| -> Vec<(u32, u64)> {
        desk.state.positions().iter().map(|(partition, next)| (partition.number, *next)).collect()
    };
    let admitted = |id: &str, source| {
        Event::IntentAdmitted(IntentAdmitted { intent: signed(intent(id, "note"), &[ANN]), source, trace: None })
    };
    desk.record(refused(Source::Local));
    desk.record(refused(Source::Http));
    assert!(stands(&desk).is_empty());
    for (id, source, expected) in [
        ("i-1", record(3, 41), &[(3, 42)][..]),
        ("i-2", Source::Http, &[(3, 42)]),
        ("i-3", record(0, 0), &[(0, 1), (3, 42)]),
        ("i-4", record(3, 42), &[(0, 1), (3, 43)]),
    ] {
        let decision = desk.judge(&signed(intent(id, "note"), &[ANN]));
        desk.record(admitted(id, source));
        assert_eq!(stands(&desk), expected, "{id}");
        desk.decide(decision);
    }
    desk.record(refused(record(0, 7)));
    assert_eq!(stands(&desk), [(0, 8), (3, 43)]);
    let moved = [(0, 20), (1, 5)].map(|(number, next)| Position { partition: partition(number), next });
    desk.record(Event::SourceAdvanced(moved.to_vec()));
    assert_eq!(stands(&desk), [(0, 20), (1, 5), (3, 43)]);
    desk.record(Event::SourceGap(SourceGap { partition: partition(3), expected: 43, found: 100 }));
    assert_eq!(stands(&desk), [(0, 20), (1, 5), (3, 100)]);
}

#[test]
fn a_key_that_is_trusted_anew_is_not_revoked_any_more() {
    let mut desk = Desk::furnished();
    desk.administer(Statement::RevokeKey { key: ANN });
    assert_eq!(desk.answer(intent("i-1", "note")).1, Code::KeyRevoked);
    desk.administer(trust(ANN, "acme", "ann", &[]));
    assert_eq!(desk.answer(intent("i-1", "note")).1, Code::Ok);
}

#[test]
fn what_speaks_of_the_log_itself_changes_nothing_that_deciding_depends_on() {
    use writ_schemas::event::TailCut;
    let desk = Desk::furnished();
    let events = [
        noise(),
        Event::CheckpointSigned("note".to_owned()),
        Event::TailCut(TailCut { segment: 1, offset: 2, bytes: 3 }),
    ];
    let hashes = events.map(|event| {
        let mut desk = desk.clone();
        desk.record(event);
        desk.state.hash()
    });
    assert_eq!((hashes[0], hashes[1]), (hashes[1], hashes[2]), "they all count as one entry");
    assert_ne!(hashes[0], desk.state.hash());
}
