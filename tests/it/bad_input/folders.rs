//! Folders that hold no ledger, another one, or one that is damaged; and their configuration.

use std::fs;
use std::path::Path;

use writ_schemas::errors::Code;

use super::{After, Row, damage, row};
use crate::scene::{Run, Scene, copy_folder, init, note, writ};

/// The one segment of these ledgers.
const SEGMENT: &str = "log/00000000000000000000.seg";

const CHECKPOINT: &str = "checkpoints/latest";

pub(super) const ROWS: &[Row] = &[
    row("no folder", Code::LogMissing, |_| each_command("/nowhere/ledger")),
    row("a file as the folder", Code::LogMissing, |it| each_command(&it.file("plain", "text"))),
    row("an empty folder", Code::LogMissing, |it| {
        let empty = it.dir.path().join("empty");
        fs::create_dir(&empty).expect("a folder");
        let run = each_command(&empty.to_string_lossy());
        assert_eq!(fs::read_dir(&empty).expect("a folder").count(), 0, "nothing was left there");
        run
    }),
    row("a folder whose log is empty", Code::LogMissing, |it| {
        let empty = it.dir.path().join("empty");
        fs::create_dir_all(empty.join("log")).expect("a folder");
        each_command(&empty.to_string_lossy())
    }),
    row("init into a folder that is not empty", Code::LogExists, |it| {
        writ(["init", "--data", &it.dir.path().to_string_lossy()])
    }),
    row("init into a ledger", Code::LogExists, |it| writ(["init", "--data", it.data()])),
    row("init into a file", Code::LogExists, |it| writ(["init", "--data", &it.file("plain", "text")])),
    row("init below a file", Code::Io, |it| writ(["init", "--data", &format!("{}/ledger", it.file("plain", "text"))])),
    row("init with an origin that cannot name a log", Code::Usage, |it| {
        let fresh = it.dir.path().join("fresh");
        let run = writ(["init", "--data", &fresh.to_string_lossy(), "--origin", "two words"]);
        assert!(!fresh.exists(), "nothing is made");
        run
    }),
    row("init with segments that are no whole sectors", Code::Usage, |it| {
        let fresh = it.dir.path().join("odd");
        let run = writ(["init", "--data", &fresh.to_string_lossy(), "--segment-bytes", "100000"]);
        assert!(!fresh.exists(), "nothing is made");
        run
    }),
    damage("the checkpoint of another ledger", Code::LogDamaged, |it| {
        let other = other();
        fs::copy(other.inside(CHECKPOINT), it.inside(CHECKPOINT)).expect("copied");
        submit(it)
    }),
    damage("the log of another ledger", Code::LogDamaged, |it| {
        let other = other();
        copy_folder(&other.inside("log"), &it.inside("log"));
        submit(it)
    }),
    row("the keys of another ledger", Code::KeyFile, |it| {
        let other = other();
        swapped(it, "keys", &other.inside("keys"), submit)
    }),
    row("the views of another ledger", Code::Ok, |it| {
        let other = other();
        let expected = writ(["usage", "show", "--data", it.data(), "--json"]).ended(0);
        writ(["usage", "show", "--data", other.data()]).ended(0);
        fs::remove_dir_all(it.inside("views")).expect("removed");
        copy_folder(&other.inside("views"), &it.inside("views"));
        let rebuilt = writ(["usage", "show", "--data", it.data(), "--json"]).ended(0);
        assert_eq!(rebuilt.out, expected.out);
        rebuilt
    }),
    damage("the checkpoint of a longer log", Code::LogForked, |it| {
        let older = it.again();
        submit(it).ended(0);
        fs::copy(it.inside(CHECKPOINT), older.inside(CHECKPOINT)).expect("copied");
        copy_folder(&older.inside("log"), &it.inside("log"));
        submit(it)
    }),
    damage("no checkpoint", Code::LogForked, |it| {
        fs::remove_file(it.inside(CHECKPOINT)).expect("removed");
        submit(it)
    }),
    damage("an empty checkpoint", Code::LogDamaged, |it| {
        fs::write(it.inside(CHECKPOINT), "").expect("written");
        submit(it)
    }),
    damage("a checkpoint with one letter changed", Code::LogDamaged, |it| {
        let path = it.inside(CHECKPOINT);
        let note = fs::read_to_string(&path).expect("a note");
        let size = note.lines().nth(1).expect("a size");
        fs::write(&path, note.replacen(&format!("\n{size}\n"), "\n4\n", 1)).expect("written");
        submit(it)
    }),
    damage("a checkpoint of garbage", Code::LogDamaged, |it| {
        fs::write(it.inside(CHECKPOINT), [0xff; 5000]).expect("written");
        submit(it)
    }),
    Row {
        name: "a checkpoint that is a folder",
        code: Code::Io,
        after: After::Gone,
        how: |it| {
            fs::remove_file(it.inside(CHECKPOINT)).expect("removed");
            fs::create_dir(it.inside(CHECKPOINT)).expect("a folder");
            submit(it)
        },
    },
    damage("a truncated segment", Code::LogDamaged, |it| {
        let file = fs::OpenOptions::new().write(true).open(it.inside(SEGMENT)).expect("a segment");
        file.set_len(1500).expect("cut");
        submit(it)
    }),
    damage("an empty segment", Code::LogDamaged, |it| {
        fs::write(it.inside(SEGMENT), "").expect("written");
        submit(it)
    }),
    damage("a file that is no segment", Code::LogDamaged, |it| {
        fs::write(it.inside("log/notes.seg"), "hello").expect("written");
        submit(it)
    }),
    damage("a byte changed in the log", Code::LogDamaged, |it| {
        flip(&it.inside(SEGMENT), 900);
        submit(it)
    }),
    damage("a byte changed, as verify sees it", Code::LogDamaged, |it| {
        flip(&it.inside(SEGMENT), 900);
        writ(["verify", "--data", it.data()])
    }),
    damage("a byte changed, as replay sees it", Code::LogDamaged, |it| {
        flip(&it.inside(SEGMENT), 900);
        writ(["replay", "--data", it.data(), "--json"])
    }),
    damage("a byte changed, as a reader sees it", Code::LogDamaged, |it| {
        flip(&it.inside(SEGMENT), 900);
        writ(["log", "show", "--data", it.data()])
    }),
    row("garbage in a file of the views", Code::Ok, |it| views_of(it, "views/db", &[0x5a; 4096])),
    row("an empty file of the views", Code::Ok, |it| views_of(it, "views/db", b"")),
    row("garbage as the views' configuration", Code::Ok, |it| views_of(it, "views/conf", b"garbage")),
    row("a flipped bit in the views", Code::Ok, |it| {
        let mut bytes = fs::read(it.inside("views/db")).expect("views");
        let at = bytes.len() / 2;
        bytes[at] ^= 4;
        views_of(it, "views/db", &bytes)
    }),
    row("damaged views, and an intent", Code::Ok, |it| {
        fs::write(it.inside("views/db"), [0x5a; 4096]).expect("written");
        submit(it)
    }),
    row("views that are a file", Code::Ok, |it| {
        fs::remove_dir_all(it.inside("views")).expect("removed");
        fs::write(it.inside("views"), "garbage").expect("written");
        writ(["usage", "show", "--data", it.data()])
    }),
    row("a missing key file", Code::KeyFile, |it| {
        fs::remove_file(it.inside("keys/decision.key")).expect("removed");
        submit(it)
    }),
    row("a key file of garbage", Code::KeyFile, |it| {
        fs::write(it.inside("keys/checkpoint.key"), [0xff; 64]).expect("written");
        submit(it)
    }),
    row("an empty key file", Code::KeyFile, |it| {
        fs::write(it.inside("keys/decision.key"), "").expect("written");
        submit(it)
    }),
    row("a missing operator key", Code::KeyFile, |it| {
        fs::remove_file(it.inside("keys/operator.key")).expect("removed");
        writ(["thaw", "--data", it.data()])
    }),
    row("a producer's key that is not there", Code::KeyFile, |it| {
        it.submit(note("x").to_string().as_bytes(), &["--key", "/nowhere/agent.key"])
    }),
    row("a producer's key of garbage", Code::KeyFile, |it| {
        fs::write(it.inside("keys/producer.key"), "garbage").expect("written");
        submit(it)
    }),
    row("no producer's key for an intent that is not signed", Code::KeyFile, |it| {
        fs::remove_file(it.inside("keys/producer.key")).expect("removed");
        submit(it)
    }),
    row("a configuration that is no TOML", Code::Config, |it| configured(it, "= 7")),
    row("an unknown key in the configuration", Code::Config, |it| configured(it, "colour = \"green\"")),
    row("a wrong type in the configuration", Code::Config, |it| configured(it, "checkpoint_interval_ms = \"often\"")),
    row("a wrong value in the configuration", Code::Config, |it| configured(it, "checkpoint_interval_ms = 5000")),
    row("no patience in the configuration", Code::Config, |it| configured(it, "request_patience_ms = 0")),
    row("segments too small", Code::Config, |it| configured(it, "[log]\nsegment_bytes = 1024")),
    row("segments too large", Code::Config, |it| configured(it, "[log]\nsegment_bytes = 2147483648")),
    row("segments that are no whole sectors", Code::Config, |it| configured(it, "[log]\nsegment_bytes = 100000")),
    row("too many segments made ahead", Code::Config, |it| configured(it, "[log]\nsegments_prepared = 17")),
    row("a signer without a program", Code::Config, |it| configured(it, "[signer]\ndecision = []")),
    row("a signer without patience", Code::Config, |it| configured(it, "[signer]\ntimeout_ms = 0")),
    row("a signer for a role that has none", Code::Config, |it| configured(it, "[signer]\nproducer = [\"x\"]")),
    row("a signer that is no program", Code::SignerFailed, |it| {
        configured(it, "[signer]\ndecision = [\"/nowhere/signer\"]")
    }),
    row("a negative value in the configuration", Code::Config, |it| configured(it, "connector_calls_max = -1")),
    row("a configuration that is not UTF-8", Code::Config, |it| {
        fs::write(it.inside("writ.toml"), [0xff, 0xfe]).expect("written");
        submit(it)
    }),
    row("the public key of another ledger", Code::KeyUnknown, |it| {
        let key = other().key("operator.key").id().to_string();
        writ(["verify", "--data", it.data(), "--public-key", &it.file("other.pub", key)])
    }),
    row("a public key file of garbage", Code::Usage, |it| {
        writ(["verify", "--data", it.data(), "--public-key", &it.file("other.pub", "garbage")])
    }),
    row("a pinned key of small order", Code::Usage, |it| {
        let key = format!("ed25519:{}", "0".repeat(64));
        writ(["verify", "--data", it.data(), "--public-key", &it.file("other.pub", key)])
    }),
    row("a public key file that is not there", Code::InputFile, |it| {
        writ(["verify", "--data", it.data(), "--public-key", "/nowhere/ledger.pub"])
    }),
    row("a pinned checkpoint that is not there", Code::InputFile, |it| {
        writ(["verify", "--data", it.data(), "--checkpoint", "/nowhere/note"])
    }),
    row("a pinned checkpoint of garbage", Code::InputFile, |it| {
        writ(["verify", "--data", it.data(), "--checkpoint", &it.file("note", "garbage")])
    }),
    row("an older copy, under a pinned checkpoint", Code::LogForked, |it| {
        let newer = it.again();
        submit(&newer).ended(0);
        writ(["verify", "--data", it.data(), "--checkpoint", &newer.inside(CHECKPOINT).to_string_lossy()])
    }),
    Row {
        name: "a segment that is gone",
        code: Code::LogMissing,
        after: After::Gone,
        how: |it| {
            fs::remove_file(it.inside(SEGMENT)).expect("removed");
            submit(it)
        },
    },
];

/// Another ledger.
fn other() -> Scene {
    let scene = Scene::bare();
    writ(init(scene.data())).ended(0);
    scene
}

/// Runs one command with another folder in the place of one of the ledger's, and puts the right one back.
fn swapped(scene: &Scene, name: &str, by: &Path, how: fn(&Scene) -> Run) -> Run {
    let (place, aside) = (scene.inside(name), scene.dir.path().join("aside"));
    fs::rename(&place, &aside).expect("renamed");
    copy_folder(by, &place);
    let run = how(scene);
    fs::remove_dir_all(&place).expect("removed");
    fs::rename(&aside, &place).expect("renamed");
    run
}

/// Usage as it was, although a file of the views holds this: what is derived is derived again.
fn views_of(scene: &Scene, file: &str, bytes: &[u8]) -> Run {
    let usage = || writ(["usage", "show", "--data", scene.data(), "--json"]).ended(0);
    let before = usage();
    fs::write(scene.inside(file), bytes).expect("written");
    let after = usage();
    assert_eq!(after.out, before.out);
    after
}

/// Submits a good intent.
fn submit(scene: &Scene) -> Run {
    scene.submit(note("late").to_string().as_bytes(), &["--json"])
}

/// Starts the ledger with this `writ.toml`.
fn configured(scene: &Scene, text: &str) -> Run {
    fs::write(scene.inside("writ.toml"), text).expect("written");
    let served = writ(["serve", "--data", scene.data()]);
    let submitted = submit(scene);
    assert_eq!((served.status, &served.err), (submitted.status, &submitted.err));
    served
}

/// Every command that needs a ledger says the same where there is none.
fn each_command(data: &str) -> Run {
    let commands: [&[&str]; 14] = [
        &["serve"],
        &["submit"],
        &["submit", "--dry-run"],
        &["show", "acme", "n-1"],
        &["log", "show"],
        &["verify"],
        &["replay"],
        &["policy", "activate", "/dev/null"],
        &["key", "revoke", "ed25519:0000000000000000000000000000000000000000000000000000000000000000"],
        &["evidence", "add", "--tenant", "acme", "--kind", "ticket"],
        &["graph", "show", "acme", "n-1"],
        &["usage", "show"],
        &["freeze", "--reason", "x"],
        &["thaw"],
    ];
    let runs = commands.map(|words| (words, writ(words.iter().copied().chain(["--data", data]))));
    for (words, run) in &runs {
        let missing = run.status == 2 && run.err.contains("ERR_LOG_MISSING");
        assert!(missing, "{words:?} --data {data}: {run:?}");
    }
    let [(_, first), ..] = runs;
    first
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("a file");
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1;
    }
    fs::write(path, bytes).expect("written");
}
