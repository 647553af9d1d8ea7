//! What others wrote, as a person sees it: whoever signs an intent, answers a call or names a file must not write on a terminal.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};

use writ_schemas::event::EventKind;

use crate::command_line::commands;
use crate::desk::Desk;
use crate::forged::forge;
use crate::ledgers::Kept;
use crate::scene::{Run, WRIT, finish, note, with, writ, writ_reading};
use crate::shop::{Says, Shop};

/// It erases, conceals, turns around, hides, and begins a line of its own.
const HOSTILE: &str = "a\u{1b}[2J\u{9b}8m\u{7f}\u{85}\u{2028}b\u{202e}\u{2066}\u{61c}c\u{200b}\u{200d}\u{feff}\u{ad}\u{fe0f}\u{3164}\
                       \u{e0041}\u{e0100}\u{e000}d\nFORGED";

/// Three actions: one that people are asked about, one that a shop carries out, one that is carried out outside.
fn bundle(shop: &Shop) -> Value {
    let off = json!({"disabled": HOSTILE});
    let rule = |action: &str, connector: &str, escalates: Value| {
        json!({"action": action, "requires": {"exempt": HOSTILE}, "spends": {"exempt": HOSTILE}, "connector": connector,
               "window_us": 60_000_000, "escalates": escalates})
    };
    let ask = json!({"to": {"role": "approver", "quorum": 1, "within_us": 3_600_000_000_u64}});
    let none = json!({"exempt": HOSTILE});
    json!({
        "name": "hostile", "gates": {"temporal": off, "proof": off, "budget": off, "escalation": "enforced"},
        "rules": [rule("pay", "echo", ask), rule("ship", "shop", none.clone()), rule("carry", "robot", none)],
        "connectors": {
            "echo": {"kind": "echo", "output_schema": {"type": "object"}},
            "shop": {"kind": {"http": {"url": shop.url, "timeout_us": 5_000_000}},
                     "output_schema": {"properties": {HOSTILE: {"type": "integer"}}}},
            "robot": {"kind": {"external": {"role": "carrier", "within_us": 3_600_000_000_u64}}, "output_schema": {}},
        },
    })
}

fn ask(id: &str, action: &str) -> Value {
    with(with(note(id), "action", json!(action)), "args", json!({HOSTILE: HOSTILE}))
}

/// Nothing in what was printed steers a terminal or hides, and nobody else began a line.
#[track_caller]
fn is_tame(what: &str, run: &Run) {
    let hidden: Vec<char> = HOSTILE.chars().filter(|c| !c.is_ascii_graphic() && *c != '\n').collect();
    let found = |text: &str| text.chars().find(|c| hidden.contains(c) || (c.is_control() && *c != '\n'));
    assert_eq!((found(&run.out), found(&run.err)), (None, None), "{what}: {run:?}");
    assert!(!run.out.lines().any(|line| line.starts_with("FORGED")), "{what}: {run:?}");
}

/// A ledger full of them: what waits for people, what drifted, what is outside, what was answered and reported.
fn full() -> (Desk, Shop, String) {
    let body: &'static str = Box::leak(json!({HOSTILE: HOSTILE}).to_string().into_boxed_str());
    let shop = Shop::new(move |_| Says::Body(body));
    let desk = Desk::under(&bundle(&shop));
    let robot = desk.trust("robot.key", "robot-1", "carrier");
    for (id, action) in
        [("p-1", "pay"), ("p-2", "pay"), ("p-3", "pay"), ("s-1", "ship"), ("c-1", "carry"), ("c-2", "carry")]
    {
        desk.submit(&ask(id, action), &[]);
    }
    (desk, shop, robot)
}

#[test]
fn what_others_wrote_is_shown_and_not_obeyed() {
    let (desk, _shop, robot) = full();
    let data = desk.0.data();
    let approver = crate::desk::approver(&desk);
    let file = |name: &str, content: Value| desk.0.file(name, content.to_string());
    let output = file("output.json", json!({HOSTILE: HOSTILE}));
    let bound =
        json!({"kind": "bind_partitions", "cluster": HOSTILE, "topic": HOSTILE, "topic_id": HOSTILE, "partitions": 1});
    let bound = file("bound.json", bound);
    let (act, freeze) = (desk.0.file("act.json", ""), desk.0.file("freeze.json", ""));
    [&act, &freeze].iter().for_each(|path| std::fs::remove_file(path).expect("a file"));
    let bundle = desk.0.policy(bundle(&Shop::new(|_| Says::Nothing)).to_string());
    std::fs::create_dir(format!("{bundle}/cases")).expect("a folder");
    let cases = json!({"cases": [
        {"name": HOSTILE, "intent": {"tenant": "acme", "principal": "agent-1", "action": "pay", "args": {HOSTILE: HOSTILE}},
         "expect": {"verdict": "PASS", "code": "OK"}},
    ]});
    std::fs::write(format!("{bundle}/cases/hostile.json"), cases.to_string()).expect("a file");
    let key = desk.0.dir.path().join("another.key").to_string_lossy().into_owned();
    let signed = desk.0.dir.path().join("signed.json").to_string_lossy().into_owned();
    let operator = desk.0.inside("keys/operator.key").to_string_lossy().into_owned();

    let rows: &[&[&str]] = &[
        &["approvals", "list", "--data", data],
        &["approvals", "grant", "--data", data, "acme", "p-1", "--reason", HOSTILE, "--key", &approver],
        &["approvals", "refuse", "--data", data, "acme", "p-2", "--reason", HOSTILE, "--key", &approver],
        &["outcome", "list", "--data", data, "--tenant", "acme", "--connector", "robot"],
        &["outcome", "report", "--data", data, "acme", "c-1", "--not-applied", "--because", HOSTILE, "--key", &robot],
        &["outcome", "report", "--data", data, "acme", "c-2", "--applied", "--output", &output, "--key", &robot],
        &["show", "--data", data, "acme", "p-1"],
        &["show", "--data", data, "acme", "p-2"],
        &["show", "--data", data, "acme", "s-1"],
        &["show", "--data", data, "acme", "c-1"],
        &["graph", "show", "--data", data, "acme", "p-1"],
        &["graph", "show", "--data", data, "acme", "p-2", "--format", "dot"],
        &["graph", "show", "--data", data, "acme", "c-1"],
        &["usage", "show", "--data", data],
        &["policy", "check", &bundle],
        &["policy", "test", &bundle],
        &["policy", "explain", "--data", data, "acme", "s-1"],
        &["policy", "sign", "--data", data, &bundle, "--out", &signed],
        &["policy", "activate", "--data", data, &bundle],
        &["act", "new", "freeze", "--reason", HOSTILE, "--data", data, "--out", &freeze],
        &["act", "new", "statement", &bound, "--data", data, "--out", &act],
        &["act", "show", &act],
        &["act", "sign", "--key", &operator, &act],
        &["act", "submit", "--data", data, &act],
        &["freeze", "--data", data, "--tenant", "acme", "--reason", HOSTILE],
        &["thaw", "--data", data, "--tenant", "acme"],
        &["log", "show", "--data", data],
        &["verify", "--data", data],
        &["replay", "--data", data],
        &["key", "new", &key],
        &["errors"],
    ];
    for row in rows {
        let run = writ(*row);
        assert!(run.status <= 1, "{row:?}: {run:?}");
        is_tame(&row.join(" "), &run);
    }
    let lines = format!("{}\n{}\n\"{}\"\n", ask("p-9", "nothing"), json!({HOSTILE: HOSTILE}), "x".repeat(9));
    is_tame("submit", &writ_reading(lines.as_bytes(), ["submit", "--data", data]));
    is_tame("submit", &writ_reading(HOSTILE.as_bytes(), ["submit", "--data", data]));
    is_tame(
        "statement",
        &writ_reading(lines.as_bytes(), ["act", "new", "statement", "-", "--data", data, "--out", &act]),
    );

    // Both sides of what does not follow.
    let (forged, _) = forge(
        &Kept::copy_of(desk.0.inside("").as_path()),
        EventKind::ReceiptIssued,
        "s-1",
        &[("because", json!(HOSTILE))],
    );
    let run = writ(["replay", "--data", &forged.folder.root().to_string_lossy()]).ended(1);
    assert!(run.out.contains("because"), "{run:?}");
    is_tame("replay", &run);
}

#[test]
fn every_command_shows_what_it_is_called_with() {
    let mut todo = commands(&[]);
    let mut leaves = BTreeSet::new();
    while let Some(words) = todo.pop() {
        let inside = commands(&words);
        if inside.is_empty() {
            leaves.insert(words.clone());
        }
        todo.extend(inside);
    }
    assert!(leaves.len() >= 20, "{leaves:?}");
    for words in leaves {
        let words = words.iter().map(String::as_str);
        // An argument that there is not, and values that are none.
        let flag = format!("--{}", HOSTILE.replace('\n', ""));
        for more in [vec![flag.as_str()], vec!["--data", HOSTILE, HOSTILE, HOSTILE], vec!["--data", HOSTILE]] {
            let nowhere = tempfile::tempdir().expect("a folder"); // some make what they are told to
            let mut command = Command::new(WRIT);
            let run = finish(command.args(words.clone()).args(&more).current_dir(nowhere.path()), b"");
            is_tame(&format!("{:?} {more:?}", words.clone().collect::<Vec<_>>()), &run);
        }
    }
}

/// For programs it is still JSON, and says what was written.
#[test]
fn for_programs_nothing_is_lost() {
    let (desk, _shop, _robot) = full();
    let data = desk.0.data();
    let rows: &[&[&str]] = &[
        &["approvals", "list", "--json", "--data", data],
        &["outcome", "list", "--json", "--data", data, "--tenant", "acme", "--connector", "robot"],
        &["show", "--json", "--data", data, "acme", "s-1"],
        &["log", "show", "--json", "--data", data],
    ];
    for row in rows {
        let run = writ(*row).ended(0);
        is_tame(&row.join(" "), &run);
        let said = run.lines();
        assert!(said.iter().any(|line| strings(line).contains(HOSTILE)), "{row:?}: {said:?}");
    }
    let lines = format!("{}\n{}\n", ask("p-9", "pay"), json!({HOSTILE: HOSTILE}));
    let run = writ_reading(lines.as_bytes(), ["submit", "--json", "--data", data]);
    is_tame("submit", &run);
    assert_eq!(run.lines().len(), 2, "{run:?}");
}

/// All strings of a value, and all names.
fn strings(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(strings).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| format!("{name}{}", strings(value))).collect(),
        _ => String::new(),
    }
}
