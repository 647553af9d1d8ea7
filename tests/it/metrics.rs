//! What is counted is there from the start, at 0: an alert on an increase hears of the first event, too.

mod page;

use std::collections::BTreeSet;

use serde_json::json;
use writ::telemetry::declared::ALL;

use crate::desk::Desk;
use crate::scene::{Served, note, signed, with};
use crate::shop::{Says, Shop};

/// The series of `/metrics`, and the metrics that they belong to.
fn series(served: &Served) -> (BTreeSet<String>, String) {
    let (status, body) = served.ask("GET", "/metrics", "", b"");
    assert_eq!(status, 200);
    let lines = body.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let names = lines.map(|line| line.rsplit_once(' ').expect("a value").0.to_owned());
    (names.collect(), body)
}

#[test]
fn every_series_is_there_from_the_start_and_no_other_comes() {
    let shop = Shop::new(|call| match call {
        0 => Says::Status(500),
        1 => Says::Status(422),
        2 => Says::Body("[]"),
        _ => Says::Body("{}"),
    });
    let off = json!({"disabled": "not asked here"});
    let rule = |action: &str, connector: &str| {
        json!({"action": action, "requires": {"exempt": "not asked here"}, "spends": {"exempt": "not asked here"},
               "connector": connector, "window_us": 60_000_000,
               "escalates": {"to": {"role": "approver", "quorum": 1, "within_us": 3_600_000_000_u64, "when": "intent.args.ask"}}})
    };
    let bundle = json!({
        "name": "metrics", "gates": {"temporal": off, "proof": off, "budget": off, "escalation": "enforced"},
        "rules": [rule("ship", "shop")],
        "connectors": {"shop": {"kind": {"http": {"url": shop.url, "timeout_us": 5_000_000}}, "output_schema": {"type": "object"}}},
    });
    let desk = Desk::under(&bundle);
    let served = Served::new(&desk.0);
    let (before, body) = series(&served);
    // Whatever is declared is there; what counts events begins at 0, and opening wrote an entry at most.
    for series in ALL {
        let name = series.name;
        assert!(body.contains(&format!("# HELP {name} {}\n", series.help)), "{name} is not explained: {body}");
        let is_of = |line: &&String| line.strip_prefix(name).is_some_and(|rest| !rest.starts_with(char::is_alphabetic));
        assert!(before.iter().any(|line| is_of(&line)), "{name} is not there: {body}");
    }
    for line in
        body.lines().filter(|line| line.starts_with("writ_intents_total") || line.starts_with("writ_receipts_total"))
    {
        assert!(line.ends_with(" 0"), "{line}");
    }

    let key = desk.0.key("producer.key");
    let submit = |body: &[u8]| served.ask("POST", "/v1/intents", "application/json", body);
    let ship = |id: &str, ask: bool| with(with(note(id), "action", json!("ship")), "args", json!({"ask": ask}));
    let mut last = Vec::new();
    for id in ["unknown", "refused", "drifts", "done"] {
        last = signed(&ship(id, false), &key);
        submit(&last);
        crate::scene::within("a receipt", || desk.case(id)["receipts"] != json!([]));
    }
    submit(&last);
    submit(&signed(&ship("done", true), &key));
    submit(&signed(&ship("waits", true), &key));
    submit(&signed(&with(note("no-rule"), "action", json!("fly")), &key));
    submit(&signed(&with(note("late"), "expires_at", json!(1)), &key));
    submit(b"{");
    submit(b"");
    let (after, body) = series(&served);
    for counted in [
        "writ_intents_total{verdict=\"PASS\",code=\"OK\"} 4",
        "writ_intents_total{verdict=\"KNOWN\",code=\"OK\"} 1",
        "writ_intents_total{verdict=\"ESCALATE\",code=\"ERR_APPROVAL_NEEDED\"} 1",
        "writ_intents_total{verdict=\"FAIL\",code=\"ERR_POLICY_NO_RULE\"} 1",
        "writ_intents_total{verdict=\"REFUSED\",code=\"ERR_ID_REUSED\"} 1",
        "writ_intents_total{verdict=\"REFUSED\",code=\"ERR_JSON_SYNTAX\"} 1",
        "writ_receipts_total{status=\"SUCCEEDED\",code=\"OK\"} 1",
        "writ_receipts_total{status=\"UNCERTAIN\",code=\"ERR_CONNECTOR_UNCERTAIN\"} 1",
        "writ_receipts_total{status=\"FAILED\",code=\"ERR_CONNECTOR_CONTRACT_DRIFT\"} 1",
    ] {
        assert!(body.lines().any(|line| line == counted), "{counted}: {body}");
    }
    let came: Vec<&String> = after.difference(&before).collect();
    assert!(came.is_empty(), "they appeared with their first event: {came:?}");
    served.stop();
}
