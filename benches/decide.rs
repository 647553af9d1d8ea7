//! How long one decision takes: three requirements, one of them an expression, and two budgets, one of a day; at few and at
//! many rules, each with a budget of its own.
//!
//! `cargo bench --bench decide`. An act holds at most 1 MiB, which is some 3000 such rules, so the largest policies are asked
//! with facts in hand: all gates, but no look into a state. Budgets are many where each principal has its own. Medians of
//! rounds; the last column is against the smallest of the same run.
#![allow(clippy::print_stdout, reason = "a benchmark is its own command line")]
#![allow(clippy::expect_used, reason = "a benchmark stops at the first surprise")]

use std::hint::black_box;

use serde_json::{Value, json};

use writ::clock::Stopwatch;
use writ_kernel::decide::{decide, judge};
use writ_kernel::expression::{Expression, Found};
use writ_kernel::policy::Policy;
use writ_kernel::state::State;
use writ_schemas::act::{Act, Statement};
use writ_schemas::decision::Verdict;
use writ_schemas::dsse::{Document, Signed};
use writ_schemas::event::{Event, IntentAdmitted, Source};
use writ_schemas::evidence::Evidence;
use writ_schemas::genesis::{Genesis, SigningMode};
use writ_schemas::ids::{Digest, LedgerId, UnixMicros};
use writ_schemas::intent::Intent;
use writ_schemas::keys::SecretKey;
use writ_schemas::policy::Bundle;

/// As the binary allocates.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const LEDGER: LedgerId = LedgerId([7; 16]);
const NOW: UnixMicros = UnixMicros(1_800_000_000_000_000);
const HOUR: u64 = 3_600_000_000;
const EXPRESSION: &str = "intent.args.amount_cents <= 5000 && intent.args.currency == 'EUR'";

/// Decisions in a round, and rounds.
const DECISIONS: u32 = 20_000;
const ROUNDS: usize = 5;

fn key() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

/// A key of another principal.
fn another(number: usize) -> SecretKey {
    let mut seed = [2; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    SecretKey::from_seed(&seed)
}

fn sign<T: Document>(value: T) -> Signed<T> {
    Signed::unsigned(value).expect("JSON").sign(&key())
}

/// A policy of so many rules and budgets; the first rule is the one that is asked.
fn bundle(rules: usize) -> Bundle {
    let rule = |number: usize| {
        json!({"action": format!("pay-{number}"), "requires": {"requirement": "r"}, "connector": "echo", "window_us": HOUR,
               "spends": {"budgets": [{"name": format!("b-{number}"), "cost": {"arg": "amount_cents"}},
                                      {"name": "day", "cost": {"arg": "amount_cents"}}]}})
    };
    let evidence = |kind: &str| json!({"evidence": {"kind": kind, "role": "approver", "about_effect": false}});
    let off = json!({"disabled": "not measured"});
    let mut budgets: serde_json::Map<String, Value> =
        (0..rules).map(|it| (format!("b-{it}"), json!({"unit": "cents", "limit": 1_000_000_000}))).collect();
    let day =
        json!({"unit": "cents", "limit": 1_000_000_000, "window": {"day": "Europe/Berlin"}, "per": ["principal"]});
    budgets.insert("day".to_owned(), day);
    let bundle = json!({
        "name": "bench", "rules": (0..rules).map(rule).collect::<Vec<Value>>(),
        "gates": {"temporal": off, "proof": "enforced", "budget": "enforced", "escalation": off},
        "requirements": {"r": {"all_of": [evidence("ticket"), evidence("approval"), {"expression": EXPRESSION}]}},
        "budgets": budgets,
        "connectors": {"echo": {"kind": "echo", "output_schema": {}}},
    });
    serde_json::from_value(bundle).expect("a bundle")
}

/// A ledger under this policy, and an intent that passes.
fn scene(bundle: Bundle) -> (State, Signed<Intent>) {
    let id = key().id();
    let name = |text: &str| text.parse().expect("a name");
    let evidence = |kind: &str| {
        let (expires_at, ledger) = (NOW.plus(HOUR), LEDGER);
        sign(Evidence {
            artifact: None,
            effect: None,
            expires_at,
            issued_at: NOW,
            kind: name(kind),
            ledger,
            tenant: name("acme"),
        })
    };
    let act = |statement| sign(Act { ledger: LEDGER, nonce: name("n"), expires_at: NOW.plus(HOUR), statement });
    let trust = Statement::TrustKey {
        key: id,
        tenant: name("acme"),
        principal: name("agent-1"),
        roles: [name("approver")].into(),
    };
    let genesis = Genesis {
        ledger: LEDGER,
        origin: "writ.example/ledger/07".to_owned(),
        operators: vec![id],
        quorum: 1,
        decision_key: id,
        checkpoint_key: id,
        signing_mode: SigningMode::Each,
        created_at: NOW,
    };
    let (ticket, approval) = (evidence("ticket"), evidence("approval"));
    let shown = vec![ticket.digest(), approval.digest()];
    let mut state = State::default();
    for event in [
        Event::LedgerOpened(sign(genesis)),
        Event::KeyTrusted(act(trust)),
        Event::PolicyActivated(act(Statement::ActivatePolicy { bundle })),
        Event::EvidenceRegistered(ticket),
        Event::EvidenceRegistered(approval),
    ] {
        state.apply(state.next(), NOW, &event).expect("it follows");
    }
    (state, intent("agent-1", &shown, &key()))
}

/// An intent that passes.
fn intent(principal: &str, shown: &[Digest], key: &SecretKey) -> Signed<Intent> {
    let intent = json!({"tenant": "acme", "id": format!("i-{principal}"), "principal": principal, "action": "pay-0", "session": "s",
                        "args": {"amount_cents": 1, "currency": "EUR", "to": "DE00"}, "evidence": shown,
                        "expires_at": NOW.plus(HOUR)});
    let intent: Intent = serde_json::from_value(intent).expect("an intent");
    Signed::unsigned(intent).expect("JSON").sign(key)
}

/// The same ledger after so many principals have spent of a budget of their own each.
fn spent((state, first): &(State, Signed<Intent>), principals: usize) -> (State, Signed<Intent>) {
    let mut state = state.clone();
    for number in 0..principals {
        let (principal, key) = (format!("p-{number}"), another(number));
        let trust = Statement::TrustKey {
            key: key.id(),
            tenant: "acme".parse().expect("a name"),
            principal: principal.parse().expect("a name"),
            roles: [].into(),
        };
        let nonce = principal.parse().expect("a name");
        let trust = sign(Act { ledger: LEDGER, nonce, expires_at: NOW.plus(HOUR), statement: trust });
        state.apply(state.next(), NOW, &Event::KeyTrusted(trust)).expect("it follows");
        let intent = intent(&principal, &first.value().evidence, &key);
        let decision = decide(&state, LEDGER, &intent, key.id(), state.next(), NOW, &mut ());
        assert_eq!(decision.verdict, Verdict::Pass, "{}", decision.because);
        let admitted = Event::IntentAdmitted(IntentAdmitted { intent, source: Source::Local, trace: None });
        state.apply(state.next(), NOW, &admitted).expect("it follows");
        state.apply(state.next(), NOW, &Event::DecisionMade(sign(decision))).expect("it follows");
    }
    (state, first.clone())
}

/// What is measured.
type Asked<'a> = Box<dyn FnMut() + 'a>;

/// The median of nanoseconds for each of [`DECISIONS`], for each of these; in turns, so that a noisy machine is noisy to all.
fn measure(mut whats: Vec<Asked<'_>>) -> Vec<f64> {
    let mut rounds: Vec<Vec<f64>> = vec![Vec::new(); whats.len()];
    for _ in 0..ROUNDS {
        for (what, rounds) in whats.iter_mut().zip(&mut rounds) {
            let watch = Stopwatch::start();
            (0..DECISIONS).for_each(|_| what());
            rounds.push(watch.elapsed().as_secs_f64() * 1e9 / f64::from(DECISIONS));
        }
    }
    rounds.iter_mut().for_each(|rounds| rounds.sort_by(f64::total_cmp));
    rounds.iter().map(|rounds| rounds.get(ROUNDS / 2).copied().unwrap_or_default()).collect()
}

fn table(of: &str, what: &str, sizes: &[usize], medians: &[f64]) {
    println!("{of:>8}  {what:>12}  {:>8}", "ratio");
    for (size, median) in sizes.iter().zip(medians) {
        println!("{size:>8}  {median:>12.0}  {:>8.2}", median / medians.first().unwrap_or(median));
    }
}

fn main() {
    let sizes = [10, 1000, 3000];
    let scenes: Vec<_> = sizes.iter().map(|rules| scene(bundle(*rules))).collect();
    let decided =
        |(state, intent): &(State, Signed<Intent>)| decide(state, LEDGER, intent, key_id(), state.next(), NOW, &mut ());
    for scene in &scenes {
        let decision = decided(scene);
        assert_eq!((decision.verdict, decision.execution.is_some()), (Verdict::Pass, true), "{}", decision.because);
    }
    let decide_all = scenes.iter().map(|scene| -> Asked<'_> { Box::new(|| drop(black_box(decided(scene)))) });
    table("rules", "decide, ns", &sizes, &measure(decide_all.collect()));

    let Some(few @ (state, intent)) = scenes.first() else { return };
    let facts = decide(state, LEDGER, intent, key_id(), state.next(), NOW, &mut ()).facts;
    let expression = Expression::compile(EXPRESSION).expect("an expression");
    let effect = intent.value().effect_digest().expect("JSON");
    let found = Found { facts: &facts, intent: intent.value(), effect, signer: key_id(), now: NOW };
    let told = measure(vec![Box::new(|| drop(black_box(expression.holds(&found))))]);
    println!("the expression of it: {:.0} ns\n", told.first().copied().unwrap_or_default());

    let sizes = [10, 1000, 100_000];
    let policies: Vec<Policy> = sizes.iter().map(|rules| Policy::compile(&bundle(*rules)).expect("a policy")).collect();
    let judged = |policy| judge(Some(policy), intent.value(), key_id(), &facts, NOW);
    assert!(policies.iter().all(|policy| judged(policy).verdict == Verdict::Pass));
    let judge_all = policies.iter().map(|policy| -> Asked<'_> { Box::new(|| drop(black_box(judged(policy)))) });
    table("rules", "judge, ns", &sizes, &measure(judge_all.collect()));

    // Last: what it leaves of the heap slows down everything after it.
    let sizes = [10, 1000, 100_000];
    let spenders: Vec<_> = sizes.iter().map(|principals| spent(few, *principals)).collect();
    let decide_all = spenders.iter().map(|scene| -> Asked<'_> { Box::new(|| drop(black_box(decided(scene)))) });
    table("budgets", "decide, ns", &sizes, &measure(decide_all.collect()));
}

fn key_id() -> writ_schemas::ids::KeyId {
    static ID: std::sync::OnceLock<writ_schemas::ids::KeyId> = std::sync::OnceLock::new();
    *ID.get_or_init(|| key().id())
}
