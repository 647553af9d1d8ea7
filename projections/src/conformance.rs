//! One suite over every projection and every store. A new projection adds a line to `every_projection`.

use std::path::Path;

use proptest::prelude::*;
use writ_schemas::entry::Entry;
use writ_schemas::errors::Code;
use writ_schemas::event::Event;
use writ_schemas::ids::{Digest, LedgerId, Seq};

use crate::follower::{Applied, Bookmark, Follower, Stale, ViewError};
use crate::metering::Metering;
use crate::projection::{FoldError, Place, Projection, View};
use crate::proofgraph::ProofGraph;
use crate::sled_store::{SledStore, SledViews};
use crate::store::{Batch, MemoryStore, Pairs, Store, StoreError};

pub(crate) mod ledger;

use ledger::{Run, Writer};

/// A place that outlives a crash, and stores opened from it.
trait Disk {
    type Store: Store;
    fn open(&mut self) -> Self::Store;
    /// What the process that dies leaves behind.
    fn crash(&mut self, store: Self::Store);
}

#[derive(Default)]
struct InMemory(MemoryStore);

impl Disk for InMemory {
    type Store = MemoryStore;
    fn open(&mut self) -> MemoryStore {
        std::mem::take(&mut self.0)
    }
    fn crash(&mut self, store: MemoryStore) {
        self.0 = store;
    }
}

/// A sled folder; a crash closes it and opens it again.
struct OnDisk<'a> {
    folder: &'a Path,
    views: Option<SledViews>,
    name: &'static str,
}

impl Disk for OnDisk<'_> {
    type Store = SledStore;
    fn open(&mut self) -> SledStore {
        let folder = self.folder;
        let views = self.views.get_or_insert_with(|| SledViews::open_with_cache(folder, 1 << 20).expect("opens"));
        views.store(self.name).expect("opens")
    }
    fn crash(&mut self, store: SledStore) {
        drop(store);
        self.views = None;
    }
}

fn hash_in(log: &[Entry]) -> impl Fn(Seq) -> Option<[u8; 32]> {
    |seq| log.get(usize::try_from(seq.0).ok()?).map(Entry::hash)
}

fn ledger_of(log: &[Entry]) -> LedgerId {
    log[0].header.ledger
}

fn follow<P: Projection + Default, S: Store>(store: S, log: &[Entry]) -> (Follower<P, S>, Option<Stale>) {
    Follower::open(P::default(), store, ledger_of(log), hash_in(log)).expect("opens")
}

/// The digest of a view that is folded from zero, in one commit.
fn rebuilt<P: Projection + Default>(log: &[Entry], until: usize) -> Digest {
    let (mut follower, _) = follow::<P, _>(MemoryStore::default(), log);
    follower.apply_all(&log[..until]).expect("folds");
    follower.digest().expect("digest")
}

fn check_incremental<P: Projection + Default, D: Disk>(disk: &mut D, log: &[Entry]) {
    let (mut follower, stale) = follow::<P, _>(disk.open(), log);
    assert_eq!(stale, None);
    for (at, entry) in log.iter().enumerate() {
        if let Some(skipped) = log.get(at + 1) {
            let gap = follower.apply(skipped).expect_err("a gap");
            assert!(matches!(gap, ViewError::Gap { expected, found } if expected.0 + 1 == found.0), "{gap}");
        }
        assert_eq!(follower.apply(entry).expect("folds"), Applied::Folded);
        let digest = follower.digest().expect("digest");
        assert_eq!(digest, rebuilt::<P>(log, at + 1), "{} at {at}: rebuilt is not incremental", P::NAME);
        for old in &log[at.saturating_sub(2)..=at] {
            assert_eq!(follower.apply(old).expect("ignored"), Applied::Old);
        }
        assert_eq!(follower.digest().expect("digest"), digest, "an old entry changed the view");
    }
    disk.crash(follower.into_store());
}

fn check_crash<P: Projection + Default, D: Disk>(disk: &mut D, log: &[Entry], committed: usize, staged: usize) {
    let (mut follower, _) = follow::<P, _>(disk.open(), log);
    follower.reset().expect("empties");
    follower.apply_all(&log[..committed]).expect("folds");
    let before = follower.digest().expect("digest");
    for entry in &log[committed..staged] {
        follower.stage(entry).expect("folds");
    }
    disk.crash(follower.into_store());

    let (mut follower, stale) = follow::<P, _>(disk.open(), log);
    assert_eq!(stale, None);
    assert_eq!(follower.next(), Seq(u64::try_from(committed).expect("small")), "the bookmark moved without a commit");
    assert_eq!(follower.digest().expect("digest"), before);
    follower.apply_all(log).expect("catches up");
    assert_eq!(follower.digest().expect("digest"), rebuilt::<P>(log, log.len()));

    follower.reset().expect("empties");
    assert!(follower.store().scan(b"").next().is_none());
    let mut follower = follower.commit_every(3);
    assert_eq!(follower.apply_all(log).expect("folds"), u64::try_from(log.len()).expect("small"));
    assert_eq!(follower.digest().expect("digest"), rebuilt::<P>(log, log.len()), "commits of another size");

    follower.reset().expect("empties");
    for entry in log {
        follower.stage_event(entry, &entry.event().expect("an event")).expect("folds");
    }
    assert_eq!(follower.digest().expect("digest"), rebuilt::<P>(log, log.len()), "events that the caller decoded");
    disk.crash(follower.into_store());
}

fn check_both<P: Projection + Default>(log: &[Entry], committed: usize, staged: usize) {
    let folder = tempfile::tempdir().expect("folder");
    let mut on_disk = OnDisk { folder: folder.path(), views: None, name: P::NAME };
    check_incremental::<P, _>(&mut InMemory::default(), log);
    check_incremental::<P, _>(&mut on_disk, log);
    check_crash::<P, _>(&mut InMemory::default(), log, committed, staged);
    check_crash::<P, _>(&mut on_disk, log, committed, staged);
}

fn every_projection(log: &[Entry], committed: usize, staged: usize) {
    check_both::<ProofGraph>(log, committed, staged);
    check_both::<Metering>(log, committed, staged);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn every_projection_holds_the_contract(seed: u64, steps in 0_usize..24, a: prop::sample::Index, b: prop::sample::Index) {
        let log = ledger::random(seed, steps);
        let (a, b) = (a.index(log.len()), b.index(log.len()));
        every_projection(&log, a.min(b), a.max(b));
    }
}

#[test]
fn a_random_ledger_holds_every_event_in_time() {
    let log = ledger::random(1, 400);
    let kinds: std::collections::BTreeSet<_> = log.iter().map(|entry| entry.header.kind).collect();
    assert_eq!(kinds.len(), 24, "{kinds:?}");
}

/// Writes one key an event, under a version that a test chooses.
#[derive(Default)]
struct Versioned<const V: u32>;

impl<const V: u32> Projection for Versioned<V> {
    const NAME: &'static str = "versioned";
    const VERSION: u32 = V;
    fn fold(&self, place: &Place, _: &Event, view: &mut View<'_>) -> Result<(), FoldError> {
        view.write(b"last".to_vec(), &place.seq)
    }
}

#[test]
fn a_view_that_does_not_fit_is_reset_and_says_why() {
    let log = ledger::random(1, 5);
    let other: Vec<Entry> = {
        let mut writer = Writer::new(7);
        writer.activate("another-history");
        writer.activate("another-history");
        writer.entries
    };
    let mut view = follow::<Versioned<1>, _>(MemoryStore::default(), &log).0;
    view.apply_all(&log[..7]).expect("folds");
    let Bookmark { seq, .. } = view.bookmark().expect("bookmark");
    let store = view.into_store();

    let stale = |log: &[Entry]| follow::<Versioned<1>, _>(store.clone(), log).1;
    assert_eq!(stale(&log), None);
    assert_eq!(stale(&log[..6]), Some(Stale::BeyondLog(seq)));
    assert_eq!(stale(&other), Some(Stale::OtherHistory(seq)));
    let (follower, why) = follow::<Versioned<2>, _>(store.clone(), &log);
    assert_eq!(why, Some(Stale::Version { expected: 2, found: 1 }));
    assert_eq!(follower.next(), Seq(0));
    assert!(follower.store().scan(b"").next().is_none());
    let stranger = Writer::new(8);
    let expected = Some(Stale::Ledger { expected: stranger.ledger(), found: ledger_of(&log) });
    assert_eq!(stale(&stranger.entries), expected);

    let mut half = store.clone();
    half.commit(&Batch::from([(crate::follower::BOOKMARK_KEY.to_vec(), None)])).expect("commits");
    assert_eq!(follow::<Versioned<1>, _>(half, &log).1, Some(Stale::HalfCleared));
    let mut odd = store.clone();
    odd.commit(&Batch::from([(crate::follower::BOOKMARK_KEY.to_vec(), Some(vec![1]))])).expect("commits");
    assert_eq!(follow::<Versioned<1>, _>(odd, &log).1, Some(Stale::Unreadable));
}

#[test]
fn entries_of_another_ledger_or_history_are_refused() {
    let log = Writer::new(7).entries;
    let mut follower = follow::<ProofGraph, _>(MemoryStore::default(), &log).0;
    let error = follower.apply(&Writer::new(8).entries[0]).expect_err("another ledger");
    assert!(matches!(error, ViewError::Ledger { .. }), "{error}");
    assert_eq!(error.code(), Code::ViewDamaged);

    follower.apply_all(&log[..3]).expect("folds");
    let mut next = log[3].clone();
    next.header.previous = [1; 32];
    let error = follower.apply(&next).expect_err("it does not follow");
    assert!(matches!(error, ViewError::Stale(Stale::OtherHistory(Seq(2)))), "{error}");
    let mut same = log[2].clone();
    same.header.commitment = [1; 32];
    let error = follower.apply(&same).expect_err("another entry 2");
    assert!(matches!(error, ViewError::Stale(Stale::OtherHistory(Seq(2)))), "{error}");
    let mut damaged = log[3].clone();
    damaged.payload.push(0);
    let error = follower.apply(&damaged).expect_err("no event");
    assert!(matches!(error, ViewError::Entry { seq: Seq(3), .. }), "{error}");
    assert_eq!(error.code(), Code::LogDamaged);
    follower.apply_all(&log).expect("the right ones still follow");
}

/// Refuses the first commits.
struct Failing {
    store: MemoryStore,
    failures: u32,
}

impl Store for Failing {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.get(key)
    }
    fn scan(&self, prefix: &[u8]) -> Pairs<'_> {
        self.store.scan(prefix)
    }
    fn scan_from(&self, prefix: &[u8], from: &[u8]) -> Pairs<'_> {
        self.store.scan_from(prefix, from)
    }
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        if self.failures > 0 {
            self.failures -= 1;
            return Err(StoreError::Io(std::io::ErrorKind::StorageFull.into()));
        }
        self.store.commit(batch)
    }
    fn clear(&mut self) -> Result<(), StoreError> {
        self.store.clear()
    }
    fn flush(&self) -> Result<(), StoreError> {
        self.store.flush()
    }
}

#[test]
fn a_failed_commit_stores_nothing_and_may_be_tried_again() {
    let log = ledger::random(5, 8);
    let store = Failing { store: MemoryStore::default(), failures: 2 };
    let (mut follower, _) = follow::<ProofGraph, _>(store, &log);
    let error = follower.apply_all(&log).expect_err("the disk is full");
    assert_eq!(error.code(), Code::DiskFull);
    assert!(follower.store().scan(b"").next().is_none());
    assert!(follower.commit().is_err());
    assert_eq!(follower.digest().expect("digest"), rebuilt::<ProofGraph>(&log, log.len()));
}

/// Writes, then fails at the third entry.
#[derive(Default)]
struct Stumbling;

impl Projection for Stumbling {
    const NAME: &'static str = "stumbling";
    const VERSION: u32 = 1;
    fn fold(&self, place: &Place, _: &Event, view: &mut View<'_>) -> Result<(), FoldError> {
        let before: u64 = view.read(b"n")?.unwrap_or(0);
        view.write(b"n".to_vec(), &(before + 1))?;
        view.delete(b"gone".to_vec())?;
        match place.seq {
            Seq(2) => view.put(crate::follower::BOOKMARK_KEY.to_vec(), Vec::new()),
            Seq(_) => Ok(()),
        }
    }
}

#[test]
fn a_fold_that_fails_leaves_no_write_and_no_key_is_the_bookmarks() {
    let log = Writer::new(7).entries;
    let (mut follower, _) = follow::<Stumbling, _>(MemoryStore::default(), &log);
    let error = follower.apply_all(&log).expect_err("it stumbles");
    assert!(matches!(error, ViewError::Fold { seq: Seq(2), source: FoldError::ReservedKey }), "{error}");
    assert_eq!(follower.next(), Seq(2));
    let n: Option<u64> = crate::value::read(follower.store(), b"n").expect("reads");
    assert_eq!(n, Some(2), "the two before it are committed, through the overlay");
}

#[test]
fn digests_tell_projections_apart() {
    let mut writer = Writer::new(7);
    writer.run(&Run {
        agent: 0,
        action: "refund",
        spends: vec![ledger::cents(5)],
        status: writ_schemas::receipt::Status::Succeeded,
        evidence: &[],
    });
    let log = writer.entries;
    assert_ne!(rebuilt::<ProofGraph>(&log, log.len()), rebuilt::<Metering>(&log, log.len()));
}

/// What a power cut leaves, as well as a copy of the folder of a store that was neither flushed nor closed can show it.
#[test]
fn a_folder_cut_off_between_commits_opens_at_an_old_bookmark_and_catches_up() {
    let log = ledger::random(11, 60);
    let whole = rebuilt::<ProofGraph>(&log, log.len());
    let folder = tempfile::tempdir().expect("folder");
    let views = SledViews::open_with_cache(folder.path(), 1 << 20).expect("opens");
    let (mut follower, _) = follow::<ProofGraph, _>(views.store(ProofGraph::NAME).expect("opens"), &log);
    for (at, entry) in log.iter().enumerate() {
        follower.apply(entry).expect("folds");
        if at % 8 == 3 {
            follower.flush().expect("flushes");
        }
        let flushed = at.checked_sub((at + 5) % 8);
        if at % 5 != 0 {
            continue;
        }
        let copy = tempfile::tempdir().expect("folder");
        copy_folder(folder.path(), copy.path());
        let views = SledViews::open_with_cache(copy.path(), 1 << 20).expect("opens");
        let (mut cut, stale) = follow::<ProofGraph, _>(views.store(ProofGraph::NAME).expect("opens"), &log);
        assert_eq!(stale, None, "a view without its bookmark, or with another");
        let next = usize::try_from(cut.next().0).expect("small");
        assert!(next <= at + 1 && flushed.is_none_or(|flushed| next > flushed), "{next} at {at}");
        assert_eq!(cut.digest().expect("digest"), rebuilt::<ProofGraph>(&log, next), "half a commit at {at}");
        cut.apply_all(&log).expect("catches up");
        assert_eq!(cut.digest().expect("digest"), whole);
    }
}

fn copy_folder(from: &Path, to: &Path) {
    for file in std::fs::read_dir(from).expect("reads") {
        let file = file.expect("reads");
        let target = to.join(file.file_name());
        if file.file_type().expect("reads").is_dir() {
            std::fs::create_dir(&target).expect("creates");
            copy_folder(&file.path(), &target);
        } else {
            std::fs::copy(file.path(), target).expect("copies");
        }
    }
}
