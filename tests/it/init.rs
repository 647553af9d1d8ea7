//! How a ledger comes to be: whole, or not at all, whoever else wants the same folder.

use std::sync::Barrier;

use writ::clock::Clock;
use writ::folder::Folder;
use writ_schemas::errors::Code;

use crate::ledgers::{Kept, NOW, create};

/// So many that several find the folder empty.
const RIVALS: usize = 8;

#[test]
fn of_many_that_make_a_ledger_in_one_folder_one_does_and_it_holds() {
    for round in 0..16 {
        let kept = Kept::empty();
        let start = Barrier::new(RIVALS);
        let made: Vec<_> = std::thread::scope(|scope| {
            let make = || {
                start.wait();
                create(&kept.folder, &Clock::manual(NOW))
            };
            let rivals: Vec<_> = (0..RIVALS).map(|_| scope.spawn(make)).collect();
            rivals.into_iter().map(|rival| rival.join().expect("no panic")).collect()
        });
        let refused: Vec<_> = made.iter().filter_map(|made| made.as_ref().err()).collect();
        assert_eq!(refused.len(), RIVALS - 1, "round {round}: {refused:?}");
        assert!(refused.iter().all(|failure| failure.code == Code::LogExists), "round {round}: {refused:?}");
        let winner = made.iter().find_map(|made| made.as_ref().ok()).expect("one has it");
        let report = kept.verified();
        assert!(report.ok, "round {round}: {:?}", report.broken);
        assert_eq!(kept.genesis(), *winner.value(), "round {round}");
    }
}

/// Who fails half-way leaves what others have put there.
#[test]
fn a_failure_half_way_removes_only_what_was_made() {
    let kept = Kept::empty();
    let folder = Folder::at(kept.folder.root());
    folder.claim().expect("it is empty");
    let foreign = kept.folder.root().join("notes.txt");
    std::fs::write(&foreign, "mine").expect("writes");
    folder.make().expect("makes");
    folder.unmake();
    let left: Vec<_> =
        std::fs::read_dir(folder.root()).expect("lists").map(|it| it.expect("an entry").path()).collect();
    assert_eq!(left, [foreign]);
}
