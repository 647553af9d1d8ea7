//! Executors outside who sleep: they hold up nobody but their tenant's own work, and are heard when they wake.

use writ::clock::Clock;
use writ::ledger::{self, Opened};
use writ::sequencer::{Answer, OPEN_MAX, Passed, Submitted};
use writ_kernel::outcome::OUTSIDE_MAX;
use writ_schemas::act::{Act, Statement};
use writ_schemas::dsse::Signed;
use writ_schemas::errors::Code;
use writ_schemas::event::Source;
use writ_schemas::ids::Digest;
use writ_schemas::intent::Intent;
use writ_schemas::keys::SecretKey;
use writ_schemas::policy::ConnectorKind;

use super::{TIMEOUT_MAX_US, call, ends, founded, open, policy, silent};
use crate::ledgers::{HOUR, Kept, Who, name, sign};

/// As many more as may be on their way to a dispatch when the last place is taken.
const MORE: usize = 300;

fn of_tenant(intent: &Signed<Intent>, tenant: &str, action: &str, key: &SecretKey) -> Signed<Intent> {
    sign(Intent { tenant: name(tenant), action: name(action), ..intent.value().clone() }, key)
}

/// A closed ledger whose connector is outside; it trusts these, too.
fn docked(others: &[Statement]) -> Kept {
    let far = silent(1);
    let kept = founded(&far, 2, TIMEOUT_MAX_US);
    let mut bundle = policy(&far, TIMEOUT_MAX_US);
    for connector in bundle.connectors.values_mut() {
        if let ConnectorKind::Http { .. } = connector.kind {
            connector.kind = ConnectorKind::External { role: name("carrier"), within_us: HOUR };
        }
    }
    let ledger = open(&kept);
    for statement in others.iter().cloned().chain([Statement::ActivatePolicy { bundle }]) {
        let act = ledger::act(&kept.folder, &kept.genesis(), statement, &Clock::Wall).expect("an act");
        let answers = ledger.handle().submit_all(vec![(Submitted::Act(Box::new(act)), 1)]).expect("answers");
        assert!(matches!(answers[..], [Answer::Recorded(_)]), "{answers:?}");
    }
    ledger.stop().expect("stops");
    kept
}

/// So many intents, as they are submitted.
fn calls(count: usize) -> Vec<(Submitted, usize)> {
    (0..count).map(|at| (Submitted::Intent(Box::new(call(&format!("call-{at}")))), 1)).collect()
}

/// Where nobody carries anything out, what is meant for the outside waits like all else, and no more of it.
#[test]
fn nobody_fills_the_memory_of_a_ledger_that_nobody_serves() {
    ends("a ledger that nobody serves", || {
        let kept = docked(&[]);
        let opened = Opened::open(&kept.folder, Clock::Wall).expect("opens");
        let ledger = opened.start_with(Passed::Waits, |failure| panic!("{failure}")).expect("starts");
        let answers = ledger.handle().submit_all(calls(OPEN_MAX + 5)).expect("answers");
        let refused = answers.iter().filter(|it| matches!(it, Answer::Refused(why) if why.code == Code::Overloaded));
        assert_eq!(refused.count(), 5);
        ledger.stop().expect("stops");
    });
}

#[test]
fn a_tenant_whose_executor_sleeps_fills_its_own_places_only() {
    ends("a full outside", || {
        let (robot, globex) = (SecretKey::from_seed(&[91; 32]), SecretKey::from_seed(&[92; 32]));
        let trust = |key: &SecretKey, tenant: &str, role: &str| Statement::TrustKey {
            key: key.id(),
            tenant: name(tenant),
            principal: name("agent-1"),
            roles: [name(role)].into(),
        };
        let kept = docked(&[trust(&robot, "acme", "carrier"), trust(&globex, "globex", "agent")]);
        let ledger = open(&kept);
        let handle = ledger.handle();

        let ask = |intent: Signed<Intent>| {
            let answers = handle.submit_all(vec![(Submitted::Intent(Box::new(intent)), 1)]).expect("answers");
            answers.into_iter().next().expect("an answer")
        };
        let answers = handle.submit_all(calls(OUTSIDE_MAX + MORE)).expect("every one is answered, whatever is outside");
        let passed = answers.iter().filter(|it| matches!(it, Answer::Decided(..))).count();
        assert!(passed >= OUTSIDE_MAX, "{passed} passed");
        // Those that passed and found no place hold up nobody.
        let refused = loop {
            match ask(call(&format!("late-{}", Clock::Wall.now().0))) {
                Answer::Refused(refusal) => break refusal,
                Answer::Decided(..) => std::thread::yield_now(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(refused.code, Code::Overloaded);
        let agent = Who::Agent.key();
        assert!(matches!(ask(of_tenant(&call("other-action"), "acme", "note", &agent)), Answer::Decided(..)));
        let Answer::Decided(_, decision) = ask(of_tenant(&call("other-tenant"), "globex", "call", &globex)) else {
            panic!("another tenant is held up")
        };
        assert!(decision.value().execution.is_some(), "{}", decision.value().because);

        // A report makes a place.
        let first = answers.first().expect("answers");
        let Answer::Decided(_, decision) = first else { panic!("{first:?}") };
        let report = |decision: Digest| {
            let statement = Statement::Report { applied: false, because: None, decision, output: None };
            let expires_at = Clock::Wall.now().plus(HOUR);
            sign(Act { ledger: kept.genesis().ledger, nonce: name("n"), expires_at, statement }, &robot)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let report = Submitted::Act(Box::new(report(decision.digest())));
        let answer = runtime.block_on(handle.submit(report, Source::Http, writ::telemetry::facts::Arrival::now(), 1));
        assert!(matches!(answer, Ok(Answer::Recorded(_))), "{answer:?}");
        ledger.stop().expect("stops");
    });
}
