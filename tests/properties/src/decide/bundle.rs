//! The policies that steps put in force: lawful ones, and such as a ledger has to refuse.

use std::collections::BTreeMap;

use arbitrary::Arbitrary;
use serde_json::json;
use writ_schemas::ids::Name;
use writ_schemas::policy::{
    Budget, Bundle, Connector, ConnectorKind, Cost, EvidenceNeed, GateModes, Mode, Requirement, Requires, Rule, Spend,
    Spends, Window,
};
use writ_schemas::strict::INTEGER_MAX;

use super::{DAY, SECOND, action, kind, name, pick, role};

#[derive(Clone, Copy, Debug, Arbitrary)]
pub(crate) struct BundleSpec {
    gates: u8,
    rules: [RuleSpec; 3],
    requirement: [u8; 4],
    limits: [u8; 3],
}

#[derive(Clone, Copy, Debug, Arbitrary)]
struct RuleSpec {
    requires: u8,
    spends: u8,
    connector: u8,
    window: u8,
}

impl BundleSpec {
    pub(crate) fn bundle(self) -> Bundle {
        let off = |why: &str| Mode::Disabled(why.to_owned());
        let mode = |bit: u8| if self.gates & (1 << bit) == 0 { Mode::Enforced } else { off("not today") };
        let rare = if self.gates == 0xff { Mode::Enforced } else { off("not built") };
        let [first, second, third, fourth] = self.requirement;
        let leaf = |it: u8| {
            Requirement::Evidence(EvidenceNeed {
                kind: kind(it),
                role: Some(role(it >> 1)),
                key: None,
                about_effect: it & 4 != 0,
                max_age_us: None,
                not_submitter: it & 8 != 0,
                once: it & 32 != 0,
                signers: if it & 16 == 0 { 1 } else { 2 },
            })
        };
        let set = |it: u8, parts| if it & 1 == 0 { Requirement::AllOf(parts) } else { Requirement::AnyOf(parts) };
        let inner = set(third, vec![leaf(first), leaf(second)]);
        let needs = set(third >> 1, vec![inner, if third & 4 == 0 { leaf(fourth) } else { set(fourth, Vec::new()) }]);
        let [limit, of_acme, other] = self.limits.map(|it| pick([100, 1, 0, 1_000, INTEGER_MAX, INTEGER_MAX + 1], it));
        let budget = |limit, unit: &str, tenants: BTreeMap<Name, u64>| Budget {
            unit: name(unit),
            limit,
            tenants,
            per: [].into(),
            window: Window::Total,
        };
        let spend = |budget: &str, cost| Spends::Budget(Spend { actual: None, cost, name: name(budget) });
        let rules = self.rules.iter().zip(0..).map(|(rule, number)| Rule {
            action: action(number),
            requires: match rule.requires % 4 {
                0 | 1 => Requires::Exempt("open".to_owned()),
                2 => Requires::Requirement(name("needs")),
                _ => Requires::Requirement(name("leaf")),
            },
            spends: match rule.spends % 5 {
                0 => Spends::Exempt("free".to_owned()),
                1 => spend("money", Cost::Arg("amount".to_owned())),
                2 => spend("money", Cost::Fixed(40)),
                3 => spend("calls", Cost::Fixed(1)),
                _ => spend("calls", Cost::Fixed(u64::from(rule.spends))),
            },
            connector: name(if rule.connector == 0xff { "gone" } else { "echo" }),
            window_us: pick([60 * SECOND, 1, DAY, 30 * DAY, 0, u64::MAX], rule.window),
            timing: None,
            escalates: None,
        });
        let echo = Connector {
            kind: ConnectorKind::Echo,
            input_schema: None,
            output_schema: json!({}),
            retry: None,
            breaker: None,
            hold_us: None,
        };
        Bundle {
            name: name("bundle"),
            gates: GateModes { temporal: off("not built"), proof: mode(0), budget: mode(1), escalation: rare },
            rules: rules.collect(),
            requirements: [(name("needs"), needs), (name("leaf"), leaf(first))].into(),
            budgets: [
                (name("money"), budget(limit, "cents", [(name("acme"), of_acme)].into())),
                (name("calls"), budget(other, "calls", BTreeMap::new())),
            ]
            .into(),
            connectors: [(name("echo"), echo)].into(),
        }
    }
}
