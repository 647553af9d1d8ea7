//! How a ledger comes to be: whole, or not at all, whoever else wants the same folder.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Barrier;

use writ::clock::Clock;
use writ::config::Config;
use writ::error::Failure;
use writ::folder::Folder;
use writ::ledger::{Founding, Operators};
use writ_schemas::errors::Code;

use crate::ledgers::{Kept, NOW, create};
use crate::scene::{Scene, WRIT, copy_folder, finish, holds, note, writ};

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

fn names(folder: &Folder) -> Vec<String> {
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name().into_string();
    let mut names: Vec<String> =
        std::fs::read_dir(folder.root()).expect("lists").map(|it| name(it).expect("UTF-8")).collect();
    names.sort();
    names
}

fn begin(folder: &Folder) -> Result<Founding, Failure> {
    Founding::begin(&Operators::Made, folder, None, &Config::default(), &Clock::manual(NOW))
}

/// Who gives up half-way leaves what others have put there.
#[test]
fn a_failure_half_way_removes_only_what_was_made() {
    let kept = Kept::empty();
    let founding = begin(&kept.folder).expect("it is empty");
    std::fs::write(kept.folder.root().join("notes.txt"), "mine").expect("writes");
    drop(founding);
    assert_eq!(names(&kept.folder), ["lock", "notes.txt"]);
}

/// Until it is whole it is no ledger; what was left of one that was killed is not in the way.
#[test]
fn what_was_left_half_way_is_begun_anew() {
    for moved in 0..=5 {
        let kept = Kept::empty();
        let founding = begin(&kept.folder).expect("it is empty");
        let inside = founding.folder().clone();
        let early = [inside.checkpoints(), inside.content(), inside.policy(), inside.keys(), inside.config_file()];
        for path in early.iter().take(moved) {
            let to = kept.folder.root().join(path.file_name().expect("a name"));
            std::fs::rename(path, to).expect("moves");
        }
        assert_eq!(kept.folder.require().map_err(|failure| failure.code), Err(Code::LogMissing));
        // As a kill does: the lock is free, and nothing is cleaned up.
        let left = kept.folder.root().with_extension("left");
        copy_folder(kept.folder.root(), &left);
        let left = Folder::at(left);
        create(&left, &Clock::manual(NOW)).expect("makes a ledger");
        assert_eq!(names(&left), ["checkpoints", "content", "keys", "lock", "log", "policy", "writ.toml"]);
        holds(left.root());
        std::fs::remove_dir_all(left.root()).expect("removes");
    }
}

#[test]
fn a_folder_with_something_else_in_it_is_not_touched() {
    let kept = Kept::empty();
    std::fs::create_dir_all(kept.folder.keys()).expect("makes");
    assert_eq!(begin(&kept.folder).map(drop).map_err(|failure| failure.code), Err(Code::LogExists));
    assert_eq!(names(&kept.folder), ["keys"]);
}

/// Whatever the umask is, nobody else reads or writes it.
#[test]
fn it_is_its_owners_only() {
    let scene = Scene::bare();
    let script = "umask 000 && exec \"$0\" \"$@\"";
    finish(Command::new("sh").args(["-c", script, WRIT]).args(crate::scene::init(scene.data())), b"").ended(0);
    finish(
        Command::new("sh").args(["-c", script, WRIT, "submit", "--data", scene.data()]),
        note("n").to_string().as_bytes(),
    )
    .ended(0);
    let mut all = vec![PathBuf::from(scene.data())];
    while let Some(path) = all.pop() {
        let meta = std::fs::symlink_metadata(&path).expect("it is there");
        let (expected, inside_views) =
            (if meta.is_dir() { 0o700 } else { 0o600 }, path.starts_with(scene.inside("views")));
        // What sled makes is shut in by its folder.
        assert!(
            inside_views && path != scene.inside("views") || meta.mode() & 0o777 == expected,
            "{}: {:o}",
            path.display(),
            meta.mode()
        );
        if meta.is_dir() {
            all.extend(std::fs::read_dir(&path).expect("lists").map(|entry| entry.expect("an entry").path()));
        }
    }
}

/// Whoever could write there would have their own commands run.
#[test]
fn commands_that_others_could_have_written_are_not_run() {
    for (path, mode) in [("writ.toml", 0o666), ("writ.toml", 0o620), ("", 0o777)] {
        let scene = Scene::new();
        scene.configure("[signer]\ndecision = [\"/bin/false\"]\n");
        let place = scene.inside(path);
        std::fs::set_permissions(&place, std::fs::Permissions::from_mode(mode)).expect("permissions");
        let run = writ(["submit", "--data", scene.data(), "/dev/null"]);
        assert!(run.status == 2 && run.err.contains(Code::Config.as_str()) && run.err.contains("chmod"), "{run:?}");
    }
}
