//! What is known to be wrong with a requirement before anything is shown: that nothing can meet it, that it asks for nothing,
//! that a part of it makes no difference.
//!
//! A requirement is a boolean function of its distinct leaves, looked at whole: a truth table with a row for each of the
//! 2^n cases, 64 rows a word. So what is found is computed, and larger requirements are refused: nobody can read them
//! either.

use std::collections::BTreeSet;

use writ_schemas::intent::EVIDENCE_MAX;
use writ_schemas::keys;
use writ_schemas::policy::{EvidenceNeed, Requirement};

use crate::expression::{Expression, Expressions};
use crate::requirement::{Asks, parts, words};

/// The most distinct leaves of a requirement: 4096 cases, 512 bytes a table.
pub const LEAVES_MAX: usize = 12;

/// The most nodes of a requirement. Looking for parts that make no difference takes a table for each pair of nodes.
pub const NODES_MAX: usize = 64;

/// Checks one requirement.
///
/// # Errors
/// What is wrong with it, for a person.
pub(crate) fn check(requirement: &Requirement, expressions: &Expressions) -> Result<(), String> {
    let mut nodes = Vec::new();
    collect(requirement, &mut nodes)?;
    let mut leaves: Vec<&Requirement> = nodes.iter().copied().filter(|node| parts(node).is_empty()).collect();
    leaves.sort_unstable();
    leaves.dedup();
    if leaves.len() > LEAVES_MAX {
        return Err(format!(
            "{} different things are asked for, at most {LEAVES_MAX} in one requirement",
            leaves.len()
        ));
    }
    let tables = Tables { leaves };
    let whole = tables.of(requirement, None);
    if whole == tables.constant(false) {
        return Err("nothing can meet it".to_owned());
    }
    if tables.passes_for_nothing(&whole, expressions) {
        return Err("it passes for who shows nothing".to_owned());
    }
    for node in &nodes {
        let neutral = match node {
            Requirement::AllOf(_) => true,
            Requirement::AnyOf(_) | Requirement::AtLeast { .. } => false,
            Requirement::Not(_)
            | Requirement::Evidence(_)
            | Requirement::Expression(_)
            | Requirement::Receipt { .. } => continue,
        };
        for part in parts(node) {
            if tables.of(requirement, Some(Without { part, neutral })) == whole {
                return Err(format!("\"{}\" in \"{}\" makes no difference", words(part), words(node)));
            }
        }
    }
    Ok(())
}

/// Every node, each sound by itself.
fn collect<'a>(requirement: &'a Requirement, nodes: &mut Vec<&'a Requirement>) -> Result<(), String> {
    nodes.push(requirement);
    if nodes.len() > NODES_MAX {
        return Err(format!("more than {NODES_MAX} parts in one requirement"));
    }
    match requirement {
        Requirement::AllOf(parts) | Requirement::AnyOf(parts) if parts.is_empty() => {
            return Err("an empty set, which nothing can meet".to_owned());
        }
        Requirement::AtLeast { count, of }
            if *count == 0 || usize::try_from(*count).map_or(true, |it| it > of.len()) =>
        {
            return Err(format!("at least {count} of {}: give a number from 1 to that", of.len()));
        }
        Requirement::AtLeast { of, .. } if of.iter().collect::<BTreeSet<_>>().len() < of.len() => {
            return Err("at_least counts the same part twice: ask for signers instead".to_owned());
        }
        Requirement::Evidence(need) => check_need(need)?,
        Requirement::Not(part) if Asks::of(part).once => {
            return Err("once in not: what must not be shown is not used up".to_owned());
        }
        Requirement::AllOf(_)
        | Requirement::AnyOf(_)
        | Requirement::AtLeast { .. }
        | Requirement::Not(_)
        | Requirement::Expression(_)
        | Requirement::Receipt { .. } => {}
    }
    parts(requirement).iter().try_for_each(|part| collect(part, nodes))
}

fn check_need(need: &EvidenceNeed) -> Result<(), String> {
    let EvidenceNeed { kind, key, role, signers, max_age_us, .. } = need;
    if key.is_none() && role.is_none() {
        return Err(format!("evidence {kind} by nobody in particular: give a role or a key"));
    }
    if *signers == 0 || usize::try_from(*signers).map_or(true, |it| it > EVIDENCE_MAX) {
        return Err(format!("evidence {kind} by {signers} principals: an intent names 1 to {EVIDENCE_MAX} pieces"));
    }
    if let Some(key) = key.filter(|key| !keys::can_sign(key)) {
        return Err(format!("evidence {kind} by {key}, with which nobody can sign: it is no key, or a weak one"));
    }
    if key.is_some() && *signers > 1 {
        return Err(format!("evidence {kind} by {signers} principals with one key"));
    }
    if *max_age_us == Some(0) {
        return Err(format!("evidence {kind} with max_age_us 0, which nothing can meet"));
    }
    Ok(())
}

/// A part of a set in whose place stands what the set does not notice.
#[derive(Clone, Copy)]
struct Without<'a> {
    part: &'a Requirement,
    neutral: bool,
}

/// The tables over these leaves. In row `r`, leaf `n` is met if bit `n` of `r` is set.
struct Tables<'a> {
    leaves: Vec<&'a Requirement>,
}

type Table = Vec<u64>;

impl Tables<'_> {
    fn of(&self, node: &Requirement, without: Option<Without<'_>>) -> Table {
        if let Some(Without { part, neutral }) = without
            && std::ptr::eq(part, node)
        {
            return self.constant(neutral);
        }
        let of_parts = || parts(node).iter().map(|part| self.of(part, without));
        match node {
            Requirement::AllOf(_) => of_parts().fold(self.constant(true), |all, part| zip(&all, &part, |a, b| a & b)),
            Requirement::AnyOf(_) => of_parts().fold(self.constant(false), |any, part| zip(&any, &part, |a, b| a | b)),
            Requirement::Not(part) => {
                let table = self.of(part, without);
                zip(&table, &self.constant(true), |a, mask| !a & mask)
            }
            Requirement::AtLeast { count, .. } => {
                // reached[n]: the cases in which at least n of the parts so far are met.
                let count = usize::try_from(*count).unwrap_or(usize::MAX).min(NODES_MAX);
                let mut reached = vec![self.constant(false); count.saturating_add(1)];
                if let Some(none) = reached.first_mut() {
                    *none = self.constant(true);
                }
                for part in of_parts() {
                    for n in (1..reached.len()).rev() {
                        if let Some([before, here]) = reached.get_mut(n.saturating_sub(1)..=n) {
                            *here = zip(here, &zip(before, &part, |a, b| a & b), |a, b| a | b);
                        }
                    }
                }
                reached.pop().unwrap_or_default()
            }
            Requirement::Evidence(_) | Requirement::Receipt { .. } | Requirement::Expression(_) => self.leaf(node),
        }
    }

    /// Whether it is met in every case in which nothing is shown, whatever expressions say of the intent.
    fn passes_for_nothing(&self, whole: &[u64], expressions: &Expressions) -> bool {
        let (mut fixed, mut row_of_nothing) = (0_usize, 0_usize);
        for (at, leaf) in self.leaves.iter().enumerate() {
            let met = match leaf {
                Requirement::Expression(source) => expressions.get(source).and_then(Expression::over_nothing),
                Requirement::AllOf(_)
                | Requirement::AnyOf(_)
                | Requirement::AtLeast { .. }
                | Requirement::Not(_)
                | Requirement::Evidence(_)
                | Requirement::Receipt { .. } => Some(false),
            };
            if let Some(met) = met {
                fixed |= 1 << at;
                row_of_nothing |= usize::from(met) << at;
            }
        }
        let met = |row: usize| whole.get(row / 64).is_some_and(|word| word >> (row % 64) & 1 == 1);
        (0..self.rows()).filter(|row| row & fixed == row_of_nothing).all(met)
    }

    fn rows(&self) -> usize {
        1 << self.leaves.len().min(LEAVES_MAX)
    }

    fn constant(&self, value: bool) -> Table {
        let rows = self.rows();
        let word = if rows < 64 { (1 << rows) - 1 } else { u64::MAX };
        vec![if value { word } else { 0 }; rows.div_ceil(64)]
    }

    fn leaf(&self, node: &Requirement) -> Table {
        let leaf = self.leaves.binary_search(&node).unwrap_or_default();
        let mut table = self.constant(false);
        for row in (0..self.rows()).filter(|row| row >> leaf & 1 == 1) {
            if let Some(word) = table.get_mut(row / 64) {
                *word |= 1 << (row % 64);
            }
        }
        table
    }
}

fn zip(one: &[u64], other: &[u64], how: impl Fn(u64, u64) -> u64) -> Table {
    one.iter().zip(other).map(|(one, other)| how(*one, *other)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(json: &str) -> Result<(), String> {
        let requirement: Requirement = serde_json::from_str(json).expect(json);
        let mut expressions = Expressions::new();
        crate::requirement::compile(&requirement, &mut expressions)?;
        check(&requirement, &expressions)
    }

    /// A letter is a receipt of that action, for short.
    fn leaf(action: char) -> String {
        format!(r#"{{"receipt":{{"action":"{action}"}}}}"#)
    }

    #[test]
    fn what_asks_for_something_that_can_be_shown_is_sound() {
        let (a, b, c) = (leaf('a'), leaf('b'), leaf('c'));
        for sound in [
            a.clone(),
            format!(r#"{{"all_of":[{a},{b}]}}"#),
            format!(r#"{{"any_of":[{a},{{"all_of":[{b},{c}]}}]}}"#),
            format!(r#"{{"at_least":{{"count":2,"of":[{a},{b},{c}]}}}}"#),
            format!(r#"{{"all_of":[{a},{{"not":{b}}}]}}"#),
            r#"{"evidence":{"kind":"approval","role":"approver","about_effect":true,"signers":2,"not_submitter":true}}"#
                .to_owned(),
        ] {
            assert_eq!(checked(&sound), Ok(()), "{sound}");
        }
    }

    #[test]
    fn what_is_silly_is_refused_by_name() {
        let (a, b) = (leaf('a'), leaf('b'));
        let evidence = |rest: &str| format!(r#"{{"evidence":{{"kind":"k","about_effect":false{rest}}}}}"#);
        let many = |n: usize| ('A'..='Z').take(n).map(leaf).collect::<Vec<_>>();
        for (silly, why) in [
            (r#"{"all_of":[]}"#.to_owned(), "an empty set"),
            (r#"{"any_of":[]}"#.to_owned(), "an empty set"),
            (format!(r#"{{"at_least":{{"count":0,"of":[{a}]}}}}"#), "at least 0 of 1"),
            (format!(r#"{{"at_least":{{"count":3,"of":[{a},{b}]}}}}"#), "at least 3 of 2"),
            (format!(r#"{{"all_of":[{a},{{"not":{a}}}]}}"#), "nothing can meet it"),
            (format!(r#"{{"not":{a}}}"#), "passes for who shows nothing"),
            (format!(r#"{{"any_of":[{a},{{"not":{a}}}]}}"#), "passes for who shows nothing"),
            (r#"{"expression":"evidence.all(e, e.kind == 'approval')"}"#.to_owned(), "passes for who shows nothing"),
            (r#"{"expression":"size(evidence) < 3"}"#.to_owned(), "passes for who shows nothing"),
            (format!(r#"{{"at_least":{{"count":2,"of":[{a},{a}]}}}}"#), "the same part twice"),
            (format!(r#"{{"any_of":[{a},{{"all_of":[{a},{b}]}}]}}"#), "makes no difference"),
            (format!(r#"{{"all_of":[{a},{{"any_of":[{a},{b}]}}]}}"#), "makes no difference"),
            (format!(r#"{{"all_of":[{a},{a}]}}"#), "makes no difference"),
            (format!(r#"{{"at_least":{{"count":2,"of":[{a},{b},{{"all_of":[{a},{b}]}}]}}}}"#), "makes no difference"),
            (evidence(""), "give a role or a key"),
            (evidence(r#","role":"r","signers":0"#), "by 0 principals"),
            (evidence(r#","role":"r","signers":1000"#), "by 1000 principals"),
            (evidence(r#","role":"r","max_age_us":0"#), "max_age_us 0"),
            (format!(r#"{{"all_of":[{a},{{"not":{}}}]}}"#, evidence(r#","role":"r","once":true"#)), "once in not"),
            (format!(r#"{{"all_of":[{}]}}"#, many(13).join(",")), "13 different things"),
            (format!(r#"{{"any_of":[{}]}}"#, vec![a; 64].join(",")), "more than 64 parts"),
        ] {
            let found = checked(&silly).expect_err(&silly);
            assert!(found.contains(why), "{silly}: {found}");
        }
    }

    #[test]
    fn tables_count_as_people_do() {
        let letters: Vec<String> = "abcdefgh".chars().map(leaf).collect();
        for count in 1..=letters.len() {
            let json = format!(r#"{{"at_least":{{"count":{count},"of":[{}]}}}}"#, letters.join(","));
            let node: Requirement = serde_json::from_str(&json).expect("requirement");
            let mut leaves: Vec<&Requirement> = parts(&node).iter().collect();
            leaves.sort_unstable();
            let tables = Tables { leaves };
            let table = tables.of(&node, None);
            for row in 0..tables.rows() {
                let expected = usize::try_from(row.count_ones()).is_ok_and(|met| met >= count);
                assert_eq!(table[row / 64] >> (row % 64) & 1 == 1, expected, "{count} of {row:b}");
            }
        }
    }

    #[test]
    fn a_requirement_is_as_large_as_a_person_can_read_and_no_larger() {
        let letters = |n: usize| ('A'..='Z').take(n).map(leaf).collect::<Vec<_>>();
        assert_eq!(checked(&format!(r#"{{"all_of":[{}]}}"#, letters(12).join(","))), Ok(()), "12 different leaves");
        // The set, two leaves, and one under so many negations.
        let nodes = |n: usize| {
            let negations = n - 4;
            let deep = format!("{}{}{}", r#"{"not":"#.repeat(negations), leaf('c'), "}".repeat(negations));
            checked(&format!(r#"{{"all_of":[{},{},{deep}]}}"#, leaf('a'), leaf('b')))
        };
        assert_eq!(nodes(64), Ok(()));
        assert_eq!(nodes(66), Err("more than 64 parts in one requirement".to_owned()));
    }

    #[test]
    fn evidence_is_asked_of_somebody_and_of_as_many_as_an_intent_can_name() {
        let key = format!(r#","key":"ed25519:{}""#, "1".repeat(64));
        let evidence = |rest: &str| checked(&format!(r#"{{"evidence":{{"kind":"scan","about_effect":false{rest}}}}}"#));
        let zero = format!("ed25519:{}", "0".repeat(64));
        let nobodys = format!("evidence scan by {zero}, with which nobody can sign: it is no key, or a weak one");
        #[rustfmt::skip] // A table is read by columns.
        let rows = [
            (String::new(),                         "evidence scan by nobody in particular: give a role or a key"),
            (r#","role":"r""#.to_owned(),               ""),
            (key.clone(),                               ""),
            (format!(r#","key":"{zero}""#),             &nobodys),
            (format!(r#"{key},"role":"r""#),            ""),
            (r#","role":"r","signers":0"#.to_owned(),   "evidence scan by 0 principals: an intent names 1 to 64 pieces"),
            (r#","role":"r","signers":64"#.to_owned(),  ""),
            (r#","role":"r","signers":65"#.to_owned(),  "evidence scan by 65 principals: an intent names 1 to 64 pieces"),
            (format!(r#"{key},"signers":1"#),           ""),
            (format!(r#"{key},"signers":2"#),           "evidence scan by 2 principals with one key"),
            (r#","role":"r","max_age_us":1"#.to_owned(), ""),
            (r#","role":"r","max_age_us":0"#.to_owned(), "evidence scan with max_age_us 0, which nothing can meet"),
        ];
        for (rest, why) in rows {
            assert_eq!(evidence(&rest).err().unwrap_or_default(), why, "{rest}");
        }
    }

    #[test]
    fn a_count_is_from_one_to_all_of_them() {
        let (a, b) = (leaf('a'), leaf('b'));
        for (count, why) in [
            (0, "at least 0 of 2: give a number from 1 to that"),
            (1, ""),
            (2, ""),
            (3, "at least 3 of 2: give a number from 1 to that"),
        ] {
            let found = checked(&format!(r#"{{"at_least":{{"count":{count},"of":[{a},{b}]}}}}"#));
            assert_eq!(found.err().unwrap_or_default(), why, "{count}");
        }
        // What makes no difference is named, with the set that it is in.
        let idle = format!(r#"{{"any_of":[{a},{{"all_of":[{a},{b}]}}]}}"#);
        assert_eq!(checked(&idle), Err(r#""all of" in "any of" makes no difference"#.to_owned()));
    }

    /// What an expression says of an intent is open where nothing is shown; what it says of evidence is known.
    #[test]
    fn who_shows_nothing_is_looked_at_with_every_intent() {
        let (open, shown, few) = (
            r#"{"expression":"intent.tenant == 'a'"}"#,
            r#"{"expression":"evidence.exists(e, e.kind == 'scan')"}"#,
            r#"{"expression":"size(evidence) < 3"}"#,
        );
        let scans: Vec<String> = (1..=6)
            .map(|role| format!(r#"{{"evidence":{{"kind":"scan","about_effect":false,"role":"r{role}"}}}}"#))
            .collect();
        let (a, b, scans) = (leaf('a'), leaf('b'), scans.join(","));
        const NOTHING: &str = "it passes for who shows nothing";
        for (requirement, why) in [
            (open.to_owned(), ""),
            (format!(r#"{{"any_of":[{open},{a}]}}"#), ""),
            (format!(r#"{{"any_of":[{{"not":{open}}},{a}]}}"#), ""),
            (format!(r#"{{"any_of":[{open},{{"not":{open}}},{a}]}}"#), NOTHING),
            (format!(r#"{{"any_of":[{a},{{"not":{b}}}]}}"#), NOTHING),
            (format!(r#"{{"any_of":[{open},{few}]}}"#), NOTHING),
            (format!(r#"{{"any_of":[{shown},{few}]}}"#), NOTHING),
            (format!(r#"{{"all_of":[{open},{few}]}}"#), ""),
            (format!(r#"{{"any_of":[{shown},{a}]}}"#), ""),
            // With six pieces of evidence, what is open is in another word of the table.
            (format!(r#"{{"any_of":[{{"not":{open}}},{scans}]}}"#), ""),
            (format!(r#"{{"any_of":[{open},{scans}]}}"#), ""),
            (format!(r#"{{"any_of":[{open},{{"not":{open}}},{scans}]}}"#), NOTHING),
        ] {
            assert_eq!(checked(&requirement).err().unwrap_or_default(), why, "{requirement}");
        }
    }

    /// As a person would find out: each case by itself, each part left out in turn.
    mod by_hand {
        use std::cell::RefCell;

        use proptest::prelude::*;
        use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

        use super::*;

        const LETTERS: usize = 8;

        /// A receipt, by the number of its letter.
        fn receipt(letter: usize) -> Requirement {
            let action = char::from(b'a' + u8::try_from(letter).expect("a letter"));
            serde_json::from_str(&leaf(action)).expect("a receipt")
        }

        /// Whether it is met where these letters are shown, a bit each.
        fn is_met(node: &Requirement, shown: usize) -> bool {
            match node {
                Requirement::AllOf(parts) => parts.iter().all(|part| is_met(part, shown)),
                Requirement::AnyOf(parts) => parts.iter().any(|part| is_met(part, shown)),
                Requirement::AtLeast { count, of } => {
                    of.iter().filter(|part| is_met(part, shown)).count() >= usize::try_from(*count).expect("small")
                }
                Requirement::Not(part) => !is_met(part, shown),
                Requirement::Receipt { action } => shown >> (action.as_str().as_bytes()[0] - b'a') & 1 == 1,
                Requirement::Evidence(_) | Requirement::Expression(_) => unreachable!("receipts only"),
            }
        }

        /// In which cases it is met.
        fn cases(requirement: &Requirement) -> Vec<bool> {
            (0..1 << LETTERS).map(|shown| is_met(requirement, shown)).collect()
        }

        /// The same without one part of an `all_of`, `any_of` or `at_least`, for each of them.
        fn shorter(node: &Requirement) -> Vec<Requirement> {
            type Build<'a> = Box<dyn Fn(Vec<Requirement>) -> Requirement + 'a>;
            let (parts, build): (&[Requirement], Build<'_>) = match node {
                Requirement::AllOf(parts) => (parts, Box::new(Requirement::AllOf)),
                Requirement::AnyOf(parts) => (parts, Box::new(Requirement::AnyOf)),
                Requirement::Not(part) => {
                    return shorter(part).into_iter().map(|part| Requirement::Not(Box::new(part))).collect();
                }
                Requirement::AtLeast { count, of } => (of, Box::new(|of| Requirement::AtLeast { count: *count, of })),
                Requirement::Evidence(_) | Requirement::Expression(_) | Requirement::Receipt { .. } => {
                    return Vec::new();
                }
            };
            let without = (0..parts.len()).map(|at| [&parts[..at], &parts[at + 1..]].concat());
            without.chain(within(parts)).map(build).collect()
        }

        /// These parts, one of them shorter, in every way.
        fn within(parts: &[Requirement]) -> Vec<Vec<Requirement>> {
            let put = |at: usize, part| [&parts[..at], &[part], &parts[at + 1..]].concat();
            (0..parts.len()).flat_map(|at| shorter(&parts[at]).into_iter().map(move |part| put(at, part))).collect()
        }

        fn requirements() -> impl Strategy<Value = Requirement> {
            let leaf = (0..LETTERS).prop_map(receipt);
            leaf.prop_recursive(3, 24, 4, |part| {
                prop_oneof![
                    3 => prop::collection::vec(part.clone(), 1..5).prop_map(Requirement::AllOf),
                    3 => prop::collection::vec(part.clone(), 1..5).prop_map(Requirement::AnyOf),
                    1 => part.clone().prop_map(|part| Requirement::Not(Box::new(part))),
                    2 => (0_u32..4, prop::collection::btree_set(part, 1..5)).prop_map(|(less, of)| {
                        let of: Vec<_> = of.into_iter().collect();
                        let all = u32::try_from(of.len()).expect("few");
                        Requirement::AtLeast { count: all.saturating_sub(less).max(1), of }
                    }),
                ]
            })
        }

        #[test]
        fn what_is_found_is_what_is_so() {
            let config = Config { cases: 1000, failure_persistence: None, ..Config::default() };
            let always_the_same = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
            let met = RefCell::new(BTreeSet::new());
            let told = TestRunner::new_with_rng(config, always_the_same).run(&requirements(), |requirement| {
                let whole = cases(&requirement);
                let expected = if !whole.contains(&true) {
                    "nothing can meet it"
                } else if whole[0] {
                    "it passes for who shows nothing"
                } else if shorter(&requirement).iter().any(|less| cases(less) == whole) {
                    "makes no difference"
                } else {
                    ""
                };
                let found = check(&requirement, &Expressions::new()).err().unwrap_or_default();
                met.borrow_mut().insert(expected);
                prop_assert!(
                    found.is_empty() == expected.is_empty() && found.ends_with(expected),
                    "{found}: {requirement:?}"
                );
                Ok(())
            });
            told.expect("as by hand");
            assert_eq!(met.into_inner().len(), 4, "a run that does not find each of them proves nothing about it");
        }
    }
}
