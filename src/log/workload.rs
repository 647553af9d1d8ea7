//! What tests write: batches given as the payload lengths of their entries.

use writ_schemas::entry::{Chain, Entry};
use writ_schemas::event::{EventKind, TailCut};
use writ_schemas::ids::{LedgerId, UnixMicros};

use crate::error::LogError;
use crate::recovery::{Covered, Opened};
use crate::storage::{MemStorage, Storage};
use crate::writer::{Log, Options};

pub(crate) const LEDGER: LedgerId = LedgerId([0x1e; 16]);

/// Small segments, so that a few batches fill several.
pub(crate) const OPTIONS: Options = Options { segment_bytes: 4096, segments_prepared: 0 };

/// An entry with a payload of this length and no zero byte in it.
pub(crate) fn entry_of(len: usize) -> Entry {
    append(&mut Chain::empty(LEDGER), len)
}

/// The next entry of a chain, of which every byte depends on its place.
pub(crate) fn append(chain: &mut Chain, len: usize) -> Entry {
    append_with(chain, len, 0)
}

/// The same with so many zeros at the end: the payloads of real events end in zeros.
fn append_with(chain: &mut Chain, len: usize, zeros: usize) -> Entry {
    let byte = u8::try_from(chain.next.0 % 200).expect("small") + 1;
    let mut payload: Vec<u8> = (0..len).map(|at| byte ^ u8::try_from(at % 251).expect("small") | 1).collect();
    payload.iter_mut().rev().take(zeros).for_each(|byte| *byte = 0);
    chain.append(EventKind::IntentAdmitted, UnixMicros(1_000_000 + chain.next.0), [byte; 16], payload)
}

/// Batches from entry 0 on.
pub(crate) fn batches(lengths: &[&[usize]]) -> Vec<Vec<Entry>> {
    batches_with(lengths, 0)
}

/// Batches of which every payload ends in so many zeros.
pub(crate) fn batches_with(lengths: &[&[usize]], zeros: usize) -> Vec<Vec<Entry>> {
    let mut chain = Chain::empty(LEDGER);
    lengths.iter().map(|batch| batch.iter().map(|len| append_with(&mut chain, *len, zeros)).collect()).collect()
}

/// Creates a log with these batches.
pub(crate) fn write<S: Storage + Clone>(storage: &S, batches: &[Vec<Entry>]) -> Log<S> {
    let mut log = Log::create(storage.clone(), LEDGER, OPTIONS).expect("creates");
    batches.iter().for_each(|batch| log.append(batch).expect("appends"));
    log
}

pub(crate) type Reopened = (Log<MemStorage>, Vec<Entry>, Option<TailCut>);

/// Opens a log and collects what it visits.
pub(crate) fn open(storage: &MemStorage, covered: Covered) -> Result<Reopened, LogError> {
    open_with(storage, covered, OPTIONS)
}

/// The same with other options.
pub(crate) fn open_with(storage: &MemStorage, covered: Covered, options: Options) -> Result<Reopened, LogError> {
    let mut entries = Vec::new();
    let mut visit = |entry: &Entry| -> Result<(), LogError> {
        entries.push(entry.clone());
        Ok(())
    };
    let Opened { log, cut } = Log::open(storage.clone(), Some(LEDGER), covered, options, &mut visit)?;
    Ok((log, entries, cut))
}
