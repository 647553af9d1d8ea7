//! Proof requirements: what must be shown before an action may happen.
//!
//! A requirement is looked at in the light of what was found: evidence whose signer was verified, receipts of the session.
//! The graph was bounded when its bundle was loaded, and each expression is asked once. Empty sets do not pass.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use writ_schemas::decision::{EvidenceFact, EvidenceKnown};
use writ_schemas::ids::Name;
use writ_schemas::policy::{EvidenceNeed, Requirement};

use crate::expression::{Expression, Expressions, Found};

/// Whether a requirement is met. What cannot be told in one branch does not decide the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is met.
    Met,
    /// It is not met.
    Unmet,
    /// It cannot be told, for this reason.
    Untold(String),
}

/// What a requirement looks at, so that a decision records it, and nothing more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asks {
    /// How old evidence is.
    pub(crate) age: bool,
    /// As which principal its signer is trusted.
    pub(crate) principal: bool,
    /// Receipts of these actions.
    pub(crate) receipts: BTreeSet<Name>,
}

impl Asks {
    /// What this requirement looks at.
    pub(crate) fn of(requirement: &Requirement) -> Asks {
        let mut asks = Asks::default();
        asks.add(requirement);
        asks
    }

    fn add(&mut self, requirement: &Requirement) {
        match requirement {
            Requirement::AllOf(parts) | Requirement::AnyOf(parts) | Requirement::AtLeast { of: parts, .. } => {
                parts.iter().for_each(|part| self.add(part));
            }
            Requirement::Not(part) => self.add(part),
            Requirement::Evidence(need) => {
                self.age |= need.max_age_us.is_some();
                self.principal |= need.asks_principal();
            }
            Requirement::Receipt { action } => {
                self.receipts.insert(action.clone());
            }
            Requirement::Expression(_) => self.everything(),
        }
    }

    /// An expression may look at anything.
    pub(crate) fn everything(&mut self) {
        (self.age, self.principal) = (true, true);
    }
}

/// A requirement with what became of it and of its parts, for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// What is asked for, in words.
    pub asks: String,
    /// Whether it is met.
    pub outcome: Outcome,
    /// Its parts, in their order.
    pub parts: Vec<Explained>,
}

impl Explained {
    /// The requirement and all its parts, each looked at by itself.
    #[must_use]
    pub fn of(requirement: &Requirement, told: &Told, found: &Found<'_>) -> Explained {
        let parts = parts(requirement).iter().map(|part| Explained::of(part, told, found)).collect();
        Explained { asks: words(requirement), outcome: outcome(requirement, told, found), parts }
    }
}

/// What expressions say, each asked once a decision: they are what takes time.
pub type Told = BTreeMap<String, Result<bool, String>>;

/// Asks the expressions of a requirement.
#[must_use]
pub fn tell(requirement: &Requirement, expressions: &Expressions, found: &Found<'_>) -> Told {
    let mut told = Told::new();
    ask(requirement, expressions, found, &mut told);
    told
}

fn ask(requirement: &Requirement, expressions: &Expressions, found: &Found<'_>, told: &mut Told) {
    if let Requirement::Expression(source) = requirement
        && let Some(expression) = expressions.get(source)
        && !told.contains_key(source)
    {
        told.insert(source.clone(), expression.holds(found));
    }
    parts(requirement).iter().for_each(|part| ask(part, expressions, found, told));
}

/// Whether a requirement is met.
#[must_use]
pub fn outcome(requirement: &Requirement, told: &Told, found: &Found<'_>) -> Outcome {
    match requirement {
        Requirement::AllOf(parts) => at_least(parts.len(), parts, told, found),
        Requirement::AnyOf(parts) => at_least(1, parts, told, found),
        Requirement::AtLeast { count, of } => at_least(usize::try_from(*count).unwrap_or(usize::MAX), of, told, found),
        Requirement::Not(part) => match outcome(part, told, found) {
            Outcome::Met => Outcome::Unmet,
            Outcome::Unmet => Outcome::Met,
            untold @ Outcome::Untold(_) => untold,
        },
        Requirement::Evidence(need) => met_if(is_shown(need, found)),
        Requirement::Receipt { action } => {
            met_if(found.facts.receipts.iter().any(|fact| fact.action == *action && fact.seq.is_some()))
        }
        Requirement::Expression(source) => match told.get(source) {
            Some(Ok(holds)) => met_if(*holds),
            Some(Err(why)) => Outcome::Untold(why.clone()),
            None => Outcome::Untold(format!("the policy does not hold the expression {source}")),
        },
    }
}

fn met_if(met: bool) -> Outcome {
    if met { Outcome::Met } else { Outcome::Unmet }
}

/// Whether so many of the parts are met. Of an empty set, nothing passes.
fn at_least(count: usize, parts: &[Requirement], told: &Told, found: &Found<'_>) -> Outcome {
    let (mut met, mut unmet, mut untold) = (0_usize, 0_usize, None);
    if count == 0 {
        return Outcome::Unmet;
    }
    for part in parts {
        match outcome(part, told, found) {
            Outcome::Met => met = met.saturating_add(1),
            Outcome::Unmet => unmet = unmet.saturating_add(1),
            Outcome::Untold(why) => _ = untold.get_or_insert(why),
        }
        if met >= count {
            return Outcome::Met;
        }
        if parts.len().saturating_sub(unmet) < count {
            return Outcome::Unmet;
        }
    }
    untold.map_or(Outcome::Unmet, Outcome::Untold)
}

/// What is missing for a requirement that is not met, for a person: the first thing, or what would do instead.
#[must_use]
pub fn missing(requirement: &Requirement, told: &Told, found: &Found<'_>) -> String {
    let lacking = |parts: &[Requirement]| {
        let lacks: Vec<String> = parts
            .iter()
            .filter(|part| outcome(part, told, found) != Outcome::Met)
            .map(|part| missing(part, told, found))
            .collect();
        lacks.join("; ")
    };
    if let Outcome::Untold(why) = outcome(requirement, told, found) {
        return why;
    }
    match requirement {
        Requirement::AllOf(parts) => match parts.iter().find(|part| outcome(part, told, found) == Outcome::Unmet) {
            Some(part) => missing(part, told, found),
            None => "an empty set passes nothing".to_owned(),
        },
        Requirement::AnyOf(parts) => format!("none of: {}", lacking(parts)),
        Requirement::AtLeast { count, of } => format!("not {count} of {}, for lack of: {}", of.len(), lacking(of)),
        Requirement::Not(_) | Requirement::Evidence(_) | Requirement::Receipt { .. } | Requirement::Expression(_) => {
            words(requirement)
        }
    }
}

/// Enough evidence of this sort, by enough principals.
fn is_shown(need: &EvidenceNeed, found: &Found<'_>) -> bool {
    let fitting = || found.facts.evidence.iter().filter_map(|fact| fits(need, fact, found));
    if need.signers == 1 {
        return fitting().next().is_some();
    }
    let principals: BTreeSet<&Name> = fitting().filter_map(|known| known.principal.as_ref()).collect();
    need.signers > 0 && u32::try_from(principals.len()).unwrap_or(u32::MAX) >= need.signers
}

fn fits<'a>(need: &EvidenceNeed, fact: &'a EvidenceFact, found: &Found<'_>) -> Option<&'a EvidenceKnown> {
    let known = fact.known.as_ref()?;
    let of_kind = known.kind == need.kind;
    let about = match known.effect {
        Some(about) => about == found.effect,
        None => !need.about_effect,
    };
    let in_role = need.role.as_ref().is_none_or(|role| known.roles.contains(role));
    // A revoked key is nobody's: it has no roles and no principal.
    let by_key = need.key.is_none_or(|key| known.signer == key && known.principal.is_some());
    let of_another = !need.not_submitter
        || known.signer != found.signer && known.principal.as_ref().is_some_and(|it| *it != found.intent.principal);
    let fresh = need.max_age_us.is_none_or(|age| {
        known.issued_at.is_some_and(|issued| issued <= found.now && found.now.0.saturating_sub(issued.0) <= age)
    });
    (of_kind && about && in_role && by_key && of_another && fresh).then_some(known)
}

/// Compiles the expressions of a requirement.
///
/// # Errors
/// What is wrong with one, for a person.
pub(crate) fn compile(requirement: &Requirement, into: &mut Expressions) -> Result<(), String> {
    if let Requirement::Expression(source) = requirement
        && !into.contains_key(source)
    {
        into.insert(source.clone(), Expression::compile(source)?);
    }
    parts(requirement).iter().try_for_each(|part| compile(part, into))
}

/// The parts of a node.
pub(crate) fn parts(requirement: &Requirement) -> &[Requirement] {
    match requirement {
        Requirement::AllOf(parts) | Requirement::AnyOf(parts) | Requirement::AtLeast { of: parts, .. } => parts,
        Requirement::Not(part) => std::slice::from_ref(part),
        Requirement::Evidence(_) | Requirement::Receipt { .. } | Requirement::Expression(_) => &[],
    }
}

/// What a node asks for, without its parts.
#[must_use]
pub fn words(requirement: &Requirement) -> String {
    match requirement {
        Requirement::AllOf(_) => "all of".to_owned(),
        Requirement::AnyOf(_) => "any of".to_owned(),
        Requirement::AtLeast { count, of } => format!("at least {count} of {}", of.len()),
        Requirement::Not(part) => format!("not {}", words(part)),
        Requirement::Expression(source) => source.clone(),
        Requirement::Receipt { action } => format!("an earlier receipt of {action} in this session"),
        Requirement::Evidence(need) => {
            let about = if need.about_effect { " about this effect" } else { "" };
            let role = need.role.as_ref().map(|role| format!(" by a key in role {role}")).unwrap_or_default();
            let key = need.key.map(|key| format!(" by key {key}")).unwrap_or_default();
            let signers = if need.signers == 1 { String::new() } else { format!(" of {} principals", need.signers) };
            let other = if need.not_submitter { " other than the submitter" } else { "" };
            let age = need.max_age_us.map(|age| format!(" not older than {} s", age / 1_000_000)).unwrap_or_default();
            format!("evidence {}{about}{role}{key}{signers}{other}{age}", need.kind)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use writ_schemas::decision::{Facts, ReceiptFact};
    use writ_schemas::ids::{Digest, KeyId, Seq, UnixMicros};
    use writ_schemas::intent::Intent;

    const EFFECT: Digest = Digest([7; 32]);
    const NOW: UnixMicros = UnixMicros(1_000_000_000);
    const AGENT: KeyId = KeyId([9; 32]);

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    /// Evidence of a kind about the effect, just issued, by a principal with one role, whose name it has.
    fn by(principal: &str, kind: &str) -> EvidenceKnown {
        EvidenceKnown {
            seq: Seq(1),
            kind: name(kind),
            signer: KeyId([principal.as_bytes()[0]; 32]),
            roles: [name(principal.split('-').next().expect("a role"))].into(),
            principal: Some(name(principal)),
            effect: Some(EFFECT),
            issued_at: Some(NOW),
            expires_at: UnixMicros(u64::MAX),
        }
    }

    fn outcome_of(requirement: &str, evidence: Vec<EvidenceKnown>) -> Outcome {
        let requirement: Requirement = serde_json::from_str(requirement).expect("a requirement");
        let evidence = evidence.into_iter().map(|known| EvidenceFact { digest: Digest([1; 32]), known: Some(known) });
        let facts = Facts {
            evidence: evidence.chain([EvidenceFact { digest: Digest([2; 32]), known: None }]).collect(),
            receipts: vec![
                ReceiptFact { action: name("quote"), seq: Some(Seq(5)) },
                ReceiptFact { action: name("scan"), seq: None },
            ],
            ..Facts::default()
        };
        let mut expressions = Expressions::new();
        compile(&requirement, &mut expressions).expect("expressions");
        let intent = asked();
        let found = Found { facts: &facts, intent: &intent, effect: EFFECT, signer: AGENT, now: NOW };
        let told = tell(&requirement, &expressions, &found);
        let outcome = outcome(&requirement, &told, &found);
        assert_eq!(Explained::of(&requirement, &told, &found).outcome, outcome);
        outcome
    }

    /// An intent of the agent, to pay 100.
    fn asked() -> Intent {
        let intent = r#"{"action":"pay","args":{"amount":100,"tags":["a","b"],"to":{"iban":"x"}},"expires_at":1,"id":"1","principal":"agent","tenant":"acme"}"#;
        serde_json::from_str(intent).expect("an intent")
    }

    fn is_met_by(requirement: &str, evidence: Vec<EvidenceKnown>) -> bool {
        outcome_of(requirement, evidence) == Outcome::Met
    }

    fn need(rest: &str) -> String {
        format!(r#"{{"evidence":{{"kind":"approval","about_effect":true{rest}}}}}"#)
    }

    #[test]
    fn evidence_counts_only_if_it_is_what_was_asked_for() {
        let approver = need(r#","role":"approver""#);
        assert!(is_met_by(&approver, vec![by("approver-1", "approval")]));
        assert!(!is_met_by(&approver, vec![]));
        assert!(!is_met_by(&approver, vec![by("approver-1", "ticket")]), "another kind");
        assert!(!is_met_by(&approver, vec![by("clerk-1", "approval")]), "another role");
        let about = |effect| EvidenceKnown { effect, ..by("approver-1", "approval") };
        assert!(!is_met_by(&approver, vec![about(None)]), "about no effect");
        assert!(!is_met_by(&approver, vec![about(Some(Digest([8; 32])))]), "about another effect");
        let general = approver.replace("true", "false");
        assert!(is_met_by(&general, vec![about(None)]));
        assert!(
            !is_met_by(&general, vec![about(Some(Digest([8; 32])))]),
            "about another effect, where none is asked for"
        );
    }

    #[test]
    fn a_key_counts_while_it_is_trusted() {
        let approval = by("approver-1", "approval");
        let asked = need(&format!(r#","key":"{}""#, approval.signer));
        assert!(is_met_by(&asked, vec![approval.clone()]));
        assert!(!is_met_by(&asked, vec![EvidenceKnown { signer: KeyId([3; 32]), ..approval.clone() }]), "another key");
        assert!(!is_met_by(&asked, vec![EvidenceKnown { principal: None, ..approval }]), "revoked");
    }

    #[test]
    fn signers_are_principals_and_each_counts_once() {
        let two = need(r#","role":"approver","signers":2"#);
        let (one, other) = (by("approver-1", "approval"), by("approver-2", "approval"));
        let second_key = EvidenceKnown { signer: KeyId([4; 32]), ..one.clone() };
        assert!(is_met_by(&two, vec![one.clone(), other]));
        assert!(!is_met_by(&two, vec![one.clone(), one.clone()]), "the same twice");
        assert!(!is_met_by(&two, vec![one, second_key]), "two keys of one principal");
    }

    #[test]
    fn who_submits_cannot_approve() {
        let other = need(r#","role":"agent","not_submitter":true"#);
        let own = by("agent", "approval");
        assert!(is_met_by(&need(r#","role":"agent""#), vec![own.clone()]), "where nobody asks, it can");
        assert!(!is_met_by(&other, vec![own.clone()]), "the same principal with another key");
        let same_key = EvidenceKnown { signer: AGENT, principal: Some(name("agent-2")), ..own.clone() };
        assert!(!is_met_by(&other, vec![same_key]), "another principal with the same key");
        assert!(!is_met_by(&other, vec![EvidenceKnown { principal: None, ..own }]), "nobody knows who");
        assert!(is_met_by(&other, vec![by("agent-2", "approval")]));
    }

    #[test]
    fn fresh_is_not_older_and_not_from_the_future() {
        let fresh = need(r#","role":"approver","max_age_us":60"#);
        let issued = |at| vec![EvidenceKnown { issued_at: at, ..by("approver-1", "approval") }];
        assert!(is_met_by(&fresh, issued(Some(NOW))));
        assert!(is_met_by(&fresh, issued(Some(UnixMicros(NOW.0 - 60)))));
        assert!(!is_met_by(&fresh, issued(Some(UnixMicros(NOW.0 - 61)))));
        assert!(!is_met_by(&fresh, issued(Some(UnixMicros(NOW.0 + 1)))));
        assert!(!is_met_by(&fresh, issued(None)));
    }

    #[test]
    fn sets_are_what_they_say() {
        let leaf = |action: &str| format!(r#"{{"receipt":{{"action":"{action}"}}}}"#);
        // The session knows a quote; it knows of no scan, and nothing at all of a refund.
        let (yes, no, never) = (leaf("quote"), leaf("scan"), leaf("refund"));
        #[rustfmt::skip] // A table is read by columns.
        let cases = [
            (format!(r#"{{"all_of":[{yes},{yes}]}}"#), true),
            (format!(r#"{{"all_of":[{yes},{no}]}}"#), false),
            (r#"{"all_of":[]}"#.to_owned(), false),
            (format!(r#"{{"any_of":[{never},{yes}]}}"#), true),
            (format!(r#"{{"any_of":[{never},{no}]}}"#), false),
            (r#"{"any_of":[]}"#.to_owned(), false),
            (format!(r#"{{"at_least":{{"count":2,"of":[{yes},{no},{yes}]}}}}"#), true),
            (format!(r#"{{"at_least":{{"count":2,"of":[{yes},{no},{never}]}}}}"#), false),
            (r#"{"at_least":{"count":0,"of":[]}}"#.to_owned(), false),
            (r#"{"at_least":{"count":1,"of":[]}}"#.to_owned(), false),
            (format!(r#"{{"not":{no}}}"#), true),
            (format!(r#"{{"not":{yes}}}"#), false),
        ];
        for (requirement, met) in cases {
            assert_eq!(is_met_by(&requirement, vec![]), met, "{requirement}");
        }
    }

    #[test]
    fn expressions_are_over_the_intent_and_what_was_found() {
        let says = |source: &str| {
            let requirement = serde_json::json!({ "expression": source }).to_string();
            outcome_of(&requirement, vec![by("approver-1", "approval")])
        };
        for (source, outcome) in [
            ("intent.args.amount <= 100", Outcome::Met),
            ("intent.args.amount < 100", Outcome::Unmet),
            ("intent.args.amount + 1 == 101 && intent.tenant == 'acme'", Outcome::Met),
            ("intent.args.to.iban.startsWith('x')", Outcome::Met),
            ("intent.session == null && budget == null", Outcome::Met),
            ("now == 1000000000", Outcome::Met),
            (
                "evidence.exists(e, e.kind == 'approval' && 'approver' in e.roles && e.about_effect && e.age_us == 0)",
                Outcome::Met,
            ),
            ("evidence.all(e, e.principal == 'approver-1')", Outcome::Met),
            ("evidence.exists_one(e, e.kind == 'ticket')", Outcome::Unmet),
            ("intent.args.tags.exists(t, t == 'b')", Outcome::Met),
            ("evidence.exists(e, e.principal != intent.principal)", Outcome::Met),
            ("size(evidence) == 1 && 1 + size(intent.args.tags) == 3", Outcome::Met),
            ("intent.args['amount'] == 100 && size(intent.args.tags) == 2", Outcome::Met),
            ("has(intent.args.nothing) || intent.args.amount == 100", Outcome::Met),
        ] {
            assert_eq!(says(source), outcome, "{source}");
        }
        for untold in [
            "intent.args.nothing == 1",
            "intent.args.amount / 0 == 1",
            "intent.args.amount",
            "intent.args.amount < 'a'",
            "intent.args.to.exists(t, t == 'iban')", // a map has no order
            "intent.args.nothing.exists(t, t == 'iban')",
            "intent.args.amount * 9007199254740991 * 9007199254740991 > 1",
        ] {
            assert!(matches!(says(untold), Outcome::Untold(_)), "{untold}: {:?}", says(untold));
        }
    }

    #[test]
    fn expressions_see_only_evidence_that_counts_and_each_once() {
        let says = |source: &str, evidence: Vec<EvidenceKnown>| {
            outcome_of(&serde_json::json!({ "expression": source }).to_string(), evidence)
        };
        let approval = by("approver-1", "approval");
        let revoked = EvidenceKnown { principal: None, roles: BTreeSet::new(), ..approval.clone() };
        let elsewhere = EvidenceKnown { effect: Some(Digest([8; 32])), ..approval.clone() };
        let another = "evidence.exists(e, e.kind == 'approval' && e.principal != intent.principal)";
        assert_eq!(says(another, vec![approval.clone()]), Outcome::Met);
        assert_eq!(says(another, vec![revoked]), Outcome::Unmet, "a revoked key is nobody's");
        assert_eq!(says(another, vec![elsewhere]), Outcome::Unmet, "about another effect");
        let two = "size(evidence) >= 2 && evidence.all(e, 'approver' in e.roles)";
        assert_eq!(says(two, vec![approval.clone(), approval]), Outcome::Unmet, "the same twice");
    }

    #[test]
    fn what_cannot_be_told_does_not_decide_the_other_branches() {
        let leaf = |action: &str| format!(r#"{{"receipt":{{"action":"{action}"}}}}"#);
        let (yes, no) = (leaf("quote"), leaf("scan"));
        let untold = r#"{"expression":"intent.args.nothing == 1"}"#;
        for (requirement, expected) in [
            (format!(r#"{{"any_of":[{untold},{yes}]}}"#), "met"),
            (format!(r#"{{"any_of":[{untold},{no}]}}"#), "untold"),
            (format!(r#"{{"all_of":[{untold},{no}]}}"#), "unmet"),
            (format!(r#"{{"all_of":[{untold},{yes}]}}"#), "untold"),
            (format!(r#"{{"at_least":{{"count":2,"of":[{untold},{yes},{yes}]}}}}"#), "met"),
            (format!(r#"{{"at_least":{{"count":2,"of":[{untold},{no},{no}]}}}}"#), "unmet"),
            (format!(r#"{{"at_least":{{"count":2,"of":[{untold},{no},{yes}]}}}}"#), "untold"),
            (format!(r#"{{"not":{untold}}}"#), "untold"),
        ] {
            let found = match outcome_of(&requirement, vec![]) {
                Outcome::Met => "met",
                Outcome::Unmet => "unmet",
                Outcome::Untold(_) => "untold",
            };
            assert_eq!(found, expected, "{requirement}");
        }
    }
}
