//! The time of batches: wall time, strictly rising, and believed only as far as it is plausible.
//!
//! Nobody sets the time since the machine booted. A wall clock that moved otherwise was set, and which of the two times is
//! right only people can tell: nothing is recorded until it was set right again, or operators have said that it is right. The
//! last reading is kept in the ledger's folder, so that starting again does not help.

use serde::{Deserialize, Serialize};
use tracing::warn;

use writ_kernel::state::State;
use writ_log::files;
use writ_schemas::act::{Act, Statement};
use writ_schemas::dsse::Signed;
use writ_schemas::errors::Code;
use writ_schemas::ids::UnixMicros;
use writ_schemas::strict::Refusal;

use crate::clock::{self, Clock, Reading};
use crate::error::{Failure, Result};
use crate::folder::{CLOCK, Folder};

/// How far the wall clock may lie behind the last entry, or off from the time since boot between two readings: a step of NTP,
/// not a wrong hour. 10 s in microseconds.
pub const CLOCK_OFF_MAX: u64 = 10_000_000;

/// For how long what operators say of the clock may be submitted: an hour in microseconds.
const SAID_MAX: u64 = 3_600_000_000;

/// How often the reading is kept while batches come: a second in microseconds.
const KEEP_EVERY: u64 = 1_000_000;

/// The longest file of a reading, in bytes.
const KEPT_BYTES_MAX: usize = 1024;

/// Gives each batch its time.
pub struct Timekeeper {
    folder: Folder,
    clock: Clock,
    /// When the time of a batch was taken last, by this process or, before its first, by the last one since the machine booted.
    last: Option<Reading>,
    /// The time since boot of the reading that was kept last, by this process.
    kept_at: Option<u64>,
}

/// What the clocks show at one time.
#[derive(Clone, Copy)]
struct Seen {
    wall: UnixMicros,
    reading: Option<Reading>,
}

/// What is kept in the folder.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// Which time of the machine's it is: another after each boot.
    boot: String,
    reading: Reading,
}

impl Timekeeper {
    /// For a ledger in this folder. A reading from before the last boot, or one that cannot be read, says nothing.
    #[must_use]
    pub fn of(folder: &Folder, clock: Clock) -> Timekeeper {
        let kept = files::read(folder.root(), &folder.clock(), KEPT_BYTES_MAX)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
        let last = kept.filter(|kept| Some(&*kept.boot) == clock::boot()).map(|kept| kept.reading);
        Timekeeper { folder: folder.clone(), clock, last, kept_at: None }
    }

    /// The time of the next batch: the one that was checked. The reading is kept for the next process with the first batch, and then
    /// every second.
    ///
    /// # Errors
    /// As [`Timekeeper::check`].
    pub fn next(&mut self, state: &State) -> Result<UnixMicros> {
        let seen = self.look();
        self.check_at(state, seen)?;
        let next = self.time_at(state, seen);
        self.last = seen.reading;
        let since_boot = self.last.map_or(0, |last| last.since_boot_us);
        if self.kept_at.is_none_or(|kept| since_boot.saturating_sub(kept) >= KEEP_EVERY) {
            self.keep();
        }
        Ok(next)
    }

    /// What the clocks showed at the last batch.
    #[must_use]
    pub fn last(&self) -> Option<Reading> {
        self.last
    }

    /// What the time of the next batch would be. Behind the last entry it stands still; where operators know of it, it goes at half the
    /// speed of the wall clock, until that has caught up.
    #[must_use]
    pub fn peek(&self, state: &State) -> UnixMicros {
        self.time_at(state, self.look())
    }

    /// Whether the wall clock is plausible.
    ///
    /// # Errors
    /// `ERR_CLOCK_JUMPED` if it was set since the last batch, `ERR_CLOCK_BEHIND` if it lies behind the last entry; each by more
    /// than [`CLOCK_OFF_MAX`], and operators do not know of it.
    pub fn check(&self, state: &State) -> Result<()> {
        self.check_at(state, self.look())
    }

    fn look(&self) -> Seen {
        let reading = self.clock.reading();
        Seen { wall: reading.map_or_else(|| self.clock.now(), |it| it.wall), reading }
    }

    fn time_at(&self, state: &State, seen: Seen) -> UnixMicros {
        let passed = match (&self.last, state.adjusted(), seen.reading) {
            (Some(last), Some(_), Some(now)) => now.since_boot_us.saturating_sub(last.since_boot_us) / 2,
            _ => 0,
        };
        seen.wall.max(state.last_at().plus(1).plus(passed))
    }

    fn check_at(&self, state: &State, seen: Seen) -> Result<()> {
        let (wall, last) = (seen.wall, state.last_at());
        let behind = last.0.saturating_sub(wall.0);
        let known = state.adjusted().map_or(0, |said| {
            let since = wall.plus(CLOCK_OFF_MAX) >= said.now;
            if since { said.at.0.saturating_sub(said.now.0) } else { 0 }
        });
        if behind > known.saturating_add(CLOCK_OFF_MAX) {
            let why = format!("{behind} us behind entry {}", state.next().0.saturating_sub(1));
            return Err(Failure::new(Code::ClockBehind, why));
        }
        let Some((last, now)) = self.last.zip(seen.reading) else { return Ok(()) };
        let expected = last.wall.plus(now.since_boot_us.saturating_sub(last.since_boot_us));
        if expected.0.abs_diff(now.wall.0) > CLOCK_OFF_MAX {
            let (off, way) = (expected.0.abs_diff(now.wall.0), if now.wall > expected { "forward" } else { "back" });
            return Err(Failure::new(Code::ClockJumped, format!("{off} us {way} since the last batch")));
        }
        Ok(())
    }

    /// Whether the clock shows what an act says of it, if it says anything.
    ///
    /// # Errors
    /// `ERR_ACT_REFUSED`.
    pub fn agrees(&self, act: &Signed<Act>) -> std::result::Result<(), Refusal> {
        let Statement::AdjustClock { now: said } = act.value().statement else { return Ok(()) };
        let wall = self.clock.now();
        if said > wall.plus(CLOCK_OFF_MAX) || wall > said.plus(SAID_MAX) {
            let why = format!("operators say it is {} us of Unix time, the clock shows {}", said.0, wall.0);
            return Err(Refusal::new(Code::ActRefused, why));
        }
        Ok(())
    }

    /// Takes what the clock shows now for right.
    pub fn believe(&mut self) {
        self.last = self.clock.reading();
    }

    /// Keeps the last reading for the next process. It needs no sync: what ends the machine ends its worth.
    pub fn keep(&mut self) {
        let Some((boot, reading)) = clock::boot().zip(self.last) else { return };
        self.kept_at = Some(reading.since_boot_us);
        let kept = serde_json::to_vec(&Kept { boot: boot.to_owned(), reading }).unwrap_or_default();
        if let Err(e) = writ_log::replace::unsynced(self.folder.root(), CLOCK, &kept) {
            warn!("the reading of the clock is not kept: {e}");
        }
    }
}
