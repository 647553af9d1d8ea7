//! What damage can do: every single flipped bit of a small log is noticed, and nothing that was zeroed or cut off makes a
//! reader or an opening fail in another way than by saying so.

use proptest::prelude::*;
use writ_schemas::dsse::Signed;
use writ_schemas::entry::{Chain, Entry, SALT_LEN};
use writ_schemas::event::{Event, EventKind, IntentAdmitted, Partition, Position, Source};
use writ_schemas::ids::{Seq, UnixMicros};
use writ_schemas::intent::Intent;
use writ_schemas::keys::SecretKey;

use crate::error::LogError;
use crate::located::Located;
use crate::reader::{End, Reader};
use crate::recovery::Covered;
use crate::segment::{self, DATA_START, Listing};
use crate::storage::{DirStorage, MemStorage, Storage};
use crate::workload;

/// What a reader says of a whole log.
fn read(storage: &MemStorage) -> (Vec<Located>, Result<End, LogError>) {
    let mut located = Vec::new();
    let mut entries = match Reader::over(storage.clone()).and_then(|reader| reader.impatient().entries(Seq(0))) {
        Ok(entries) => entries,
        Err(e) => return (located, Err(e)),
    };
    for entry in entries.by_ref() {
        match entry {
            Ok(entry) => located.push(entry),
            Err(e) => return (located, Err(e)),
        }
    }
    let end = entries.end().expect("a walk that gives nothing more has an end").clone();
    (located, Ok(end))
}

fn bytes_of(storage: &MemStorage, name: &str) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(storage.size(name).expect("size")).expect("fits")];
    storage.read_at(name, 0, &mut bytes).expect("reads");
    bytes
}

/// Flips bits of header and used bytes of every segment, one at a time, every `step`th. Counts the flips, and those that look
/// like an unfinished batch.
fn check(batches: &[Vec<Entry>], step: usize) -> (usize, usize) {
    let storage = MemStorage::new();
    workload::write(&storage, batches);
    let (whole, end) = read(&storage);
    assert_eq!(end.expect("clean"), End::Clean);
    let last = batches.len() - 1;
    let before_last = batches[..last].concat();
    let (mut flips, mut unfinished) = (0, 0);
    for first in Listing::read(&storage).expect("lists").segments {
        let name = segment::name(first);
        let bytes = bytes_of(&storage, &name);
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at / 8 * 8 + 8);
        let last_batch = whole.iter().find(|located| {
            located.place.segment == first && usize::try_from(located.place.batch).expect("small") == last
        });
        let last_batch = last_batch.map_or(u64::MAX, |located| located.place.offset);
        for bit in (0..used * 8).step_by(step) {
            let flip = |bytes: &mut Vec<u8>| bytes[bit / 8] ^= 1 << (bit % 8);
            storage.tamper(&name, flip);
            let in_last_batch = u64::try_from(bit / 8).expect("small") >= last_batch;
            let (entries, end) = read(&storage);
            let entries: Vec<Entry> = entries.into_iter().map(|located| located.entry).collect();
            assert!(before_last.starts_with(&entries), "{name} bit {bit}: a changed entry was shown");
            let story = format!("{name} bit {bit}: {end:?}");
            match &end {
                Err(LogError::Damaged(damage)) => assert!(damage.seq.is_some() && !damage.file.is_empty(), "{story}"),
                Ok(End::Incomplete { file, offset, .. }) => {
                    assert!(in_last_batch && *file == name && *offset == last_batch, "{story}");
                    assert_eq!(entries, before_last, "{story}");
                    unfinished += 1;
                }
                Ok(End::Clean) | Err(_) => panic!("{story}"),
            }
            // Opening for writing agrees; under a checkpoint over everything it refuses every flip.
            if bit % 61 == 0 {
                let opened = workload::open(&storage.image(), Covered::NONE);
                assert_eq!(opened.is_ok(), end.is_ok(), "{story}: {:?}", opened.err());
                let head = whole.last().expect("entries").entry.hash();
                let covered = Covered { size: whole.len().try_into().expect("small"), head };
                assert!(workload::open(&storage.image(), covered).is_err(), "{story}");
            }
            storage.tamper(&name, flip);
            flips += 1;
        }
    }
    assert_eq!(read(&storage).1.expect("clean"), End::Clean);
    (flips, unfinished)
}

#[test]
fn every_flipped_bit_is_noticed() {
    // Two segments; the last batch has several frames, of which one has padding.
    let lengths: [&[usize]; 4] = [&[40], &[1, 1201], &[1300, 20], &[30, 3, 40]];
    for (zeros, step) in [(0, 1), (16, 3)] {
        let (flips, unfinished) = check(&workload::batches_with(&lengths, zeros), step);
        assert!(flips > 10_000 && unfinished == 0, "{zeros} zeros: {flips} {unfinished}");
    }
}

/// A first batch that lets the second begin at any place of a sector, and in the second one real event.
fn real(filler: usize, event: &Event) -> Vec<Vec<Entry>> {
    let mut chain = Chain::empty(workload::LEDGER);
    let first = workload::append(&mut chain, filler);
    let payload = event.to_payload().expect("encodes");
    let second = chain.append(event.kind(), UnixMicros(2_000_000), [7; SALT_LEN], payload);
    vec![vec![first], vec![second]]
}

fn intent(source: Source) -> Event {
    let name = |text: &str| text.parse().expect("a name");
    let intent = Intent {
        tenant: name("acme"),
        id: name("n-1"),
        principal: name("agent-1"),
        session: None,
        action: name("note"),
        args: Default::default(),
        evidence: Vec::new(),
        expires_at: UnixMicros(1),
    };
    let intent = Signed::unsigned(intent).expect("canonical").sign(&SecretKey::from_seed(&[1; 32]));
    Event::IntentAdmitted(IntentAdmitted { intent, source, trace: None })
}

#[test]
fn real_frames_end_in_zeros_and_every_flipped_bit_of_them_is_refused() {
    let kafka = |offset| Source::Kafka { partition: Partition { topic_id: "t".to_owned(), number: 0 }, offset };
    let events = [
        Event::DispatchStarted(Seq(5)),
        intent(Source::Local),
        intent(kafka(0)),
        intent(kafka(0x0203)),
        Event::SourceAdvanced(vec![Position { partition: Partition { topic_id: "t".to_owned(), number: 0 }, next: 3 }]),
    ];
    let mut zero_shares = 0;
    for event in &events {
        for filler in (8..520).step_by(8) {
            let batches = real(filler, event);
            let entry = &batches[1][0];
            let start = 512 + crate::frame::encoded_len(&batches[0][0]);
            let end = start + crate::frame::encoded_len(entry);
            let padding = end - start - crate::frame::FIXED_LEN - entry.payload.len();
            let zeros = entry.payload.iter().rev().take_while(|byte| **byte == 0).count() + padding;
            let share = (end - 1) % 512 + 1;
            // All that its last sector has of it is zero.
            let zero_share = share <= zeros && share < end - start;
            zero_shares += usize::from(zero_share);
            if zero_share || filler % 128 == 8 {
                let (flips, unfinished) = check(&batches, if zero_share { 3 } else { 11 });
                assert!(flips > 100 && unfinished == 0, "{event:?} at {start}: {unfinished} of {flips}");
            }
        }
    }
    assert!(zero_shares >= events.len(), "{zero_shares}");
}

/// Where a sector has one bit of a frame and nothing else, that bit flipped is that sector lost: it is taken for what a crash
/// leaves. Every other bit of the same frame is told from it.
#[test]
fn the_only_bit_of_a_sector_cannot_be_told_from_the_sector() {
    let mut chain = Chain::empty(workload::LEDGER);
    let first = workload::append(&mut chain, 220);
    let payload = [[9; 12].as_slice(), &[1, 0, 0, 0, 0, 0, 0, 0]].concat();
    let second = chain.append(EventKind::IntentAdmitted, UnixMicros(2_000_000), [7; SALT_LEN], payload);
    let storage = MemStorage::new();
    workload::write(&storage, &[vec![first], vec![second]]);
    for bit in 872 * 8..1032 * 8 {
        let flip = |bytes: &mut Vec<u8>| bytes[bit / 8] ^= 1 << (bit % 8);
        storage.tamper(&segment::name(Seq(0)), flip);
        let unfinished = matches!(read(&storage).1, Ok(End::Incomplete { offset: 872, .. }));
        assert_eq!(unfinished, bit == 1024 * 8, "bit {bit}");
        storage.tamper(&segment::name(Seq(0)), flip);
    }
}

#[test]
fn every_flipped_bit_of_unused_space_is_noticed() {
    let storage = MemStorage::new();
    workload::write(&storage, &workload::batches(&[&[3300], &[40]]));
    for first in [Seq(0), Seq(1)] {
        let name = segment::name(first);
        let bytes = bytes_of(&storage, &name);
        let used = bytes.iter().rposition(|byte| *byte != 0).expect("used") + 8;
        for byte in (used..bytes.len()).step_by(3) {
            storage.tamper(&name, |bytes| bytes[byte] ^= 4);
            assert!(!matches!(read(&storage).1, Ok(End::Clean)), "{name} byte {byte}");
            storage.tamper(&name, |bytes| bytes[byte] ^= 4);
        }
    }
}

#[test]
fn a_real_folder_names_file_and_place_of_damage() {
    let dir = tempfile::tempdir().expect("folder");
    let batches = workload::batches(&[&[40], &[50], &[60]]);
    workload::write(&DirStorage::writing(dir.path()), &batches);
    let name = segment::name(Seq(0));
    let path = dir.path().join(&name);
    let whole = std::fs::read(&path).expect("reads");
    let second = DATA_START + 184;
    for at in [second, second + 100, second + 180] {
        let mut bytes = whole.clone();
        bytes[usize::try_from(at).expect("small")] ^= 1;
        std::fs::write(&path, bytes).expect("writes");
        let mut entries = Reader::open(dir.path()).expect("opens").entries(Seq(0)).expect("starts");
        assert_eq!(entries.next().expect("one").expect("whole").entry, batches[0][0]);
        let error = entries.next().expect("an error").expect_err("damage");
        assert!(
            error.to_string().starts_with(&format!("{name} at byte {second}, entry 1: a batch is not whole")),
            "{error}"
        );
        assert!(entries.next().is_none());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(lengths in prop::collection::vec(prop::collection::vec(0..1000_usize, 1..4), 1..12)) {
        let lengths: Vec<&[usize]> = lengths.iter().map(Vec::as_slice).collect();
        let batches = workload::batches(&lengths);
        let storage = MemStorage::new();
        let log = workload::write(&storage, &batches);
        let (located, end) = read(&storage);
        prop_assert_eq!(end.expect("clean"), End::Clean);
        let ends = located.iter().filter(|located| located.place.last_of_batch).count();
        prop_assert_eq!(ends, batches.len());
        let entries: Vec<Entry> = located.iter().map(|located| located.entry.clone()).collect();
        prop_assert_eq!(&entries, &batches.concat());
        for reader in [log.reader(), Reader::over(storage.clone()).expect("opens")] {
            for found in &located {
                let got = reader.get(found.entry.header.seq).expect("no damage");
                prop_assert_eq!(got.as_ref(), Some(found));
            }
            prop_assert_eq!(reader.get(log.chain().next).expect("no damage"), None);
        }
        let (_, opened, cut) = workload::open(&storage, Covered::NONE).expect("opens");
        prop_assert_eq!((opened, cut), (entries, None));
    }

    #[test]
    fn whatever_is_zeroed_scrambled_or_cut_off_nothing_panics_and_nothing_is_invented(
        segment in 0..3_usize, from in 0..4096_usize, len in 1..2000_usize, byte in prop::option::of(any::<u8>()),
    ) {
        let storage = MemStorage::new();
        let batches = workload::batches(&[&[700, 10], &[900, 800], &[900], &[3300], &[300, 600], &[8]]);
        workload::write(&storage, &batches);
        let first = Listing::read(&storage).expect("lists").segments[segment];
        storage.tamper(&segment::name(first), |bytes| match byte {
            Some(byte) => bytes.iter_mut().skip(from).take(len).for_each(|b| *b = byte),
            None => bytes.truncate(from),
        });
        let (located, _) = read(&storage);
        let entries: Vec<Entry> = located.into_iter().map(|located| located.entry).collect();
        prop_assert!(batches.concat().starts_with(&entries));
        if let Ok((_, opened, _)) = workload::open(&storage, Covered::NONE) {
            prop_assert_eq!(opened, entries);
        }
    }
}
