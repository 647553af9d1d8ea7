//! A wall clock that processes of a test are given: the real one, shifted. Their other clocks stay as they are.

use std::path::PathBuf;
use std::process::Command;

use crate::preload::preload;

/// How far the wall clock of some processes is shifted.
pub(crate) struct Shift {
    by: PathBuf,
}

impl Shift {
    /// Not at all, so far. `by` is a file of its own, which every shifted process reads.
    pub(crate) fn new(by: PathBuf) -> Shift {
        let shift = Shift { by };
        shift.set(0);
        shift
    }

    /// By so many microseconds from now on.
    pub(crate) fn set(&self, micros: i64) {
        std::fs::write(&self.by, micros.to_string()).expect("a file");
    }

    /// Gives a process the shifted clock.
    pub(crate) fn give<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("LD_PRELOAD", preload("shift")).env("SHIFT_BY", &self.by)
    }
}
