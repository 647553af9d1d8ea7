//! What `/metrics` says is what the log says when it is counted.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use writ_schemas::decision::Answer;
use writ_schemas::event::{Event, Source};
use writ_schemas::ids::Seq;

use super::Shown;
use crate::desk::Desk;
use crate::scene::{Served, hours_ahead, note, signed, with, within, writ};
use crate::shop::{Says, Shop};

/// An action that a shop carries out, for 10 cents.
fn rule(action: &str, connector: &str) -> Value {
    json!({"action": action, "requires": {"exempt": "not asked here"}, "connector": connector, "window_us": 60_000_000,
           "spends": {"budget": {"name": "cents", "cost": {"fixed": 10}}},
           "escalates": {"to": {"role": "approver", "quorum": 1, "within_us": 3_600_000_000_u64, "when": "intent.args.ask"}}})
}

/// A ledger under a policy with a shop, one that is down and has a breaker, and a budget.
fn desk(shop: &Shop, down: &Shop) -> Desk {
    let off = json!({"disabled": "not asked here"});
    let connector = |shop: &Shop, more: Value| {
        let kind = json!({"http": {"url": shop.url, "timeout_us": 5_000_000}});
        with(with(more, "kind", kind), "output_schema", json!({"type": "object"}))
    };
    Desk::under(&json!({
        "name": "counted", "gates": {"temporal": off, "proof": off, "budget": "enforced", "escalation": "enforced"},
        "rules": [rule("ship", "shop"), rule("later", "away"), rule("copy", "echo"), rule("break", "broken")],
        "budgets": {"cents": {"unit": "cents", "limit": 200}, "idle": {"unit": "cents", "limit": 1}},
        "connectors": {
            "shop": connector(shop, json!({})),
            "away": connector(shop, json!({"retry": {"attempts": 9, "base_us": 4_000_000, "cap_us": 4_000_000}})),
            "broken": connector(down, json!({"breaker": {"failures": 1, "pause_us": 3_600_000_000_u64}})),
            "echo": {"kind": "echo", "output_schema": {"type": "object"}},
        },
    }))
}

/// What the entries from here on say.
#[derive(Default)]
struct Counted(BTreeMap<String, u64>);

impl Counted {
    fn from(desk: &Desk, seq: u64) -> Counted {
        let mut counted = Counted::default();
        let log = writ_log::Reader::open(desk.0.inside("log")).expect("a log");
        for located in log.entries(Seq(seq)).expect("a walk") {
            counted.add("writ_entries_total".to_owned());
            match located.expect("no damage").entry.event().expect("an event") {
                Event::IntentAdmitted(admitted) => {
                    let source = if admitted.source == Source::Http { "http" } else { "local" };
                    counted.add(format!("writ_decision_duration_seconds_count{{source=\"{source}\"}}"));
                }
                Event::DecisionMade(decision) => counted.decision(decision.value()),
                Event::ReceiptIssued(issued) => {
                    let receipt = issued.receipt.value();
                    let (status, code) = (receipt.status.as_str(), receipt.code.as_str());
                    counted.add(format!("writ_receipts_total{{status=\"{status}\",code=\"{code}\"}}"));
                    counted.add("writ_stage_duration_seconds_count{stage=\"receipt\"}".to_owned());
                }
                Event::DispatchStarted(_) => {
                    counted.add("writ_stage_duration_seconds_count{stage=\"connector\"}".to_owned());
                }
                _ => {}
            }
        }
        counted
    }

    fn add(&mut self, series: String) {
        *self.0.entry(series).or_default() += 1;
    }

    fn decision(&mut self, decision: &writ_schemas::decision::Decision) {
        let (verdict, code) = (decision.verdict.as_str(), decision.code.as_str());
        self.add(format!("writ_intents_total{{verdict=\"{verdict}\",code=\"{code}\"}}"));
        self.add("writ_stage_duration_seconds_count{stage=\"decide\"}".to_owned());
        for answer in decision.gates.iter().filter(|it| it.answer != Answer::NotReached) {
            let gate = answer.gate.as_str();
            self.add(format!("writ_gate_answers_total{{gate=\"{gate}\",answer=\"{}\"}}", answer.answer.as_str()));
            self.add(format!("writ_gate_duration_seconds_count{{gate=\"{gate}\"}}"));
            if answer.answer == Answer::Refused {
                self.add(format!("writ_gate_refusals_total{{gate=\"{gate}\",code=\"{code}\"}}"));
            }
        }
    }
}

#[test]
fn metrics_say_what_the_log_says() {
    let shop = Shop::new(|call| match call {
        0 => Says::Status(500),
        1 => Says::Status(422),
        2 => Says::Body("[]"),
        3 => Says::Body("{}"),
        _ => Says::Status(429),
    });
    let down = Shop::new(|_| Says::Status(500));
    let desk = desk(&shop, &down);
    let stranger = desk.0.dir.path().join("stranger.key");
    writ(["key", "new", &stranger.to_string_lossy()]).ended(0);
    let first = writ(["log", "show", "--json", "--data", desk.0.data()]).ended(0).lines().len() as u64;
    let served = Served::new(&desk.0);
    let before = Shown::by(&served);
    assert!(before.of("writ_entries_total") <= 1.0, "opening appended an entry at most");
    let opened = first + before.of("writ_entries_total") as u64;

    let key = desk.0.key("producer.key");
    let submit = |body: &[u8]| served.ask("POST", "/v1/intents", "application/json", body).0;
    let ask =
        |id: &str, action: &str, ask: bool| with(with(note(id), "action", json!(action)), "args", json!({"ask": ask}));
    let mut last = Vec::new();
    for id in ["unknown", "refused", "drifts", "done"] {
        last = signed(&ask(id, "ship", false), &key);
        assert_eq!(submit(&last), 200);
        within("a receipt", || desk.case(id)["receipts"] != json!([]));
    }
    let mut refusals = BTreeMap::new();
    let mut refused = |intent: &[u8]| {
        let (_, body) = served.ask("POST", "/v1/intents", "application/json", intent);
        let problem: Value = serde_json::from_str(&body).expect("JSON");
        *refusals.entry(problem["code"].as_str().expect("a code").to_owned()).or_insert(0.0) += 1.0;
    };
    assert_eq!(submit(&last), 200, "known");
    refused(&signed(&ask("done", "ship", true), &key));
    refused(&signed(&with(note("late"), "expires_at", json!(1)), &key));
    refused(&signed(&note("stranger"), &desk.0.key(&stranger.to_string_lossy())));
    refused(b"{");
    for (id, action) in
        [("copy", "copy"), ("break", "break"), ("waits", "ship"), ("no-rule", "fly"), ("later", "later")]
    {
        assert_eq!(submit(&signed(&ask(id, action, id == "waits"), &key)), 200, "{id}");
    }
    assert_eq!(submit(&signed(&with(note("far"), "expires_at", json!(hours_ahead(24 * 8))), &key)), 200);
    shop.wait_for(5);
    within("a receipt", || desk.case("break")["receipts"] != json!([]));
    within("a retry", || {
        Shown::by(&served).of("writ_connector_calls_total{connector=\"away\",result=\"unavailable\"}") == 1.0
    });
    within("it waits", || Shown::by(&served).of("writ_connector_waiting{connector=\"away\"}") == 1.0);
    within("it is open", || {
        let open = Shown::by(&served);
        open.of("writ_executions_open") == 1.0 && open.of("writ_executions_oldest_seconds") > 0.0
    });
    writ(["freeze", "--data", desk.0.data(), "--reason", "a drill", "--tenant", "acme"]).ended(0);
    assert_eq!(submit(&signed(&ask("frozen", "copy", false), &key)), 200);

    // What waits to be tried again ends without a call.
    within("a receipt", || desk.case("later")["receipts"] != json!([]));
    within("everybody has done all of it", || {
        let shown = Shown::by(&served);
        let lag = |of: &str| shown.of(&format!("writ_follower_lag_entries{{follower=\"{of}\"}}"));
        ["checkpointer", "proofgraph", "metering"].into_iter().all(|it| lag(it) == 0.0)
            && shown.of("writ_connector_waiting{connector=\"away\"}") == 0.0
            && shown.of("writ_executions_open") == 0.0
            && shown.of("writ_checkpoint_entries") as u64 == first + shown.of("writ_entries_total") as u64
    });
    let shown = Shown::by(&served);
    let counted = Counted::from(&desk, opened);
    assert!(counted.0.len() > 25, "{:?}", counted.0);
    for (series, count) in &counted.0 {
        let more = if series == "writ_entries_total" { before.of(series) } else { 0.0 };
        assert_eq!(shown.of(series), *count as f64 + more, "{series}");
    }
    // And nothing else was counted.
    for name in ["writ_intents_total", "writ_receipts_total", "writ_gate_answers_total", "writ_gate_refusals_total"] {
        let is_of =
            |series: &&String| series.starts_with(name) && !series.contains("REFUSED") && !series.contains("KNOWN");
        let all: f64 = shown.0.iter().filter(|(series, _)| is_of(series)).map(|(_, value)| value).sum();
        let logged: u64 = counted.0.iter().filter(|(series, _)| is_of(series)).map(|(_, count)| count).sum();
        assert_eq!(all, logged as f64, "{name}");
    }
    for (code, count) in &refusals {
        assert_eq!(shown.of(&format!("writ_intents_total{{verdict=\"REFUSED\",code=\"{code}\"}}")), *count, "{code}");
    }
    for (series, value) in [
        ("writ_intents_total{verdict=\"KNOWN\",code=\"OK\"}", 1.0),
        ("writ_receipts_total{status=\"SUCCEEDED\",code=\"OK\"}", 2.0),
        ("writ_receipts_total{status=\"UNCERTAIN\",code=\"ERR_CONNECTOR_UNCERTAIN\"}", 2.0),
        ("writ_receipts_total{status=\"FAILED\",code=\"ERR_CONNECTOR_CONTRACT_DRIFT\"}", 1.0),
        ("writ_receipts_total{status=\"FAILED\",code=\"ERR_CONNECTOR_REFUSED\"}", 1.0),
        ("writ_connector_calls_total{connector=\"shop\",result=\"unknown\"}", 1.0),
        ("writ_connector_calls_total{connector=\"shop\",result=\"refused\"}", 1.0),
        ("writ_connector_calls_total{connector=\"shop\",result=\"done\"}", 2.0),
        ("writ_connector_calls_total{connector=\"echo\",result=\"done\"}", 1.0),
        ("writ_connector_duration_seconds_count{connector=\"shop\"}", 4.0),
        ("writ_receipts_total{status=\"EXPIRED\",code=\"ERR_FROZEN\"}", 1.0),
        // Of 200 cents 10 each: two that were done, one with an output of another shape, and two of which nobody knows.
        ("writ_budget_used_ratio{budget=\"cents\"}", 0.25),
        ("writ_connector_breaker_open{connector=\"broken\"}", 1.0),
        ("writ_connector_breaker_open{connector=\"shop\"}", 0.0),
        ("writ_budget_used_ratio{budget=\"idle\"}", 0.0),
        ("writ_connector_waiting{connector=\"away\"}", 0.0),
        ("writ_executions_open", 0.0),
        ("writ_state_items{kind=\"escalated\"}", 1.0),
        ("writ_http_requests_total{route=\"/v1/approvals\",status=\"200\"}", 0.0),
        ("writ_clock_stopped", 0.0),
        ("writ_disk_short", 0.0),
        ("writ_sync_errors_total", 0.0),
        (&format!("writ_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1.0),
    ] {
        assert_eq!(shown.of(series), value, "{series}");
    }
    let refused: f64 = refusals.values().sum();
    let statuses = |route: &str| shown.sum(&format!("writ_http_requests_total{{route=\"{route}\""));
    assert_eq!(statuses("/v1/intents"), 4.0 + 1.0 + 6.0 + 1.0 + refused);
    assert_eq!(statuses("/v1/acts"), 1.0);
    assert_eq!(shown.of("writ_http_request_duration_seconds_count{route=\"/v1/acts\"}"), 1.0);
    assert_eq!(shown.of("writ_syncs_total"), shown.of("writ_sync_duration_seconds_count"));
    assert!(shown.of("writ_syncs_total") >= shown.of("writ_batches_total"));
    assert_eq!(shown.of("writ_batches_total"), shown.of("writ_stage_duration_seconds_count{stage=\"append\"}"));
    for (series, least) in [
        ("process_resident_memory_bytes", 1e6),
        ("process_open_fds", 5.0),
        ("process_max_fds", 64.0),
        ("process_start_time_seconds", 1.6e9),
        ("writ_disk_free_bytes", 1.0),
        ("writ_disk_reserve_bytes", 1.0),
    ] {
        assert!(shown.of(series) >= least, "{series}: {}", shown.of(series));
    }
    let later: Vec<&String> = shown.0.keys().filter(|series| !before.0.contains_key(*series)).collect();
    assert!(later.is_empty(), "they appeared with their first event: {later:?}");
    served.stop();
    desk.holds();
}
