//! Libraries that are preloaded into processes of a test, so that the operating system answers them otherwise.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::scene::finish;

/// The library of `tests/it/NAME.c`, compiled once.
pub(crate) fn preload(name: &str) -> PathBuf {
    static MADE: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let make = || {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/{name}.c"));
        // Another run of the tests may use the same folder: it finds the whole file, or none.
        let partial = folder.join(format!("{name}-{}.so", std::process::id()));
        finish(Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&partial).arg(source), b"").ended(0);
        let library = folder.join(format!("{name}.so"));
        std::fs::rename(partial, &library).expect("renamed");
        library
    };
    made.entry(name.to_owned()).or_insert_with(make).clone()
}
