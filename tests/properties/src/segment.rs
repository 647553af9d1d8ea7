//! Property: whatever was done to a log's files, reading and opening never panic or hang, and show only entries that follow.
//! Reader and opening agree. A refused opening has changed nothing. An opened log opens again with the same entries and takes
//! new ones. Under a checkpoint it has the entries of that checkpoint. A crash alone loses nothing that was acknowledged.
//!
//! A case is a small workload, perhaps a power cut in it, and edits that may know the format: they mend checksums and
//! chains.
use std::collections::BTreeMap;

use arbitrary::{Arbitrary, Unstructured};
use writ_log::error::{LogError, What};
use writ_log::frame::{self, Frame, FrameFault};
use writ_log::reader::{End, Reader};
use writ_log::recovery::{Covered, Opened};
use writ_log::segment::{self, SegmentHeader};
use writ_log::storage::{Fault, MemStorage, Storage};
use writ_log::writer::{Log, Options};
use writ_schemas::entry::{Chain, Entry};
use writ_schemas::event::EventKind;
use writ_schemas::ids::{LedgerId, Seq, UnixMicros};

const LEDGER: LedgerId = LedgerId([0x1e; 16]);

/// Files stay small, whatever the edits do.
const FILE_BYTES_MAX: usize = 64 << 10;
const EDITS_MAX: usize = 12;

const SECTOR: usize = 512;

#[derive(Debug, Arbitrary)]
struct Case {
    /// The size of segments, in sectors.
    sectors: u8,
    /// The payload lengths of three entries a batch; a length of 255 is no entry.
    batches: [[u8; 3]; 6],
    /// The operation of the disk that is the last one, if there are so many.
    dies_at: u8,
    /// Which of the unsynced sectors and names survive.
    kept: u32,
    /// How many entries a checkpoint covers.
    covered: u8,
    /// A reader waits for a batch that nothing is missing of, which takes long: only if this is 0.
    patience: u8,
    edits: Vec<Edit>,
}

/// A place in a file: the file by its number, the byte modulo the file's length.
#[derive(Clone, Copy, Debug, Arbitrary)]
struct Spot {
    file: u8,
    at: u16,
}

#[derive(Debug, Arbitrary)]
enum Edit {
    Flip {
        spot: Spot,
        bit: u8,
    },
    Set {
        spot: Spot,
        bytes: [u8; 4],
    },
    Zero {
        spot: Spot,
        len: u16,
    },
    ZeroSector {
        spot: Spot,
    },
    Copy {
        from: Spot,
        to: Spot,
        units: u8,
    },
    Truncate {
        spot: Spot,
    },
    Extend {
        file: u8,
        bytes: u16,
    },
    Remove {
        file: u8,
    },
    /// Copies a file to the name of the segment that begins with this entry, or to an odd name.
    Plant {
        file: u8,
        name: u8,
    },
    /// Changes a field of a segment header, and mends the checksum.
    Header {
        file: u8,
        field: u8,
        value: u64,
    },
    /// Changes a field of a frame, and mends the checksum.
    Frame {
        file: u8,
        frame: u8,
        field: u8,
        value: u64,
    },
    /// Changes a payload, and mends everything to the end of the file.
    Forge {
        file: u8,
        frame: u8,
        value: u8,
    },
    /// Appends whole frames behind the last one.
    Append {
        file: u8,
        batch: u8,
        index: u8,
        count: u8,
        len: u8,
    },
}

/// Holds the property against an input.
pub fn check(bytes: &[u8]) {
    let Some(case) = case(bytes) else { return };
    let options = Options { segment_bytes: (2 + u64::from(case.sectors % 7)) * 512, ..Options::default() };
    let storage = MemStorage::new();
    let (all, acknowledged) = write(&case, &storage, options);
    case.edits.iter().take(EDITS_MAX).for_each(|edit| edit.make(&storage));

    let whole = check_open(&storage.image(), Covered::NONE, options);
    if case.edits.is_empty() && (acknowledged > 0 || !segments(&storage).is_empty()) {
        let entries = whole.as_ref().expect("a crash alone is repaired");
        assert!(all.starts_with(entries) && entries.len() >= acknowledged, "a crash lost what was acknowledged");
    }
    check_reader(&storage, &whole, case.patience == 0);

    let size = usize::from(case.covered) % (all.len() + 1);
    if let Some(last) = size.checked_sub(1).and_then(|last| all.get(last)) {
        let covered = Covered { size: size.try_into().expect("small"), head: last.hash() };
        if let Ok(entries) = check_open(&storage, covered, options) {
            assert_eq!(entries.get(..size), all.get(..size), "what a checkpoint covers is as it was");
        }
    }
}

/// The case that a fuzzer makes of the same bytes.
fn case(bytes: &[u8]) -> Option<Case> {
    let enough = bytes.len() >= Case::size_hint(0).0;
    enough.then(|| Case::arbitrary_take_rest(Unstructured::new(bytes)).ok())?
}

/// Writes the workload; all entries that were tried, and how many of them were acknowledged.
fn write(case: &Case, storage: &MemStorage, options: Options) -> (Vec<Entry>, usize) {
    if case.dies_at < 64 {
        storage.inject(case.dies_at.into(), Fault::Die);
    }
    let (mut all, mut acknowledged) = (Vec::new(), 0);
    let mut chain = Chain::empty(LEDGER);
    if let Ok(mut log) = Log::create(storage.clone(), LEDGER, options) {
        for lengths in &case.batches {
            let lengths = lengths.iter().filter(|len| **len != u8::MAX);
            let mut after = chain;
            let batch: Vec<Entry> = lengths.map(|len| next(&mut after, (*len).into())).collect();
            let bytes: usize = batch.iter().map(frame::encoded_len).sum();
            // The first segment is made before anything is known of its first batch.
            if all.is_empty() && u64::try_from(bytes).expect("small") > segment::batch_bytes_max(options.segment_bytes)
            {
                continue;
            }
            chain = after;
            all.extend(batch.iter().cloned());
            if log.append(&batch).is_err() {
                break;
            }
            acknowledged = all.len();
        }
    }
    storage.power_cut(|number| number < 32 && case.kept & (1 << number) != 0);
    (all, acknowledged)
}

/// The next entry of a chain.
fn next(chain: &mut Chain, len: usize) -> Entry {
    let byte = chain.next.0.to_le_bytes()[0] | 1;
    chain.append(EventKind::IntentAdmitted, UnixMicros(1_000_000 + chain.next.0), [byte; 16], vec![byte; len])
}

fn files(storage: &MemStorage) -> BTreeMap<String, Vec<u8>> {
    let bytes = |name: &String| {
        let mut bytes = vec![0; usize::try_from(storage.size(name).expect("a size")).expect("small")];
        storage.read_at(name, 0, &mut bytes).expect("reads");
        bytes
    };
    storage.list().expect("lists").into_iter().map(|name| (name.clone(), bytes(&name))).collect()
}

fn segments(storage: &MemStorage) -> Vec<String> {
    storage.list().expect("lists").into_iter().filter(|name| name.ends_with(".seg")).collect()
}

fn open(
    storage: &MemStorage,
    covered: Covered,
    options: Options,
) -> Result<(Opened<MemStorage>, Vec<Entry>), LogError> {
    let (mut chain, mut entries) = (Chain::empty(LEDGER), Vec::new());
    let mut visit = |entry: &Entry| -> Result<(), LogError> {
        chain.follow(entry).expect("an opening shows only what follows");
        entries.push(entry.clone());
        Ok(())
    };
    let opened = Log::open(storage.clone(), Some(LEDGER), covered, options, &mut visit)?;
    assert_eq!(*opened.log.chain(), chain);
    Ok((opened, entries))
}

/// Opens, and checks what opening promises; the entries, if it opens.
fn check_open(storage: &MemStorage, covered: Covered, options: Options) -> Result<Vec<Entry>, LogError> {
    let before = files(storage);
    let (opened, mut entries) = match open(storage, covered, options) {
        Ok(opened) => opened,
        Err(e) => {
            assert!(files(storage) == before, "an opening that refuses has changed nothing: {e}");
            return Err(e);
        }
    };
    drop(opened);
    let (again, same) = open(storage, covered, options).expect("what was opened opens again");
    assert!(again.cut.is_none(), "what was cut is gone");
    assert_eq!(same, entries);
    let opened_with = entries.clone();

    let mut log = again.log;
    let mut chain = *log.chain();
    for lengths in [[9, 40], [100, 0]] {
        let batch = lengths.map(|len| next_after(&mut chain, len));
        log.append(&batch).expect("an opened log takes entries");
        entries.extend(batch);
    }
    let (_, longer) = open(storage, covered, options).expect("and opens again");
    assert_eq!(longer, entries);
    Ok(opened_with)
}

/// The next entry of a chain that others may have forged: its time is theirs.
fn next_after(chain: &mut Chain, len: usize) -> Entry {
    let at = chain.last_at;
    chain.append(EventKind::IntentAdmitted, at, [5; 16], vec![5; len])
}

/// Reads from the start and from the middle; `whole` is what opening said.
fn check_reader(storage: &MemStorage, whole: &Result<Vec<Entry>, LogError>, patient: bool) {
    if let Err(LogError::Damaged(damage)) = whole
        && damage.what == What::NothingMissing
        && !patient
    {
        return;
    }
    let before = files(storage);
    let read = read(storage, Seq(0));
    match (whole, &read) {
        (Ok(whole), Ok((entries, _))) => assert_eq!(entries, whole, "reader and opening agree"),
        (Err(_), Err(_)) => {}
        // A reader is not told which ledger it should be.
        (Err(LogError::Damaged(damage)), Ok(_)) if matches!(damage.what, What::Ledger(_)) => {}
        (Ok(_), Err(e)) => panic!("opens and cannot be read: {e}"),
        (Err(e), Ok(_)) => panic!("can be read and does not open: {e}"),
    }
    let Ok((entries, end)) = read else { return };
    for from in [1, entries.len() / 2, entries.len()] {
        let (rest, same) = self::read(storage, Seq(from.try_into().expect("small"))).expect("whole from anywhere");
        assert_eq!((rest.as_slice(), same), (entries.get(from..).unwrap_or_default(), end.clone()));
    }
    assert!(files(storage) == before, "a reader writes nothing");
}

fn read(storage: &MemStorage, from: Seq) -> Result<(Vec<Entry>, End), LogError> {
    let reader = Reader::over(storage.clone())?;
    let mut walk = reader.entries(from)?;
    let mut chain: Option<Chain> = (from == Seq(0)).then(|| Chain::empty(reader.ledger()));
    let mut entries: Vec<Entry> = Vec::new();
    for located in walk.by_ref() {
        let entry = located?.entry;
        match &mut chain {
            Some(chain) => chain.follow(&entry).expect("a reader shows only what follows"),
            None => {
                let header = &entry.header;
                assert!(header.seq >= from);
                chain = Some(Chain {
                    ledger: header.ledger,
                    next: header.seq.next(),
                    head: entry.hash(),
                    last_at: header.recorded_at,
                });
            }
        }
        entries.push(entry);
    }
    assert!(walk.next().is_none(), "an end is an end");
    Ok((entries, walk.end().cloned().expect("a walk without an error has an end")))
}

/// Where the whole frames of a segment start.
fn frames(bytes: &[u8]) -> Vec<(usize, Frame)> {
    let (mut found, mut at) = (Vec::new(), SECTOR);
    while let Some(frame) = bytes.get(at..).filter(|rest| rest.len() >= 8).map(frame::decode) {
        match frame {
            Ok(frame) => {
                let len = frame::encoded_len(&frame.entry);
                found.push((at, frame));
                at += len;
            }
            Err(FrameFault::Unused | FrameFault::Length | FrameFault::Checksum) => break,
            Err(FrameFault::Padding | FrameFault::Header) => break,
        }
    }
    found
}

fn put(bytes: &mut [u8], at: usize, frame: &Frame) {
    let mut encoded = Vec::new();
    frame::encode(frame.batch, frame.index, frame.count, &frame.entry, &mut encoded);
    if let Some(place) = bytes.get_mut(at..at + encoded.len()) {
        place.copy_from_slice(&encoded);
    }
}

/// Changes a number a little or altogether.
fn changed(number: u64, value: u64) -> u64 {
    match value % 4 {
        0 => number.wrapping_add(1),
        1 => number.wrapping_sub(1),
        _ => value,
    }
}

impl Edit {
    fn make(&self, storage: &MemStorage) {
        let all = files(storage);
        let Some(count) = all.len().checked_sub(1).map(|last| last + 1) else { return };
        let named = |file: u8| all.iter().nth(usize::from(file) % count).expect("a file");
        let change = |file: u8, change: &dyn Fn(&mut Vec<u8>)| storage.tamper(named(file).0, |bytes| change(bytes));
        let at = |spot: Spot, bytes: &[u8]| usize::from(spot.at) % bytes.len().max(1);
        match *self {
            Edit::Flip { spot, bit } => change(spot.file, &|bytes| {
                let at = at(spot, bytes);
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (bit % 8));
            }),
            Edit::Set { spot, bytes: new } => change(spot.file, &|bytes| {
                let at = at(spot, bytes) / 4 * 4;
                bytes.iter_mut().skip(at).zip(new).for_each(|(byte, new)| *byte = new);
            }),
            Edit::Zero { spot, len } => change(spot.file, &|bytes| {
                let at = at(spot, bytes);
                bytes.iter_mut().skip(at).take(len.into()).for_each(|byte| *byte = 0);
            }),
            Edit::ZeroSector { spot } => change(spot.file, &|bytes| {
                let at = at(spot, bytes) / SECTOR * SECTOR;
                bytes.iter_mut().skip(at).take(SECTOR).for_each(|byte| *byte = 0);
            }),
            Edit::Copy { from, to, units } => {
                let source = named(from.file).1;
                let from = at(from, source) / 8 * 8;
                change(to.file, &|bytes| {
                    let at = at(to, bytes) / 8 * 8;
                    let piece = source.iter().skip(from).take(usize::from(units) * 8);
                    bytes.iter_mut().skip(at).zip(piece).for_each(|(byte, new)| *byte = *new);
                });
            }
            Edit::Truncate { spot } => change(spot.file, &|bytes| bytes.truncate(at(spot, bytes))),
            Edit::Extend { file, bytes: more } => change(file, &|bytes| {
                bytes.resize((bytes.len() + usize::from(more)).min(FILE_BYTES_MAX), 0);
            }),
            Edit::Remove { file } => storage.remove(named(file).0).expect("removes"),
            Edit::Plant { file, name } => {
                let name = match name {
                    0 => "x.seg".to_owned(),
                    1 => format!("{}.new", segment::name(Seq(1))),
                    2 => "notes".to_owned(),
                    3 => segment::name(Seq(u64::MAX)),
                    first => segment::name(Seq(u64::from(first) - 4)),
                };
                storage.plant(&name, named(file).1);
            }
            Edit::Header { file, field, value } => change(file, &|bytes| change_header(bytes, field, value)),
            Edit::Frame { file, frame, field, value } => {
                change(file, &|bytes| change_frame(bytes, frame.into(), field, value));
            }
            Edit::Forge { file, frame, value } => change(file, &|bytes| forge(bytes, frame.into(), value)),
            Edit::Append { file, batch, index, count, len } => change(file, &|bytes| {
                let Some((at, last)) = frames(bytes).pop() else { return };
                let header = &last.entry.header;
                let mut chain = Chain {
                    ledger: header.ledger,
                    next: header.seq.next(),
                    head: last.entry.hash(),
                    last_at: header.recorded_at,
                };
                let entry = next_after(&mut chain, len.into());
                let batch = last.batch.wrapping_add(batch.into());
                let frame = Frame { batch, index: index.into(), count: count.into(), entry };
                put(bytes, at + frame::encoded_len(&last.entry), &frame);
            }),
        }
    }
}

fn change_header(bytes: &mut [u8], field: u8, value: u64) {
    let Some(Ok(mut header)) = bytes.get(..SECTOR).map(SegmentHeader::from_bytes) else { return };
    match field % 5 {
        0 => header.ledger.0[0] ^= 1,
        1 => header.first.0 = changed(header.first.0, value),
        2 => header.first_batch = changed(header.first_batch, value),
        3 => header.size = if value.is_multiple_of(2) { bytes.len().try_into().expect("small") } else { value },
        _ => header.previous[0] ^= 1,
    }
    bytes.iter_mut().zip(header.to_bytes()).for_each(|(byte, new)| *byte = new);
}

fn change_frame(bytes: &mut [u8], which: usize, field: u8, value: u64) {
    let all = frames(bytes);
    let Some((at, mut frame)) = all.len().checked_sub(1).and_then(|last| all.get(which % (last + 1)).cloned()) else {
        return;
    };
    let small = u32::try_from(value & 0xffff_ffff).expect("32 bits");
    let header = &mut frame.entry.header;
    match field % 11 {
        0 => frame.batch = changed(frame.batch, value),
        1 => frame.index = small,
        2 => frame.count = small,
        3 => frame.entry.salt[0] ^= 1,
        4 => header.kind = EventKind::StateHashed,
        5 => header.ledger.0[0] ^= 1,
        6 => header.seq.0 = changed(header.seq.0, value),
        7 => header.recorded_at.0 = changed(header.recorded_at.0, value),
        8 => header.previous[0] ^= 1,
        9 => header.commitment[0] ^= 1,
        _ => frame.entry.payload.iter_mut().for_each(|byte| *byte ^= 0x80),
    }
    put(bytes, at, &frame);
}

fn forge(bytes: &mut [u8], which: usize, value: u8) {
    let all = frames(bytes);
    let Some(from) = all.len().checked_sub(1).map(|last| which % (last + 1)) else { return };
    let mut chain: Option<Chain> = None;
    for (at, mut frame) in all.into_iter().skip(from) {
        let header = frame.entry.header;
        let mut before = chain.unwrap_or(Chain {
            ledger: header.ledger,
            next: header.seq,
            head: header.previous,
            last_at: header.recorded_at,
        });
        if chain.is_none() {
            frame.entry.payload.iter_mut().for_each(|byte| *byte = value);
        }
        frame.entry = before.append(header.kind, header.recorded_at, frame.entry.salt, frame.entry.payload);
        put(bytes, at, &frame);
        chain = Some(before);
    }
}
