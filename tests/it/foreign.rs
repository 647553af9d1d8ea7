//! A folder in which something else stands in the place of a file: no command waits for it, or reads without end.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use writ_schemas::errors::Code;

use crate::ledgers::files;
use crate::scene::{Run, Scene, WRIT, finish, note, with, writ_reading};

/// What stands there instead.
#[derive(Clone, Copy, Debug)]
enum Instead {
    Pipe,
    LinkToZeros,
    LinkOutOfTheFolder,
    AlmostEndless,
}

const ALL: [Instead; 4] = [Instead::Pipe, Instead::LinkToZeros, Instead::LinkOutOfTheFolder, Instead::AlmostEndless];

impl Instead {
    fn of(self, file: &Path) {
        let outside = file.with_extension("elsewhere");
        let before = fs::read(file).expect("a file");
        fs::remove_file(file).expect("removes");
        match self {
            Instead::Pipe => drop(finish(Command::new("mkfifo").arg(file), b"").ended(0)),
            Instead::LinkToZeros => symlink("/dev/zero", file).expect("links"),
            Instead::LinkOutOfTheFolder => {
                let place = std::env::temp_dir().join(outside.file_name().expect("a name"));
                fs::write(&place, before).expect("writes");
                symlink(place, file).expect("links");
            }
            Instead::AlmostEndless => File::create(file).and_then(|it| it.set_len(1 << 40)).expect("grows"),
        }
    }
}

/// Runs a command that may take 8 GiB of addresses.
fn bounded(args: &[&str], scene: &Scene) -> Run {
    let script = "ulimit -v 8388608 && exec \"$0\" \"$@\"";
    finish(
        Command::new("sh").args(["-c", script, WRIT]).args(args).args(["--data", scene.data()]),
        note("x").to_string().as_bytes(),
    )
}

/// A ledger with a file of each kind.
fn ledger() -> Scene {
    let scene = Scene::new();
    let long = with(note("long"), "args", serde_json::json!({ "text": "x".repeat(9000) }));
    writ_reading(long.to_string().as_bytes(), ["submit", "--data", scene.data()]).ended(0);
    scene
}

fn first(folder: &Path) -> PathBuf {
    files(folder).into_iter().next().expect("a file")
}

#[test]
fn nothing_waits_for_a_file_that_is_none_or_reads_it_without_end() {
    let base = ledger();
    let places: [(&str, &dyn Fn(&Scene) -> PathBuf); 7] = [
        ("configuration", &|it| it.inside("writ.toml")),
        ("checkpoint", &|it| it.inside("checkpoints/latest")),
        ("content", &|it| first(&it.inside("content"))),
        ("clock", &|it| it.inside("clock")),
        ("lock", &|it| it.inside("lock")),
        ("key", &|it| it.inside("keys/decision.key")),
        ("segment", &|it| first(&it.inside("log"))),
    ];
    for (what, place) in places {
        for instead in ALL {
            let scene = base.again();
            instead.of(&place(&scene));
            for command in [&["verify"][..], &["show", "acme", "n-1"], &["submit"], &["replay"]] {
                let run = bounded(command, &scene);
                let told = run.status == 0 || Code::ALL.iter().any(|code| run.err.contains(code.as_str()));
                let fine = (0..=2).contains(&run.status) && told && !run.err.contains(Code::Panicked.as_str());
                assert!(fine, "{what} {instead:?} {command:?}: {run:?}");
                if run.status == 0 && what != "clock" && what != "lock" {
                    let unread = matches!(
                        (what, command[0]),
                        ("key" | "configuration", "verify" | "show" | "replay")
                            | ("content", _)
                            | ("checkpoint", "show")
                    );
                    assert!(unread, "{what} {instead:?} {command:?} does not notice it");
                }
            }
        }
    }
}

/// They are derived, so they are made anew.
#[test]
fn views_with_something_else_in_them_are_begun_anew() {
    let base = ledger();
    let show = ["show", "--json", "acme", "n-1"];
    let before = bounded(&show, &base).ended(0).out;
    for instead in [Instead::Pipe, Instead::LinkToZeros, Instead::LinkOutOfTheFolder] {
        let scene = base.again();
        for file in files(&scene.inside("views")) {
            instead.of(&file);
        }
        assert_eq!(bounded(&show, &scene).ended(0).out, before, "{instead:?}");
    }
}
