//! What a budget holds, in which window, and what becomes of an amount that was taken out of it.

use serde_json::json;

use writ_schemas::ids::KeyId;

use super::*;

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn taken(amount: u64, since: Option<u64>, until: Option<u64>) -> Amount {
    Amount {
        action: None,
        actual: None,
        amount,
        budget: name("b"),
        overdrawn: None,
        principal: None,
        since: since.map(UnixMicros),
        unit: name("cents"),
        until: until.map(UnixMicros),
    }
}

fn at(text: &str) -> UnixMicros {
    let moment: jiff::Timestamp = text.parse().expect("a time");
    UnixMicros(u64::try_from(moment.as_microsecond()).expect("after 1970"))
}

/// The window of a moment, as UTC.
fn shown(window: &Window, time: &str) -> (String, String) {
    let mut zones = Zones::new();
    window.zone().into_iter().for_each(|zone| note_zone(zone, &mut zones).expect("a zone"));
    let (since, until) = super::window(window, &zones, at(time)).expect("a window");
    let text = |moment: Option<UnixMicros>| {
        let micros = i64::try_from(moment.expect("it ends").0).expect("small");
        jiff::Timestamp::from_microsecond(micros).expect("a time").to_string()
    };
    (text(since), text(until))
}

#[test]
fn windows_begin_and_end_where_the_calendar_says() {
    let day = |zone: &str| Window::Day(zone.to_owned());
    let month = |zone: &str| Window::Month(zone.to_owned());
    #[rustfmt::skip] // A table is read by columns.
    let cases = [
        (Window::Hour,         "2026-01-05T12:59:59.999999Z", "2026-01-05T12:00:00Z", "2026-01-05T13:00:00Z"),
        (Window::Hour,         "2026-01-05T13:00:00Z",        "2026-01-05T13:00:00Z", "2026-01-05T14:00:00Z"),
        (day("Europe/Berlin"), "2026-01-05T23:00:00Z",        "2026-01-05T23:00:00Z", "2026-01-06T23:00:00Z"),
        (day("Europe/Berlin"), "2026-01-05T22:59:59.999999Z", "2026-01-04T23:00:00Z", "2026-01-05T23:00:00Z"),
        (day("Europe/Berlin"), "2026-03-29T12:00:00Z",        "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"), // 23 hours
        (day("Europe/Berlin"), "2026-10-25T12:00:00Z",        "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"), // 25 hours
        (month("UTC"),         "2028-02-29T23:59:59Z",        "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
        (month("Asia/Tokyo"),  "2026-12-31T15:00:00Z",        "2026-12-31T15:00:00Z", "2027-01-31T15:00:00Z"),
        // A day that has no midnight begins with its first moment.
        (day("America/Santiago"), "2026-09-06T12:00:00Z",     "2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"),
    ];
    for (window, time, since, until) in cases {
        assert_eq!(shown(&window, time), (since.to_owned(), until.to_owned()), "{window:?} at {time}");
    }
    let rolling = Window::RollingUs(32_000_000);
    let expected = ("2026-01-05T12:00:03Z".to_owned(), "2026-01-05T12:00:36Z".to_owned());
    assert_eq!(
        shown(&rolling, "2026-01-05T12:00:03.9Z"),
        expected,
        "its step of a second, and all of the window after that"
    );
}

#[test]
fn an_account_is_forgotten_when_it_counts_no_more_and_nothing_is_reserved() {
    let acme = name("acme");
    let mut state = State::default();
    let (first, second) = (taken(5, Some(0), Some(10)), taken(7, Some(10), Some(20)));
    state.reserve(&acme, &first).expect("room");
    state.reserve(&acme, &second).expect("room");
    state.reserve(&acme, &taken(9, None, None)).expect("room");
    assert_eq!(state.spent(&acme, &second, UnixMicros(9)), (12, 0), "both windows count");
    assert_eq!(state.spent(&acme, &second, UnixMicros(10)), (7, 0), "the first one no more");
    assert_eq!(state.spent(&acme, &taken(0, None, None), UnixMicros(10)), (9, 0));
    state.last_at = UnixMicros(10);
    state.settle(&acme, &first, 5).expect("it was reserved");
    state.settle(&acme, &second, 7).expect("it was reserved");
    assert_eq!(state.accounts.len(), 2, "what was settled late is forgotten at once");
    assert_eq!(state.spent(&acme, &second, UnixMicros(19)), (0, 7));
    assert_eq!(state.settle(&acme, &second, 0), Err(Fault::Account), "twice");

    // An account of nothing is forgotten with its window, whatever comes of it later.
    let nothing = taken(0, Some(20), Some(30));
    state.reserve(&acme, &nothing).expect("room");
    state.last_at = UnixMicros(30);
    state.forget_account(&AccountKey::of(&acme, &nothing));
    for charged in [0, 7] {
        assert_eq!(state.settle(&acme, &nothing, charged), Ok(()));
    }
}

#[test]
fn a_window_that_no_calendar_tells_is_none() {
    let (day, month) = (Window::Day("UTC".to_owned()), Window::Month("UTC".to_owned()));
    let mut utc = Zones::new();
    note_zone("UTC", &mut utc).expect("a zone");
    for window in [&day, &month] {
        assert_eq!(super::window(window, &utc, UnixMicros(u64::MAX)), None, "beyond every calendar");
        assert_eq!(super::window(window, &Zones::new(), UnixMicros(0)), None, "a zone that was never noted");
        assert!(super::window(window, &utc, UnixMicros(0)).is_some());
    }
    let ever = super::window(&Window::Total, &utc, UnixMicros(u64::MAX));
    assert_eq!(ever, Some((None, None)), "for ever has no end");
}

/// An amount counts for as long as the window says, and for up to a 32nd part longer.
#[test]
fn a_rolling_window_is_never_shorter_than_it_says() {
    for (long, step) in [(1_000_000, 31_250), (1_000_001, 31_251), (PACE_MAX_US, PACE_MAX_US / 32)] {
        for now in [0, 1, step - 1, step, 7 * step + 5] {
            let window = super::window(&Window::RollingUs(long), &Zones::new(), UnixMicros(now)).expect("a window");
            let (Some(since), Some(until)) = window else { panic!("it has no end") };
            assert_eq!(since.0 % step, 0, "{now}");
            assert!(since.0 <= now && now - since.0 < step, "{now}: since {since:?}");
            assert!(until.0 > now + long && until.0 <= now + long + step, "{now}: until {until:?}");
        }
    }
}

#[test]
fn whatever_was_taken_and_still_counts_is_spent() {
    let acme = name("acme");
    let mut state = State::default();
    // Under an earlier policy the window was longer, or began later.
    for amount in [taken(1, Some(0), Some(10)), taken(2, Some(0), Some(20)), taken(4, Some(10), Some(30))] {
        state.reserve(&acme, &amount).expect("room");
    }
    let other = Amount { principal: Some(name("agent")), ..taken(64, Some(0), Some(20)) };
    state.reserve(&acme, &other).expect("room");
    state.reserve(&acme, &Amount { budget: name("c"), ..other.clone() }).expect("room");
    state.reserve(&name("zeta"), &taken(64, Some(0), Some(20))).expect("room");
    for asked in [taken(0, Some(0), Some(10)), taken(0, Some(0), Some(20)), taken(0, Some(10), Some(30))] {
        for (now, spent) in [(0, 7), (9, 7), (10, 6), (19, 6), (20, 4), (29, 4), (30, 0)] {
            assert_eq!(state.spent(&acme, &asked, UnixMicros(now)), (spent, 0), "{asked:?} at {now}");
        }
    }
    assert_eq!(state.spent(&acme, &other, UnixMicros(5)), (64, 0), "a share of its own");
    assert_eq!(state.spent(&acme, &taken(0, None, None), UnixMicros(5)), (0, 0), "for ever is another account");
    let two = taken(2, Some(0), Some(20));
    state.settle(&acme, &two, 2).expect("it was reserved");
    state.settle(&acme, &taken(1, Some(0), Some(10)), 0).expect("it was reserved");
    assert_eq!(state.spent(&acme, &taken(0, Some(0), Some(20)), UnixMicros(5)), (4, 2));
}

#[test]
fn what_was_not_reserved_is_not_settled() {
    let (acme, five) = (name("acme"), taken(5, None, None));
    for charged in [5, 0] {
        let mut state = State::default();
        assert_eq!(state.settle(&acme, &five, charged), Err(Fault::Account), "nothing was");
        assert_eq!(state.settle(&acme, &taken(0, None, None), charged), Ok(()), "nothing of nothing");
        state.reserve(&acme, &five).expect("room");
        assert_eq!(state.settle(&acme, &taken(6, None, None), charged), Err(Fault::Account), "more than was");
        assert_eq!(state.settle(&acme, &five, charged), Ok(()));
        assert_eq!(state.spent(&acme, &five, UnixMicros(0)), (0, charged));
    }
    let mut state = State::default();
    state.reserve(&acme, &taken(u64::MAX, None, None)).expect("room");
    assert_eq!(state.reserve(&acme, &taken(1, None, None)), Err(Fault::Account), "more than a number holds");
}

#[test]
fn an_account_stays_while_it_counts_or_holds_something() {
    let acme = name("acme");
    for (last_at, reserved, stays) in [(9, 0, true), (9, 1, true), (10, 1, true), (10, 0, false), (11, 0, false)] {
        let mut state = State { last_at: UnixMicros(last_at), ..State::default() };
        state.reserve(&acme, &taken(reserved, Some(0), Some(10))).expect("room");
        let key = AccountKey::of(&acme, &taken(0, Some(0), Some(10)));
        state.forget_account(&key);
        let places = (state.accounts.contains_key(&key), state.past.contains_key(&key));
        assert_eq!(places, (last_at < 10, stays && last_at >= 10), "{reserved} reserved at {last_at}");
        if stays {
            let settled = state.settle(&acme, &taken(reserved, Some(0), Some(10)), 0);
            assert_eq!((settled, state.past.len()), (Ok(()), 0));
        }
    }
    let mut state = State { last_at: UnixMicros(u64::MAX), ..State::default() };
    state.reserve(&acme, &taken(0, None, None)).expect("room");
    state.forget_account(&AccountKey::of(&acme, &taken(0, None, None)));
    assert_eq!(state.accounts.len(), 1, "for ever");
}

/// It decides in which of two places of the state's hash an account stands.
#[test]
fn an_account_is_plain_if_it_is_of_all_of_a_tenant_for_ever() {
    let plain = |amount| AccountKey::of(&name("acme"), &amount).is_plain();
    let whole = || taken(1, None, None);
    assert!(plain(whole()));
    assert!(!plain(Amount { principal: Some(name("agent")), ..whole() }));
    assert!(!plain(Amount { action: Some(name("pay")), ..whole() }));
    assert!(!plain(taken(1, Some(0), Some(10))));
}

fn fact(cost: Option<u64>) -> BudgetFact {
    BudgetFact {
        action: None,
        committed: 30,
        cost,
        limit: 100,
        name: name("money"),
        principal: None,
        reserved: 20,
        since: None,
        unit: name("cents"),
        until: None,
    }
}

#[test]
fn a_budget_holds_to_its_last_unit() {
    let exceeded = |detail: &str| Err(Refusal { code: Code::BudgetExceeded, detail: detail.to_owned() });
    assert_eq!(holds(&fact(Some(0))), Ok(()));
    assert_eq!(holds(&fact(Some(50))), Ok(()));
    let over = "51 cents more than money can hold: 30 spent, 20 reserved, limit 100";
    assert_eq!(holds(&fact(Some(51))), exceeded(over));
    // A limit that was lowered below what is spent holds nothing, not even what is free.
    let lowered = "0 cents more than money can hold: 30 spent, 20 reserved, limit 49";
    assert_eq!(holds(&BudgetFact { limit: 49, ..fact(Some(0)) }), exceeded(lowered));
    for fact in [
        BudgetFact { limit: u64::MAX, ..fact(Some(u64::MAX)) },
        BudgetFact { limit: u64::MAX, reserved: u64::MAX, ..fact(Some(0)) },
    ] {
        assert_eq!(holds(&fact).map_err(|refusal| refusal.code), Err(Code::BudgetExceeded), "beyond all numbers");
    }
    let untold = Refusal {
        code: Code::BudgetError,
        detail: "what it costs of money is not an integer that is not negative".to_owned(),
    };
    assert_eq!(holds(&fact(None)), Err(untold));
}

/// A policy with one rule, `pay`, that spends this of these budgets.
fn policy(gate: serde_json::Value, spends: serde_json::Value, budgets: serde_json::Value) -> Policy {
    let off = json!({"disabled": "a test of budgets"});
    let bundle = json!({
        "name": "shop",
        "gates": {"temporal": off, "proof": off, "budget": gate, "escalation": off},
        "rules": [{
            "action": "pay", "requires": {"exempt": "a test"}, "spends": spends, "connector": "till", "window_us": 1,
        }],
        "budgets": budgets,
        "connectors": {"till": {"kind": "echo", "output_schema": {}}},
    });
    Policy::compile(&serde_json::from_value(bundle).expect("a bundle")).expect("a sound bundle")
}

fn asked(action: &str, args: serde_json::Value) -> Intent {
    let intent =
        json!({"action": action, "args": args, "expires_at": 1, "id": "1", "principal": "agent", "tenant": "acme"});
    serde_json::from_value(intent).expect("an intent")
}

#[test]
fn the_gate_asks_for_each_budget_of_the_rule() {
    let two = json!({"budgets": [
        {"name": "money", "cost": {"fixed": 1}},
        {"name": "calls", "cost": {"fixed": 1}},
    ]});
    let budgets = json!({"money": {"unit": "cents", "limit": 100}, "calls": {"unit": "calls", "limit": 100}});
    let intent = asked("pay", json!({}));
    let answer = |policy: &Policy, intent: &Intent, facts: Vec<BudgetFact>| {
        let facts = Facts { budget: facts.into_iter().collect(), ..Facts::default() };
        let case = Case::of(Some(policy), intent, KeyId([9; 32]), 0, UnixMicros(0));
        ask(&case, &facts).map_err(|refusal| (refusal.code, refusal.detail))
    };
    let enforced = policy(json!("enforced"), two.clone(), budgets.clone());
    assert_eq!(answer(&enforced, &intent, vec![fact(Some(1)), fact(Some(2))]), Ok(Answer::Passed));
    let first = answer(&enforced, &intent, vec![fact(Some(51)), fact(None)]);
    assert_eq!(first.map_err(|(code, _)| code), Err(Code::BudgetExceeded), "the first that does not hold is named");
    let last = answer(&enforced, &intent, vec![fact(Some(1)), fact(None)]);
    assert_eq!(last.map_err(|(code, _)| code), Err(Code::BudgetError));
    let missing = Err((Code::BudgetError, "a budget is not in the policy".to_owned()));
    for facts in [vec![], vec![fact(Some(1))], vec![fact(Some(1)); 3]] {
        assert_eq!(answer(&enforced, &intent, facts.clone()), missing, "{} of 2", facts.len());
    }
    let none = answer(&enforced, &asked("look", json!({})), vec![]);
    assert_eq!(none.map_err(|(code, _)| code), Err(Code::PolicyNone), "no rule");

    let disabled = policy(json!({"disabled": "a trial"}), two, budgets);
    assert_eq!(answer(&disabled, &intent, vec![]), Ok(Answer::Disabled("a trial".to_owned())));
    let exempt = policy(json!("enforced"), json!({"exempt": "it is free"}), json!({}));
    assert_eq!(answer(&exempt, &intent, vec![]), Ok(Answer::Exempt("it is free".to_owned())));
}

#[test]
fn facts_are_of_the_share_the_window_and_the_tenant() {
    let spends = json!({"budgets": [
        {"name": "calls", "cost": {"fixed": 3}},
        {"name": "money", "cost": {"arg": "amount"}, "actual": "charged"},
        {"name": "pair", "cost": {"fixed": 0}},
    ]});
    let budgets = json!({
        "calls": {"unit": "calls", "limit": 100, "per": ["principal"], "window": "hour"},
        "money": {"unit": "cents", "limit": 100, "tenants": {"acme": 500, "other": 1}},
        "pair": {"unit": "pairs", "limit": 7, "tenants": {"other": 1}, "per": ["principal", "action"]},
    });
    let policy = policy(json!("enforced"), spends, budgets);
    let now = at("2026-01-05T12:30:00Z");
    // What the state answers is noted; it depends on the budget only.
    let spent = |amount: &Amount| {
        assert_eq!(amount.amount, 0, "it is asked with an amount of nothing");
        match amount.budget.as_str() {
            "calls" => (1, 2),
            "money" => (3, 4),
            _ => (5, 6),
        }
    };
    let intent = asked("pay", json!({"amount": 40}));
    let found = facts(&policy, &intent, now, spent);
    let [calls, money, pair] = &*found else { panic!("{found:?}") };
    let hour = (Some(at("2026-01-05T12:00:00Z")), Some(at("2026-01-05T13:00:00Z")));
    assert_eq!((calls.since, calls.until), hour);
    assert_eq!((calls.principal.clone(), calls.action.clone()), (Some(name("agent")), None));
    assert_eq!((calls.reserved, calls.committed, calls.cost, calls.limit), (1, 2, Some(3), 100));
    assert_eq!((money.since, money.until, money.principal.clone(), money.action.clone()), (None, None, None, None));
    assert_eq!((money.reserved, money.committed, money.cost, money.limit), (3, 4, Some(40), 500));
    assert_eq!((pair.principal.clone(), pair.action.clone()), (Some(name("agent")), Some(name("pay"))));
    assert_eq!((pair.reserved, pair.committed, pair.cost, pair.limit), (5, 6, Some(0), 7));

    // What a `PASS` reserves says the same of each.
    let spends = &policy.rule(&intent.action).expect("a rule").spends;
    let reserved = reservation(&Facts { budget: found.clone(), ..Facts::default() }, spends);
    let expected = found.iter().map(|fact| Amount {
        action: fact.action.clone(),
        actual: (fact.name == name("money")).then(|| "charged".to_owned()),
        amount: fact.cost.expect("a cost"),
        budget: fact.name.clone(),
        overdrawn: None,
        principal: fact.principal.clone(),
        since: fact.since,
        unit: fact.unit.clone(),
        until: fact.until,
    });
    assert_eq!(reserved.to_vec(), expected.collect::<Vec<_>>());
    assert!(reservation(&Facts::default(), spends).is_empty());
    assert!(facts(&policy, &asked("look", json!({})), now, spent).is_empty(), "no rule, no budget");
}

#[test]
fn what_the_output_says_is_charged_where_it_is_asked() {
    let told = |amount| Amount { actual: Some("cost".to_owned()), ..taken(amount, None, None) };
    let charge = |amount, overdrawn| Amount { overdrawn, ..taken(amount, None, None) };
    let charged = |reserved: &[Amount], output: Option<&str>| {
        charges(&reserved.iter().cloned().collect(), output.map(str::as_bytes)).to_vec()
    };
    for (output, amount, overdrawn) in [
        (r#"{"cost":7}"#, 7, None),
        (r#"{"cost":0}"#, 0, None),
        (r#"{"cost":8}"#, 8, Some(1)),
        (r#"{"cost":8796093022208}"#, 1 << 43, Some((1 << 43) - 7)),
        // What says nothing that can be charged: what was reserved.
        (r#"{"cost":8796093022209}"#, 7, None),
        (r#"{"cost":-1}"#, 7, None),
        (r#"{"cost":8.5}"#, 7, None),
        (r#"{"cost":"8"}"#, 7, None),
        (r#"{"costs":8}"#, 7, None),
        ("[8]", 7, None),
        ("no JSON", 7, None),
    ] {
        assert_eq!(charged(&[told(7)], Some(output)), [charge(amount, overdrawn)], "{output}");
        assert_eq!(charged(&[taken(7, None, None)], Some(output)), [charge(7, None)], "nobody asks: {output}");
    }
    assert_eq!(charged(&[told(7)], None), [charge(7, None)], "an output that is not there");
    let both = [taken(3, None, None), told(7)];
    assert_eq!(charged(&both, Some(r#"{"cost":9}"#)), [charge(3, None), charge(9, Some(2))]);
    assert_eq!(charged(&[], Some(r#"{"cost":9}"#)), []);
}

#[test]
fn what_is_overdrawn_is_committed_and_ends_at_what_every_reader_holds() {
    let (acme, mut state) = (name("acme"), State::default());
    let (ever, hour) = (taken(5, None, None), taken(5, Some(0), Some(10)));
    for reserved in [&ever, &hour] {
        for (said, sum) in [(12, 12), (0, 12), (1 << 43, (1 << 43) + 12)] {
            state.reserve(&acme, reserved).expect("room");
            state.settle(&acme, reserved, said).expect("it was reserved");
            assert_eq!(state.spent(&acme, reserved, UnixMicros(5)), (0, sum));
        }
        state.reserve(&acme, reserved).expect("room");
        state.settle(&acme, reserved, u64::MAX).expect("it was reserved");
        assert_eq!(state.spent(&acme, reserved, UnixMicros(5)), (0, INTEGER_MAX));
    }
    let next = taken(5, Some(5), Some(20));
    state.reserve(&acme, &next).expect("room");
    state.settle(&acme, &next, 5).expect("it was reserved");
    assert_eq!(state.spent(&acme, &next, UnixMicros(5)), (0, INTEGER_MAX), "the sum of two windows, too");
}

#[test]
fn a_cost_that_cannot_be_told_is_none() {
    let spends = json!({"budget": {"name": "money", "cost": {"arg": "amount"}}});
    let window = |window: &str| json!({"money": {"unit": "cents", "limit": 100, "window": {"day": window}}});
    let policy = policy(json!("enforced"), spends, window("UTC"));
    let cost = |args: serde_json::Value, now| facts(&policy, &asked("pay", args), now, |_| (0, 0))[0].cost;
    for (args, told) in [
        (json!({"amount": 0}), Some(0)),
        (json!({"amount": 5}), Some(5)),
        (json!({"amount": INTEGER_MAX}), Some(INTEGER_MAX)),
        (json!({"amount": -1}), None),
        (json!({"amount": 1.5}), None),
        (json!({"amount": "5"}), None),
        (json!({"amount": null}), None),
        (json!({"Amount": 5}), None),
    ] {
        assert_eq!(cost(args.clone(), UnixMicros(0)), told, "{args}");
    }
    assert_eq!(cost(json!({"amount": 5}), UnixMicros(u64::MAX)), None, "without a window, what is left is not known");
}

#[test]
fn a_budget_is_one_that_a_bill_can_sum_up() {
    const LARGE: &str = "a limit beyond 2^53 - 1";
    const WINDOW: &str = "a limit beyond 2^43 in a window that ends: many of them are summed up on one line of a bill";
    const ROLLING: &str = "a rolling window is 1 second to 31 days long";
    let zone = |zone: &str| {
        let mut zones = Zones::new();
        note_zone(zone, &mut zones).expect_err("no zone")
    };
    let (most, most_in_a_window) = (9_007_199_254_740_991_u64, 8_796_093_022_208_u64);
    let day = json!({"day": "UTC"});
    let rolling = |long: u64| json!({ "rolling_us": long });
    #[rustfmt::skip] // A table is read by columns.
    let rows = [
        (most,                 1,                    json!("total"),                String::new()),
        (most + 1,             1,                    json!("total"),                LARGE.to_owned()),
        (1,                    most,                 json!("total"),                String::new()),
        (1,                    most + 1,             json!("total"),                LARGE.to_owned()),
        (most_in_a_window,     most_in_a_window,     json!("hour"),                 String::new()),
        (most_in_a_window + 1, 1,                    json!("hour"),                 WINDOW.to_owned()),
        (1,                    most_in_a_window + 1, json!("hour"),                 WINDOW.to_owned()),
        (most_in_a_window + 1, 1,                    day.clone(),                   WINDOW.to_owned()),
        (1,                    1,                    day,                           String::new()),
        (1,                    1,                    json!({"month": "UTC"}),       String::new()),
        (1,                    1,                    json!({"day": "Atlantis"}),    zone("Atlantis")),
        (1,                    1,                    json!({"month": "berlin"}),    zone("berlin")),
        (1,                    1,                    rolling(999_999),              ROLLING.to_owned()),
        (1,                    1,                    rolling(1_000_000),            String::new()),
        (1,                    1,                    rolling(2_678_400_000_000),    String::new()),
        (1,                    1,                    rolling(2_678_400_000_001),    ROLLING.to_owned()),
        (most_in_a_window + 1, 1,                    rolling(1_000_000),            WINDOW.to_owned()),
    ];
    for (limit, of_acme, window, why) in rows {
        let budget = json!({"unit": "cents", "limit": limit, "tenants": {"acme": of_acme}, "window": window});
        let budget: Budget = serde_json::from_value(budget).expect("a budget");
        assert_eq!(check(&budget, &mut Zones::new()).err().unwrap_or_default(), why, "{budget:?}");
    }
}

#[test]
fn a_rule_spends_each_budget_once_and_each_unit_in_one_way() {
    let budget = |unit: &str| json!({"unit": unit, "limit": 1});
    let mut budgets = json!({"money": budget("cents"), "reserve": budget("cents"), "calls": budget("calls")});
    for n in 0..9 {
        budgets[format!("b{n}")] = budget(&format!("unit-{n}"));
    }
    let budgets: BTreeMap<Name, Budget> = serde_json::from_value(budgets).expect("budgets");
    let fixed = |name: &str, cost: u64| json!({"name": name, "cost": {"fixed": cost}});
    let arg = |name: &str, key: &str| json!({"name": name, "cost": {"arg": key}});
    let told = |name: &str, key: &str| json!({"name": name, "cost": {"fixed": 1}, "actual": key});
    let several = |n: usize| json!({"budgets": (0..n).map(|n| fixed(&format!("b{n}"), 1)).collect::<Vec<_>>()});
    const COUNT: &str = "spends 1 to 8 budgets";
    const UNIT: &str = "reserve and money count cents but do not cost the same";
    let most = 9_007_199_254_740_991_u64;
    #[rustfmt::skip] // A table is read by columns.
    let rows = [
        (json!({"exempt": "it is free"}),                                     ""),
        (json!({"budget": fixed("money", 0)}),                                ""),
        (json!({"budget": fixed("money", most)}),                             ""),
        (json!({"budget": fixed("money", most + 1)}),                         "a cost beyond 2^53 - 1"),
        (json!({"budget": arg("money", "amount")}),                           ""),
        (json!({"budget": fixed("time", 1)}),                                 "spends time, which is not in budgets"),
        (several(0),                                                          COUNT),
        (several(1),                                                          ""),
        (several(8),                                                          ""),
        (several(9),                                                          COUNT),
        (json!({"budgets": [fixed("money", 1), fixed("calls", 1), fixed("money", 1)]}), "spends money twice"),
        (json!({"budgets": [fixed("money", 1), fixed("calls", 2)]}),          ""),
        (json!({"budgets": [fixed("money", 1), fixed("reserve", 1)]}),        ""),
        (json!({"budgets": [fixed("money", 1), fixed("reserve", 2)]}),        UNIT),
        (json!({"budgets": [arg("money", "a"), arg("reserve", "a")]}),        ""),
        (json!({"budgets": [told("money", "a"), told("reserve", "a")]}),      ""),
        (json!({"budgets": [told("money", "a"), told("calls", "b")]}),        ""),
        (json!({"budgets": [told("money", "a"), told("reserve", "b")]}),      UNIT),
        (json!({"budgets": [told("money", "a"), fixed("reserve", 1)]}),       UNIT),
        (json!({"budgets": [arg("money", "a"), arg("reserve", "b")]}),        UNIT),
        (json!({"budgets": [arg("money", "a"), fixed("reserve", 1)]}),        UNIT),
    ];
    for (spends, why) in rows {
        let spends: Spends = serde_json::from_value(spends).expect("spends");
        assert_eq!(check_spends(&budgets, &spends).err().unwrap_or_default(), why, "{spends:?}");
    }
}
