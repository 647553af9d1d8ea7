//! What is counted, and that every line of a bill leads to its receipts.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use writ_schemas::act::Statement;
use writ_schemas::decision::Amount;
use writ_schemas::entry::Entry;
use writ_schemas::errors::Code;
use writ_schemas::event::Event;
use writ_schemas::ids::{Digest, Seq};
use writ_schemas::receipt::Status;

use super::usage::{Meter, Source, UsageLine};
use super::{LineKey, Metering, Projection};
use crate::conformance::ledger::{self, Run, Writer, cents, name, spent};
use crate::follower::{Follower, ViewError};
use crate::page::{Page, Part};
use crate::projection::FoldError;
use crate::store::MemoryStore;

/// All lines, asked for a few at a time.
fn lines_of(meter: Meter<'_>, tenant: Option<&str>) -> Vec<UsageLine> {
    let tenant = tenant.map(name);
    pages(|part| meter.usage(tenant.as_ref(), part).expect("reads"))
}

/// All receipts of a line, asked for a few at a time.
fn sources_of(meter: Meter<'_>, line: &LineKey) -> Vec<Source> {
    pages(|part| meter.usage_sources(line, part).expect("reads"))
}

fn pages<T>(ask: impl Fn(&Part) -> Page<T>) -> Vec<T> {
    let (mut all, mut part) = (Vec::new(), Part::first(2));
    loop {
        let Page { items, next } = ask(&part);
        assert!(items.len() == part.limit || next.is_none());
        all.extend(items);
        let Some(next) = next else { return all };
        part.cursor = Some(next.to_string().parse().expect("a cursor"));
    }
}

fn metered(log: &[Entry]) -> Result<MemoryStore, ViewError> {
    let store = MemoryStore::default();
    let (mut follower, _) = Follower::open(Metering, store, log[0].header.ledger, |_| None)?;
    follower.apply_all(log)?;
    Ok(follower.into_store())
}

fn run(agent: usize, action: &str, cost: Option<u64>, status: Status) -> Run<'_> {
    Run { agent, action, spends: cost.map(cents).into_iter().collect(), status, evidence: &[] }
}

/// One line a usage line, as a person would read it: count/failed/uncertain/expired, and the receipts.
fn bill(log: &[Entry], tenant: Option<&str>) -> String {
    let store = metered(log).expect("folds");
    let meter = Meter::new(&store);
    let lines = lines_of(meter, tenant);
    lines
        .iter()
        .map(|line| {
            let UsageLine { tenant, action, day, unit, count, sum, failed, uncertain, expired, .. } = line;
            let unit = unit.as_ref().map_or("-", |unit| unit.as_str());
            let sources: Vec<String> = sources_of(meter, &line.key())
                .iter()
                .map(|source| format!("#{}={}", source.receipt, source.amount))
                .collect();
            let sources = sources.join(" ");
            format!("{tenant} {action} {day} {count}/{failed}/{uncertain}/{expired} {sum} {unit} [{sources}]\n")
        })
        .collect()
}

#[test]
fn lines_are_by_tenant_action_day_and_unit() {
    let mut writer = Writer::new(7);
    writer.run(&run(0, "refund", Some(5), Status::Succeeded));
    writer.run(&run(0, "refund", Some(7), Status::Succeeded));
    writer.run(&run(0, "refund", Some(9), Status::Failed));
    writer.run(&run(0, "refund", Some(9), Status::Expired));
    writer.run(&run(0, "mail", None, Status::Succeeded));
    writer.run(&run(1, "refund", Some(1), Status::Succeeded));
    writer.refused(0, "refund", Code::BudgetExceeded);
    writer.wait(24 * 3_600 * 1_000_000);
    writer.run(&run(0, "refund", Some(11), Status::Succeeded));
    let expected = "\
acme mail 2026-09-21 1/0/0/0 0 - [#26=0]
acme refund 2026-09-21 2/1/0/1 12 cents [#9=5 #13=7 #19=0 #22=0]
acme refund 2026-09-22 1/0/0/0 11 cents [#36=11]
globex refund 2026-09-21 1/0/0/0 1 cents [#30=1]
";
    let found = bill(&writer.entries, None);
    let found: Vec<&str> = found.lines().collect();
    assert_eq!(found, expected.lines().collect::<Vec<_>>());
    assert_eq!(bill(&writer.entries, Some("globex")).lines().count(), 1);
    assert_eq!(bill(&writer.entries, Some("glob")), "", "a tenant is not a prefix");
}

#[test]
fn what_is_overdrawn_is_a_part_of_the_sum_that_everybody_sees() {
    let mut writer = Writer::new(7);
    let over = |cost, more| Run {
        spends: vec![Amount { overdrawn: Some(more), ..cents(cost) }],
        ..run(0, "refund", None, Status::Succeeded)
    };
    writer.run(&over(8, 3));
    writer.run(&run(0, "refund", Some(5), Status::Succeeded));
    writer.run(&over(7, 1));
    let store = metered(&writer.entries).expect("folds");
    let lines = lines_of(Meter::new(&store), None);
    assert_eq!(lines.iter().map(|line| (line.sum, line.overdrawn)).collect::<Vec<_>>(), [(20, 4)]);
}

#[test]
fn an_uncertain_receipt_charges_when_it_is_found_to_be_applied() {
    let mut writer = Writer::new(7);
    let applied = writer.run(&run(0, "refund", Some(5), Status::Uncertain));
    let not = writer.run(&run(0, "refund", Some(7), Status::Uncertain));
    assert_eq!(bill(&writer.entries, None), "acme refund 2026-09-21 0/0/2/0 0 cents [#9=0 #13=0]\n");
    writer.wait(48 * 3_600 * 1_000_000);
    let by = writer.reconcile(applied, true);
    writer.reconcile(not, false);
    let expected = "acme refund 2026-09-21 1/1/0/0 5 cents [#9=5 #13=0]\n";
    assert_eq!(bill(&writer.entries, None), expected, "on the day of the receipt");
    writer.reconcile(applied, true);
    assert_eq!(bill(&writer.entries, None), expected, "once");

    let store = metered(&writer.entries).expect("folds");
    let meter = Meter::new(&store);
    let lines = lines_of(meter, None);
    let sources = sources_of(meter, &lines[0].key());
    assert_eq!(sources[0].reconciled_by, Some(by));
}

#[test]
fn each_unit_has_a_line_and_what_several_budgets_count_in_one_is_counted_once() {
    let mut writer = Writer::new(7);
    let spends = || vec![spent("day", "cents", 5), spent("calls", "requests", 1), spent("month", "cents", 5)];
    writer.run(&Run { spends: spends(), ..run(0, "refund", None, Status::Succeeded) });
    let uncertain = writer.run(&Run { spends: spends(), ..run(0, "refund", None, Status::Uncertain) });
    let lines =
        |cents: &str, requests: &str| format!("acme refund 2026-09-21 {cents}\nacme refund 2026-09-21 {requests}\n");
    let before = lines("1/0/1/0 5 cents [#9=5 #13=0]", "1/0/1/0 1 requests [#9=1 #13=0]");
    assert_eq!(bill(&writer.entries, None), before);
    writer.reconcile(uncertain, true);
    let after = lines("2/0/0/0 10 cents [#9=5 #13=5]", "2/0/0/0 2 requests [#9=1 #13=1]");
    assert_eq!(bill(&writer.entries, None), after);
}

#[test]
fn a_receipt_is_counted_once() {
    let mut writer = Writer::new(7);
    writer.run(&run(0, "refund", Some(5), Status::Succeeded));
    let again = writer.entries.last().expect("an entry").event().expect("event");
    let before = bill(&writer.entries, None);
    writer.append(again);
    assert_eq!(bill(&writer.entries, None), before);
}

#[test]
fn a_sum_that_does_not_fit_stops_the_view() {
    let mut writer = Writer::new(7);
    // The largest integer that JSON holds exactly; the sum of 2049 of them leaves 64 bits.
    let most = (1 << 53) - 1;
    let mut entries = 0;
    for _ in 0..2_049 {
        writer.run(&run(0, "refund", Some(most), Status::Succeeded));
        entries = writer.entries.len();
    }
    let error = metered(&writer.entries).expect_err("it does not fit");
    let seq = Seq(u64::try_from(entries - 1).expect("small"));
    assert!(
        matches!(error, ViewError::Fold { seq: at, source: FoldError::Overflow(_) } if at == seq),
        "{error} {}",
        Metering::NAME
    );
}

#[test]
fn a_reconciliation_of_nothing_stops_the_view() {
    let mut writer = Writer::new(7);
    writer.reconcile(Digest([9; 32]), true);
    let error = metered(&writer.entries).expect_err("nothing to reconcile");
    assert!(matches!(error, ViewError::Fold { source: FoldError::UnknownDocument(_), .. }), "{error}");
}

#[test]
fn lines_as_json() {
    let mut writer = Writer::new(7);
    writer.run(&run(0, "mail", None, Status::Succeeded));
    let store = metered(&writer.entries).expect("folds");
    let lines = lines_of(Meter::new(&store), None);
    assert_eq!(
        serde_json::to_string(&lines).expect("JSON"),
        r#"[{"tenant":"acme","action":"mail","day":"2026-09-21","unit":null,"count":1,"sum":0,"overdrawn":0,"failed":0,"uncertain":0,"expired":0}]"#
    );
}

/// Counts the receipts of a log without the view: the auditor's way.
fn recount(log: &[Entry]) -> BTreeMap<(String, String), (u64, u64, u64, u64)> {
    let events: Vec<Event> = log.iter().map(|entry| entry.event().expect("event")).collect();
    // By the digest of a receipt, or by that of the decision of a receipt for want of a report.
    let mut outcome = BTreeMap::new();
    for event in &events {
        let Event::OutcomeReconciled(act) = event else { continue };
        match &act.value().statement {
            Statement::Reconcile { receipt, applied } => drop(outcome.insert(*receipt, *applied)),
            Statement::Report { decision, applied, .. } => drop(outcome.insert(*decision, *applied)),
            Statement::ActivatePolicy { .. }
            | Statement::TrustKey { .. }
            | Statement::RevokeKey { .. }
            | Statement::Freeze { .. }
            | Statement::Thaw { .. }
            | Statement::Approve { .. }
            | Statement::RotateDecisionKey { .. }
            | Statement::AdjustClock { .. }
            | Statement::BindPartitions { .. } => panic!("not an outcome: {act:?}"),
        }
    }
    let mut totals = BTreeMap::new();
    for event in &events {
        let Event::ReceiptIssued(issued) = event else { continue };
        let receipt = issued.receipt.value();
        let key = (receipt.tenant.to_string(), receipt.action.to_string());
        let (count, sum, failed, uncertain): &mut (u64, u64, u64, u64) = totals.entry(key).or_default();
        let reserved = || {
            let Event::DecisionMade(decision) = &events[usize::try_from(receipt.decision_seq.0).expect("small")] else {
                panic!("not a decision");
            };
            decision.value().execution.as_ref()?.reservation.first().map(|amount| amount.amount)
        };
        let told = outcome.get(&issued.receipt.digest()).or(outcome.get(&receipt.decision_digest));
        match (receipt.status, told) {
            (Status::Succeeded, _) => {
                *count += 1;
                *sum += receipt.usage.first().map_or(0, |amount| amount.amount);
            }
            (Status::Uncertain, Some(true)) => {
                *count += 1;
                *sum += reserved().unwrap_or(0);
            }
            (Status::Uncertain, None) => *uncertain += 1,
            (Status::Failed, _) | (Status::Uncertain, Some(false)) => *failed += 1,
            (Status::Expired, _) => {}
        }
    }
    totals
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn usage_is_the_recount_of_receipts(seed: u64, steps in 0_usize..80) {
        let log = ledger::random(seed, steps);
        let store = metered(&log).expect("folds");
        let meter = Meter::new(&store);
        let lines = lines_of(meter, None);
        let mut totals: BTreeMap<(String, String), (u64, u64, u64, u64)> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for line in &lines {
            let (count, sum, failed, uncertain) =
                totals.entry((line.tenant.to_string(), line.action.to_string())).or_default();
            *count += line.count;
            *sum += line.sum;
            *failed += line.failed;
            *uncertain += line.uncertain;
            prop_assert_eq!(LineKey::named(&line.key().name()), Some(line.key()));
            let sources = sources_of(meter, &line.key());
            prop_assert_eq!(sources.iter().map(|source| source.amount).sum::<u64>(), line.sum);
            let of = |status| u64::try_from(sources.iter().filter(|s| s.status == status).count()).expect("small");
            prop_assert_eq!(of(Status::Succeeded), line.count);
            prop_assert_eq!(of(Status::Failed), line.failed);
            prop_assert_eq!(of(Status::Uncertain), line.uncertain);
            prop_assert_eq!(of(Status::Expired), line.expired);
            for source in sources {
                prop_assert!(seen.insert(source.receipt), "a receipt stands on two lines");
            }
        }
        let receipts = log.iter().filter(|e| e.header.kind == writ_schemas::event::EventKind::ReceiptIssued);
        prop_assert_eq!(seen.len(), receipts.count());
        prop_assert_eq!(totals, recount(&log));
        let mut sorted = lines.clone();
        sorted.sort_by_key(|line| (line.tenant.clone(), line.action.clone(), line.day, line.unit.clone()));
        prop_assert_eq!(lines, sorted);
    }
}
