//! What is known to be wrong with a requirement before anything is shown: that nothing can meet it, that it asks for nothing,
//! that a part of it makes no difference.
//!
//! A requirement is a boolean function of its distinct leaves, looked at whole: a truth table with a row for each of the
//! 2^n cases, 64 rows a word. So what is found is computed, and larger requirements are refused: nobody can read them
//! either.

use std::collections::BTreeSet;

use writ_schemas::intent::EVIDENCE_MAX;
use writ_schemas::policy::{EvidenceNeed, Requirement};

use crate::expression::{Expression, Expressions};
use crate::requirement::{parts, words};

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
            Requirement::AnyOf(_) => false,
            Requirement::AtLeast { .. }
            | Requirement::Not(_)
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
            (evidence(""), "give a role or a key"),
            (evidence(r#","role":"r","signers":0"#), "by 0 principals"),
            (evidence(r#","role":"r","signers":1000"#), "by 1000 principals"),
            (evidence(r#","role":"r","max_age_us":0"#), "max_age_us 0"),
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
}
