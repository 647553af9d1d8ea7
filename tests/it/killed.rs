//! `kill -9` between every two stages of an execution: the effect happens at most once, counted outside, and the receipt says what
//! is known.

use std::process::Command;

use serde_json::{Value, json};

use writ::executor::stage::Stage;

use crate::desk::Desk;
use crate::scene::{WRIT, finish, note, with, writ};
use crate::shop::{Says, Shop};

/// An output that goes to the content store: longer than what stands beside a receipt.
const LONG: &str = const {
    static TEXT: [u8; 6002] = {
        let mut text = [b'x'; 6002];
        text[0] = b'"';
        text[6001] = b'"';
        text
    };
    match std::str::from_utf8(&TEXT) {
        Ok(text) => text,
        Err(_) => panic!("ASCII"),
    }
};

fn bundle(shop: &Shop) -> Value {
    let off = json!({"disabled": "not asked here"});
    json!({
        "name": "killed", "gates": {"temporal": off, "proof": off, "budget": "enforced", "escalation": off},
        "rules": [{"action": "ship", "requires": {"exempt": "not asked here"}, "connector": "shop", "window_us": 60_000_000,
                   "spends": {"budget": {"name": "cents", "cost": {"fixed": 60}}}}],
        "budgets": {"cents": {"unit": "cents", "limit": 1000}},
        "connectors": {"shop": {"kind": {"http": {"url": shop.url, "timeout_us": 5_000_000}}, "output_schema": {}}},
    })
}

fn ship(id: &str) -> Value {
    with(note(id), "action", json!("ship"))
}

/// What must be known after a kill at this point: how often the shop was called before, and how the execution ends.
fn expected(stage: Stage) -> (usize, &'static str, &'static str) {
    let unknown = |calls| (calls, "UNCERTAIN", "ERR_INTERRUPTED");
    match stage {
        // Nothing is durable but the decision: its dispatch is asked for anew.
        Stage::Passed | Stage::Asked | Stage::DispatchDecided => (0, "SUCCEEDED", "OK"),
        // It was dispatched, so nobody may call again, and nobody can know.
        Stage::DispatchDurable | Stage::Dispatched | Stage::Checked => unknown(0),
        Stage::Answered | Stage::Judged | Stage::Kept | Stage::Ended | Stage::ReceiptSigned => unknown(1),
        Stage::ReceiptDurable => (1, "SUCCEEDED", "OK"),
    }
}

#[test]
fn wherever_it_is_killed_the_effect_happens_at_most_once() {
    for stage in Stage::ALL {
        let shop = Shop::new(|_| Says::Body(LONG));
        let desk = Desk::under(&bundle(&shop));
        let killed = finish(
            Command::new(WRIT).args(["submit", "--data", desk.0.data()]).env("WRIT_KILL_AT", stage.as_str()),
            ship("1").to_string().as_bytes(),
        );
        assert_eq!(killed.status, 128 + 9, "{stage:?}: {}", killed.err);
        let (calls, status, code) = expected(*stage);
        assert_eq!(shop.calls().len(), calls, "{stage:?}: before it is started again");

        desk.submit(&ship("2"), &[]);
        let case = desk.case("1");
        let receipt = &case["receipts"][0]["event"]["payload"];
        assert_eq!((receipt["status"].as_str(), receipt["code"].as_str()), (Some(status), Some(code)), "{stage:?}");
        let key = case["decision"]["event"]["payload"]["execution"]["idempotency_key"].as_str().expect("a key");
        let effects = shop.calls().iter().filter(|call| key.ends_with(&call.key)).count();
        assert_eq!(effects, usize::from(status == "SUCCEEDED").max(calls), "{stage:?}: counted outside");
        assert_eq!(case["receipts"].as_array().map(Vec::len), Some(1), "{stage:?}");
        desk.holds();

        // What is known costs what it costs; what is not holds its reservation.
        let explained = writ(["usage", "show", "--json", "--data", desk.0.data()]).ended(0).lines();
        let line = &explained[0];
        let sums = (line["sum"].as_u64(), line["uncertain"].as_u64());
        assert_eq!(sums, if status == "SUCCEEDED" { (Some(120), Some(0)) } else { (Some(60), Some(1)) }, "{stage:?}");
    }
}
