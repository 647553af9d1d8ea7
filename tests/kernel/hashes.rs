//! The hash of the state: what counts changes it, what does not leaves it, and it stays what it was.

use serde_json::{Value, json};

use writ_kernel::admission;
use writ_schemas::act::{Act, Statement};
use writ_schemas::event::{DispatchRetried, Event, Partition, Position};
use writ_schemas::evidence::Evidence;
use writ_schemas::ids::{Digest, KeyId, UnixMicros};
use writ_schemas::intent::Intent;

use crate::desk::{
    ANN, BOB, DECISION_KEY, Desk, HOUR, LEDGER, OPERATORS, SECOND, START, ZED, activate, approve, freeze, intent, name,
    payment, policy, rule_of, scan, signed, success, thaw, trust,
};

fn noise() -> Event {
    Event::StateHashed(Digest([9; 32]))
}

fn moved(number: u32, next: u64) -> Event {
    let partition = Partition { topic_id: "t-1".to_owned(), number };
    Event::SourceAdvanced(vec![Position { partition, next }])
}

fn bind(cluster: &str, topic: &str, topic_id: &str, partitions: u32) -> Statement {
    let [cluster, topic, topic_id] = [cluster, topic, topic_id].map(str::to_owned);
    Statement::BindPartitions { cluster, topic, topic_id, partitions }
}

/// [`policy`], with an action for each sort of budget, a breaker and a rate.
fn crowded() -> Value {
    let mut policy = policy();
    policy["gates"]["temporal"] = json!("enforced");
    let spends = |budget: &str| json!({"budget": {"name": budget, "cost": {"fixed": 3}}});
    for (budget, share) in [
        ("own", json!({"per": ["principal"]})),
        ("sort", json!({"per": ["action"]})),
        ("hour", json!({"window": "hour"})),
    ] {
        let mut rule = rule_of(&mut policy, "note").clone();
        (rule["action"], rule["spends"]) = (json!(budget), spends(budget));
        policy["rules"].as_array_mut().expect("rules").push(rule);
        policy["budgets"][budget] = json!({"unit": "cents", "limit": 1000});
        let share = share.as_object().expect("an object").clone();
        policy["budgets"][budget].as_object_mut().expect("a budget").extend(share);
    }
    let mut both = rule_of(&mut policy, "own").clone();
    let each = ["gold", "own"].map(|budget| spends(budget)["budget"].clone());
    (both["action"], both["spends"]) = (json!("both"), json!({"budgets": each}));
    policy["rules"].as_array_mut().expect("rules").push(both);
    let mut prove = rule_of(&mut policy, "note").clone();
    (prove["action"], prove["requires"]) = (json!("prove"), json!({"requirement": "scanned"}));
    policy["rules"].as_array_mut().expect("rules").push(prove);
    let scanned = json!({"kind": "scan", "role": "manager", "about_effect": false, "once": true});
    policy["requirements"] = json!({"scanned": {"evidence": scanned}});
    for rule in policy["rules"].as_array_mut().expect("rules") {
        rule["timing"] = json!({"exempt": "not needed here"});
    }
    rule_of(&mut policy, "note")["timing"] = json!({"limits": {"rate": {"count": 9, "per_us": HOUR, "burst": 9}}});
    policy["connectors"]["dock"]["kind"]["external"]["within_us"] = json!(10);
    policy["connectors"]["web"]["breaker"] = json!({"failures": 1, "pause_us": SECOND});
    policy
}

/// What happens to one ledger, step by step, and how the hash of its state begins after each. Hashes of states stand in the
/// log of every ledger: these here are never changed.
#[rustfmt::skip] // A table is read by columns.
const STORY: [(&str, fn(&mut Desk), &str); 19] = [
    ("keys and a policy", |_| {}, "346f4b802174d823"),
    ("a revoked key", |desk| _ = desk.administer(Statement::RevokeKey { key: BOB }), "a687c80ae28149ab"),
    ("trusted again", trust_again, "94ed85e0c8218587"),
    ("evidence", |desk| _ = desk.show(scan(), BOB), "8314fb616b3cecb5"),
    ("all is frozen", |desk| _ = desk.administer(freeze(None, None)), "7304c7aa8ea020b4"),
    ("and thawed", |desk| _ = desk.administer(thaw(None, None)), "4f66bf5aa39703bd"),
    ("a part is frozen", |desk| _ = desk.administer(freeze(Some("beta"), Some("eve"))), "4e406611ddf842dc"),
    ("something passes, at a rate", |desk| _ = desk.pass(intent("i-1", "note")), "280a4ee9992b8bb9"),
    ("out of a budget", |desk| _ = desk.pass(payment("i-2", 9)), "8275daa6acdd1f91"),
    ("out of a share", |desk| spend(desk, ["own", "sort"]), "7bd9cc2c3c33e367"),
    ("out of a window, and of two", |desk| spend(desk, ["hour", "both"]), "2deb9effc952ac3e"),
    ("an attempt has failed", fail, "c040d7f6d15bcbc4"),
    ("a session", speak, "e443d7803a9bc2c9"),
    ("what is uncertain", lose, "95341107879f39f3"),
    ("people are asked, and one has answered", ask, "860d62631feb56fd"),
    ("one is outside, and one was missed there", let_out, "18dd44651aca134c"),
    ("partitions and another decision key", take_over, "584ca93771126019"),
    ("evidence is used up", use_up, "f516f16ea1417f79"),
    ("an intent without its decision", |desk| _ = desk.admit(signed(intent("i-9", "ask"), &[ANN])), "badc932baf8c42f0"),
];

fn trust_again(desk: &mut Desk) {
    desk.administer(trust(BOB, "acme", "bob", &["manager", "scanner"]));
}

fn spend(desk: &mut Desk, actions: [&str; 2]) {
    actions.iter().for_each(|action| _ = desk.pass(intent(action, action)));
}

fn fail(desk: &mut Desk) {
    let decision = desk.start(intent("i-3", "call")).seq;
    let due = START.plus(SECOND);
    desk.record(Event::DispatchRetried(DispatchRetried {
        decision,
        attempts: 1,
        due,
        because: String::new(),
        asked_us: 0,
    }));
}

fn speak(desk: &mut Desk) {
    let decision = desk.start(Intent { session: Some(name("s-1")), ..payment("i-4", 2) }).seq;
    desk.end(&success(decision));
}

fn lose(desk: &mut Desk) {
    for lost in [payment("i-5", 1), intent("i-6", "hour")] {
        let decision = desk.start(lost).seq;
        desk.lose(decision);
    }
}

fn ask(desk: &mut Desk) {
    let of = desk.submit(intent("i-7", "ask"), ANN).decision.intent_digest;
    desk.does(approve(of, true), &[BOB]);
}

fn let_out(desk: &mut Desk) {
    let missed = desk.start(intent("i-8", "ship")).digest;
    desk.later(10);
    desk.record(Event::DeadlinePassed(missed));
    let ending = desk.state.ending().expect("a receipt must come next").clone();
    desk.end(&ending);
    desk.start(intent("i-8-again", "ship"));
}

/// By what is open, and by what nobody knows of.
fn use_up(desk: &mut Desk) {
    let showing = |desk: &mut Desk, id: &str, micros: u64| {
        let shown = desk.show(Evidence { issued_at: START.plus(micros), ..scan() }, BOB);
        desk.start(Intent { evidence: vec![shown], ..intent(id, "prove") }).seq
    };
    showing(desk, "i-10", 1);
    let lost = showing(desk, "i-11", 2);
    desk.lose(lost);
}

fn take_over(desk: &mut Desk) {
    desk.administer(bind("c-1", "intents", "t-1", 3));
    desk.record(moved(2, 40));
    let keys = [OPERATORS[0], OPERATORS[1], DECISION_KEY, ZED];
    desk.does(Statement::RotateDecisionKey { key: ZED }, &keys);
}

#[test]
fn the_hashes_of_states_stay_what_they_were() {
    let mut desk = Desk::under(crowded());
    let mut wrong = Vec::new();
    for (what, happens, expected) in STORY {
        happens(&mut desk);
        let hash = desk.state.hash().to_string();
        if !hash.starts_with(&format!("blake3:{expected}")) {
            wrong.push(format!("{what}: {hash}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_same_entries_give_the_same_hash() {
    let fold = || {
        let mut desk = Desk::under(crowded());
        STORY.iter().for_each(|(_, happens, _)| happens(&mut desk));
        desk.state
    };
    let (first, second) = (fold(), fold());
    assert!(first == second);
    assert_eq!(first.hash(), second.hash());
}

/// The hash after this event; the same entry number and time for all.
fn after(desk: &Desk, event: Event) -> Digest {
    let mut desk = desk.clone();
    desk.record(event);
    desk.state.hash()
}

#[test]
fn what_counts_changes_the_hash() {
    let mut desk = Desk::furnished();
    let [first, second] = ["i-1", "i-2"].map(|id| desk.pass(intent(id, "call")).seq);
    let started = desk.start(intent("i-3", "call")).seq;
    let retried = |attempts, due| {
        let (decision, due) = (started, UnixMicros(due));
        Event::DispatchRetried(DispatchRetried { decision, attempts, due, because: String::new(), asked_us: 0 })
    };
    for (what, one, other) in [
        ("which was dispatched", Event::DispatchStarted(first), Event::DispatchStarted(second)),
        ("how often it was tried", retried(1, 5), retried(2, 5)),
        ("when it is tried again", retried(1, 5), retried(1, 6)),
        ("where intake stands", moved(0, 5), moved(0, 6)),
        ("in which partition", moved(0, 5), moved(1, 5)),
        ("whether anything happened", noise(), moved(0, 5)),
    ] {
        assert_ne!(after(&desk, one), after(&desk, other), "{what}");
    }
    let mut later = desk.clone();
    later.later(1);
    assert_ne!(after(&desk, noise()), after(&later, noise()), "the time of the last entry");
    let mut evidence = [desk.clone(), desk];
    evidence[0].show(scan(), BOB);
    evidence.iter_mut().for_each(|desk| _ = desk.record(noise()));
    evidence[1].show(scan(), BOB);
    assert_ne!(evidence[0].state.hash(), evidence[1].state.hash(), "when evidence was registered");
}

/// The hash an hour after this act, when the act itself is forgotten.
fn long_after(desk: &Desk, statement: Statement, nonce: &str) -> Digest {
    let mut desk = desk.clone();
    let act = Act { expires_at: desk.now.plus(HOUR), ledger: LEDGER, nonce: name(nonce), statement };
    let act = signed(act, &OPERATORS);
    let event = admission::act(&desk.state, &act, desk.now).expect("it is admitted").expect("it is new");
    desk.record(event);
    desk.later(HOUR);
    after(&desk, noise())
}

#[test]
fn of_an_act_what_it_states_stays_and_nothing_else() {
    let mut desk = Desk::furnished();
    for (tenant, principal) in [(None, None), (Some("acme"), None)] {
        desk.administer(freeze(tenant, principal));
    }
    let mut renamed = policy();
    renamed["name"] = json!("another");
    for (what, one, other) in [
        ("which policy", activate(policy()), activate(renamed)),
        ("which key", trust(ZED, "acme", "zed", &[]), trust(KeyId([77; 32]), "acme", "zed", &[])),
        ("for which tenant", trust(ZED, "acme", "zed", &[]), trust(ZED, "beta", "zed", &[])),
        ("as whom", trust(ZED, "acme", "zed", &[]), trust(ZED, "acme", "zoe", &[])),
        ("in which roles", trust(ZED, "acme", "zed", &[]), trust(ZED, "acme", "zed", &["manager"])),
        ("who is revoked", Statement::RevokeKey { key: ANN }, Statement::RevokeKey { key: BOB }),
        ("which tenant is frozen", freeze(Some("beta"), None), freeze(Some("gamma"), None)),
        ("which principal", freeze(Some("beta"), Some("eve")), freeze(Some("beta"), Some("ann"))),
        ("what is thawed", thaw(None, None), thaw(Some("acme"), None)),
        ("which cluster", bind("c-1", "t", "t-1", 3), bind("c-2", "t", "t-1", 3)),
        ("which topic", bind("c-1", "t", "t-1", 3), bind("c-1", "u", "t-1", 3)),
        ("which of that name", bind("c-1", "t", "t-1", 3), bind("c-1", "t", "t-2", 3)),
        ("how many partitions", bind("c-1", "t", "t-1", 3), bind("c-1", "t", "t-1", 4)),
    ] {
        let hash = long_after(&desk, one.clone(), "n");
        assert_eq!(hash, long_after(&desk, one, "m"), "the same of another act: {what}");
        assert_ne!(hash, long_after(&desk, other, "n"), "{what}");
    }
}
