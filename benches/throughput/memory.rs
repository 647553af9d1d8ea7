//! Whether memory stays bounded while a ledger grows: a tenth of the intents, then all of them.
//!
//! Every intent is an `echo` intent that passes and gets its receipt. They live for [`LIFE_S`] seconds of a clock that the
//! benchmark moves a millisecond an intent, so ids, sessions and evidence expire, and the first mark already stands in the
//! steady state.

use serde::Serialize;

use writ::clock::Clock;
use writ::error::{Failure, Result};
use writ::sequencer::Answer;
use writ::verify::{Pins, verify};
use writ_schemas::decision::Verdict;
use writ_schemas::errors::Code;

use std::sync::atomic::Ordering;

use crate::measure::{self, Following};
use crate::workload::{self, Workload};

/// How long intents and tickets live, in seconds of the benchmark's clock.
pub(crate) const LIFE_S: u64 = 30;

/// Intents that are signed, submitted and decided before the clock moves.
const STEP: usize = 1000;

/// How far the clock moves with each step: a millisecond an intent, in microseconds.
const STEP_US: u64 = 1_000_000;

/// Memory at two marks.
#[derive(Debug, Serialize)]
pub(crate) struct Grown {
    pub(crate) early: Mark,
    pub(crate) late: Mark,
    pub(crate) rss_ratio: f64,
    pub(crate) peak_ratio: f64,
}

/// Memory of this process, in KiB.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Mark {
    pub(crate) intents: usize,
    pub(crate) rss_kib: usize,
    pub(crate) peak_kib: usize,
}

impl Mark {
    fn take(intents: usize) -> Result<Mark> {
        const STATUS: &str = "/proc/self/status";
        let status = std::fs::read_to_string(STATUS).map_err(|e| Failure::io(STATUS.as_ref(), &e))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok());
            kib.ok_or_else(|| Failure::new(Code::Io, format!("{STATUS} without {name}")))
        };
        Ok(Mark { intents, rss_kib: field("VmRSS:")?, peak_kib: field("VmHWM:")? })
    }
}

/// Writes `intents` intents, verifies the ledger, and compares memory after a tenth of them with memory after all.
pub(crate) fn measure(intents: usize, following: Following) -> Result<Grown> {
    let dir = measure::place()?;
    let workload = Workload::new(dir.path(), Clock::manual(Clock::Wall.now()))?;
    let ledger = workload.open()?;
    let views = measure::follow(&ledger, following)?;
    let handle = ledger.handle();
    let (mut done, mut early) = (0, None);
    while done < intents {
        let step = STEP.min(intents - done);
        let tickets = workload.tickets(&handle, LIFE_S * 1_000_000)?;
        let expires_at = workload.clock.now().plus(LIFE_S * 1_000_000);
        let envelopes = workload.envelopes(done, step, &tickets, expires_at)?;
        for answer in handle.submit_all(workload::read(envelopes))? {
            let passed = matches!(&answer, Answer::Decided(_, it) if it.value().verdict == Verdict::Pass);
            if !passed {
                return Err(Failure::new(Code::Usage, format!("an intent did not pass: {answer:?}")));
            }
        }
        done += step;
        if let Clock::Manual(at) = &workload.clock {
            at.fetch_add(STEP_US, Ordering::SeqCst);
        }
        if early.is_none() && done >= intents / 10 {
            early = Some(Mark::take(done)?);
        }
        if done % (50 * STEP) == 0 {
            eprintln!("{:?}", Mark::take(done)?);
        }
    }
    let late = Mark::take(done)?;
    let early = early.unwrap_or(late);
    ledger.finish()?;
    drop(views.join()?);
    let report = verify(&workload.folder, &Pins::default(), &mut |_| {})?;
    measure::require_counts(&report, intents)?;
    let rss_ratio = measure::ratio(late.rss_kib, early.rss_kib);
    let peak_ratio = measure::ratio(late.peak_kib, early.peak_kib);
    Ok(Grown { early, late, rss_ratio, peak_ratio })
}
