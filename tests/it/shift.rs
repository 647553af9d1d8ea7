//! A wall clock that processes of a test are given: the real one, shifted. Their other clocks stay as they are.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::scene::finish;

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
        command.env("LD_PRELOAD", library()).env("SHIFT_BY", &self.by)
    }
}

/// What is preloaded, compiled once.
fn library() -> &'static PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let (source, library) = (concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/shift.c"), folder.join("shift.so"));
        // Another run of the tests may use the same folder: it finds the whole file, or none.
        let partial = folder.join(format!("shift-{}.so", std::process::id()));
        finish(Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&partial).arg(source), b"").ended(0);
        std::fs::rename(partial, &library).expect("renamed");
        library
    })
}
