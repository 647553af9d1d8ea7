//! What the machine refuses: space, permission, ports, locks, a Kafka that is not there.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use serde_json::json;
use writ_log::Lock;
use writ_schemas::errors::Code;

use super::{Row, row, skipped};
use crate::scene::{Run, Scene, Served, WRIT, finish, note, with, writ};

/// Each waits for a Kafka that is not there, most of the time.
pub(super) const SLOW: &[Row] = &[
    row("submit to a Kafka that is not there", Code::KafkaUnavailable, |it| {
        let line = crate::scene::signed(&note("x"), &it.key("producer.key"));
        writ(["submit", "--kafka", "127.0.0.1:1", &it.file("intents.jsonl", line)])
    }),
    row("init with a Kafka that is not there", Code::KafkaUnavailable, |it| {
        let fresh = it.dir.path().join("fresh");
        let run = writ(["init", "--data", &fresh.to_string_lossy(), "--kafka", "127.0.0.1:1"]);
        assert!(!fresh.exists(), "nothing is made");
        run
    }),
    // It is waited for, and what for is said: somebody ends it then.
    row("serve with a Kafka that is not there", Code::Ok, |it| {
        let script = r#"
            "$0" serve --data "$1" --kafka 127.0.0.1:1 2>"$1/../said" & served=$!
            for n in $(seq 600); do
                grep -q "waiting for Kafka.*ERR_KAFKA_UNAVAILABLE.*refused" "$1/../said" && break
                kill -0 $served || exit 90; sleep 0.1
            done
            kill $served; wait $served; test $? = 143"#;
        finish(Command::new("sh").args(["-c", script, WRIT, it.data()]), b"")
    }),
];

pub(super) const ROWS: &[Row] = &[
    row("a full disk, and init", Code::DiskFull, |it| {
        let script = r#"
            mount -t tmpfs -o size=64m none "$ROOM" || exit 77
            head -c 56m /dev/zero > "$ROOM/fill"
            "$WRIT" init --data "$ROOM/full"; status=$?
            rm "$ROOM/fill"
            "$WRIT" init --data "$ROOM/roomy" >/dev/null || exit 90
            "$WRIT" verify --data "$ROOM/roomy" >/dev/null || exit 91
            exit $status"#;
        mounting(it, script)
    }),
    row("a full disk, and the next segment", Code::DiskFull, |it| {
        // More than the 16 MiB of a segment, and no room for a second one.
        let text = "x".repeat(950_000);
        let line = |at: usize| with(note(&format!("b-{at}")), "args", json!({ "text": text })).to_string() + "\n";
        it.file("room.jsonl", (0..19).map(line).collect::<String>());
        mounting(it, &full_disk("44m"))
    }),
    row("a full disk, and an intent", Code::DiskFull, |it| {
        it.file("room.jsonl", note("b-1").to_string());
        mounting(it, &full_disk("64m"))
    }),
    row("a full disk, and what is served", Code::Ok, |it| {
        it.file("b.jsonl", note("b-1").to_string());
        let script = r#"
            mount -t tmpfs -o size=16m none "$ROOM" || exit 77
            "$WRIT" init --segment-bytes 65536 --data "$ROOM/l" >/dev/null || exit 90
            until_told() {
                for n in $(seq 200); do
                    sed "s/b-1/$1-$n/" "$ROOM/../b.jsonl" | "$WRIT" submit --data "$ROOM/l" --json 2>&1 | grep -q $2 && return
                    kill -0 $served || return 1; sleep 0.1
                done
                false
            }
            "$WRIT" serve --data "$ROOM/l" >"$ROOM/../served" 2>&1 & served=$!
            for n in $(seq 200); do [ -S "$ROOM/l/writ.sock" ] && break; sleep 0.1; done
            until_told a decided || exit 92
            "$WRIT" submit --data "$ROOM/l" "$ROOM/../small.jsonl" >/dev/null || exit 92
            cat /dev/zero > "$ROOM/fill" 2>/dev/null
            until_told b ERR_DISK_FULL || exit 93
            for n in $(seq 200); do
                shown=no; "$WRIT" show --data "$ROOM/l" acme small >/dev/null 2>&1 && shown=yes && break; sleep 0.1
            done
            [ $shown = yes ] || exit 94
            "$WRIT" freeze --data "$ROOM/l" --reason 'no room' >/dev/null || exit 95
            "$WRIT" thaw --data "$ROOM/l" >/dev/null || exit 96
            rm "$ROOM/fill"
            until_told c decided || exit 97
            kill $served; wait $served || exit 98
            "$WRIT" verify --data "$ROOM/l" >/dev/null || exit 99
            [ -z "$(find "$ROOM/l" -name '*.new')" ] || exit 100"#;
        mounting(it, script)
    }),
    row("a full disk, and questions", Code::Ok, |it| {
        let script = r#"
            mount -t tmpfs -o size=64m none "$ROOM" || exit 77
            cp -r "$DATA" "$ROOM/l" && rm -r "$ROOM/l/views" && cat /dev/zero > "$ROOM/fill" 2>/dev/null
            for q in 'show acme n-1' 'usage show' 'graph show acme n-1' 'log show' verify replay 'approvals list'; do
                "$WRIT" $q --data "$ROOM/l" >/dev/null || exit 90
            done"#;
        mounting(it, script)
    }),
    row("a disk that is only read, and an intent", Code::Permission, |it| {
        let script = r#"
            mount --bind "$DATA" "$DATA" && mount -o remount,bind,ro "$DATA" || exit 77
            "$WRIT" verify --data "$DATA" >/dev/null || exit 90
            "$WRIT" submit --data "$DATA" "$ROOM/../small.jsonl""#;
        mounting(it, script)
    }),
    row("a disk that is only read, and questions", Code::Ok, |it| {
        let script = r#"
            mount --bind "$DATA" "$DATA" && mount -o remount,bind,ro "$DATA" || exit 77
            for q in 'show acme n-1' 'usage show' 'graph show acme n-1' 'log show' verify replay 'approvals list'; do
                "$WRIT" $q --data "$DATA" >/dev/null || exit 90
            done"#;
        mounting(it, script)
    }),
    row("a folder in which this user may not write", Code::Permission, |it| {
        let folder = it.dir.path().join("theirs");
        fs::create_dir(&folder).expect("a folder");
        let new = folder.join("ledger").to_string_lossy().into_owned();
        denied(&folder, 0o500, &["init", "--data", &new])
    }),
    row("a ledger that this user may not read", Code::Permission, |it| {
        denied(&it.inside("log"), 0o000, &["verify", "--data", it.data()])
    }),
    row("a folder that this user may not enter", Code::Permission, |it| {
        denied(Path::new(it.data()), 0o000, &["log", "show", "--data", it.data()])
    }),
    row("a lock that this user may not take", Code::Permission, |it| {
        let line = it.file("small.jsonl", note("x").to_string());
        denied(&it.inside("lock"), 0o400, &["submit", "--data", it.data(), &line])
    }),
    row("a segment that this user may not write", Code::Permission, |it| {
        let line = it.file("small.jsonl", note("x").to_string());
        denied(&it.inside("log/00000000000000000000.seg"), 0o400, &["submit", "--data", it.data(), &line])
    }),
    row("a configuration that this user may not read", Code::Permission, |it| {
        denied(&it.inside("writ.toml"), 0o000, &["serve", "--data", it.data()])
    }),
    row("a key that this user may not read", Code::KeyFile, |it| {
        denied(&it.inside("keys/operator.key"), 0o000, &["thaw", "--data", it.data()])
    }),
    row("an input that this user may not read", Code::InputFile, |it| {
        let line = it.file("small.jsonl", note("x").to_string());
        denied(Path::new(&line), 0o000, &["submit", "--data", it.data(), &line])
    }),
    row("nothing takes the answer", Code::Io, |it| {
        finish(Command::new("sh").args(["-c", "\"$0\" log show --data \"$1\" > /dev/full", WRIT, it.data()]), b"")
    }),
    row("another process writes", Code::LogLocked, |it| {
        let _held = Lock::acquire(&it.inside("lock")).expect("free");
        it.submit(note("x").to_string().as_bytes(), &[])
    }),
    row("another process writes, and a question", Code::LogLocked, |it| {
        let _held = Lock::acquire(&it.inside("lock")).expect("free");
        writ(["show", "--data", it.data(), "acme", "n-1"])
    }),
    row("a socket that nobody answers", Code::Ok, |it| {
        drop(std::os::unix::net::UnixListener::bind(it.inside("writ.sock")).expect("a socket"));
        writ(["show", "--data", it.data(), "acme", "n-1"]).ended(0);
        it.submit(note("x").to_string().as_bytes(), &[])
    }),
    row("two that serve", Code::LogLocked, |it| {
        let served = Served::new(it);
        let run = writ(["serve", "--data", it.data()]);
        let through_it = it.submit(note("x").to_string().as_bytes(), &[]);
        assert_eq!(through_it.status, 0, "the first one goes on: {through_it:?}");
        served.stop();
        run
    }),
    row("a busy port", Code::PortBusy, |it| {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("an address").to_string();
        writ(["serve", "--data", it.data(), "--http", &address])
    }),
    row("an address that is none", Code::Usage, |it| writ(["serve", "--data", it.data(), "--http", "here"])),
    row("an address that others reach", Code::Config, |it| writ(["serve", "--data", it.data(), "--http", "0.0.0.0:0"])),
    row("an address that others reach, in the configuration", Code::Config, |it| {
        it.configure("http = \"[::]:0\"\n");
        writ(["serve", "--data", it.data()])
    }),
    row("an address of another machine", Code::Usage, |it| {
        writ(["serve", "--data", it.data(), "--http", "192.0.2.1:80", "--http-open"])
    }),
    row("a name of a host with a port", Code::Config, |it| {
        writ(["serve", "--data", it.data(), "--http", "127.0.0.1:0", "--http-host", "ledger.example:80"])
    }),
    row("nobody at the URL", Code::Unreachable, |it| {
        let line = crate::scene::signed(&note("x"), &it.key("producer.key"));
        writ(["submit", "--url", "http://127.0.0.1:1", &it.file("intents.jsonl", line)])
    }),
    row("a URL that is none", Code::Usage, |it| {
        let line = crate::scene::signed(&note("x"), &it.key("producer.key"));
        writ(["submit", "--url", "here", &it.file("intents.jsonl", line)])
    }),
];

/// Puts so many bytes on a disk of 64 MiB after a first answer. With space again nothing acknowledged is missing, and what was refused is taken.
fn full_disk(fill: &str) -> String {
    format!(
        r#"
        mount -t tmpfs -o size=64m none "$ROOM" || exit 77
        "$WRIT" init --data "$ROOM/l" >/dev/null || exit 90
        submit() {{ "$WRIT" submit --data "$ROOM/l" --key "$ROOM/l/keys/producer.key" --json "$@"; }}
        submit "$ROOM/../small.jsonl" >/dev/null || exit 91
        head -c {fill} /dev/zero > "$ROOM/fill" 2>/dev/null
        submit "$ROOM/../room.jsonl" >/dev/null; status=$?
        rm "$ROOM/fill"
        submit "$ROOM/../small.jsonl" | grep -q '"answer":"known"' || exit 92
        head -n 1 "$ROOM/../room.jsonl" | submit >/dev/null || exit 93
        "$WRIT" verify --data "$ROOM/l" >/dev/null || exit 94
        "$WRIT" replay --data "$ROOM/l" >/dev/null || exit 95
        exit $status"#
    )
}

/// Runs a script that may mount, in a namespace of its own: what it mounts ends with it. `$ROOM` is an empty folder.
fn mounting(scene: &Scene, script: &str) -> Run {
    let room = scene.dir.path().join("room");
    fs::create_dir(&room).expect("a folder");
    scene.file("small.jsonl", note("small").to_string());
    let how = if is_root() { "-m" } else { "-rm" };
    let mut command = Command::new("unshare");
    command.args([how, "sh", "-c", script]).env("WRIT", WRIT).env("ROOM", &room).env("DATA", scene.data());
    if !works(Command::new("unshare").args([how, "true"])) {
        return skipped("unshare does not work here");
    }
    let run = finish(&mut command, b"");
    if run.status == 77 { skipped("nothing can be mounted here") } else { run }
}

/// Runs a command for which a file or folder has this mode. Root obeys modes without its capabilities.
fn denied(path: &Path, mode: u32, args: &[&str]) -> Run {
    let without = ["--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-dac_override,-dac_read_search"];
    if is_root() && !works(Command::new("setpriv").args(without).arg("true")) {
        return skipped("setpriv does not work here");
    }
    let before = fs::metadata(path).expect("a file").permissions();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    let run = if is_root() {
        finish(Command::new("setpriv").args(without).arg(WRIT).args(args), b"")
    } else {
        finish(Command::new(WRIT).args(args), b"")
    };
    fs::set_permissions(path, before).expect("a mode");
    run
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

fn works(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
