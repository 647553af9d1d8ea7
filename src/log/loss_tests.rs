//! What a crash can do: the power fails, or the disk fails, at every write and every sync of a workload, and of what was not
//! synced every subset is lost.
//!
//! After each, the log must open; nothing that was acknowledged may be missing, nothing may be there that was not submitted,
//! and batches are whole or not there at all.

use writ_schemas::entry::Entry;

use crate::error::LogError;
use crate::recovery::Covered;
use crate::storage::{Fault, MemStorage};
use crate::workload::{self, LEDGER, Reopened};
use crate::writer::Log;

/// The most sectors and names in flight: every subset of them is tried.
const UNSYNCED_MAX: usize = 12;

/// One entry; several in one sector; several sectors; a roll; a whole segment; a roll by a small one and several sectors behind
/// it; more than a segment; others behind that.
const WORKLOAD: &[&[usize]] = &[
    &[40],
    &[1, 20, 60],
    &[700, 10, 900],
    &[900, 1300, 30, 500],
    &[1, 3300],
    &[5],
    &[900, 10, 1900],
    &[900, 3100],
    &[900, 300],
    &[8],
    &[300, 10, 1000],
];

fn open(storage: &MemStorage) -> Result<Reopened, LogError> {
    workload::open(storage, Covered::NONE)
}

/// What became of a workload that a fault interrupted.
struct Interrupted {
    storage: MemStorage,
    created: bool,
    acknowledged: usize,
}

fn run(batches: &[Vec<Entry>], fault: Option<(u64, Fault)>) -> Interrupted {
    let storage = MemStorage::new();
    if let Some((at, fault)) = fault {
        storage.inject(at, fault);
    }
    let Ok(mut log) = Log::create(storage.clone(), LEDGER, workload::OPTIONS) else {
        return Interrupted { storage, created: false, acknowledged: 0 };
    };
    let acknowledged = batches.iter().take_while(|batch| log.append(batch).is_ok()).count();
    if acknowledged < batches.len() {
        assert!(
            matches!(log.append(&batches[acknowledged]), Err(LogError::Poisoned)),
            "a failed log does nothing more"
        );
    }
    Interrupted { storage, created: true, acknowledged }
}

fn operations(batches: &[Vec<Entry>]) -> u64 {
    run(batches, None).storage.operations()
}

/// Calls `each` with every image that a power cut can leave of a disk.
fn every_loss(storage: &MemStorage, mut each: impl FnMut(MemStorage)) -> usize {
    let unsynced = storage.unsynced();
    assert!(unsynced <= UNSYNCED_MAX, "{unsynced} sectors in flight: make the workload smaller");
    for kept in 0..1_usize << unsynced {
        let image = storage.image();
        image.power_cut(|number| kept & (1 << number) != 0);
        each(image);
    }
    1 << unsynced
}

/// Opens, and holds the result against what was promised. How many batches there are.
fn check(image: &MemStorage, created: bool, acknowledged: usize, batches: &[Vec<Entry>], story: &str) -> Option<usize> {
    let (log, entries, _) = match open(image) {
        Ok(opened) => opened,
        Err(LogError::Missing) if !created => return None,
        Err(e) => panic!("{story}: refuses to open: {e}"),
    };
    let whole = (0..=batches.len()).find(|count| batches[..*count].concat() == entries);
    let whole = whole.unwrap_or_else(|| panic!("{story}: {} entries are no whole batches", entries.len()));
    assert!(
        (acknowledged..=acknowledged + 1).contains(&whole),
        "{story}: {whole} batches, {acknowledged} acknowledged"
    );

    // What was shown once is durable: it survives the worst power cut, and a second opening shows the same and cuts nothing.
    image.power_cut(|_| false);
    let (again, entries_again, cut) = open(image).expect(story);
    assert!(entries_again == entries && cut.is_none() && again.chain() == log.chain(), "{story}: opens differently");
    assert_eq!(again.next_batch(), log.next_batch());
    Some(whole)
}

/// The log goes on after recovery as if nothing had been.
fn goes_on(image: &MemStorage, whole: usize, batches: &[Vec<Entry>], story: &str) {
    let (mut log, _, _) = open(image).expect(story);
    batches[whole..].iter().for_each(|batch| log.append(batch).expect(story));
    let (_, entries, cut) = open(image).expect(story);
    assert!(entries == batches.concat() && cut.is_none(), "{story}: does not go on");
}

#[test]
fn no_power_cut_and_no_failing_disk_loses_what_was_acknowledged() {
    // Payloads that end in zeros leave sectors that look as if they had not been written.
    for zeros in [0, 16] {
        interrupt_everywhere(&workload::batches_with(WORKLOAD, zeros));
    }
}

fn interrupt_everywhere(batches: &[Vec<Entry>]) {
    let (mut states, mut cuts_in_flight) = (0, 0);
    for at in 0..operations(batches) {
        for fault in [Fault::Die, Fault::Error] {
            let Interrupted { storage, created, acknowledged } = run(batches, Some((at, fault)));
            let story = format!("{fault:?} at operation {at}");
            // The process ends, the machine goes on: the page cache shows everything, durable or not.
            let image = storage.image();
            if let Some(whole) = check(&image, created, acknowledged, batches, &format!("{story}, machine goes on")) {
                goes_on(&image, whole, batches, &story);
            }
            states += 1 + every_loss(&storage, |image| {
                let tail_cut = matches!(open(&image.image()), Ok((_, _, Some(_))));
                cuts_in_flight += usize::from(tail_cut);
                if let Some(whole) = check(&image, created, acknowledged, batches, &story)
                    && tail_cut
                    && cuts_in_flight % 16 == 1
                {
                    goes_on(&image, whole, batches, &story);
                }
            });
        }
    }
    // The test tests something: many states have an unfinished batch. One that begins a segment is whole or not there.
    assert!(states > 4000 && cuts_in_flight > 300, "{states} states, {cuts_in_flight} cut");
}

#[test]
fn a_recovery_that_is_itself_interrupted_loses_nothing() {
    let batches = workload::batches(WORKLOAD);
    let mut states = 0;
    for at in 0..operations(&batches) {
        let Interrupted { storage, created, acknowledged } = run(&batches, Some((at, Fault::Die)));
        for pattern in [usize::MAX, 0, 0x5555, 0xaaaa, 0x6db6] {
            let first = storage.image();
            first.power_cut(|number| pattern & (1 << number) != 0);
            let whole = first.image();
            let Ok(_) = open(&whole) else { continue };
            let operations = whole.operations();
            for again in 0..operations {
                for fault in [Fault::Die, Fault::Error] {
                    let second = first.image();
                    second.inject(again, fault);
                    let story = format!("killed at {at}, kept {pattern:x}, {fault:?} at operation {again} of recovery");
                    assert!(open(&second).is_err(), "{story}: the failure was hidden");
                    states += every_loss(&second, |image| {
                        check(&image, created, acknowledged, &batches, &story);
                    });
                }
            }
        }
    }
    assert!(states > 1000, "{states} states");
}

#[test]
fn what_an_interrupted_process_cached_is_made_durable_before_it_is_shown() {
    let batches = workload::batches(&[&[40], &[700, 10]]);
    let last_sync = operations(&batches) - 1;
    let Interrupted { storage, acknowledged, .. } = run(&batches, Some((last_sync, Fault::Error)));
    assert_eq!(acknowledged, 1);
    assert!(storage.unsynced() > 0, "the disk lacks what the cache shows");
    let (_, entries, cut) = open(&storage.image()).expect("opens");
    assert_eq!((entries, cut), (batches.concat(), None));
    check(&storage.image(), true, 2, &batches, "the failed batch was shown");
}
