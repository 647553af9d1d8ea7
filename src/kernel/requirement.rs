//! Proof requirements: what must be shown before an action may happen.
//!
//! A requirement is looked at in the light of what was found: evidence whose signer was verified, receipts of the session.
//! The graph was bounded when its bundle was loaded, and each expression is asked once. Empty sets do not pass.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use writ_schemas::decision::{EvidenceFact, EvidenceKnown};
use writ_schemas::ids::{Digest, Name, Seq};
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
    /// Whether it is used up.
    pub(crate) once: bool,
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
                self.once |= need.once;
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

/// The evidence that a `PASS` by this requirement uses up, sorted: of what is met, only what it takes, in the order of the parts and
/// of the intent's evidence.
#[must_use]
pub(crate) fn uses(requirement: &Requirement, told: &Told, found: &Found<'_>) -> Vec<Digest> {
    let mut used = BTreeSet::new();
    use_up(requirement, told, found, &mut used);
    used.into_iter().collect()
}

fn use_up(requirement: &Requirement, told: &Told, found: &Found<'_>, used: &mut BTreeSet<Digest>) {
    let takes = match requirement {
        Requirement::Evidence(need) if need.once => {
            used.extend(shown(need, found).into_iter().flatten());
            return;
        }
        Requirement::AllOf(parts) => parts.len(),
        Requirement::AnyOf(_) => 1,
        Requirement::AtLeast { count, .. } => usize::try_from(*count).unwrap_or(usize::MAX),
        // What must not be there is not used.
        Requirement::Not(_) | Requirement::Evidence(_) | Requirement::Receipt { .. } | Requirement::Expression(_) => {
            return;
        }
    };
    let met = parts(requirement).iter().filter(|part| outcome(part, told, found) == Outcome::Met);
    met.take(takes).for_each(|part| use_up(part, told, found, used));
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
        Requirement::Evidence(need) => met_if(shown(need, found).is_some()),
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
        Requirement::Evidence(need) => match used_up(need, found) {
            Some(by) => format!("{}: what is shown was used up by entry {by}", words(requirement)),
            None => words(requirement),
        },
        Requirement::Not(_) | Requirement::Receipt { .. } | Requirement::Expression(_) => words(requirement),
    }
}

/// The decision that has used up what would otherwise do, if it is that.
fn used_up(need: &EvidenceNeed, found: &Found<'_>) -> Option<Seq> {
    let again = EvidenceNeed { once: false, ..need.clone() };
    let used = found.facts.evidence.iter().filter_map(|fact| fits(&again, fact, found)?.used).next();
    used.filter(|_| need.once)
}

/// The first evidence of this sort by enough principals, if there is enough.
fn shown(need: &EvidenceNeed, found: &Found<'_>) -> Option<Vec<Digest>> {
    let mut fitting = found.facts.evidence.iter().filter_map(|fact| Some((fact.digest, fits(need, fact, found)?)));
    if need.signers == 1 {
        return fitting.next().map(|(digest, _)| vec![digest]);
    }
    let (mut principals, mut pieces) = (BTreeSet::new(), Vec::new());
    for (digest, known) in fitting {
        if known.principal.as_ref().is_some_and(|it| principals.insert(it)) {
            pieces.push(digest);
        }
        if u32::try_from(pieces.len()) == Ok(need.signers) {
            return Some(pieces);
        }
    }
    None
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
    let unused = !need.once || known.used.is_none();
    (of_kind && about && in_role && by_key && of_another && fresh && unused).then_some(known)
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
            let once = if need.once { " not used before" } else { "" };
            format!("evidence {}{about}{role}{key}{signers}{other}{age}{once}", need.kind)
        }
    }
}

#[cfg(test)]
mod tests;
