//! Nothing can be changed in a ledger's folder without verification saying so, and where: flipped bits, cut files, an older
//! copy of the whole folder.

use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use writ::clock::Clock;
use writ::ledger::Opened;
use writ::verify::{Broken, Pins};
use writ_log::Located;
use writ_schemas::errors::Code;
use writ_schemas::event::Event;
use writ_schemas::ids::Seq;

use crate::ledgers::{Expected, Kept, NOW, Who, Working, ask, files, used};

const FLIPS: usize = 200;
const CUTS: usize = 50;

/// Every how many flips the program is asked, too.
const PROGRAM_EVERY: usize = 10;

/// The same numbers in every run (Marsaglia's xorshift64*).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).expect("31 bits") % bound
    }

    fn within(&mut self, range: Range<usize>) -> usize {
        range.start + self.below(range.len())
    }
}

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).expect("opens")
}

fn place(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("fits")
}

/// Flips a bit of a file; twice is as if nothing had been.
fn flip(path: &Path, at: usize, bit: usize) {
    let (file, mut byte) = (open(path), [0]);
    file.read_exact_at(&mut byte, place(at)).expect("reads");
    file.write_all_at(&[byte[0] ^ (1 << bit)], place(at)).expect("writes");
}

/// The files of a ledger that are checked, each with how many bytes of it are used: a segment that was made ahead has nothing yet.
fn sites(kept: &Kept) -> [Vec<(PathBuf, usize)>; 3] {
    [kept.folder.log(), kept.folder.content(), kept.folder.checkpoints()].map(|folder| {
        let files = files(&folder).into_iter();
        let all = files.map(|path| (path.clone(), used(&std::fs::read(path).expect("reads"))));
        let sites: Vec<(PathBuf, usize)> = all.filter(|(_, used)| *used > 0).collect();
        assert!(!sites.is_empty(), "nothing in {}", folder.display());
        sites
    })
}

/// Whether a flip at this byte of a segment is named by the batch that it broke; the header belongs to the first.
fn in_its_batch(entries: &[Located], file: &str, at: usize, seq: Seq) -> bool {
    let mut there = entries.iter().filter(|located| located.place.file() == file).peekable();
    let first = *there.peek().expect("entries in each segment");
    let broken = there.take_while(|located| located.place.offset <= place(at)).last().unwrap_or(first);
    let named = usize::try_from(seq.0).ok().and_then(|seq| entries.get(seq));
    named.is_some_and(|named| named.place.batch == broken.place.batch)
}

fn flips(kept: &Kept, seed: u64) {
    let (sites, entries) = (sites(kept), kept.entries());
    let untouched = kept.verified();
    assert!(untouched.ok, "{:?}", untouched.broken);
    let mut numbers = Numbers(seed);
    for round in 0..FLIPS {
        // The log is by far the largest; every fifth flip each goes to the two others.
        let folder = [0, 0, 0, 1, 2][round % 5];
        let (path, used) = &sites[folder][numbers.below(sites[folder].len())];
        let (at, bit) = (numbers.below(*used), numbers.below(8));
        flip(path, at, bit);
        let report = kept.verified();
        let file = path.file_name().expect("a name").to_string_lossy();
        let story = format!("seed {seed}, flip {round}: bit {bit} of byte {at} of {}: {report:?}", path.display());
        assert!(!report.ok, "{story}");
        let Broken { seq, what, .. } = report.broken.clone().expect("not ok");
        let file_and_byte = what.contains(&*file) && what.contains(" at byte ");
        assert!(seq.is_some() || file_and_byte, "{story}");
        match (folder, seq) {
            (0, Some(seq)) => assert!(in_its_batch(&entries, &file, at, seq), "{story}"),
            (0, None) => assert!(file_and_byte, "{story}"),
            _ => assert!(file_and_byte, "{story}"),
        }
        if round % PROGRAM_EVERY == 0 {
            let (exit, said) = kept.run("verify", &[]);
            assert_eq!(
                (exit, &said["ok"], &said["broken"]),
                (Some(1), &json!(false), &json!(report.broken)),
                "{story}"
            );
        }
        flip(path, at, bit);
    }
    assert_eq!(kept.verified(), untouched, "seed {seed}: nothing is left of it");
}

#[test]
fn every_flipped_bit_of_a_closed_ledger_is_named() {
    flips(&Kept::closed(), 0x5eed_0001);
}

#[test]
fn every_flipped_bit_of_a_killed_ledger_is_named() {
    flips(&Kept::killed(), 0x5eed_0002);
}

#[derive(Clone, Copy, Debug)]
enum Cut {
    Truncated,
    Zeroed,
}

/// Cuts a segment and makes it whole again.
struct Segment {
    path: PathBuf,
    whole: Vec<u8>,
    used: usize,
}

impl Segment {
    fn last_of(kept: &Kept) -> Segment {
        let (path, used) = kept.last_segment();
        Segment { whole: std::fs::read(&path).expect("reads"), path, used }
    }

    fn cut(&self, how: Cut, at: usize) {
        let file = open(&self.path);
        match how {
            Cut::Truncated => file.set_len(place(at)).expect("truncates"),
            Cut::Zeroed => file.write_all_at(&vec![0; self.used - at], place(at)).expect("zeroes"),
        }
    }

    fn restore(&self, at: usize) {
        let file = open(&self.path);
        file.set_len(place(self.whole.len())).expect("grows");
        file.write_all_at(&self.whole[at..self.used], place(at)).expect("writes");
    }
}

/// Cuts the last segment in 50 places, half of them in its last batch.
///
/// A segment has its full length from the start, so a truncated one is damaged wherever it was cut. A zeroed one is what
/// counts: it may be what an unfinished write left. What a checkpoint covers was durable, so there it is always caught. Behind
/// the last checkpoint, anything that is left of the last batch is reported, as `ERR_LOG_TAIL` where a crash explains it and
/// as damage where none does. One cut can be caught by nothing that is in the folder: the one exactly before that batch. It
/// leaves the very bytes that were there before the batch was written. Only a checkpoint from outside tells.
fn cuts(kept: &Kept, seed: u64) -> usize {
    let (segment, entries, whole) = (Segment::last_of(kept), kept.entries(), kept.verified());
    let last_batch = entries.last().expect("entries").place.batch;
    let first_of_last = entries.iter().find(|located| located.place.batch == last_batch).expect("a last batch");
    let tail = usize::try_from(first_of_last.place.offset).expect("fits")..segment.used;
    let tail_is_covered = whole.checkpoint.expect("a checkpoint") > first_of_last.entry.header.seq.0;
    let mut numbers = Numbers(seed);
    let mut reported = 0;
    for round in 0..CUTS {
        let how = if round % 2 == 0 { Cut::Truncated } else { Cut::Zeroed };
        let at = numbers.within(if round % 4 < 2 { tail.clone() } else { 0..segment.used });
        // A zeroed batch of which nothing is left was never there.
        let nothing_left = tail.contains(&at) && segment.whole[tail.start..at].iter().all(|byte| *byte == 0);
        segment.cut(how, at);
        let report = kept.verified();
        let story = format!("seed {seed}, cut {round}: {how:?} at byte {at}: {report:?}");
        match how {
            Cut::Zeroed if tail.contains(&at) && !tail_is_covered && nothing_left => {
                assert!(report.ok && report.entries == first_of_last.entry.header.seq.0, "{story}");
            }
            Cut::Zeroed if tail.contains(&at) && !tail_is_covered => {
                let code = report.broken.as_ref().map(|broken| broken.code);
                assert!(matches!(code, Some(Code::LogTail | Code::LogDamaged)), "{story}");
                assert_eq!(report.entries, first_of_last.entry.header.seq.0, "{story}");
                reported += usize::from(code == Some(Code::LogTail));
                writing_goes_on_after(kept, code == Some(Code::LogTail), &story);
            }
            Cut::Truncated | Cut::Zeroed => assert!(!report.ok, "{story}"),
        }
        segment.restore(at);
    }
    assert_eq!(kept.verified(), whole, "seed {seed}: nothing is left of it");
    reported
}

/// A tail that a crash explains is cut when the ledger is opened, and that is recorded; anything else is not opened.
fn writing_goes_on_after(kept: &Kept, explained: bool, story: &str) {
    let copy = kept.copy();
    if !explained {
        let refused = Opened::open(&copy.folder, Clock::manual(NOW)).err();
        assert_eq!(refused.map(|failure| failure.code), Some(Code::LogDamaged), "{story}");
        return;
    }
    let after = Working::open(copy, Clock::manual(NOW)).finish();
    let cut = after.events().iter().filter(|event| matches!(event, Event::TailCut(_))).count();
    let report = after.verified();
    assert!(cut == 1 && report.ok && report.checkpoint == Some(report.entries), "{story}: {report:?}");
}

#[test]
fn every_cut_of_a_closed_ledger_is_caught() {
    assert_eq!(cuts(&Kept::closed(), 0x5eed_0003), 0);
}

#[test]
fn every_cut_of_a_killed_ledger_is_caught_or_reported() {
    assert!(cuts(&Kept::killed(), 0x5eed_0004) > 5);
}

#[test]
fn the_one_cut_that_leaves_no_trace_is_noticed_from_outside() {
    let killed = Kept::killed();
    let (segment, whole) = (Segment::last_of(&killed), killed.verified());
    let covered = usize::try_from(whole.checkpoint.expect("a checkpoint")).expect("small");
    let at = usize::try_from(killed.entries()[covered].place.offset).expect("fits");
    // Opening ends the killed ledger properly, and so makes a checkpoint over the batch that is going to vanish.
    let note = Working::open(killed.copy(), Clock::manual(NOW)).finish();
    segment.cut(Cut::Zeroed, at);
    let report = killed.verified();
    assert_eq!((report.ok, report.entries), (true, place(covered)));
    let report = killed.verified_with(&Pins { key: None, checkpoint: Some(note.latest()) });
    assert_eq!(report.broken.map(|broken| broken.code), Some(Code::LogForked));
}

#[test]
fn an_older_copy_of_the_whole_folder_is_refused_under_a_newer_checkpoint() {
    let mut working = Working::start().story();
    let older = working.copy();
    working.tell(&[(ask("later", Who::Agent, "note", 7), Expected::Pass)], &[]);
    let newer = working.finish();
    let note = newer.outside().join("yesterday.note");
    std::fs::copy(newer.latest(), &note).expect("copies");
    let older_note = newer.outside().join("older.note");
    std::fs::copy(older.latest(), &older_note).expect("copies");
    let stranger = Kept::closed();

    let check = |kept: &Kept, note: Option<&Path>, expected: Option<Code>| {
        let pins = Pins { key: None, checkpoint: note.map(Path::to_path_buf) };
        let report = kept.verified_with(&pins);
        let broken = report.broken.as_ref().map(|broken| broken.code);
        assert_eq!((report.ok, broken), (expected.is_none(), expected), "{report:?}");
        let note = note.map(|note| note.display().to_string());
        let more: Vec<&str> = note.iter().flat_map(|note| ["--checkpoint", note.as_str()]).collect();
        let (exit, said) = kept.run("verify", &more);
        let exit_expected = if expected.is_none() { 0 } else { 1 };
        assert_eq!((exit, &said["broken"]), (Some(exit_expected), &json!(report.broken)));
    };
    check(&older, None, None);
    check(&older, Some(&note), Some(Code::LogForked));
    check(&newer, Some(&note), None);
    check(&newer, Some(&older_note), None);
    check(&stranger, Some(&note), Some(Code::LogDamaged));
}
