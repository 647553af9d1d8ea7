//! `writ demo`: a table of what is asked and what must come of it; its kept ledger verifies and replays, twice alike.

use std::process::Command;

use serde_json::Value;

fn writ(args: &[&str]) -> (i32, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_writ")).args(args).output().expect("runs");
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    let last = stdout.lines().last().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().expect("a status"), serde_json::from_str(last).expect("JSON"))
}

const DONE: [&str; 4] = ["PASS", "OK", "SUCCEEDED", "OK"];

#[test]
fn every_scenario_comes_out_as_told_and_the_kept_ledger_holds() {
    let dir = tempfile::tempdir().expect("folder");
    let data = dir.path().join("ledger").display().to_string();
    let (status, told) = writ(&["demo", "--data", &data, "--json"]);

    let mut table: Vec<(&str, [&str; 4])> = vec![("acme/early-1", ["FAIL", "ERR_POLICY_NONE", "", ""])];
    table.extend(["acme/note-1", "acme/note-2", "acme/note-3", "acme/note-4", "acme/note-5"].map(|name| (name, DONE)));
    table.extend(["globex/note-1", "globex/note-2", "globex/note-3", "globex/note-4"].map(|name| (name, DONE)));
    table.extend([
        ("acme/refund-1", DONE),
        ("acme/refund-2", DONE),
        ("acme/refund-3", ["FAIL", "ERR_BUDGET_EXCEEDED", "", ""]),
        ("acme/refund-4", ["FAIL", "ERR_PROOF_MISSING", "", ""]),
        ("globex/refund-1", ["FAIL", "ERR_PROOF_MISSING", "", ""]),
        ("acme/delete-1", ["FAIL", "ERR_POLICY_NO_RULE", "", ""]),
        ("globex/ship-1", DONE),
        ("globex/ship-2", ["PASS", "OK", "UNCERTAIN", "ERR_CONNECTOR_UNCERTAIN"]),
        ("acme/report-1", ["PASS", "OK", "FAILED", "ERR_CONNECTOR_CONTRACT_DRIFT"]),
        ("acme/note-90", ["REFUSED", "ERR_KEY_UNKNOWN", "", ""]),
        ("globex/note-91", ["FAIL", "ERR_TENANT_MISMATCH", "", ""]),
        ("acme/note-92", ["REFUSED", "ERR_INTENT_EXPIRED", "", ""]),
        ("acme/note-1", DONE),
        ("acme/note-1", ["REFUSED", "ERR_ID_REUSED", "", ""]),
        ("acme/note-93", ["REFUSED", "ERR_SIGNATURE_INVALID", "", ""]),
        ("(not JSON)", ["REFUSED", "ERR_JSON_SYNTAX", "", ""]),
        ("(duplicate key)", ["REFUSED", "ERR_JSON_DUPLICATE_KEY", "", ""]),
        ("acme/refund-5", ["ESCALATE", "ERR_APPROVAL_NEEDED", "", ""]),
        ("acme/refund-5", DONE),
        ("globex/note-94", ["FAIL", "ERR_FROZEN", "", ""]),
        ("acme/note-94", DONE),
        ("globex/note-95", DONE),
        ("globex/ship-2", ["", "", "RECONCILED", "applied"]),
    ]);
    assert!(table.len() >= 24);
    let rows = told["scenarios"].as_array().expect("rows");
    let came: Vec<(&str, [&str; 4])> = rows
        .iter()
        .map(|row| {
            let text = |name: &str| row[name].as_str().expect("text");
            (text("intent"), [text("verdict"), text("code"), text("receipt"), text("receipt_code")])
        })
        .collect();
    assert_eq!(came, table);
    assert_eq!((status, &told["good"], &told["tampering"]["caught"]), (0, &Value::Bool(true), &Value::Bool(true)));

    let parts = told["explanation"]["requirement"]["parts"].as_array().expect("parts");
    assert!(parts.len() == 2 && parts.iter().all(|part| part["outcome"] == "unmet"), "{parts:?}");

    for command in ["verify", "replay"] {
        let run = || {
            let (status, mut report) = writ(&[command, "--data", &data, "--json"]);
            report.as_object_mut().expect("object").remove("elapsed_ms").expect("timing");
            (status, report)
        };
        let (first, second) = (run(), run());
        assert_eq!(first, second, "{command} twice");
        assert_eq!((first.0, &first.1["ok"]), (0, &Value::Bool(true)), "{command}: {}", first.1);
        // One intent became no entry twice: the duplicate. Six records were refused.
        assert_eq!(first.1["decisions"], 25, "{command}");
        assert_eq!(first.1["receipts"], 17, "{command}");
    }
    let (_, replayed) = writ(&["replay", "--data", &data, "--json"]);
    assert_eq!(replayed["decided_again"], replayed["decisions"]);
    assert_eq!(replayed["head"], told["verify"]["head"]);
    assert_eq!(replayed["views"].as_object().map(serde_json::Map::len), Some(2));
    assert!(replayed["state_hash"].as_str().is_some_and(|hash| hash.starts_with("blake3:")));
}
