//! The golden ledger of each released log format: it reads, verifies and replays as it did on the day that it was made.
//!
//! A golden ledger is never regenerated. That of a *new* format version is made once, from the demo's, by running this test
//! with `WRIT_BLESS=1` while its folder does not exist. In `replay.json`, `views` alone may change: a new
//! [`VERSION`](writ_projections::projection::Projection::VERSION) of a projection is a rebuild, not a format.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use writ::folder::Folder;
use writ::replay::replay;
use writ::verify::Pins;
use writ_log::{DirStorage, Log, Options, Reader};
use writ_schemas::ids::Seq;

/// Small segments, so that the ledger has several of them and still fits a repository.
const SEGMENT_BYTES: u64 = 64 * 1024;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

#[test]
fn the_ledger_of_format_1_still_says_the_same() {
    let expected = golden().join("replay.json");
    if !golden().exists() && std::env::var_os("WRIT_BLESS").is_some() {
        make();
        fs::write(&expected, serde_json::to_string_pretty(&replayed()).unwrap() + "\n").unwrap();
    }
    let expected: Value = serde_json::from_slice(&fs::read(expected).unwrap()).unwrap();
    assert_eq!(replayed(), expected);
    assert!(Reader::open(golden().join("log")).unwrap().entries(Seq(0)).unwrap().all(|entry| entry.is_ok()));
    assert!(fs::read_dir(golden().join("log")).unwrap().count() > 1, "more than one segment");
}

fn replayed() -> Value {
    let replayed = replay(&Folder::at(golden()), &Pins::default(), None, &mut |_| {}).unwrap();
    assert!(replayed.verified.ok, "{:?}", replayed.verified.broken);
    serde_json::to_value(replayed).unwrap()
}

/// The demo's ledger, its batches as they are, in small segments.
fn make() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Folder::at(dir.path().join("demo"));
    let status = Command::new(env!("CARGO_BIN_EXE_writ")).args(["demo", "--data"]).arg(demo.root()).status().unwrap();
    assert!(status.success());
    for part in ["log", "checkpoints", "content"] {
        fs::create_dir_all(golden().join(part)).unwrap();
    }
    fs::write(golden().join("content/.keep"), "").unwrap();
    fs::copy(demo.checkpoints().join("latest"), golden().join("checkpoints/latest")).unwrap();
    let reader = Reader::open(demo.log()).unwrap();
    let storage = DirStorage::writing(golden().join("log"));
    let mut log =
        Log::create(storage, reader.ledger(), Options { segment_bytes: SEGMENT_BYTES, ..Options::default() }).unwrap();
    let mut batch = Vec::new();
    for located in reader.entries(Seq(0)).unwrap() {
        let located = located.unwrap();
        batch.push(located.entry);
        if located.place.last_of_batch {
            log.append(&batch).unwrap();
            batch.clear();
        }
    }
}
