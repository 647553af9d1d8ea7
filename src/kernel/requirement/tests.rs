//! When a requirement is met, and what people are told of one that is not.

use writ_schemas::decision::{Facts, ReceiptFact};
use writ_schemas::ids::{Digest, KeyId, Seq, UnixMicros};
use writ_schemas::intent::Intent;

use super::*;

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
        used: None,
    }
}

/// What becomes of a requirement, what is said to be missing, and how it is explained, with this evidence and two receipts.
fn look_at(requirement: &str, evidence: Vec<EvidenceKnown>) -> (Outcome, String, Explained) {
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
    (outcome, missing(&requirement, &told, &found), Explained::of(&requirement, &told, &found))
}

fn outcome_of(requirement: &str, evidence: Vec<EvidenceKnown>) -> Outcome {
    let (outcome, _, explained) = look_at(requirement, evidence);
    assert_eq!(explained.outcome, outcome);
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
    assert!(!is_met_by(&general, vec![about(Some(Digest([8; 32])))]), "about another effect, where none is asked for");
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
fn what_was_used_up_does_not_count_where_it_is_asked_for_once() {
    let (once, often) = (need(r#","role":"approver","once":true"#), need(r#","role":"approver""#));
    let fresh = by("approver-1", "approval");
    let used = EvidenceKnown { used: Some(Seq(12)), ..fresh.clone() };
    assert!(is_met_by(&once, vec![fresh.clone()]) && is_met_by(&once, vec![used.clone(), fresh.clone()]));
    assert!(is_met_by(&often, vec![used.clone()]));
    let (outcome, missing, _) = look_at(&once, vec![used.clone()]);
    let why = "evidence approval about this effect by a key in role approver not used before";
    assert_eq!((outcome, missing), (Outcome::Unmet, format!("{why}: what is shown was used up by entry 12")));
    assert_eq!(look_at(&once, vec![EvidenceKnown { kind: name("ticket"), ..used }]).1, why);
    let two = need(r#","role":"approver","once":true,"signers":2"#);
    let other = by("approver-2", "approval");
    assert!(is_met_by(&two, vec![fresh.clone(), other.clone()]));
    assert!(!is_met_by(&two, vec![fresh, EvidenceKnown { used: Some(Seq(12)), ..other }]));
}

/// Of several ways, the first that is met; of several pieces, the first that do.
#[test]
fn no_more_is_used_up_than_it_takes() {
    let once = |kind: &str, rest: &str| {
        format!(r#"{{"evidence":{{"kind":"{kind}","about_effect":true,"once":true,"role":"approver"{rest}}}}}"#)
    };
    let (a, b, c) = (once("a", ""), once("b", ""), once("c", ""));
    let two = once("a", r#","signers":2"#);
    let often = r#"{"evidence":{"kind":"a","about_effect":true,"role":"approver"}}"#;
    // By number: two of kind `a` by one principal and one by another, then one of `b`.
    let shown = [(1, "approver-1", "a"), (2, "approver-1", "a"), (3, "approver-2", "a"), (4, "approver-1", "b")];
    let facts = Facts {
        evidence: shown
            .map(|(number, who, kind)| EvidenceFact { digest: Digest([number; 32]), known: Some(by(who, kind)) })
            .to_vec(),
        ..Facts::default()
    };
    for (requirement, expected) in [
        (a.clone(), &[1][..]),
        (two, &[1, 3]),
        (often.to_owned(), &[]),
        (format!(r#"{{"all_of":[{a},{b}]}}"#), &[1, 4]),
        (format!(r#"{{"any_of":[{c},{b},{a}]}}"#), &[4]),
        (format!(r#"{{"any_of":[{often},{b}]}}"#), &[]),
        (format!(r#"{{"at_least":{{"count":2,"of":[{c},{often},{b},{a}]}}}}"#), &[4]),
        (format!(r#"{{"all_of":[{a},{{"not":{{"receipt":{{"action":"x"}}}}}}]}}"#), &[1]),
        (format!(r#"{{"all_of":[{a},{{"any_of":[{a},{b}]}}]}}"#), &[1]),
    ] {
        let parsed: Requirement = serde_json::from_str(&requirement).expect("a requirement");
        let intent = asked();
        let found = Found { facts: &facts, intent: &intent, effect: EFFECT, signer: AGENT, now: NOW };
        let told = tell(&parsed, &Expressions::new(), &found);
        assert_eq!(outcome(&parsed, &told, &found), Outcome::Met, "{requirement}");
        let used: Vec<u8> = uses(&parsed, &told, &found).iter().map(|digest| digest.0[0]).collect();
        assert_eq!(used, expected, "{requirement}");
    }
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

#[test]
fn nobody_signs_for_nobody() {
    // No bundle with this is put in force; asked all the same, it does not pass.
    let none = need(r#","role":"approver","signers":0"#);
    assert_eq!(outcome_of(&none, vec![]), Outcome::Unmet);
    assert_eq!(outcome_of(&none, vec![by("approver-1", "approval")]), Outcome::Unmet);
    // One signer need not be a known principal, more must be told apart.
    let nameless = || EvidenceKnown { principal: None, ..by("approver-1", "approval") };
    assert!(is_met_by(&need(r#","role":"approver""#), vec![nameless()]));
    assert!(!is_met_by(&need(r#","role":"approver","signers":2"#), vec![nameless(), by("approver-2", "approval")]));
    let (one, other, third) =
        (by("approver-1", "approval"), by("approver-2", "approval"), by("approver-3", "approval"));
    assert!(is_met_by(&need(r#","role":"approver","signers":2"#), vec![one, other, third]), "more than enough");
}

/// What a requirement with something unknown in it says must hold whatever the unknown is, or it says that it cannot be told.
#[test]
fn three_values_agree_with_all_that_the_unknown_could_be() {
    const MET: &str = r#"{"receipt":{"action":"quote"}}"#;
    const UNMET: &str = r#"{"receipt":{"action":"scan"}}"#;
    const UNTOLD: &str = r#"{"expression":"intent.args.nothing == 1"}"#;
    let mut seen = BTreeSet::new();
    for size in 1_u32..=4 {
        for case in 0..3_usize.pow(size) {
            let parts: Vec<&str> = (0..size).map(|at| [MET, UNMET, UNTOLD][case / 3_usize.pow(at) % 3]).collect();
            let all = parts.len();
            let met = parts.iter().filter(|part| **part == MET).count();
            let untold = parts.iter().filter(|part| **part == UNTOLD).count();
            let list = parts.join(",");
            let sets = [(format!(r#"{{"all_of":[{list}]}}"#), all), (format!(r#"{{"any_of":[{list}]}}"#), 1)];
            let counts = (1..=all).map(|n| (format!(r#"{{"at_least":{{"count":{n},"of":[{list}]}}}}"#), n));
            for (set, wanted) in sets.into_iter().chain(counts) {
                let could_be: BTreeSet<bool> = (0..=untold).map(|more| met + more >= wanted).collect();
                for (requirement, yes, no) in
                    [(set.clone(), "met", "unmet"), (format!(r#"{{"not":{set}}}"#), "unmet", "met")]
                {
                    let expected = match could_be.iter().collect::<Vec<_>>()[..] {
                        [true] => yes,
                        [false] => no,
                        _ => "untold",
                    };
                    let found = match outcome_of(&requirement, vec![]) {
                        Outcome::Met => "met",
                        Outcome::Unmet => "unmet",
                        Outcome::Untold(why) => {
                            assert_eq!(why, "there is no nothing, in the expression intent.args.nothing == 1");
                            "untold"
                        }
                    };
                    assert_eq!(found, expected, "{requirement}");
                    seen.insert(expected);
                }
            }
        }
    }
    assert_eq!(seen.len(), 3);
}

#[test]
fn whoever_is_refused_is_told_what_would_do() {
    const SCAN: &str = r#"{"receipt":{"action":"scan"}}"#;
    const QUOTE: &str = r#"{"receipt":{"action":"quote"}}"#;
    const APPROVAL: &str = r#"{"evidence":{"kind":"approval","role":"approver","about_effect":false}}"#;
    const UNTOLD: &str = r#"{"expression":"intent.args.nothing == 1"}"#;
    const WHY: &str = "there is no nothing, in the expression intent.args.nothing == 1";
    let (scan, approval) =
        ("an earlier receipt of scan in this session", "evidence approval by a key in role approver");
    for (requirement, told) in [
        (SCAN.to_owned(), scan.to_owned()),
        (APPROVAL.to_owned(), approval.to_owned()),
        (format!(r#"{{"not":{QUOTE}}}"#), "not an earlier receipt of quote in this session".to_owned()),
        (r#"{"expression":"intent.args.amount > 100"}"#.to_owned(), "intent.args.amount > 100".to_owned()),
        (format!(r#"{{"all_of":[{QUOTE},{SCAN},{APPROVAL}]}}"#), scan.to_owned()),
        (r#"{"all_of":[]}"#.to_owned(), "an empty set passes nothing".to_owned()),
        (format!(r#"{{"any_of":[{SCAN},{APPROVAL}]}}"#), format!("none of: {scan}; {approval}")),
        (
            format!(r#"{{"at_least":{{"count":2,"of":[{APPROVAL},{QUOTE},{SCAN}]}}}}"#),
            format!("not 2 of 3, for lack of: {approval}; {scan}"),
        ),
        (
            format!(r#"{{"all_of":[{QUOTE},{{"any_of":[{SCAN},{{"all_of":[{QUOTE},{APPROVAL}]}}]}}]}}"#),
            format!("none of: {scan}; {approval}"),
        ),
        (format!(r#"{{"any_of":[{UNTOLD},{SCAN}]}}"#), WHY.to_owned()),
        // Where what cannot be told would not help, what is missing is what counts.
        (format!(r#"{{"all_of":[{UNTOLD},{SCAN}]}}"#), scan.to_owned()),
        (
            format!(r#"{{"at_least":{{"count":3,"of":[{UNTOLD},{QUOTE},{SCAN}]}}}}"#),
            format!("not 3 of 3, for lack of: {WHY}; {scan}"),
        ),
    ] {
        let (outcome, missing, _) = look_at(&requirement, vec![]);
        assert_ne!(outcome, Outcome::Met, "{requirement}");
        assert_eq!(missing, told, "{requirement}");
    }
}

#[test]
fn a_requirement_is_explained_part_by_part() {
    let requirement = r#"{"all_of":[
        {"receipt":{"action":"quote"}},
        {"any_of":[{"not":{"receipt":{"action":"quote"}}},{"expression":"intent.args.nothing == 1"}]}
    ]}"#;
    let (_, _, explained) = look_at(requirement, vec![]);
    let why = "there is no nothing, in the expression intent.args.nothing == 1";
    let leaf = |asks: &str, outcome| Explained { asks: asks.to_owned(), outcome, parts: Vec::new() };
    let quote = || leaf("an earlier receipt of quote in this session", Outcome::Met);
    let not = Explained {
        asks: "not an earlier receipt of quote in this session".to_owned(),
        outcome: Outcome::Unmet,
        parts: vec![quote()],
    };
    let untold = || Outcome::Untold(why.to_owned());
    let any = Explained {
        asks: "any of".to_owned(),
        outcome: untold(),
        parts: vec![not, leaf("intent.args.nothing == 1", untold())],
    };
    assert_eq!(explained, Explained { asks: "all of".to_owned(), outcome: untold(), parts: vec![quote(), any] });
}

#[test]
fn a_requirement_is_put_in_words() {
    let evidence = |rest: &str| format!(r#"{{"evidence":{{"kind":"scan"{rest}}}}}"#);
    let key = format!("ed25519:{}", "1".repeat(64));
    for (requirement, text) in [
        (r#"{"all_of":[{"receipt":{"action":"a"}}]}"#.to_owned(), "all of".to_owned()),
        (r#"{"any_of":[{"receipt":{"action":"a"}}]}"#.to_owned(), "any of".to_owned()),
        (
            r#"{"at_least":{"count":1,"of":[{"receipt":{"action":"a"}},{"receipt":{"action":"b"}}]}}"#.to_owned(),
            "at least 1 of 2".to_owned(),
        ),
        (
            r#"{"not":{"not":{"receipt":{"action":"a"}}}}"#.to_owned(),
            "not not an earlier receipt of a in this session".to_owned(),
        ),
        (evidence(r#","about_effect":false"#), "evidence scan".to_owned()),
        (
            evidence(r#","about_effect":true,"role":"r""#),
            "evidence scan about this effect by a key in role r".to_owned(),
        ),
        (evidence(&format!(r#","about_effect":false,"key":"{key}""#)), format!("evidence scan by key {key}")),
        (
            evidence(r#","about_effect":false,"role":"r","signers":2,"not_submitter":true,"max_age_us":59999999"#),
            "evidence scan by a key in role r of 2 principals other than the submitter not older than 59 s".to_owned(),
        ),
    ] {
        assert_eq!(words(&serde_json::from_str(&requirement).expect("a requirement")), text);
    }
}

#[test]
fn a_decision_records_what_its_requirement_looks_at_and_nothing_more() {
    let receipts = |actions: &[&str]| Asks { receipts: actions.iter().map(|it| name(it)).collect(), ..Asks::default() };
    let (age, principal) = (Asks { age: true, ..Asks::default() }, Asks { principal: true, ..Asks::default() });
    let everything = Asks { age: true, principal: true, ..Asks::default() };
    let (a, b) = (r#"{"receipt":{"action":"a"}}"#, r#"{"receipt":{"action":"b"}}"#);
    let key = format!(r#","key":"ed25519:{}""#, "1".repeat(64));
    for (requirement, asks) in [
        (a.to_owned(), receipts(&["a"])),
        (format!(r#"{{"not":{a}}}"#), receipts(&["a"])),
        (format!(r#"{{"all_of":[{a},{{"any_of":[{b},{a}]}}]}}"#), receipts(&["a", "b"])),
        (format!(r#"{{"at_least":{{"count":1,"of":[{b},{a}]}}}}"#), receipts(&["a", "b"])),
        (need(r#","role":"r""#), Asks::default()),
        (need(r#","role":"r","max_age_us":1"#), age.clone()),
        (need(r#","role":"r","once":true"#), Asks { once: true, ..Asks::default() }),
        (need(r#","role":"r","signers":2"#), principal.clone()),
        (need(r#","role":"r","not_submitter":true"#), principal.clone()),
        (need(&key), principal.clone()),
        (need(&format!(r#"{key},"max_age_us":1"#)), everything.clone()),
        (r#"{"expression":"now > 1"}"#.to_owned(), everything.clone()),
        // What one part looks at is not forgotten for the next.
        (format!(r#"{{"all_of":[{},{}]}}"#, need(r#","role":"r","max_age_us":1"#), need(r#","role":"r""#)), age),
        (format!(r#"{{"all_of":[{},{}]}}"#, need(&key), need(r#","role":"r""#)), principal),
        (
            format!(r#"{{"all_of":[{a},{{"expression":"now > 1"}}]}}"#),
            Asks { receipts: [name("a")].into(), ..everything },
        ),
    ] {
        assert_eq!(Asks::of(&serde_json::from_str(&requirement).expect("a requirement")), asks, "{requirement}");
    }
}

#[test]
fn an_expression_that_was_not_asked_cannot_be_told() {
    let requirement = Requirement::Expression("now > 1".to_owned());
    let (facts, intent) = (Facts::default(), asked());
    let found = Found { facts: &facts, intent: &intent, effect: EFFECT, signer: AGENT, now: NOW };
    let told = tell(&requirement, &Expressions::new(), &found);
    assert!(told.is_empty(), "nobody compiled it");
    let why = "the policy does not hold the expression now > 1".to_owned();
    assert_eq!(outcome(&requirement, &told, &found), Outcome::Untold(why));
}

#[test]
fn every_expression_of_a_requirement_is_compiled_and_asked() {
    let requirement = r#"{"any_of":[
        {"expression":"now < 1"},
        {"not":{"expression":"now > 1"}},
        {"at_least":{"count":1,"of":[{"expression":"now < 1"},{"expression":"intent.args.nothing"}]}}
    ]}"#;
    let requirement: Requirement = serde_json::from_str(requirement).expect("a requirement");
    let (facts, intent) = (Facts::default(), asked());
    let found = Found { facts: &facts, intent: &intent, effect: EFFECT, signer: AGENT, now: NOW };
    let mut expressions = Expressions::new();
    compile(&requirement, &mut expressions).expect("expressions");
    let told = tell(&requirement, &expressions, &found);
    let nothing = "there is no nothing, in the expression intent.args.nothing".to_owned();
    let expected = [("intent.args.nothing", Err(nothing)), ("now < 1", Ok(false)), ("now > 1", Ok(true))];
    assert_eq!(told, expected.map(|(source, says)| (source.to_owned(), says)).into());

    let bad = Requirement::Not(Box::new(Requirement::Expression("1 == 1".to_owned())));
    let why = "it asks about nothing, so it is always the same, in the expression 1 == 1".to_owned();
    assert_eq!(compile(&bad, &mut expressions), Err(why));
}
