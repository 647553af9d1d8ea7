//! What happens around a process: its streams go away, signals come, the machine has no more room or threads, a thread panics. It
//! goes on or ends as it should, and says why.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use writ_schemas::errors::Code;

use crate::preload::preload;
use crate::scene::{Run, Scene, Served, WRIT, finish, holds, init, note, signal, with, within, writ};
use crate::unserved::Endpoint;

/// Waits until the ledger of a scene answers on its socket.
fn answers(scene: &Scene) {
    within("an answer on the socket", || std::os::unix::net::UnixStream::connect(scene.inside("writ.sock")).is_ok());
}

/// A command that heeds signals, also where whoever runs the tests has them ignored, as `nohup` does.
fn heeding() -> Command {
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP,INT,TERM", WRIT]);
    command
}

fn serve(scene: &Scene) -> Command {
    let mut command = heeding();
    command.args(["serve", "--http", "127.0.0.1:0", "--data", scene.data()]);
    command
}

#[test]
fn a_ledger_goes_on_when_nobody_reads_what_it_says() {
    let scene = Scene::new();
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a full device");
    let streams: [(&str, &dyn Fn() -> Stdio); 2] = [("closed", &Stdio::piped), ("full", &|| full().into())];
    for (what, stream) in streams {
        let mut child = serve(&scene).stderr(stream()).spawn().expect("it starts");
        if let Some(stderr) = child.stderr.take() {
            // As `head -1` does.
            BufReader::new(stderr).read_line(&mut String::new()).expect("a line");
        }
        answers(&scene);
        scene.submit(note(&format!("n-{what}")).to_string().as_bytes(), &[]).ended(0);
        let (_, metrics) = Served::ask_socket(&scene, "GET", "/metrics", "", b"");
        let lost = metrics.lines().find_map(|line| line.strip_prefix("writ_lines_lost_total ")?.parse::<u64>().ok());
        assert!(lost.is_some_and(|lost| what == "closed" || lost > 0), "{what}: {lost:?}");
        signal(&child, "TERM");
        assert_eq!(child.wait().expect("a child").code(), Some(0), "{what}");
    }
    holds(scene.data());
}

#[test]
fn a_closed_terminal_ends_it_politely() {
    let scene = Scene::new();
    let mut child = serve(&scene).stderr(Stdio::null()).spawn().expect("it starts");
    answers(&scene);
    signal(&child, "HUP");
    assert_eq!(child.wait().expect("a child").code(), Some(0));
    assert!(!scene.inside("writ.sock").exists(), "the socket is gone");
    let report = writ(["verify", "--json", "--data", scene.data()]).ended(0).json();
    assert_eq!(report["checkpoint"], report["entries"], "it is sealed");
}

#[test]
fn who_is_to_outlive_the_terminal_does() {
    let scene = Scene::new();
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", WRIT, "serve", "--data", scene.data()]);
    let mut child = command.stderr(Stdio::null()).spawn().expect("it starts");
    answers(&scene);
    signal(&child, "HUP");
    scene.submit(note("n-after").to_string().as_bytes(), &[]).ended(0);
    signal(&child, "TERM");
    assert_eq!(child.wait().expect("a child").code(), Some(0));
}

#[test]
fn a_limit_on_the_size_of_files_is_a_failure_in_words() {
    let scene = Scene::bare();
    let limited = |args: &[&str]| {
        let script = "ulimit -f 16 && exec \"$0\" \"$@\"";
        finish(Command::new("sh").env("POSIXLY_CORRECT", "1").args(["-c", script, WRIT]).args(args), b"")
    };
    let run = limited(&init(scene.data())).ended(2);
    assert!(run.err.contains(Code::LogWrite.as_str()), "{}", run.err);
    writ(init(scene.data())).ended(0);
}

/// A command in a process that gets no more threads while the file is there.
fn without_threads(none: &Path) -> Command {
    let mut command = Command::new(WRIT);
    command.env("LD_PRELOAD", preload("threads")).env("NO_THREADS_WHILE", none);
    command
}

fn told(run: &Run, code: Code) {
    assert!(run.status == i32::from(code.entry().exit) && run.err.contains(code.as_str()), "{run:?}");
    assert!(run.out.is_empty() && !run.err.contains("panicked"), "{run:?}");
}

#[test]
fn a_machine_without_threads_is_told_at_once() {
    let scene = Scene::new();
    let none = PathBuf::from(scene.file("none", ""));
    for args in [&["serve"][..], &["submit"], &["verify"], &["show", "acme", "n-1"], &["init"]] {
        let run =
            finish(without_threads(&none).args(args).args(["--data", scene.data()]), note("x").to_string().as_bytes());
        told(&run, Code::Threads);
    }
}

#[test]
fn a_call_without_a_thread_certainly_did_nothing() {
    let (scene, endpoint) = (Scene::bare(), Endpoint::new());
    let bundle = scene.policy(serde_json::to_string(&crate::ledgers::bundle(endpoint.port)).expect("JSON"));
    writ(init(scene.data()).into_iter().chain(["--policy", &bundle])).ended(0);
    let none = scene.dir.path().join("none");
    let served = Served::by(without_threads(&none), Path::new(scene.data()));
    std::fs::write(&none, "").expect("a file");
    let call = with(note("c-1"), "action", json!("call"));
    scene.submit(call.to_string().as_bytes(), &[]).ended(0);
    let receipt = || -> Option<Value> {
        let (_, body) = served.ask("GET", "/v1/decisions/acme/c-1?at_least=head", "", b"");
        serde_json::from_str::<Value>(&body).ok()?.pointer("/receipts/0/event/payload").cloned()
    };
    within("a receipt", || receipt().is_some());
    let receipt = receipt().expect("a receipt");
    assert_eq!((&receipt["status"], &receipt["code"]), (&json!("FAILED"), &json!("ERR_CONNECTOR_UNAVAILABLE")));
    assert_eq!(endpoint.calls(), 0);
    served.stop();
}

#[test]
fn a_fault_in_the_writer_ends_the_process_with_a_report() {
    let scene = Scene::new();
    for thread in ["sequencer", "checkpointer", "executor"] {
        let run = finish(serve(&scene).env("WRIT_PANIC_IN", thread), b"");
        told(&run, Code::Panicked);
        assert!(run.err.contains(&format!("thread {thread}")) && run.err.contains("src/threads.rs"), "{}", run.err);
        assert!(run.err.contains(env!("CARGO_PKG_VERSION")) && run.err.contains("panic_if_asked"), "{}", run.err);
    }
    holds(scene.data());
}

#[test]
fn views_end_alone_and_come_back() {
    let scene = Scene::new();
    let mut command = Command::new(WRIT);
    command.env("WRIT_PANIC_IN", "views");
    let served = Served::by(command, Path::new(scene.data()));
    let ready = || served.ask("GET", "/health/ready", "", b"");
    within("views that have ended", || {
        let (_, body) = served.ask("GET", "/metrics", "", b"");
        body.contains("writ_views_lost_total 1")
    });
    let (_, problem) = ready();
    assert!(problem.contains("true") || problem.contains(Code::ViewDamaged.as_str()), "{problem}");
    scene.submit(note("n-meanwhile").to_string().as_bytes(), &[]).ended(0);
    within("views that are there again", || ready().0 == 200);
    let (status, case) = served.ask("GET", "/v1/decisions/acme/n-meanwhile?at_least=head", "", b"");
    assert_eq!(status, 200, "{case}");
    served.stop();
    holds(scene.data());
}

/// A `writ submit` whose input stays open, and its output line by line.
struct Submitting {
    child: Child,
    input: Option<std::process::ChildStdin>,
    output: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Submitting {
    fn to(scene: &Scene) -> Submitting {
        let mut command = heeding();
        command.args(["submit", "--json", "--data", scene.data()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let (input, output) = (child.stdin.take(), child.stdout.take().expect("a pipe"));
        Submitting { child, input, output: BufReader::new(output).lines() }
    }

    fn answer(&mut self) -> Option<Value> {
        let line = self.output.next()?.expect("a line");
        Some(serde_json::from_str(&line).expect("JSON"))
    }
}

#[test]
fn a_line_is_answered_while_the_input_is_open_and_an_interrupt_ends_it() {
    for (name, number) in [("INT", 2), ("TERM", 15), ("HUP", 1)] {
        let scene = Scene::new();
        let mut submitting = Submitting::to(&scene);
        for id in ["n-a", "n-b"] {
            let line = note(id).to_string() + "\n";
            submitting.input.as_mut().expect("open").write_all(line.as_bytes()).expect("it reads");
            let answer = submitting.answer().expect("an answer");
            assert_eq!(answer.pointer("/decision/payload/id"), Some(&json!(id)));
        }
        signal(&submitting.child, name);
        assert_eq!(submitting.answer(), None);
        assert_eq!(submitting.child.wait().expect("a child").code(), Some(128 + number), "{name}");
        let report = writ(["verify", "--json", "--data", scene.data()]).ended(0).json();
        assert_eq!(report["checkpoint"], report["entries"], "it is sealed");
        assert_eq!(report["receipts"], json!(5), "what passed was carried out");
    }
}

#[test]
fn an_interrupt_in_the_middle_of_much_leaves_nothing_uncertain() {
    let scene = Scene::new();
    let mut submitting = Submitting::to(&scene);
    let mut input = submitting.input.take().expect("open");
    let feed = std::thread::spawn(move || {
        // Until nobody reads any more.
        (0..).find(|n| input.write_all((note(&format!("m-{n}")).to_string() + "\n").as_bytes()).is_err())
    });
    let first = submitting.answer().expect("an answer");
    assert_eq!(first.pointer("/decision/payload/id"), Some(&json!("m-0")));
    signal(&submitting.child, "INT");
    let mut told = 1;
    while submitting.answer().is_some() {
        told += 1;
    }
    assert_eq!(submitting.child.wait().expect("a child").code(), Some(130));
    assert!(feed.join().expect("no panic").is_some_and(|fed| fed >= told), "it went on reading");
    let report = writ(["verify", "--json", "--data", scene.data()]).ended(0).json();
    assert_eq!((&report["decisions"], &report["receipts"]), (&json!(4 + told), &json!(3 + told)));
    let uncertain = writ(["log", "show", "--json", "--data", scene.data()]).ended(0).out;
    assert!(!uncertain.contains("UNCERTAIN"), "nothing was cut off");
}
