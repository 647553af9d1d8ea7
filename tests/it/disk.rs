//! A disk that is full, and one that is only read. `disk.c` gives a process a disk of its own below the ledger's folder, on which the
//! test says how much is free.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use writ_schemas::errors::Code;

use crate::preload::preload;
use crate::scene::{Run, Scene, Served, WRIT, finish, holds, note, signed, with, within, writ};
use crate::service::{Manner, Service};
use crate::unserved::calling;

/// More than anything here writes.
const PLENTY: i64 = 1 << 40;
const FULL: i64 = 0;
const ONLY_READ: i64 = -1;

struct Disk {
    room: PathBuf,
    below: PathBuf,
}

impl Disk {
    fn of(scene: &Scene, bytes: i64) -> Disk {
        let disk = Disk { room: scene.dir.path().join("room"), below: scene.data().into() };
        fs::write(&disk.room, bytes.to_ne_bytes()).expect("a file");
        disk
    }

    /// From now on so many bytes are free.
    fn has(&self, bytes: i64) {
        let file = OpenOptions::new().write(true).open(&self.room).expect("a file");
        file.write_all_at(&bytes.to_ne_bytes(), 0).expect("written"); // in place: processes have it mapped
    }

    fn command(&self) -> Command {
        let mut command = Command::new(WRIT);
        command.env("LD_PRELOAD", preload("disk")).env("DISK_ROOM", &self.room).env("DISK_BELOW", &self.below);
        command
    }
}

fn intent(scene: &Scene, intent: &Value) -> Vec<u8> {
    signed(intent, &scene.key("producer.key"))
}

fn submit(served: &Served, envelope: &[u8]) -> (u16, String) {
    served.ask("POST", "/v1/intents", "application/json", envelope)
}

fn get(served: &Served, path: &str) -> (u16, String) {
    served.ask("GET", path, "", b"")
}

fn is_full(answer: &(u16, String)) -> bool {
    answer.0 == Code::DiskFull.entry().http && answer.1.contains(Code::DiskFull.as_str())
}

/// Submits notes until one is refused for want of room. Those before it.
fn until_refused(scene: &Scene, served: &Served, prefix: &str) -> Vec<Vec<u8>> {
    let mut taken = Vec::new();
    within("a refusal for want of room", || {
        let envelope = intent(scene, &note(&format!("{prefix}-{}", taken.len())));
        match submit(served, &envelope) {
            (200, _) => taken.push(envelope),
            refused => {
                assert!(is_full(&refused), "{refused:?}");
                return true;
            }
        }
        false
    });
    taken
}

/// The names of what is half made in a folder.
fn half_made(folder: &Path) -> Vec<PathBuf> {
    let names = files(folder).into_keys();
    names.filter(|path| path.extension().is_some_and(|extension| extension == "new")).collect()
}

/// Every file below a folder, with its length; folders have none.
fn files(folder: &Path) -> BTreeMap<PathBuf, Option<u64>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let meta = entry.metadata().expect("a file");
        if meta.is_dir() {
            found.extend(files(&entry.path()));
        }
        found.insert(entry.path(), meta.is_file().then_some(meta.len()));
    }
    found
}

#[test]
fn what_is_served_outlasts_a_full_disk() {
    // Longer than what stands beside a receipt.
    let far = Service::new(Manner::Waits(json!({ "text": "x".repeat(100_000) }).to_string().into_bytes()));
    let scene = calling(far.port, 120);
    let disk = Disk::of(&scene, PLENTY);
    let served = Served::by(disk.command(), Path::new(scene.data()));
    // One call is under way, and another has passed and waits for its turn.
    for id in ["called", "waits"] {
        let call = intent(&scene, &with(note(id), "action", json!("call")));
        assert_eq!(submit(&served, &call).0, 200);
    }
    assert!(far.was_called(1));
    assert_eq!(get(&served, "/health/ready").0, 200);

    disk.has(FULL);
    let taken = until_refused(&scene, &served, "before");
    // No new work, and it says so; answers, what is under way, and what operators order.
    let (status, body) = get(&served, "/health/ready");
    assert!(status == 503 && body.contains(Code::DiskFull.as_str()), "{status} {body}");
    assert!(get(&served, "/metrics").1.contains("writ_disk_short 1"));
    assert_eq!(get(&served, "/health/live").0, 200);
    for envelope in taken.first().into_iter().chain(taken.last()) {
        let known = submit(&served, envelope);
        assert!(known.0 == 200 && known.1.contains("\"known\""), "{known:?}");
    }
    let add = ["evidence", "add", "--data", scene.data(), "--tenant", "acme", "--kind", "ticket"];
    assert!(writ(add).ended(2).err.contains(Code::DiskFull.as_str()));
    writ(["freeze", "--data", scene.data(), "--reason", "no room"]).ended(0);
    writ(["thaw", "--data", scene.data()]).ended(0);
    far.answer();
    within("the receipt of what was under way", || {
        let (status, body) = get(&served, "/v1/decisions/acme/called");
        status == 200 && body.contains("SUCCEEDED") && body.contains(&"x".repeat(100_000))
    });
    within("answers", || {
        ["/v1/usage", "/v1/entries/0", "/v1/approvals/acme"].iter().all(|it| get(&served, it).0 == 200)
    });
    assert_eq!(far.calls(), 1, "what was not dispatched waits");

    disk.has(PLENTY);
    within("that it goes on by itself", || get(&served, "/health/ready").0 == 200);
    let after = submit(&served, &intent(&scene, &note("after")));
    assert_eq!(after.0, 200, "{after:?}");
    assert!(far.was_called(2));
    served.stop();
    assert_eq!(half_made(Path::new(scene.data())), Vec::<PathBuf>::new());
    holds(scene.data());
}

/// A ledger that is served on a disk that is full, and has nothing left of its own: it takes no intent any more, and stands still once acts
/// have filled what it has. How many intents it was asked.
fn almost_out(scene: &Scene) -> (Disk, Served, usize) {
    let disk = Disk::of(scene, PLENTY);
    let served = Served::by(disk.command(), Path::new(scene.data()));
    disk.has(FULL);
    let asked = until_refused(scene, &served, "before").len() + 1;
    let reserve = OpenOptions::new().write(true).open(scene.inside("reserve")).expect("a file");
    reserve.set_len(0).expect("a length");
    (disk, served, asked)
}

/// Orders until something is refused. That is refused, or the last answer.
fn ordering(scene: &Scene) -> std::thread::JoinHandle<u16> {
    let reason = "no room ".repeat(100);
    let acts: Vec<Vec<u8>> = (0..400).map(|_| freeze(scene, &reason)).collect();
    let socket = scene.inside("writ.sock");
    std::thread::spawn(move || {
        let answers =
            acts.iter().map(|act| Served::ask_at_socket(&socket, "POST", "/v1/acts", "application/json", act).0);
        answers.into_iter().find(|status| *status != 200).unwrap_or(200)
    })
}

fn stands_still(served: &Served) -> bool {
    get(served, "/metrics").1.contains("writ_disk_short 2")
}

/// The writer stands still in the middle of what an operator orders, whose answer comes once it goes on, or never.
fn at_its_end(order: impl FnOnce(&Scene, &Disk, Served, std::thread::JoinHandle<u16>)) {
    let scene = Scene::new();
    let (disk, served, _) = almost_out(&scene);
    let ordering = ordering(&scene);
    within("a writer that stands still", || stands_still(&served));
    order(&scene, &disk, served, ordering);
    holds(scene.data());
}

/// An act that freezes a tenant that there is not.
fn freeze(scene: &Scene, reason: &str) -> Vec<u8> {
    use writ_schemas::act::Statement;
    let folder = writ::folder::Folder::at(scene.data());
    let genesis = writ::ledger::genesis(&folder).expect("a genesis");
    let tenant = Some(crate::ledgers::name("nobody"));
    let statement = Statement::Freeze { principal: None, reason: reason.to_owned(), tenant };
    writ::ledger::act(&folder, &genesis, statement, &writ::clock::Clock::Wall).expect("an act").to_envelope()
}

#[test]
fn a_writer_without_any_room_stands_still_and_goes_on() {
    at_its_end(|scene, disk, served, ordering| {
        let turned_away = || {
            let metrics = get(&served, "/metrics").1;
            let of = |line: &str| {
                line.strip_prefix("writ_intents_total{verdict=\"REFUSED\",code=\"ERR_DISK_FULL\"} ")?
                    .parse::<u64>()
                    .ok()
            };
            metrics.lines().find_map(of).expect("it is counted")
        };
        let before = turned_away();
        assert!(is_full(&submit(&served, &intent(scene, &note("x")))), "nobody is kept waiting");
        assert!(is_full(&Served::ask_socket(scene, "POST", "/v1/acts", "application/json", &freeze(scene, "at last"))));
        assert_eq!(turned_away(), before + 1, "intents are counted, acts are not");
        assert_eq!(get(&served, "/v1/entries/0").0, 200);
        assert!(!ordering.is_finished());
        disk.has(PLENTY);
        assert_eq!(ordering.join().expect("answers"), 200);
        within("that it goes on by itself", || get(&served, "/health/ready").0 == 200);
        assert_eq!(submit(&served, &intent(scene, &note("x"))).0, 200);
        served.stop();
        assert_eq!(half_made(Path::new(scene.data())), Vec::<PathBuf>::new());
    });
}

/// Whoever is told that the disk is full while the writer stands still has handed in what is answered later, and counted then.
#[test]
fn an_intent_is_counted_once_whether_or_not_its_client_gave_up() {
    // So many of both that the batch with which the writer stands still has both.
    const LINES: usize = 100;
    let scene = Scene::new();
    let (disk, served, asked) = almost_out(&scene);
    let (asked, still) = (AtomicUsize::new(asked), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for client in 0..4 {
            let (scene, served, asked, still) = (&scene, &served, &asked, &still);
            scope.spawn(move || {
                for n in (0..).take_while(|_| !still.load(Ordering::SeqCst)) {
                    served.ask("POST", "/v1/intents", "application/x-ndjson", "{\n".repeat(LINES).as_bytes());
                    submit(served, &intent(scene, &note(&format!("{client}-{n}"))));
                    asked.fetch_add(LINES + 1, Ordering::SeqCst);
                }
            });
        }
        let before = asked.load(Ordering::SeqCst);
        within("clients at work", || asked.load(Ordering::SeqCst) > before + 20 * LINES);
        let orderings = [(); 4].map(|()| ordering(&scene));
        within("a writer that stands still", || stands_still(&served));
        still.store(true, Ordering::SeqCst);
        for ordering in orderings {
            ordering.join().expect("answers, or it gave up");
        }
    });
    disk.has(PLENTY);
    within("that it goes on by itself", || get(&served, "/health/ready").0 == 200);
    assert_eq!(submit(&served, &intent(&scene, &note("after"))).0, 200, "what waited was answered before");
    let metrics = get(&served, "/metrics").1;
    let counts = metrics.lines().filter(|line| line.starts_with("writ_intents_total{"));
    let counts = counts.map(|line| line.rsplit_once(' ').expect("a value").1.parse::<usize>().expect("a number"));
    assert_eq!(counts.sum::<usize>(), asked.load(Ordering::SeqCst) + 1);
    served.stop();
    holds(scene.data());
}

#[test]
fn a_writer_without_any_room_can_be_stopped() {
    at_its_end(|scene, _, served, ordering| {
        served.signal("TERM");
        assert_eq!(served.ended().code(), Some(2));
        assert_ne!(ordering.join().expect("no answer"), 200);
        scene.submit(note("after").to_string().as_bytes(), &[]).ended(0);
    });
}

#[test]
fn what_begins_on_a_full_disk_waits_for_room_too() {
    let scene = Scene::new();
    let disk = Disk::of(&scene, FULL);
    fs::remove_dir_all(scene.inside("views")).expect("removed");
    let served = Served::by(disk.command(), Path::new(scene.data()));
    assert!(is_full(&submit(&served, &intent(&scene, &note("x")))));
    assert!(is_full(&get(&served, "/health/ready")));
    within("answers", || get(&served, "/v1/decisions/acme/n-1").0 == 200);
    disk.has(PLENTY);
    within("that it goes on by itself", || get(&served, "/health/ready").0 == 200);
    assert_eq!(submit(&served, &intent(&scene, &note("x"))).0, 200);
    served.stop();
    holds(scene.data());
}

/// Whoever only asks needs no room, and makes nothing where nothing may be made.
#[test]
fn questions_are_answered_on_a_disk_that_is_full_or_only_read() {
    let base = Scene::new();
    let data = |scene: &Scene, more: &[&str]| [more, &["--data", scene.data()]].concat().join(" ");
    let commands: [&[&str]; 10] = [
        &["show", "acme", "n-1"],
        &["usage", "show"],
        &["graph", "show", "acme", "n-1"],
        &["log", "show"],
        &["verify"],
        &["replay"],
        &["policy", "explain", "acme", "r-1"],
        &["approvals", "list"],
        &["outcome", "list", "--tenant", "acme", "--connector", "echo"],
        &["show", "acme", "n-1", "--json"],
    ];
    let (views, lock) = (["views"].as_slice(), ["lock"].as_slice());
    for (room, removed) in [(FULL, views), (FULL, lock), (ONLY_READ, &[]), (ONLY_READ, views), (ONLY_READ, lock)] {
        let scene = base.again();
        for name in removed {
            let path = scene.inside(name);
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.expect("removed");
        }
        let disk = Disk::of(&scene, room);
        let before = files(Path::new(scene.data()));
        for command in commands {
            let scratch = scene.dir.path().join("scratch");
            fs::create_dir_all(&scratch).expect("a folder");
            let args = data(&scene, command);
            let asked = finish(disk.command().args(args.split(' ')).env("TMPDIR", &scratch), b"");
            let Run { status, out, err } = &asked;
            assert!(*status == 0 && !out.is_empty(), "{args}, room {room}, without {removed:?}: {status} {err}");
            assert_eq!(fs::read_dir(&scratch).expect("a folder").count(), 0, "{args} leaves something behind");
        }
        let after = files(Path::new(scene.data()));
        assert!(room == FULL || after == before, "{after:?}");
        assert_eq!(half_made(Path::new(scene.data())), Vec::<PathBuf>::new());
    }
}
