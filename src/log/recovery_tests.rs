//! States in which a log is found, one story each, and logs that are read while they are written.

use std::sync::atomic::{AtomicU64, Ordering};

use writ_schemas::entry::Entry;
use writ_schemas::event::TailCut;
use writ_schemas::ids::{LedgerId, Seq};

use crate::error::LogError;
use crate::reader::{End, Reader};
use crate::recovery::Covered;
use crate::segment::{self, DATA_START, SegmentHeader};
use crate::storage::{DirStorage, MemStorage, Storage};
use crate::workload::{self, LEDGER};
use crate::writer::{Log, Options};

/// Three segments with the entries 0 to 6.
const LENGTHS: &[&[usize]] = &[&[40], &[1200, 900], &[900], &[1200, 900], &[2500]];

fn bytes_of(storage: &MemStorage, first: u64) -> Vec<u8> {
    let name = segment::name(Seq(first));
    let mut bytes = vec![0; usize::try_from(storage.size(&name).expect("size")).expect("fits")];
    storage.read_at(&name, 0, &mut bytes).expect("reads");
    bytes
}

/// Puts `change` to a log of [`LENGTHS`] and opens it; the error, or what was visited and cut, as text. An open that refuses
/// must have changed nothing.
fn found(covered: Covered, change: impl FnOnce(&MemStorage)) -> String {
    let storage = MemStorage::new();
    workload::write(&storage, &workload::batches(LENGTHS));
    change(&storage);
    let before = storage.operations();
    match workload::open(&storage, covered) {
        Ok((_, entries, None)) => format!("{} entries", entries.len()),
        Ok((_, entries, Some(cut))) => format!("{} entries, {} bytes cut in {}", entries.len(), cut.bytes, cut.segment),
        Err(e) => {
            assert_eq!(storage.operations(), before, "an open that refuses changes nothing");
            e.to_string()
        }
    }
}

fn head(seq: usize) -> [u8; 32] {
    workload::batches(LENGTHS).concat()[seq].hash()
}

#[test]
#[rustfmt::skip] // A table: what was done, and what was found.
fn every_state_around_the_tail_is_opened_or_refused_by_name() {
    let none = Covered::NONE;
    let name = |first| segment::name(Seq(first));
    let header = |size, ledger| SegmentHeader { ledger, first: Seq(7), first_batch: 5, size, previous: head(6) };
    let plant = |header: SegmentHeader| {
        let mut bytes = header.to_bytes();
        bytes.resize(4096, 0);
        move |s: &MemStorage| s.plant(&segment::name(Seq(7)), &bytes)
    };
    let check = |found: String, expected: &str| assert_eq!(found, expected);

    check(found(none, |_| {}), "7 entries");
    // A crash while a segment is made.
    check(found(none, |s| s.plant("00000000000000000007.seg.new", b"half")), "7 entries");
    check(found(none, plant(header(4096, LEDGER))), "7 entries");
    // Segments that are not what they should be.
    check(found(none, |s| s.remove(&name(3)).expect("removes")),
        "00000000000000000006.seg at byte 0, entry 3: the next segment should begin with entry 3");
    check(found(none, |s| s.remove(&name(0)).expect("removes")),
        "00000000000000000003.seg at byte 0, entry 0: the next segment should begin with entry 0");
    check(found(none, |s| s.plant(&name(5), &bytes_of(s, 3))),
        "00000000000000000005.seg at byte 0, entry 6: the next segment should begin with entry 6");
    check(found(none, |s| s.plant(&name(7), &bytes_of(s, 6))),
        "00000000000000000007.seg at byte 0, entry 7: the segment does not continue the one before it");
    check(found(none, |s| s.plant("00000000000000000003 copy.seg", b"")),
        "00000000000000000003 copy.seg at byte 0: not the name of a segment");
    check(found(none, plant(header(4096, LedgerId([9; 16])))),
        "00000000000000000007.seg at byte 0, entry 7: the segment belongs to ledger 09090909090909090909090909090909");
    check(found(none, plant(header(8192, LEDGER))),
        "00000000000000000007.seg at byte 0, entry 7: the file has 4096 bytes, which is not what its header says");
    check(found(none, |s| s.tamper(&name(3), |bytes| bytes[8] = 2)),
        "00000000000000000003.seg at byte 0, entry 3: the segment has format version 2");
    check(found(none, |s| s.tamper(&name(6), |bytes| bytes.truncate(100))),
        "00000000000000000006.seg at byte 0, entry 6: the file has 100 bytes, which is not what its header says");
    // A last batch of which sectors are missing, and the same before another segment.
    check(found(none, |s| s.tamper(&name(6), |bytes| bytes[512..1024].fill(0))), "6 entries, 2640 bytes cut in 6");
    check(found(none, |s| s.tamper(&name(6), |bytes| bytes[900] ^= 1)),
        "00000000000000000006.seg at byte 512, entry 6: a batch is not whole, although every part of it was written");
    check(found(none, |s| s.tamper(&name(6), |bytes| bytes[3152] = 1)),
        "00000000000000000006.seg at byte 3152, entry 7: a batch is not whole, although every part of it was written");
    check(found(none, |s| s.tamper(&name(3), |bytes| bytes[2600..4096].fill(0))),
        "00000000000000000003.seg at byte 1552, entry 4: a batch is not whole, although a later segment exists");
    check(found(none, |s| s.tamper(&name(0), |bytes| bytes[512..1024].fill(0))),
        "00000000000000000000.seg at byte 512, entry 0: a batch is not whole, although a later segment exists");
    // Checkpoints.
    let covered = |size, head| Covered { size, head };
    check(found(covered(7, head(6)), |_| {}), "7 entries");
    check(found(covered(3, head(2)), |_| {}), "7 entries");
    check(found(covered(3, head(3)), |_| {}),
        "a checkpoint covers 3 entries of this log: its hash at that size is another one");
    check(found(covered(8, head(6)), |_| {}), "a checkpoint covers 8 entries of this log: it has 7 entries");
    check(found(covered(7, head(6)), |s| s.tamper(&name(6), |bytes| bytes[512..1024].fill(0))),
        "00000000000000000006.seg at byte 512, entry 6: a batch is not whole, although a checkpoint covers 7 entries");
    check(found(none, |s| [0, 3, 6].iter().for_each(|first| s.remove(&name(*first)).expect("removes"))), "no segment");
}

#[test]
fn a_broken_batch_before_a_whole_frame_of_a_later_one_is_damage() {
    let storage = MemStorage::new();
    workload::write(&storage, &workload::batches(&[&[40], &[500], &[20]]));
    storage.tamper(&segment::name(Seq(0)), |bytes| bytes[512 + 184..1024].fill(0));
    let error = workload::open(&storage, Covered::NONE).expect_err("damage").to_string();
    assert!(error.ends_with("entry 1: a batch is not whole, although a frame of batch 2 stands behind it"), "{error}");
}

#[test]
fn what_was_cut_is_zeroed_and_told_where() {
    let storage = MemStorage::new();
    let batches = workload::batches(&[&[40], &[100, 900]]);
    workload::write(&storage, &batches);
    let name = segment::name(Seq(0));
    // Frame 0 of the batch is missing, frame 1 is whole.
    let second = DATA_START + 184;
    storage.tamper(&name, |bytes| bytes[696..1024].fill(0));
    let end = End::Incomplete { file: name.clone(), offset: second, bytes: 240 + 1040 };
    let mut entries = Reader::over(storage.clone()).expect("opens").entries(Seq(0)).expect("starts");
    assert_eq!(entries.by_ref().count(), 1);
    assert_eq!(entries.end(), Some(&end));
    assert!(matches!(end.require_clean(), Err(LogError::Tail { .. })));
    let (_, visited, cut) = workload::open(&storage, Covered::NONE).expect("opens");
    assert_eq!((visited, cut), (batches[0].clone(), Some(TailCut { segment: 0, offset: second, bytes: 1280 })));
    assert!(bytes_of(&storage, 0)[696..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_visitor_can_refuse_and_a_missing_ledger_id_is_read_from_the_log() {
    let storage = MemStorage::new();
    workload::write(&storage, &workload::batches(LENGTHS));
    let mut seen = 0;
    let mut visit = |_: &Entry| -> Result<(), LogError> {
        seen += 1;
        if seen == 3 { Err(LogError::Poisoned) } else { Ok(()) }
    };
    let refused = Log::open(storage.clone(), None, Covered::NONE, workload::OPTIONS, &mut visit);
    assert!(matches!(refused, Err(LogError::Poisoned)));
    assert_eq!(seen, 3);
    let all = &mut |_: &Entry| Ok::<(), LogError>(());
    let opened = Log::open(storage.clone(), None, Covered::NONE, workload::OPTIONS, all).expect("opens");
    assert_eq!(opened.log.chain().ledger, LEDGER);
    let other = Log::open(storage, Some(LedgerId([2; 16])), Covered::NONE, workload::OPTIONS, all);
    assert!(matches!(other, Err(LogError::Damaged(_))));
    assert!(matches!(workload::open(&MemStorage::new(), Covered::NONE), Err(LogError::Missing)));
}

#[test]
fn a_follower_goes_on_when_it_is_told_of_more() {
    let batches = workload::batches(LENGTHS);
    let mut log = Log::create(MemStorage::new(), LEDGER, workload::OPTIONS).expect("creates");
    let reader = log.reader();
    let mut bounded = reader.entries(Seq(0)).expect("starts").until(Seq(0));
    let mut free = reader.entries(Seq(0)).expect("starts");
    assert!(bounded.next().is_none() && free.next().is_none());
    for batch in &batches {
        log.append(batch).expect("appends");
        assert!(bounded.next().is_none(), "not told yet");
        bounded.extend_to(log.chain().next);
        for follower in [&mut bounded, &mut free] {
            let got: Vec<Entry> = follower.map(|located| located.expect("whole").entry).collect();
            assert_eq!(got, *batch);
        }
        assert_eq!((bounded.end(), free.end()), (None, Some(&End::Clean)));
    }
    let from: Vec<u64> =
        reader.entries(Seq(4)).expect("starts").map(|l| l.expect("whole").entry.header.seq.0).collect();
    assert_eq!(from, [4, 5, 6]);
}

#[test]
fn readers_of_a_real_folder_see_whole_batches_only_while_another_thread_appends() {
    let dir = tempfile::tempdir().expect("folder");
    let lengths: Vec<Vec<usize>> = (0..300).map(|n| vec![n * 7 % 900, n * 13 % 1500, 40]).collect();
    let lengths: Vec<&[usize]> = lengths.iter().map(Vec::as_slice).collect();
    let batches = workload::batches(&lengths);
    let options = Options { segment_bytes: 64 << 10, ..Options::default() };
    let mut log = Log::create(DirStorage::writing(dir.path()), LEDGER, options).expect("creates");
    let durable = AtomicU64::new(0);
    let all = batches.concat();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for batch in &batches {
                log.append(batch).expect("appends");
                durable.store(log.chain().next.0, Ordering::Release);
            }
        });
        let mut follower = Reader::open(dir.path()).expect("opens").entries(Seq(0)).expect("starts").until(Seq(0));
        let mut followed = Vec::new();
        while followed.len() < all.len() {
            // One reader is told what is durable; another one comes anew and knows nothing.
            follower.extend_to(Seq(durable.load(Ordering::Acquire)));
            followed.extend(follower.by_ref().map(|located| located.expect("whole").entry));
            assert!(all.starts_with(&followed));
            let newcomer = Reader::open(dir.path()).expect("opens");
            let from = followed.len().saturating_sub(5);
            let entries = newcomer.entries(Seq(from.try_into().expect("small"))).expect("starts");
            let read: Vec<Entry> = entries.map(|located| located.expect("whole").entry).collect();
            assert!(all[from..].starts_with(&read) && from + read.len() >= followed.len());
        }
    });
}
