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

/// How many intents a flood is: a few more than may wait.
const FLOOD: u64 = 262;

/// What a run must have met; one that does not reach a branch proves nothing about it.
const MET: &[&str] = &[];

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
    if options.seed.is_none() && !missed.is_empty() {
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
        outcome = if step == steps / 2 && seed % FLOOD_EVERY == 0 {
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
