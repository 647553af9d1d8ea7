//! The kernel against the model: random intents, evidence, budgets, approvals, deadlines, crashes and re-opens, and no
//! difference.
//!
//! `cargo test -p writ-kernel --test model` plays some seeds. More, and one seed again:
//!
//! ```text
//! cargo test -p writ-kernel --release --test model -- --steps 100000
//! cargo test -p writ-kernel --release --test model -- --seed 7 --steps 1000
//! ```
#![allow(clippy::expect_used, clippy::print_stdout, reason = "a test of its own harness: it stops and says why")]
#![allow(clippy::indexing_slicing, reason = "constants of known length")]

mod audit;
mod dice;
mod grammar;
mod inputs;
mod play;
mod pools;

use std::process::ExitCode;

use crate::inputs::Run;
use crate::play::Seen;

/// How many steps a plain `cargo test` takes.
const STEPS: u64 = 20_000;

/// How many steps one ledger lives for. Short lives: what is compared after a crash is folded from zero.
const STEPS_A_SEED: u64 = 600;

/// One ledger in so many is flooded with intents that wait.
const FLOOD_EVERY: u64 = 6;

/// How many intents a flood is: more than may wait, although one in twenty takes an id that is taken.
const FLOOD: u64 = 290;

/// What a whole run must have met: every code that the model can give, each ending, window and part of a policy. A run that
/// does not reach a branch proves nothing about it.
const MET: &[&str] = &[
    "deadline passed",
    "decided ESCALATE ERR_APPROVAL_NEEDED",
    "decided FAIL ERR_APPROVALS_FULL",
    "decided FAIL ERR_APPROVAL_ERROR",
    "decided FAIL ERR_BUDGET_ERROR",
    "decided FAIL ERR_BUDGET_EXCEEDED",
    "decided FAIL ERR_COOLING_DOWN",
    "decided FAIL ERR_EXPIRY_TOO_FAR",
    "decided FAIL ERR_FROZEN",
    "decided FAIL ERR_OUTSIDE_HOURS",
    "decided FAIL ERR_POLICY_NONE",
    "decided FAIL ERR_POLICY_NO_RULE",
    "decided FAIL ERR_PROOF_MISSING",
    "decided FAIL ERR_RATE_EXCEEDED",
    "decided FAIL ERR_TENANT_MISMATCH",
    "decided PASS OK",
    "decided again FAIL ERR_APPROVAL_DENIED",
    "decided again FAIL ERR_APPROVAL_TIMED_OUT",
    "decided again FAIL ERR_BUDGET_EXCEEDED",
    "decided again FAIL ERR_FROZEN",
    "decided again FAIL ERR_INTENT_EXPIRED",
    "decided again FAIL ERR_KEY_REVOKED",
    "decided again FAIL ERR_PROOF_MISSING",
    "decided again PASS OK",
    "dispatch ERR_DECISION_MISSING",
    "dispatch ERR_DISPATCH_REFUSED",
    "dispatch ERR_FROZEN",
    "dispatch ERR_KEY_REVOKED",
    "dispatch ERR_WINDOW_CLOSED",
    "dispatch STARTED",
    "ended Drifted ERR_CONNECTOR_CONTRACT_DRIFT",
    "ended ERR_DECISION_MISSING",
    "ended ERR_DISPATCH_REFUSED",
    "ended Failed ERR_CONNECTOR_REFUSED",
    "ended Failed ERR_CONNECTOR_UNKNOWN",
    "ended Failed ERR_EFFECT_DIGEST",
    "ended Succeeded OK",
    "ended Uncertain ERR_CONNECTOR_UNCERTAIN",
    "ended Uncertain ERR_CONTENT_INTEGRITY",
    "ended Uncertain ERR_INTERRUPTED",
    "ended Uncertain ERR_OUTPUT_NOT_CANONICAL",
    "evidence ALREADY",
    "evidence ERR_EVIDENCE_INVALID",
    "evidence ERR_LEDGER_MISMATCH",
    "evidence RECORDED",
    "evidence by a crowd",
    "freeze ERR_ACT_REFUSED",
    "freeze ERR_SCHEMA",
    "freeze RECORDED",
    "intent ERR_ID_REUSED",
    "intent ERR_INTENT_EXPIRED",
    "intent ERR_KEY_REVOKED",
    "intent ERR_KEY_UNKNOWN",
    "intent KNOWN",
    "opened again after a loss",
    "opened again without loss",
    "policy ERR_ACT_REFUSED",
    "policy RECORDED",
    "policy with a burst",
    "policy with a prior receipt",
    "policy with a quorum",
    "policy with all of",
    "policy with an interval rounded up",
    "policy with any of",
    "policy with at least",
    "policy with costs that the output tells",
    "policy with evidence",
    "policy with evidence about the effect",
    "policy with evidence by a key",
    "policy with evidence by a role",
    "policy with evidence by another",
    "policy with evidence by several",
    "policy with fresh evidence",
    "policy with hours",
    "policy with no budget gate",
    "policy with no escalation gate",
    "policy with no proof gate",
    "policy with no time gate",
    "policy with not",
    "policy with pauses",
    "policy with people asked sometimes",
    "policy with several budgets a rule",
    "reconcile as applied ERR_RECEIPT_UNKNOWN",
    "reconcile as applied RECORDED",
    "reconcile as not applied RECORDED",
    "charged less than was reserved",
    "charged more than was reserved",
    "reserved for ever",
    "reserved in a day",
    "reserved in a month",
    "reserved in a rolling window",
    "reserved in an hour",
    "reserved of a principal",
    "reserved of a principal's action",
    "reserved of a tenant",
    "reserved of an action",
    "reserved out of several budgets",
    "revoke ERR_ACT_REFUSED",
    "revoke ERR_KEY_UNKNOWN",
    "revoke RECORDED",
    "thaw ERR_ACT_REFUSED",
    "thaw RECORDED",
    "time exactly",
    "time just after",
    "time just before",
    "trust ALREADY",
    "trust ERR_ACT_REFUSED",
    "trust ERR_SCHEMA",
    "trust RECORDED",
    "vote ALREADY",
    "vote ERR_ACT_REFUSED",
    "vote ERR_APPROVAL_UNKNOWN",
    "vote ERR_APPROVER_INVALID",
    "vote ERR_LEDGER_MISMATCH",
    "vote RECORDED",
];

/// What was asked for.
struct Options {
    steps: u64,
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let Some(options) = options() else { return ExitCode::SUCCESS };
    let mut seen = Seen::new();
    let (mut done, mut entries) = (0, 0);
    let mut seed = options.seed.unwrap_or(1);
    while done < options.steps {
        let steps = if options.seed.is_some() { options.steps } else { STEPS_A_SEED.min(options.steps - done) };
        match played(seed, steps, &mut seen) {
            Ok(entries_of_it) => entries += entries_of_it,
            Err((step, why)) => {
                println!("model: seed {seed} differs in step {step}, after {} steps in all", done + step);
                println!("{why}\nagain: cargo test -p writ-kernel --test model -- --seed {seed} --steps {step}");
                return ExitCode::FAILURE;
            }
        }
        done += steps;
        seed += 1;
    }
    for (what, count) in &seen {
        println!("{count:>9} {what}");
    }
    println!("model: no difference in {done} steps, {entries} entries");
    let missed: Vec<_> = MET.iter().filter(|what| !seen.contains_key(**what)).collect();
    if options.seed.is_none() && options.steps >= STEPS && !missed.is_empty() {
        println!("model: never met, so nothing is proven about it: {missed:?}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Plays a seed: how many entries it made, or the step in which the two differ, and how.
fn played(seed: u64, steps: u64, seen: &mut Seen) -> Result<u64, (u64, String)> {
    let mut run = Run::begin(seed).map_err(|why| (0, why))?;
    let mut outcome = Ok(());
    let mut step = 0;
    while step < steps && outcome.is_ok() {
        step += 1;
        outcome = if step == steps / 2 && seed.is_multiple_of(FLOOD_EVERY) {
            step += FLOOD - 1;
            run.flood(FLOOD)
        } else {
            run.step()
        };
    }
    for (what, count) in &run.play.seen {
        *seen.entry(what.clone()).or_default() += count;
    }
    let trace: Vec<&String> = run.play.trace.iter().collect();
    outcome.map(|()| run.play.world.model.next).map_err(|why| {
        let told = trace.iter().map(|line| format!("  {line}\n")).collect::<String>();
        (step, format!("{told}{why}"))
    })
}

/// The options of this test among those that `cargo test` hands to every test; nothing if this one is not meant.
fn options() -> Option<Options> {
    let mut options = Options { steps: STEPS, seed: None };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|it| it.parse().ok()).expect("a number");
        match arg.as_str() {
            "--steps" => options.steps = number(),
            "--seed" => options.seed = Some(number()),
            "--list" => return None,
            "--skip" | "--test-threads" | "--format" | "--color" | "--logfile" => _ = args.next(),
            filter if !filter.starts_with('-') && !"model".contains(filter) => return None,
            _ => {}
        }
    }
    Some(options)
}
