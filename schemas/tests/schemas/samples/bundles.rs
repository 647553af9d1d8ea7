//! Policy bundles, small and large.

use serde_json::json;
use writ_schemas::ids::Name;
use writ_schemas::policy::{
    Approvers, Breaker, Budget, Bundle, Connector, ConnectorKind, CoolDown, Cost, Escalates, EvidenceNeed, GateModes,
    Hours, Limits, Mode, Rate, Requirement, Requires, Retry, Rule, Share, Span, Spend, Spends, Timing, Weekday, Window,
};
use writ_schemas::strict::INTEGER_MAX;

use super::{HOUR, id, n};

pub(crate) fn bundles() -> Vec<Bundle> {
    let disabled = || Mode::Disabled("not asked in this version".into());
    let bare = Bundle {
        name: n("nothing-passes"),
        gates: GateModes {
            temporal: disabled(),
            proof: Mode::Enforced,
            budget: Mode::Enforced,
            escalation: disabled(),
        },
        rules: vec![],
        requirements: [].into(),
        budgets: [].into(),
        connectors: [].into(),
    };
    let need = EvidenceNeed {
        kind: n("approval"),
        role: Some(n("manager")),
        key: None,
        about_effect: true,
        max_age_us: None,
        not_submitter: false,
        once: false,
        signers: 1,
    };
    let approval = |about_effect| Requirement::Evidence(EvidenceNeed { about_effect, ..need.clone() });
    let rule = |action, requires, spends, connector| Rule {
        action: n(action),
        requires,
        spends,
        connector: n(connector),
        window_us: HOUR,
        timing: None,
        escalates: None,
    };
    let connector = |kind, output_schema| Connector {
        kind,
        input_schema: None,
        output_schema,
        retry: None,
        breaker: None,
        hold_us: None,
    };
    let exempt = || Requires::Exempt("reading only".into());
    let spend = |name, cost| Spend { actual: None, cost, name: n(name) };
    let spends = |cost| Spends::Budget(spend("refunds", cost));
    let ever = |unit, limit, tenants| Budget { unit: n(unit), limit, tenants, per: [].into(), window: Window::Total };
    let full = Bundle {
        name: n("support-desk"),
        rules: vec![
            rule("payments.refund", Requires::Requirement(n("manager")), spends(Cost::Arg("amount_cents".into())), "payments"),
            rule("demo.echo", exempt(), Spends::Exempt("costs nothing".into()), "echo"),
            rule("orders.read", exempt(), spends(Cost::Fixed(1)), "echo"),
        ],
        requirements: [(
            n("manager"),
            Requirement::AllOf(vec![approval(true), Requirement::AnyOf(vec![approval(false), approval(true)])]),
        )]
        .into(),
        budgets: [
            (n("refunds"), ever("cents", 100_000, [(n("acme"), 500_000)].into())),
            (n("tokens"), ever("tokens", INTEGER_MAX, [].into())),
        ]
        .into(),
        connectors: [
            (n("echo"), connector(ConnectorKind::Echo, json!({}))),
            (
                n("payments"),
                connector(
                    ConnectorKind::Http { url: "https://payments.example/refunds".into(), timeout_us: 5_000_000 },
                    json!({"type": "object", "required": ["refunded"], "properties": {"refunded": {"type": "boolean"}}}),
                ),
            ),
        ]
        .into(),
        ..bare.clone()
    };
    let quote = || Requirement::Receipt { action: n("payments.quote") };
    let by_key = EvidenceNeed {
        role: None,
        key: Some(id("approver")),
        max_age_us: Some(HOUR),
        not_submitter: true,
        once: true,
        ..need.clone()
    };
    let by_two = EvidenceNeed { signers: 2, ..need.clone() };
    let needs = Requirement::AllOf(vec![
        Requirement::AtLeast { count: 1, of: vec![Requirement::Evidence(by_key), quote()] },
        Requirement::Not(Box::new(quote())),
        Requirement::Expression("intent.args.amount_cents < 5000".into()),
        Requirement::Evidence(by_two),
    ]);
    let asking = Bundle {
        rules: vec![rule("payments.refund", Requires::Requirement(n("approved")), spends(Cost::Fixed(1)), "payments")],
        requirements: [(n("approved"), needs)].into(),
        ..full.clone()
    };
    let span = Span {
        days: [Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri, Weekday::Sat, Weekday::Sun].into(),
        from: n("08:30"),
        to: n("24:00"),
    };
    let limits = Limits {
        cool_down: Some(CoolDown { after: 3, steps_us: vec![HOUR, 24 * HOUR] }),
        hours: Some(Hours { spans: vec![span], zone: "Europe/Berlin".into() }),
        rate: Some(Rate { burst: 5, count: 60, per_us: HOUR }),
    };
    let approvers = |when| Escalates::To(Approvers { quorum: 2, role: n("manager"), when, within_us: HOUR });
    let paced = |timing, escalates, spends| Rule {
        timing: Some(timing),
        escalates: Some(escalates),
        ..rule("payments.refund", exempt(), spends, "payments")
    };
    let windowed = |unit, per, window| Budget { per, window, ..ever(unit, 100_000, [].into()) };
    let charged = Spend { actual: Some("charged_cents".into()), ..spend("hour", Cost::Arg("amount_cents".into())) };
    let both = Spends::Budgets(vec![spend("day", Cost::Fixed(7)), charged]);
    let held = Bundle {
        gates: GateModes { temporal: Mode::Enforced, escalation: Mode::Enforced, ..full.gates.clone() },
        rules: vec![
            paced(Timing::Limits(limits), approvers(Some("intent.args.amount_cents > 5000".into())), both),
            paced(Timing::Limits(Limits::default()), approvers(None), spends(Cost::Fixed(1))),
            paced(
                Timing::Exempt("at any time".into()),
                Escalates::Exempt("nobody is asked".into()),
                Spends::Exempt("costs nothing".into()),
            ),
        ],
        budgets: [
            (
                n("day"),
                windowed("cents", [Share::Action, Share::Principal].into(), Window::Day("Europe/Berlin".into())),
            ),
            (n("hour"), windowed("requests", [Share::Principal].into(), Window::Hour)),
            (n("month"), windowed("cents", [].into(), Window::Month("UTC".into()))),
            (n("refunds"), windowed("cents", [].into(), Window::RollingUs(HOUR))),
        ]
        .into(),
        ..full.clone()
    };
    let mut careful = bare.clone();
    let payments = Connector {
        input_schema: Some(json!({"type": "object", "required": ["amount_cents"]})),
        retry: Some(Retry { attempts: 5, base_us: 100_000, cap_us: 5_000_000 }),
        breaker: Some(Breaker { failures: 10, pause_us: 30_000_000 }),
        hold_us: Some(HOUR),
        ..full.connectors[&n::<Name>("payments")].clone()
    };
    careful.connectors.insert(n("payments"), payments);
    let mut outside = asking.clone();
    let external = ConnectorKind::External { role: n("carrier"), within_us: HOUR };
    outside.connectors.insert(n("payments"), connector(external, json!({"type": "object"})));
    vec![full, bare, asking, held, careful, outside]
}
