//! The clock: entries that come from the future, as a clock leaves them that has gone back since.

use serde_json::json;

use writ::clock::Clock;
use writ::ledger::Opened;
use writ::sequencer::{Answer, Submitted};
use writ_schemas::act::Statement;
use writ_schemas::errors::Code;
use writ_schemas::event::Event;
use writ_schemas::ids::UnixMicros;

use super::{entries, told};
use crate::ledgers::HOUR;
use crate::scene::{Scene, holds, hours_ahead, note, with, writ};

#[cfg(target_os = "linux")]
mod shifted;

/// A ledger that was written last when the clock showed this; and what an intent that was decided long before, `n-1`, was
/// answered when it came again then.
fn written_at(at: UnixMicros) -> (Scene, Answer) {
    let scene = Scene::new();
    let first = entries(&scene).into_iter().find_map(|located| match located.entry.event() {
        Ok(Event::IntentAdmitted(admitted)) => Some(admitted.intent),
        _ => None,
    });
    let first = Submitted::Intent(Box::new(first.expect("n-1")));
    let folder = writ::folder::Folder::at(scene.data());
    let clock = Clock::manual(at);
    let ledger = Opened::open(&folder, clock.clone()).expect("opens").start(|failure| panic!("{failure}"));
    let ledger = ledger.expect("starts");
    let thaw = Statement::Thaw { principal: None, tenant: None };
    let act = writ::ledger::act(&folder, &ledger.handle().genesis, thaw, &clock).expect("an act");
    let mut answers =
        ledger.handle().submit_all(vec![(first, 1), (Submitted::Act(Box::new(act)), 1)]).expect("answers");
    assert!(matches!(answers.pop(), Some(Answer::Recorded(_))));
    ledger.finish().expect("finishes");
    (scene, answers.pop().expect("an answer"))
}

#[test]
fn a_clock_that_went_back_stops_the_writer() {
    let (scene, _) = written_at(hours_ahead(1));
    let before = entries(&scene).len();
    let run = scene.submit(note("late").to_string().as_bytes(), &["--json"]);
    told(&run, Code::ClockBehind);
    assert_eq!((&*run.out, entries(&scene).len()), ("", before), "nothing is told and nothing written");
    told(&writ(["freeze", "--data", scene.data(), "--reason", "r"]), Code::ClockBehind);
    // Who only reads may go on: what is there follows from itself.
    holds(scene.data());
    writ(["show", "--data", scene.data(), "acme", "n-1"]).ended(0);
}

/// A step of NTP is no reason to stop: time stands until the clock has caught up, and still rises strictly.
#[test]
fn a_clock_that_went_back_a_little_is_waited_out() {
    let (scene, again) = written_at(UnixMicros(hours_ahead(0).0 + 8_000_000));
    assert!(matches!(again, Answer::Known(_)), "{again:?}");
    let ahead = entries(&scene).last().expect("entries").entry.header.recorded_at;
    scene.submit(note("soon").to_string().as_bytes(), &["--json"]).ended(0);
    assert!(entries(&scene).last().expect("entries").entry.header.recorded_at > ahead);
    rises_and_replays(&scene);
}

/// From one opening to the next a jump forward is believed, whatever its size, if the machine was off in between: an id is
/// forgotten early, and its intent has expired. When the clock is set right again the writer stops.
#[test]
fn a_wrong_clock_at_the_start_is_believed_and_its_correction_stops_the_writer() {
    let clock_shows = UnixMicros(hours_ahead(0).0 + 400 * 24 * HOUR);
    let (scene, again) = written_at(clock_shows);
    let Answer::Refused(refusal) = again else { panic!("{again:?}") };
    assert_eq!(refusal.code, Code::IntentExpired);
    let last = entries(&scene).last().expect("entries").entry.header.recorded_at;
    assert!(last >= clock_shows, "{last:?}");
    for _ in 0..2 {
        told(&scene.submit(note("late").to_string().as_bytes(), &[]), Code::ClockBehind);
    }
    let why = scene.submit(note("late").to_string().as_bytes(), &[]).err;
    assert!(why.contains("us behind entry"), "{why}");
    let verified = writ(["verify", "--json", "--data", scene.data()]).ended(0).json();
    assert_eq!(verified["ok"], json!(true));

    // Operators let it go on; what was over stays over, and what lasts long enough is decided.
    writ(["clock", "--data", scene.data()]).ended(0);
    let over = scene.submit(note("n-1").to_string().as_bytes(), &["--json"]).ended(1).json();
    assert_eq!(over["code"], json!("ERR_INTENT_EXPIRED"));
    let long = with(note("long"), "expires_at", json!(clock_shows.0 + 24 * HOUR));
    let passed = scene.submit(long.to_string().as_bytes(), &["--json"]).ended(0).json();
    assert_eq!(passed["decision"]["payload"]["verdict"], json!("PASS"));
    rises_and_replays(&scene);
}

#[track_caller]
fn rises_and_replays(scene: &Scene) {
    let times: Vec<UnixMicros> = entries(scene).iter().map(|it| it.entry.header.recorded_at).collect();
    assert!(times.windows(2).all(|pair| pair[0] <= pair[1]), "{times:?}");
    holds(scene.data());
}
