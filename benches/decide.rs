//! How long one decision takes: three requirements, one of them an expression, and a budget; at few and at many rules.
//!
//! `cargo bench --bench decide`. An act holds at most 1 MiB, which is some 4000 such rules. Medians of rounds; the last column is against the smallest policy of the same run.
#![allow(clippy::print_stdout, reason = "a benchmark is its own command line")]
#![allow(clippy::expect_used, reason = "a benchmark stops at the first surprise")]

use std::hint::black_box;

use serde_json::{Value, json};

use writ::clock::Stopwatch;
use writ_kernel::decide::decide;
use writ_kernel::expression::{Expression, Found};
use writ_kernel::state::State;
use writ_schemas::act::{Act, Statement};
use writ_schemas::decision::Verdict;
use writ_schemas::dsse::{Document, Signed};
use writ_schemas::event::Event;
use writ_schemas::evidence::Evidence;
use writ_schemas::genesis::{Genesis, SigningMode};
use writ_schemas::ids::{Digest, LedgerId, UnixMicros};
use writ_schemas::intent::Intent;
use writ_schemas::keys::SecretKey;
use writ_schemas::policy::Bundle;

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

fn sign<T: Document>(value: T) -> Signed<T> {
    Signed::unsigned(value).expect("JSON").sign(&key())
}

/// A policy of so many rules and budgets; the first rule is the one that is asked.
fn bundle(rules: usize) -> Bundle {
    let rule = |number: usize| {
        json!({"action": format!("pay-{number}"), "requires": {"requirement": "r"}, "connector": "echo", "window_us": HOUR,
               "spends": {"budget": {"name": format!("b-{number}"), "cost": {"arg": "amount_cents"}}}})
    };
    let evidence = |kind: &str| json!({"evidence": {"kind": kind, "role": "approver", "about_effect": false}});
    let off = json!({"disabled": "not measured"});
    let bundle = json!({
        "name": "bench", "rules": (0..rules).map(rule).collect::<Vec<Value>>(),
        "gates": {"temporal": off, "proof": "enforced", "budget": "enforced", "escalation": off},
        "requirements": {"r": {"all_of": [evidence("ticket"), evidence("approval"), {"expression": EXPRESSION}]}},
        "budgets": (0..rules).map(|it| (format!("b-{it}"), json!({"unit": "cents", "limit": 1_000_000}))).collect::<serde_json::Map<_, _>>(),
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
    let intent = json!({"tenant": "acme", "id": "i-1", "principal": "agent-1", "action": "pay-0", "session": "s",
                        "args": {"amount_cents": 4200, "currency": "EUR", "to": "DE00"}, "evidence": shown,
                        "expires_at": NOW.plus(HOUR)});
    (state, sign(serde_json::from_value(intent).expect("an intent")))
}

/// The median of nanoseconds for each of [`DECISIONS`].
fn measure(mut what: impl FnMut()) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let watch = Stopwatch::start();
            (0..DECISIONS).for_each(|_| what());
            watch.elapsed().as_secs_f64() * 1e9 / f64::from(DECISIONS)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds.get(ROUNDS / 2).copied().unwrap_or_default()
}

fn main() {
    println!("{:>8}  {:>12}  {:>15}  {:>8}", "rules", "decide, ns", "expression, ns", "ratio");
    let mut first = None;
    for rules in [10, 100, 3000] {
        let bundle = bundle(rules);
        let (state, intent) = scene(bundle);
        let once = || decide(&state, LEDGER, &intent, key_id(), state.next(), NOW);
        let decision = once();
        assert_eq!((decision.verdict, decision.execution.is_some()), (Verdict::Pass, true), "{}", decision.because);
        let decided = measure(|| drop(black_box(once())));
        let expression = Expression::compile(EXPRESSION).expect("an expression");
        let effect = Digest::of(&intent.value().effect().expect("JSON"));
        let found = Found { facts: &decision.facts, intent: intent.value(), effect, signer: key_id(), now: NOW };
        let told = measure(|| drop(black_box(expression.holds(&found))));
        let ratio = decided / *first.get_or_insert(decided);
        println!("{rules:>8}  {decided:>12.0}  {told:>15.0}  {ratio:>8.2}");
    }
}

fn key_id() -> writ_schemas::ids::KeyId {
    static ID: std::sync::OnceLock<writ_schemas::ids::KeyId> = std::sync::OnceLock::new();
    *ID.get_or_init(|| key().id())
}
