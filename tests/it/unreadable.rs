//! A ledger that the machine does not let us read is not called broken, and damaged content is called what it is. Folders
//! stand in the place of files: root reads whatever its mode says, but no folder.

use std::fs;
use std::path::Path;

use writ::clock::Clock;
use writ::ledger::Opened;
use writ::replay::replay;
use writ::verify::{Pins, verify};
use writ_schemas::errors::Code;
use writ_schemas::event::Event;

use crate::ledgers::{Kept, NOW, files};
use crate::scene::writ;

/// A folder where a file was, or would be.
fn instead_of(file: &Path) {
    let _ = fs::remove_file(file);
    fs::create_dir(file).expect("makes a folder");
}

fn content_file(kept: &Kept) -> std::path::PathBuf {
    files(&kept.folder.content()).pop().expect("an output that is too long for the log")
}

/// The code with which each way to look at the whole ledger fails.
fn check(kept: &Kept, code: Code) {
    let verified = verify(&kept.folder, &Pins::default(), &mut |_| {});
    assert_eq!(verified.err().map(|failure| failure.code), Some(code));
    let replayed = replay(&kept.folder, &Pins::default(), None, &mut |_| {});
    assert_eq!(replayed.err().map(|failure| failure.code), Some(code));
    for command in ["verify", "replay"] {
        let run = writ([command, "--data", &kept.folder.root().to_string_lossy()]);
        assert_eq!(run.status, 2, "{run:?}");
        assert!(run.err.contains("ERR_IO"), "{run:?}");
    }
}

fn opened(kept: &Kept) -> Option<Code> {
    Opened::open(&kept.folder, Clock::manual(NOW)).err().map(|failure| failure.code)
}

#[test]
fn a_segment_that_cannot_be_read_is_not_damage() {
    let kept = Kept::closed();
    let next = kept.entries().len();
    instead_of(&kept.folder.log().join(format!("{next:020}.seg")));
    check(&kept, Code::Io);
    assert_eq!(opened(&kept), Some(Code::Io));
}

#[test]
fn a_checkpoint_that_cannot_be_read_is_not_damage() {
    let kept = Kept::closed();
    instead_of(&kept.latest());
    check(&kept, Code::Io);
    assert_eq!(opened(&kept), Some(Code::Io));
}

#[test]
fn content_that_cannot_be_read_is_not_damage() {
    let kept = Kept::closed();
    instead_of(&content_file(&kept));
    check(&kept, Code::Io);
}

#[test]
fn a_checkpoint_is_not_read_beyond_what_one_can_be() {
    let kept = Kept::closed();
    // Far more than there is memory; the file takes no space.
    fs::File::create(kept.latest()).and_then(|file| file.set_len(1 << 40)).expect("grows");
    let report = kept.verified();
    assert_eq!(report.broken.map(|broken| broken.code), Some(Code::LogDamaged));
    assert_eq!(opened(&kept), Some(Code::LogDamaged));
}

/// A ledger that was killed when the receipt of a long output was durable and no checkpoint covered it.
fn killed_after_a_long_output() -> Kept {
    let kept = Kept::closed();
    let entries = kept.entries();
    let event = |at: usize| entries[at].entry.event().expect("an event");
    let is_long = |at: &usize| matches!(event(*at), Event::ReceiptIssued(it) if it.receipt.value().output.is_some() && it.output.is_none());
    let long = (0..entries.len()).find(is_long).expect("an output that is too long for the log");
    let end = (long..entries.len()).find(|at| entries[*at].place.last_of_batch).expect("an end") + 1;
    let note =
        (0..end).rev().find_map(|at| if let Event::CheckpointSigned(note) = event(at) { Some(note) } else { None });
    fs::write(kept.latest(), note.expect("a checkpoint")).expect("writes");
    let (segment, used) = kept.last_segment();
    let mut bytes = fs::read(&segment).expect("reads");
    bytes[usize::try_from(entries[end].place.offset).expect("fits")..used].fill(0);
    fs::write(&segment, bytes).expect("writes");
    kept
}

#[test]
fn opening_says_of_content_what_is_wrong_with_it() {
    let kept = killed_after_a_long_output();
    let (path, copy) = (content_file(&kept), kept.copy());
    fs::write(&path, "something else").expect("writes");
    assert_eq!(opened(&kept), Some(Code::ContentIntegrity));
    assert_eq!(kept.verified().broken.map(|broken| broken.code), Some(Code::ContentIntegrity));
    fs::remove_file(&path).expect("removes");
    assert_eq!(opened(&kept), Some(Code::ContentIntegrity));
    instead_of(&path);
    assert_eq!(opened(&kept), Some(Code::Io));
    assert_eq!(opened(&copy), None);
}
