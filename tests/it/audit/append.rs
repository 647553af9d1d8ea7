//! A log that cannot be written: a limit on the size of files, which holds for root, too.

use std::process::Command;

use serde_json::{Value, json};
use writ_schemas::errors::Code;

use super::{AGENT, asks, entries, told};
use crate::ledgers::{files, used};
use crate::scene::{Run, Scene, WRIT, finish, holds, note, with, writ};
use crate::service::Service;
use crate::transcripts::after;

/// What a shell counts file sizes in.
const BLOCK: usize = 512;

/// Runs `writ` where no file may be longer than `blocks`; what goes beyond is an error and not a signal.
fn limited(blocks: usize, args: &[&str], input: &[u8]) -> Run {
    // The units of `ulimit -f` are 512 bytes in POSIX, whatever a shell calls its own.
    let script = format!("ulimit -f {blocks} && exec \"$0\" \"$@\"");
    finish(Command::new("sh").env("POSIXLY_CORRECT", "1").args(["-c", &script, WRIT]).args(args), input)
}

/// Where the log ends in its last segment, in bytes.
fn end(scene: &Scene) -> usize {
    let segments = files(&scene.inside("log"));
    used(&std::fs::read(segments.last().expect("a segment")).expect("reads"))
}

/// A ledger whose log is longer than any other file of its folder, so that a limit on the size of files is one on the log.
fn long_log() -> (Scene, Service) {
    let (scene, service) = after(
        "Given that agents may pay
        And agents may say
        And pay is carried out by a service that answers {}
        And agent-1 is an agent
        When agent-1 asks to say \"much\" text as s-1",
    );
    std::fs::write(scene.inside("writ.toml"), "").expect("segments of 16 MiB from now on");
    for id in ["fill-1", "fill-2"] {
        asks(&scene, scene.data(), &large(id, "say", 900_000)).ended(0);
    }
    (scene, service.expect("a service"))
}

fn large(id: &str, action: &str, letters: usize) -> Value {
    with(with(note(id), "action", json!(action)), "args", json!({"text": "x".repeat(letters)}))
}

/// Not a byte of the batch is written, or its first sectors are: no decision is told, nothing is called, and with room again
/// the intent is a new one.
#[test]
fn a_failed_append_is_a_hard_error_and_nothing_leaves() {
    for (room, whole) in [(0, true), (8, false)] {
        let (scene, service) = long_log();
        let key = scene.dir.path().join(AGENT).to_string_lossy().into_owned();
        let submit = ["submit", "--json", "--data", scene.data(), "--key", &key];
        let (before, pay) = (entries(&scene), large("p-1", "pay", 100_000));
        let blocks = end(&scene) / BLOCK + room;

        let run = limited(blocks, &submit, pay.to_string().as_bytes());
        told(&run, Code::LogWrite);
        assert_eq!((&*run.out, service.calls()), ("", 0), "no decision was told and nothing was called");
        let verify = || writ(["verify", "--json", "--data", scene.data()]);
        if whole {
            verify().ended(0);
        } else {
            // What stands there was never acknowledged. Verification says so, and the next opening cuts it.
            assert_eq!(verify().ended(1).json()["broken"]["code"], json!(Code::LogTail));
        }
        let report = verify().json();
        assert_eq!(report["entries"], json!(before.len()), "nothing of it is in the log: {report}");

        // The limit is on the log and on nothing else: whoever writes nothing is not hindered.
        let known = limited(blocks, &["log", "show", "--data", scene.data(), "--to", "1"], b"");
        known.ended(0);

        let run = asks(&scene, scene.data(), &pay).ended(0);
        assert_eq!((&run.json()["answer"], service.calls()), (&json!("decided"), 1));
        verify().ended(0);
        holds(scene.data());
    }
}
