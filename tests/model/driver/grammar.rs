//! Random policies with small limits and short windows, and their bundles.

use std::collections::{BTreeMap, BTreeSet};

use writ_kernel::policy::Policy as Compiled;
use writ_model::calendar::{DAY, Span, weekday};
use writ_model::documents::Word;
use writ_model::policy::{Approvers, Budget, CoolDown, Cost, Limits, Need, Policy, Rate, Rule, Shown, Spend, Window};
use writ_schemas::policy as schema;

use crate::dice::Dice;
use crate::pools::{ACTIONS, BUDGETS, KINDS, ROLES, TENANTS, key, name};

/// A second, in microseconds.
pub(crate) const SECOND: u64 = 1_000_000;

/// How old evidence may be, in microseconds.
pub(crate) const AGES: [u64; 2] = [SECOND, 5 * SECOND];

const MINUTE: u64 = 60 * SECOND;

/// A policy that the kernel finds sound, with some of the rules of one before; what is unsound is thrown again.
pub(crate) fn policy(dice: &mut Dice, number: u32, now: u64, before: Option<&Policy>) -> Policy {
    loop {
        let mut policy = thrown(dice, number, now);
        for rule in &mut policy.rules {
            let kept = before.and_then(|before| before.rule(rule.action));
            kept.filter(|_| dice.percent(70)).into_iter().for_each(|kept| rule.clone_from(kept));
        }
        if Compiled::compile(&bundle(&policy)).is_ok() {
            return policy;
        }
    }
}

fn thrown(dice: &mut Dice, number: u32, now: u64) -> Policy {
    Policy {
        number,
        temporal: dice.percent(85),
        proof: dice.percent(85),
        budget: dice.percent(90),
        escalation: dice.percent(85),
        rules: rules(dice, now),
        budgets: BUDGETS.iter().map(|(name, unit)| budget(dice, name, unit)).collect(),
    }
}

/// A policy under which everything waits for people, for an hour.
pub(crate) fn asks_always(number: u32) -> Policy {
    let approvers = Approvers { role: "manager", quorum: 1, within_us: 60 * MINUTE, above: None };
    let rule = |action| Rule {
        action,
        requires: None,
        spends: Vec::new(),
        window_us: SECOND,
        limits: None,
        approvers: Some(approvers),
    };
    let rules = ACTIONS.into_iter().map(rule).collect();
    Policy { number, temporal: true, proof: true, budget: true, escalation: true, rules, budgets: Vec::new() }
}

fn rules(dice: &mut Dice, now: u64) -> Vec<Rule> {
    let mut rules = Vec::new();
    for action in ACTIONS {
        if dice.percent(93) {
            rules.push(rule(dice, action, now));
        }
    }
    rules
}

fn rule(dice: &mut Dice, action: Word, now: u64) -> Rule {
    let limits = Limits {
        hours: dice.percent(15).then(|| spans(dice, now)),
        rate: dice.percent(40).then(|| rate(dice)),
        cool_down: dice.percent(50).then(|| cool_down(dice)),
    };
    let depth = dice.of(&[0, 0, 1, 2]);
    Rule {
        action,
        requires: dice.percent(45).then(|| need(dice, depth)),
        spends: spends(dice),
        window_us: dice.of(&[1, SECOND, 5 * SECOND, 30 * SECOND]),
        limits: (limits != Limits::default()).then_some(limits),
        approvers: dice.percent(40).then(|| Approvers {
            role: dice.of(&ROLES),
            quorum: dice.of(&[1, 1, 2, 2, 3]),
            within_us: dice.of(&[SECOND, 3 * SECOND, 10 * SECOND, 60 * SECOND]),
            above: dice.percent(60).then(|| dice.of(&[0, 1, 2, 3])),
        }),
    }
}

fn spans(dice: &mut Dice, now: u64) -> Vec<Span> {
    let minute = now % DAY / MINUTE;
    let span = |dice: &mut Dice| {
        let from = (minute + dice.below(3)).saturating_sub(1).min(1438);
        let days = if dice.percent(70) { (0..7).collect() } else { vec![weekday(now)] };
        Span { days, from, to: (from + 1 + dice.below(4)).min(1440) }
    };
    (0..1 + dice.below(2)).map(|_| span(dice)).collect()
}

fn rate(dice: &mut Dice) -> Rate {
    Rate {
        count: dice.of(&[1, 2, 3, 4]),
        per_us: dice.of(&[SECOND, 2 * SECOND, 10 * SECOND, 60 * SECOND]),
        burst: dice.of(&[1, 1, 2, 3]),
    }
}

fn cool_down(dice: &mut Dice) -> CoolDown {
    let steps: &[&[u64]] =
        &[&[SECOND], &[10 * SECOND], &[3 * SECOND, 20 * SECOND], &[2 * SECOND, 4 * SECOND, 20 * SECOND]];
    CoolDown { after: dice.of(&[1, 2, 2, 3]), steps_us: dice.of(steps).to_vec() }
}

fn spends(dice: &mut Dice) -> Vec<Spend> {
    let cost = |dice: &mut Dice| {
        let cost = if dice.percent(60) { Cost::Amount } else { Cost::Fixed(dice.of(&[0, 1, 2, 3])) };
        (cost, dice.percent(35))
    };
    // Two budgets of one unit cost the same.
    let (cents, requests) = (cost(dice), cost(dice));
    let mut spends = Vec::new();
    for (name, unit) in BUDGETS {
        if dice.percent(45) {
            let (cost, told) = if unit == "cents" { cents } else { requests };
            spends.push(Spend { budget: name, cost, told });
        }
    }
    if dice.percent(30) {
        spends.reverse();
    }
    spends
}

fn budget(dice: &mut Dice, name: Word, unit: Word) -> Budget {
    let window = match dice.below(8) {
        0..=2 => Window::Total,
        3 => Window::Hour,
        4 => Window::Day,
        5 => Window::Month,
        _ => Window::Rolling(dice.of(&[SECOND, 32 * SECOND, 8 * SECOND])),
    };
    Budget {
        name,
        unit,
        limit: dice.of(&[2, 5, 10, 40]) * if window == Window::Total { 10 } else { 1 },
        tenants: if dice.percent(30) { vec![(dice.of(&TENANTS), dice.of(&[0, 4, 60]))] } else { Vec::new() },
        per_principal: dice.percent(30),
        per_action: dice.percent(25),
        window,
    }
}

fn need(dice: &mut Dice, depth: u32) -> Need {
    let parts = |dice: &mut Dice, least: u64| -> Vec<Need> {
        (0..least + dice.below(2)).map(|_| need(dice, depth - 1)).collect()
    };
    match dice.below(if depth == 0 { 5 } else { 9 }) {
        0..=3 => Need::Shown(shown(dice)),
        4 => Need::Done(dice.of(&ACTIONS)),
        5 => Need::All(parts(dice, 2)),
        6 => Need::Any(parts(dice, 2)),
        7 => Need::AtLeast(2, parts(dice, 3)),
        _ => Need::All(vec![need(dice, depth - 1), Need::Not(Box::new(need(dice, depth - 1)))]),
    }
}

fn shown(dice: &mut Dice) -> Shown {
    let by_key = dice.percent(20);
    Shown {
        kind: dice.of(&KINDS),
        role: (!by_key || dice.percent(30)).then(|| dice.of(&ROLES)),
        key: by_key.then(|| dice.of(&[0, 1, 2, 3, 4, 6, 8])),
        about_effect: dice.percent(40),
        signers: if by_key { 1 } else { dice.of(&[1, 1, 1, 2]) },
        not_submitter: dice.percent(35),
        max_age_us: dice.percent(35).then(|| dice.of(&AGES)),
        once: dice.percent(40),
    }
}

/// What is in a policy, in words for counting.
pub(crate) fn features(of: &Policy) -> Vec<&'static str> {
    let mut all = Vec::new();
    let gates = [
        (of.temporal, "no time gate"),
        (of.proof, "no proof gate"),
        (of.budget, "no budget gate"),
        (of.escalation, "no escalation gate"),
    ];
    all.extend(gates.into_iter().filter(|(enforced, _)| !enforced).map(|(_, what)| what));
    for rule in &of.rules {
        rule.requires.iter().for_each(|need| parts(need, &mut all));
        let limits = rule.limits.clone().unwrap_or_default();
        let found = [
            (limits.hours.is_some(), "hours"),
            (limits.rate.is_some_and(|rate| rate.burst > 1), "a burst"),
            (limits.rate.is_some_and(|rate| rate.per_us % u64::from(rate.count) != 0), "an interval rounded up"),
            (limits.cool_down.is_some(), "pauses"),
            (rule.spends.len() > 1, "several budgets a rule"),
            (rule.spends.iter().any(|it| it.told), "costs that the output tells"),
            (rule.approvers.is_some_and(|it| it.above.is_some()), "people asked sometimes"),
            (rule.approvers.is_some_and(|it| it.quorum > 1), "a quorum"),
        ];
        all.extend(found.into_iter().filter(|(is, _)| *is).map(|(_, what)| what));
    }
    all
}

fn parts(need: &Need, all: &mut Vec<&'static str>) {
    let (what, parts_of_it): (_, &[Need]) = match need {
        Need::All(parts) => ("all of", parts),
        Need::Any(parts) => ("any of", parts),
        Need::AtLeast(_, parts) => ("at least", parts),
        Need::Not(part) => ("not", std::slice::from_ref(part)),
        Need::Done(_) => ("a prior receipt", &[]),
        Need::Shown(shown) => {
            let found = [
                (shown.key.is_some(), "evidence by a key"),
                (shown.role.is_some(), "evidence by a role"),
                (shown.about_effect, "evidence about the effect"),
                (shown.signers > 1, "evidence by several"),
                (shown.not_submitter, "evidence by another"),
                (shown.max_age_us.is_some(), "fresh evidence"),
                (shown.once, "evidence once"),
            ];
            all.extend(found.into_iter().filter(|(is, _)| *is).map(|(_, what)| what));
            ("evidence", &[])
        }
    };
    all.push(what);
    parts_of_it.iter().for_each(|part| parts(part, all));
}

/// The bundle of a policy.
pub(crate) fn bundle(of: &Policy) -> schema::Bundle {
    let mode = |enforced: bool| {
        if enforced { schema::Mode::Enforced } else { schema::Mode::Disabled("as the dice fell".to_owned()) }
    };
    let connector = schema::Connector {
        kind: schema::ConnectorKind::Echo,
        input_schema: None,
        output_schema: serde_json::json!({}),
        retry: None,
        breaker: None,
        hold_us: None,
    };
    let requirements =
        of.rules.iter().filter_map(|rule| Some((name(rule.action), requirement(rule.requires.as_ref()?))));
    schema::Bundle {
        name: name(&format!("policy-{}", of.number)),
        gates: schema::GateModes {
            temporal: mode(of.temporal),
            proof: mode(of.proof),
            budget: mode(of.budget),
            escalation: mode(of.escalation),
        },
        rules: of.rules.iter().map(schema_rule).collect(),
        requirements: requirements.collect(),
        budgets: of.budgets.iter().map(|it| (name(it.name), schema_budget(it))).collect(),
        connectors: BTreeMap::from([(name("echo"), connector)]),
    }
}

fn schema_rule(of: &Rule) -> schema::Rule {
    let exempt = || "as the dice fell".to_owned();
    let each = of.spends.iter().map(|spend| schema::Spend {
        name: name(spend.budget),
        actual: spend.told.then(|| "cost".to_owned()),
        cost: match spend.cost {
            Cost::Fixed(cost) => schema::Cost::Fixed(cost),
            Cost::Amount => schema::Cost::Arg("amount".to_owned()),
        },
    });
    let mut each: Vec<_> = each.collect();
    schema::Rule {
        action: name(of.action),
        requires: match of.requires {
            Some(_) => schema::Requires::Requirement(name(of.action)),
            None => schema::Requires::Exempt(exempt()),
        },
        spends: match each.len() {
            0 => schema::Spends::Exempt(exempt()),
            1 => schema::Spends::Budget(each.remove(0)),
            _ => schema::Spends::Budgets(each),
        },
        connector: name("echo"),
        window_us: of.window_us,
        timing: Some(of.limits.as_ref().map_or_else(|| schema::Timing::Exempt(exempt()), timing)),
        escalates: Some(match &of.approvers {
            None => schema::Escalates::Exempt(exempt()),
            Some(of) => schema::Escalates::To(schema::Approvers {
                quorum: of.quorum,
                role: name(of.role),
                when: of.above.map(|above| format!("intent.args.amount > {above}")),
                within_us: of.within_us,
            }),
        }),
    }
}

fn timing(of: &Limits) -> schema::Timing {
    use schema::Weekday::{Fri, Mon, Sat, Sun, Thu, Tue, Wed};
    let time = |minutes: u64| format!("{:02}:{:02}", minutes / 60, minutes % 60).parse().expect("a time of day");
    let days = |days: &[u64]| -> BTreeSet<schema::Weekday> {
        let week = (0..).zip([Mon, Tue, Wed, Thu, Fri, Sat, Sun]);
        week.filter(|(number, _)| days.contains(number)).map(|(_, day)| day).collect()
    };
    let span = |span: &Span| schema::Span { days: days(&span.days), from: time(span.from), to: time(span.to) };
    schema::Timing::Limits(schema::Limits {
        cool_down: of.cool_down.as_ref().map(|it| schema::CoolDown { after: it.after, steps_us: it.steps_us.clone() }),
        hours: of
            .hours
            .as_ref()
            .map(|spans| schema::Hours { spans: spans.iter().map(span).collect(), zone: "UTC".to_owned() }),
        rate: of.rate.map(|it| schema::Rate { burst: it.burst, count: it.count, per_us: it.per_us }),
    })
}

fn schema_budget(of: &Budget) -> schema::Budget {
    let shares = [(of.per_principal, schema::Share::Principal), (of.per_action, schema::Share::Action)];
    schema::Budget {
        unit: name(of.unit),
        limit: of.limit,
        tenants: of.tenants.iter().map(|(tenant, limit)| (name(tenant), *limit)).collect(),
        per: shares.into_iter().filter(|(each, _)| *each).map(|(_, share)| share).collect(),
        window: match of.window {
            Window::Total => schema::Window::Total,
            Window::Hour => schema::Window::Hour,
            Window::Day => schema::Window::Day("UTC".to_owned()),
            Window::Month => schema::Window::Month("UTC".to_owned()),
            Window::Rolling(length) => schema::Window::RollingUs(length),
        },
    }
}

fn requirement(of: &Need) -> schema::Requirement {
    let all = |all: &[Need]| all.iter().map(requirement).collect();
    match of {
        Need::All(parts) => schema::Requirement::AllOf(all(parts)),
        Need::Any(parts) => schema::Requirement::AnyOf(all(parts)),
        Need::AtLeast(count, parts) => schema::Requirement::AtLeast { count: *count, of: all(parts) },
        Need::Not(part) => schema::Requirement::Not(Box::new(requirement(part))),
        Need::Done(action) => schema::Requirement::Receipt { action: name(action) },
        Need::Shown(shown) => schema::Requirement::Evidence(schema::EvidenceNeed {
            about_effect: shown.about_effect,
            key: shown.key.map(key),
            kind: name(shown.kind),
            max_age_us: shown.max_age_us,
            not_submitter: shown.not_submitter,
            once: shown.once,
            role: shown.role.map(name),
            signers: shown.signers,
        }),
    }
}
