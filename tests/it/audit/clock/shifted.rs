//! A wall clock that is set while the ledger is at work.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use writ_schemas::errors::Code;
use writ_schemas::event::EventKind;

use super::super::{entries, told};
use super::rises_and_replays;
use crate::scene::{Run, Scene, Served, WRIT, finish, hours_ahead, note, signed, with, within};
use crate::shift::Shift;

/// A ledger on a machine whose wall clock can be shifted, for its processes alone.
struct Shifted {
    scene: Scene,
    shift: Shift,
}

impl Shifted {
    fn new() -> Shifted {
        let scene = Scene::new();
        let shift = Shift::new(scene.dir.path().join("by"));
        Shifted { scene, shift }
    }

    /// The wall clock shows so many hours more than it is.
    fn set(&self, hours: i64) {
        self.shift.set(hours * 3_600_000_000);
    }

    fn command(&self) -> Command {
        let mut command = Command::new(WRIT);
        self.shift.give(&mut command);
        command
    }

    fn submit(&self, intent: &Value) -> Run {
        let input = intent.to_string();
        finish(self.command().args(["submit", "--json", "--data", self.scene.data()]), input.as_bytes())
    }

    fn writ(&self, args: &[&str]) -> Run {
        finish(self.command().args(args).args(["--data", self.scene.data()]), b"")
    }
}

#[test]
fn a_jump_forward_stops_the_writer_until_it_is_corrected() {
    let there = Shifted::new();
    let served = Served::by(there.command(), Path::new(there.scene.data()));
    let intent = |id| signed(&note(id), &there.scene.key("producer.key"));
    let (status, _) = served.ask("POST", "/v1/intents", "application/json", &intent("before"));
    assert_eq!(status, 200);
    // What passed is carried out behind the answer.
    let ended = || entries(&there.scene).iter().filter(|it| it.entry.header.kind == EventKind::ReceiptIssued).count();
    within("every receipt", || ended() == 4);
    let before = entries(&there.scene).len();
    there.set(400 * 24);
    let (_, answer) = served.ask("POST", "/v1/intents", "application/json", &intent("during"));
    assert!(!answer.contains("PASS"), "{answer}");
    assert_eq!(served.ended().code(), Some(2));
    // Nor does it help to start again.
    told(&there.submit(&note("during")), Code::ClockJumped);
    told(&there.writ(&["serve"]), Code::ClockJumped);
    assert_eq!(entries(&there.scene).len(), before, "nothing has the wrong time");

    there.set(0);
    there.submit(&note("during")).ended(0);
    let again = there.submit(&note("before")).ended(1).json();
    assert_eq!(again["code"], json!("ERR_ID_REUSED"), "no id was forgotten");
    rises_and_replays(&there.scene);
    let last = entries(&there.scene).last().expect("entries").entry.header.recorded_at;
    assert!(last < hours_ahead(1), "{last:?}");
}

#[test]
fn a_clock_that_was_set_shows_before_it_stops_the_writer() {
    let there = Shifted::new();
    let served = Served::by(there.command(), Path::new(there.scene.data()));
    let intent = signed(&note("before"), &there.scene.key("producer.key"));
    assert_eq!(served.ask("POST", "/v1/intents", "application/json", &intent).0, 200);
    let ended = || entries(&there.scene).iter().filter(|it| it.entry.header.kind == EventKind::ReceiptIssued).count();
    within("every receipt, after which the writer has nothing to do", || ended() == 4);
    for (hours, stopped) in [(3, "1"), (-3, "1"), (0, "0")] {
        there.set(hours);
        within(&format!("off by {hours} hours"), || {
            let (_, shown) = served.ask("GET", "/metrics", "", b"");
            let value =
                |name| shown.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).expect("a value");
            let off: f64 = value("writ_clock_off_seconds").parse().expect("a number");
            (off / 3600.0).round() == hours as f64 && value("writ_clock_stopped") == stopped
        });
    }
    served.stop();
}

/// As after a boot: no process has kept a reading yet, and the one that meets the jump ends without a seal.
#[test]
fn a_jump_in_the_first_run_after_a_boot_is_not_believed_by_the_next() {
    let there = Shifted::new();
    std::fs::remove_file(there.scene.inside("clock")).expect("removes");
    let served = Served::by(there.command(), Path::new(there.scene.data()));
    let intent = |id| signed(&note(id), &there.scene.key("producer.key"));
    assert_eq!(served.ask("POST", "/v1/intents", "application/json", &intent("before")).0, 200);
    there.set(400 * 24);
    served.ask("POST", "/v1/intents", "application/json", &intent("during"));
    assert_eq!(served.ended().code(), Some(2));
    for _ in 0..2 {
        told(&there.writ(&["serve"]), Code::ClockJumped);
        told(&there.submit(&note("during")), Code::ClockJumped);
    }
    there.set(0);
    there.submit(&note("during")).ended(0);
    rises_and_replays(&there.scene);
}

#[test]
fn operators_can_say_that_the_clock_is_right() {
    let there = Shifted::new();
    let lasting = |id| with(note(id), "expires_at", json!(hours_ahead(9)));
    // What they said of another time is not taken, even with all signatures; within the hour of that time it is.
    let out = there.scene.dir.path().join("early.json").to_string_lossy().into_owned();
    there.writ(&["act", "new", "clock", "--out", &out]).ended(0);
    finish(there.command().args(["act", "sign", &out, "--data", there.scene.data()]), b"").ended(0);
    // Forward, in truth.
    there.set(3);
    told(&there.submit(&lasting("forward")), Code::ClockJumped);
    told(&there.writ(&["act", "submit", &out]), Code::ActRefused);
    there.writ(&["clock"]).ended(0);
    there.submit(&lasting("forward")).ended(0);
    // And back: the ledger's time goes on, more slowly, and says so.
    there.set(0);
    told(&there.submit(&lasting("back")), Code::ClockBehind);
    let ahead = entries(&there.scene).last().expect("entries").entry.header.recorded_at;
    there.writ(&["act", "submit", &out]).ended(0);
    there.submit(&lasting("back")).ended(0);
    let last = entries(&there.scene).last().expect("entries").entry.header.recorded_at;
    assert!(ahead < last && last < hours_ahead(4), "{ahead:?} {last:?}");
    // What they allowed is no more than what they saw.
    there.set(-1);
    told(&there.submit(&lasting("further")), Code::ClockBehind);
    there.set(0);
    there.submit(&lasting("further")).ended(0);
    rises_and_replays(&there.scene);
}
