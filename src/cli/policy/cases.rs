//! `writ policy test`: what a bundle says to cases that its author wrote down.
//!
//! A case is an intent, the facts as they would be found, and the verdict and code that are expected. Cases lie beside the
//! bundle in `cases/*.json`. They are put to the very gates that decide live, without a ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use writ_kernel::budget;
use writ_kernel::decide::judge;
use writ_kernel::policy::Policy;
use writ_schemas::decision::{
    Amount, Answer, ApprovalFact, EvidenceFact, EvidenceKnown, Facts, Gate, KeyFact, PaceFact, ReceiptFact, Verdict,
    VoteFact,
};
use writ_schemas::dsse::DOCUMENT_BYTES_MAX;
use writ_schemas::errors::Code;
use writ_schemas::ids::{Digest, KeyId, Name, Seq, UnixMicros};
use writ_schemas::intent::Intent;
use writ_schemas::strict;

use crate::cli::{Found, input, output};
use crate::error::{Failure, Result};

/// The time of a case that says none: 2026-01-01T12:00:00Z, a Thursday.
const NOON: &str = "2026-01-01T12:00:00Z";

/// How long the intents of cases live: an hour, in microseconds.
const LIFE_US: u64 = 3_600_000_000;

/// A file of cases.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    cases: Vec<Value>,
}

/// A story and how it must end.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    intent: Asked,
    #[serde(default)]
    facts: Given,
    expect: Expected,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    tenant: Name,
    principal: Name,
    action: Name,
    #[serde(default)]
    args: Map<String, Value>,
}

/// What is found. Without a word the ledger is not frozen, the key is trusted, and nothing is shown or spent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Given {
    /// When it is decided: RFC 3339, in UTC.
    now: String,
    frozen: bool,
    /// The key that signed is not trusted.
    untrusted: bool,
    evidence: Vec<GivenEvidence>,
    /// Actions with a receipt `SUCCEEDED` in the session.
    receipts: BTreeSet<Name>,
    /// What is reserved or committed: of each budget that the rule spends, or by their names.
    spent: Spent,
    /// How many seconds are left of a pause after refusals.
    cooling_s: u64,
    /// How many seconds of the rate have been used ahead.
    paced_s: u64,
    /// How many intents of the tenant wait for approval.
    waiting: u64,
    /// What people have said, where they were asked before.
    approval: Option<GivenApproval>,
}

impl Default for Given {
    fn default() -> Given {
        Given {
            now: NOON.to_owned(),
            frozen: false,
            untrusted: false,
            evidence: Vec::new(),
            receipts: BTreeSet::new(),
            spent: Spent::Each(0),
            cooling_s: 0,
            paced_s: 0,
            waiting: 0,
            approval: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Spent {
    Each(u64),
    By(BTreeMap<Name, u64>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenApproval {
    #[serde(default)]
    votes: Vec<GivenVote>,
    /// Nobody may answer any more.
    #[serde(default)]
    passed: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenVote {
    principal: Name,
    #[serde(default)]
    roles: BTreeSet<Name>,
    granted: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenEvidence {
    kind: Name,
    /// As which principal its signer is trusted.
    principal: Name,
    /// In which roles.
    #[serde(default)]
    roles: BTreeSet<Name>,
    /// The key that signed it; by default each principal has one of its own.
    key: Option<KeyId>,
    /// Whether it speaks of this very effect.
    #[serde(default)]
    about_effect: bool,
    /// How long ago it was issued, in microseconds.
    #[serde(default)]
    age_us: u64,
    /// Whether another `PASS` has used it up.
    #[serde(default)]
    used: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    verdict: Verdict,
    code: Code,
}

/// Puts every case to the policy; prints those that ended otherwise, and the rules that no case touched.
pub(super) fn run(policy: &Policy, files: &Path, as_json: bool) -> Result<Found> {
    let mut touched = BTreeMap::new();
    touched.extend(policy.bundle().rules.iter().map(|rule| (rule.action.clone(), 0_u64)));
    let (mut cases, mut wrong) = (Vec::new(), 0_u64);
    for path in list(files)? {
        for case in read(&path)? {
            let now = case.now(&path)?;
            case.speaks_of(policy, &path)?;
            let intent = case.intent(policy, now);
            let facts = case.facts(policy, &intent, now);
            let judged = judge(Some(policy), &intent, key_of(&intent.principal), &facts, now);
            let reached = |it: Gate| judged.gates.iter().any(|gate| gate.gate == it && gate.answer == Answer::Passed);
            if reached(Gate::Policy)
                && let Some(times) = touched.get_mut(&intent.action)
            {
                *times += 1;
            }
            let ok = (judged.verdict, judged.code) == (case.expect.verdict, case.expect.code);
            wrong += u64::from(!ok);
            cases.push(json!({
                "because": judged.because, "case": case.name, "code": judged.code, "expected": case.expect.code, "ok": ok,
                "verdict": judged.verdict,
            }));
        }
    }
    let untouched: Vec<&Name> = touched.iter().filter(|(_, times)| **times == 0).map(|(action, _)| action).collect();
    if as_json {
        output::json(&json!({ "cases": cases, "ok": wrong == 0, "untouched": untouched, "wrong": wrong }));
    } else {
        let mut table = output::table(&["case", "verdict", "code", "as expected", "because"]);
        for case in &cases {
            let ok = case["ok"] == true;
            let expected =
                if ok { "yes".to_owned() } else { format!("NO, expected {}", output::text(case, "/expected")) };
            table.add_row([
                output::text(case, "/case"),
                output::verdict(&output::text(case, "/verdict")),
                output::text(case, "/code"),
                expected,
                output::text(case, "/because"),
            ]);
        }
        output::line(table);
        output::line(format!("{} cases, {wrong} not as expected", cases.len()));
        match untouched.as_slice() {
            [] => output::line("every rule was touched"),
            some => output::line(format!(
                "no case touched: {}",
                some.iter().map(|action| action.as_str()).collect::<Vec<_>>().join(", ")
            )),
        }
    }
    Ok(if wrong == 0 { Found::Yes } else { Found::No })
}

/// The files of a directory, by name; or the one file.
fn list(at: &Path) -> Result<Vec<PathBuf>> {
    let failure = |e: std::io::Error| Failure::new(Code::InputFile, format!("{}: {e}", at.display()));
    if at.is_file() {
        return Ok(vec![at.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(at).map_err(failure)? {
        let path = entry.map_err(failure)?.path();
        if path.extension().is_some_and(|it| it == "json") {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(Failure::new(Code::InputFile, format!("{}: no *.json in it", at.display())));
    }
    Ok(files)
}

fn read(path: &Path) -> Result<Vec<Case>> {
    let failure = |code, why: &dyn std::fmt::Display| Failure::new(code, format!("{}: {why}", path.display()));
    let bytes = input::read(path, DOCUMENT_BYTES_MAX)?;
    let parsed: Value =
        strict::parse(&bytes, DOCUMENT_BYTES_MAX).map_err(|refusal| failure(refusal.code, &refusal.detail))?;
    let file: File = serde_json::from_value(parsed).map_err(|e| failure(Code::Schema, &e))?;
    let cases = file.cases.into_iter().enumerate().map(|(at, case)| {
        let name = case["name"].as_str().map_or_else(|| format!("case {at}"), str::to_owned);
        serde_json::from_value(case).map_err(|e| failure(Code::Schema, &format!("{name}: {e}")))
    });
    cases.collect()
}

/// A key for a principal that is in no ledger.
fn key_of(principal: &Name) -> KeyId {
    KeyId(Digest::of(principal.as_str().as_bytes()).0)
}

impl Case {
    fn failure(&self, path: &Path, why: &str) -> Failure {
        Failure::new(Code::Schema, format!("{}: {}: {why}", path.display(), self.name))
    }

    fn now(&self, path: &Path) -> Result<UnixMicros> {
        let moment = self.facts.now.parse::<Timestamp>().ok().and_then(|it| u64::try_from(it.as_microsecond()).ok());
        moment.map(UnixMicros).ok_or_else(|| self.failure(path, &format!("now is not a time like {NOON}")))
    }

    /// A fact under a name that the bundle does not have would change nothing, and its author would not hear of it.
    fn speaks_of(&self, policy: &Policy, path: &Path) -> Result<()> {
        let unknown = match &self.facts.spent {
            Spent::Each(_) => None,
            Spent::By(names) => names.keys().find(|name| !policy.bundle().budgets.contains_key(*name)),
        };
        let action = self.facts.receipts.iter().find(|action| policy.rule(action).is_none());
        let budget = unknown.map(|name| format!("spent: the bundle has no budget {name}"));
        match budget.or_else(|| action.map(|name| format!("receipts: the bundle has no rule for {name}"))) {
            Some(why) => Err(self.failure(path, &why)),
            None => Ok(()),
        }
    }

    fn intent(&self, policy: &Policy, now: UnixMicros) -> Intent {
        let Asked { tenant, principal, action, args } = &self.intent;
        Intent {
            action: action.clone(),
            args: args.clone(),
            evidence: (0..self.facts.evidence.len()).map(evidence_digest).collect(),
            expires_at: now.plus(LIFE_US),
            id: policy.bundle().name.clone(),
            principal: principal.clone(),
            session: None,
            tenant: tenant.clone(),
        }
    }

    fn facts(&self, policy: &Policy, intent: &Intent, now: UnixMicros) -> Facts {
        let effect = intent.effect_digest().ok();
        let key = KeyFact { principal: intent.principal.clone(), revoked: None, tenant: intent.tenant.clone() };
        let evidence = self.facts.evidence.iter().enumerate().zip((1..).map(Seq)).map(|((at, given), seq)| {
            let known = EvidenceKnown {
                effect: effect.filter(|_| given.about_effect),
                expires_at: now.plus(LIFE_US),
                issued_at: Some(UnixMicros(now.0.saturating_sub(given.age_us))),
                kind: given.kind.clone(),
                principal: Some(given.principal.clone()),
                roles: given.roles.clone(),
                seq,
                signer: given.key.unwrap_or_else(|| key_of(&given.principal)),
                used: given.used.then_some(seq),
            };
            EvidenceFact { digest: evidence_digest(at), known: Some(known) }
        });
        let spent = |amount: &Amount| match &self.facts.spent {
            Spent::Each(spent) => *spent,
            Spent::By(names) => names.get(&amount.budget).copied().unwrap_or_default(),
        };
        let later = |seconds: u64| Some(now.plus(seconds.saturating_mul(1_000_000))).filter(|_| seconds > 0);
        Facts {
            approval: self.facts.approval.as_ref().map(|given| Box::new(given.fact(policy, intent, now))),
            pace: Some(PaceFact { cooling_until: later(self.facts.cooling_s), paced_until: later(self.facts.paced_s) }),
            waiting: Some(self.facts.waiting),
            budget: budget::facts(policy, intent, now, |amount| (0, spent(amount))),
            evidence: evidence.collect(),
            frozen: self.facts.frozen,
            key: Some(key).filter(|_| !self.facts.untrusted),
            receipts: self
                .facts
                .receipts
                .iter()
                .map(|action| ReceiptFact { action: action.clone(), seq: Some(Seq(1)) })
                .collect(),
        }
    }
}

impl GivenApproval {
    fn fact(&self, policy: &Policy, intent: &Intent, now: UnixMicros) -> ApprovalFact {
        // Of an action without a rule nobody is asked.
        let rule = policy.rule_digest(&intent.action).unwrap_or(policy.digest());
        let votes = self.votes.iter().zip(1..).map(|(vote, seq)| VoteFact {
            granted: vote.granted,
            principal: Some(vote.principal.clone()),
            roles: vote.roles.clone(),
            rule,
            seq: Seq(seq),
            signer: key_of(&vote.principal),
        });
        ApprovalFact { deadline: now, passed: self.passed, votes: votes.collect() }
    }
}

fn evidence_digest(at: usize) -> Digest {
    Digest::of(at.to_string().as_bytes())
}
