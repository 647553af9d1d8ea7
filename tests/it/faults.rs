//! Each call on a file of a ledger fails once, in each of some ways, or the process is killed at it. Whatever it is: no panic, no
//! hang, a registered code where something could not be done, and nothing is lost that was acknowledged.
//!
//! Calls are counted over all threads of a process (`faults.c`). A plain run has some of them fail, evenly spread; with
//! `WRIT_FAULTS=all` each does, in each way.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use writ_schemas::errors::Code;

use crate::preload::preload;
use crate::scene::{Run, Scene, WRIT, case, finish, holds_or, init, note, within, writ, writ_reading};

/// How many calls fail in each way in a plain run, for each command.
const SAMPLED: u64 = 6;

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Fails(&'static str, i32),
    Kills,
}

/// As in errno(3).
const WAYS: [How; 5] =
    [How::Fails("EIO", 5), How::Fails("ENOSPC", 28), How::Fails("EMFILE", 24), How::Fails("EINTR", 4), How::Kills];

/// Runs commands under faults.
struct Faults {
    count: PathBuf,
    below: PathBuf,
    at: u64,
    how: How,
}

impl Faults {
    /// The `at`-th call on a file below `below` ends so; none for 0.
    fn new(below: &Path, at: u64, how: How) -> Faults {
        let count = below.with_extension("count");
        std::fs::write(&count, [0; 8]).expect("a file");
        Faults { count, below: below.to_owned(), at, how }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(WRIT);
        let error = if let How::Fails(_, error) = self.how { error } else { 0 };
        command.env("LD_PRELOAD", preload("faults")).env("FAULT_COUNT", &self.count).env("FAULT_BELOW", &self.below);
        command.env("FAULT_AT", self.at.to_string()).env("FAULT_ERRNO", error.to_string());
        command
    }

    /// How many calls there were.
    fn counted(&self) -> u64 {
        u64::from_ne_bytes(std::fs::read(&self.count).expect("a file").try_into().expect("eight bytes"))
    }
}

/// The places at which calls fail in one way: all of them, or some.
fn places(calls: u64, way: u64) -> Vec<u64> {
    if std::env::var_os("WRIT_FAULTS").is_some_and(|it| it == "all") {
        return (1..=calls).collect();
    }
    let ways = u64::try_from(WAYS.len()).expect("a few");
    (0..SAMPLED.min(calls))
        .map(|n| 1 + (n * calls + way * calls / ways) / SAMPLED.min(calls))
        .filter(|at| *at <= calls)
        .collect()
}

/// Has a command meet each fault, on a ledger that `prepare` makes, and holds what comes of it against what always must be.
fn meets(
    prepare: impl Fn() -> Scene,
    act: impl Fn(&Scene, &Faults) -> Run,
    check: impl Fn(&Scene, &Run, How) -> Result<(), String>,
) {
    let scene = prepare();
    let none = Faults::new(Path::new(scene.data()), 0, How::Kills);
    act(&scene, &none).ended(0);
    let (calls, mut wrong, mut met) = (none.counted(), Vec::new(), 0);
    assert!(calls > 10, "{calls} calls: nothing was counted");
    for (way, how) in (0..).zip(WAYS) {
        for at in places(calls, way) {
            let scene = prepare();
            let run = act(&scene, &Faults::new(Path::new(scene.data()), at, how));
            met += 1;
            if let Err(why) = always(&run, how).and_then(|()| check(&scene, &run, how)) {
                wrong.push(format!("call {at} of {calls}, {how:?}: {why}\n  status {}\n  {}", run.status, run.err));
            }
        }
    }
    eprintln!("{met} faults met at {calls} calls");
    assert!(wrong.is_empty(), "{} of {met} went wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn always(run: &Run, how: How) -> Result<(), String> {
    let killed = how == How::Kills && run.status == 128 + 9;
    if !killed && !(0..=2).contains(&run.status) {
        return Err("another exit status".to_owned());
    }
    if run.err.contains(Code::Panicked.as_str()) || run.err.contains("panicked") {
        return Err("a panic".to_owned());
    }
    if !killed && run.status != 0 && !Code::ALL.iter().any(|code| run.err.contains(code.as_str())) {
        return Err("no registered code".to_owned());
    }
    Ok(())
}

/// What was acknowledged is there, and the ledger goes on.
fn nothing_is_lost(scene: &Scene, run: &Run) -> Result<(), String> {
    let next = scene.submit(note("n-next").to_string().as_bytes(), &[]);
    if next.status != 0 {
        return Err(format!("it does not go on: {}", next.err));
    }
    for line in run.lines() {
        if let Some(id) = line.pointer("/decision/payload/id").and_then(|id| id.as_str()) {
            case(scene.data(), "acme", id).map_err(|why| format!("{id} was acknowledged: {why}"))?;
        }
    }
    holds_or(scene.data())
}

fn intents() -> Vec<u8> {
    (0..3).map(|n| note(&format!("f-{n}")).to_string() + "\n").collect::<String>().into_bytes()
}

#[test]
fn init_makes_a_ledger_or_can_be_run_again() {
    let act = |scene: &Scene, faults: &Faults| finish(faults.command().args(init(scene.data())), b"");
    meets(Scene::bare, act, |scene, run, _| {
        let again = writ(init(scene.data()));
        let made = again.status == 0 && run.status != 0;
        if !(made || again.status == 2 && again.err.contains(Code::LogExists.as_str())) {
            return Err(format!("again, status {}: {}", again.status, again.err));
        }
        nothing_is_lost(scene, &Run { out: String::new(), ..run.clone() })
    });
}

#[test]
fn submit_acknowledges_what_is_there() {
    let base = Scene::new();
    let act = |scene: &Scene, faults: &Faults| {
        finish(faults.command().args(["submit", "--json", "--data", scene.data()]), &intents())
    };
    meets(|| base.again(), act, |scene, run, _| nothing_is_lost(scene, run));
}

#[test]
fn serve_acknowledges_what_is_there() {
    let base = Scene::new();
    let act = |scene: &Scene, faults: &Faults| {
        let mut served = faults.command();
        served.args(["serve", "--data", scene.data()]).stdout(Stdio::null());
        let errors = scene.dir.path().join("errors");
        let mut child = served.stderr(std::fs::File::create(&errors).expect("a file")).spawn().expect("it starts");
        let mut status = None;
        within("an answer on the socket, or its end", || {
            status = child.try_wait().expect("a child");
            status.is_some() || UnixStream::connect(scene.inside("writ.sock")).is_ok()
        });
        let mut out = String::new();
        if status.is_none() {
            out = writ_reading(&intents(), ["submit", "--json", "--data", scene.data()]).out;
            let _ = Command::new("kill").arg(child.id().to_string()).stderr(Stdio::null()).status();
        }
        within("its end", || {
            status = child.try_wait().expect("a child");
            status.is_some()
        });
        let signal = |status: &std::process::ExitStatus| std::os::unix::process::ExitStatusExt::signal(status);
        let status = status.map_or(0, |it| it.code().unwrap_or_else(|| 128 + signal(&it).unwrap_or_default()));
        Run { status, out, err: std::fs::read_to_string(&errors).expect("reads") }
    };
    meets(|| base.again(), act, |scene, run, _| nothing_is_lost(scene, run));
}

/// The ledger is whole, so nothing else may be said of it.
#[test]
fn verify_calls_nothing_broken_that_it_could_not_read() {
    let base = Scene::new();
    let act = |scene: &Scene, faults: &Faults| finish(faults.command().args(["verify", "--data", scene.data()]), b"");
    meets(|| base.again(), act, |_, run, _| if run.status == 1 { Err(format!("broken: {}", run.out)) } else { Ok(()) });
}

#[test]
fn show_says_what_it_could_not_do() {
    let base = Scene::new();
    let show = ["show", "acme", "n-1", "--data"];
    let act = |scene: &Scene, faults: &Faults| finish(faults.command().args(show).arg(scene.data()), b"");
    meets(
        || base.again(),
        act,
        |scene, _, _| {
            let again = writ(show.iter().copied().chain([scene.data()]));
            if again.status == 0 { holds_or(scene.data()) } else { Err(format!("again: {}", again.err)) }
        },
    );
}
