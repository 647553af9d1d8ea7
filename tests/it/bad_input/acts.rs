//! Administrative acts and evidence that nobody may make, or that come too late.

use serde_json::json;
use writ_schemas::act::{Act, Statement};
use writ_schemas::dsse::Signed;
use writ_schemas::errors::Code;
use writ_schemas::evidence::Evidence;
use writ_schemas::ids::{LedgerId, UnixMicros};

use super::{Row, row};
use crate::scene::{Run, Scene, hours_ahead, signed_bytes, writ};

pub(super) const ROWS: &[Row] = &[
    row("an act of somebody who is no operator", Code::ActRefused, |it| {
        act(it, it.ledger(), "producer.key", hours_ahead(1))
    }),
    row("an act for another ledger", Code::LedgerMismatch, |it| {
        act(it, LedgerId([7; 16]), "operator.key", hours_ahead(1))
    }),
    row("an act that has expired", Code::ActRefused, |it| act(it, it.ledger(), "operator.key", hours_ahead(-1))),
    row("an act that expires in 8 days", Code::ActRefused, |it| {
        act(it, it.ledger(), "operator.key", hours_ahead(8 * 24))
    }),
    row("an act twice", Code::Ok, |it| {
        let first = act(it, it.ledger(), "operator.key", hours_ahead(1)).ended(0);
        let second = act(it, it.ledger(), "operator.key", hours_ahead(2)).ended(0);
        assert!(!first.out.contains("already") && !second.out.contains("already"), "two acts");
        let file = it.dir.path().join("act.json").to_string_lossy().into_owned();
        let again = writ(["policy", "activate", "--data", it.data(), &file]).ended(0);
        assert!(again.out.contains("already"), "{again:?}");
        again
    }),
    row("an act whose signature does not fit", Code::SignatureInvalid, |it| {
        let bundle = it.inside("policy").to_string_lossy().into_owned();
        let file = it.dir.path().join("act.json").to_string_lossy().into_owned();
        writ(["policy", "sign", "--data", it.data(), &bundle, "--out", &file]).ended(0);
        let text = std::fs::read_to_string(&file).expect("an act");
        let mut envelope: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        envelope["signatures"][0]["sig"] = json!(format!("{}==", "A".repeat(86)));
        let file = it.file("act.json", envelope.to_string());
        writ(["policy", "activate", "--data", it.data(), &file])
    }),
    row("an act that is no envelope", Code::Envelope, |it| {
        writ(["policy", "activate", "--data", it.data(), &it.file("act.json", "{}")])
    }),
    row("an act that is garbage", Code::JsonUtf8, |it| {
        writ(["policy", "activate", "--data", it.data(), &it.file("act.json", [0xff, 0, 1, 2])])
    }),
    row("an act of a kind that does not exist", Code::Schema, |it| {
        let expires_at = hours_ahead(1);
        let act =
            json!({ "ledger": it.ledger(), "nonce": "1", "expires_at": expires_at, "statement": { "kind": "rob" } });
        let envelope = signed_bytes::<Act>(act.to_string().as_bytes(), &it.key("operator.key"));
        writ(["policy", "activate", "--data", it.data(), &it.file("act.json", envelope)])
    }),
    row("an act file that is not there", Code::InputFile, |it| {
        writ(["policy", "activate", "--data", it.data(), "/nowhere/act.json"])
    }),
    row("reconciling an unknown receipt", Code::ReceiptUnknown, |it| {
        writ(["reconcile", "--data", it.data(), &format!("blake3:{}", "0".repeat(64)), "--applied"])
    }),
    row("reconciling what is no digest", Code::Usage, |it| {
        writ(["reconcile", "--data", it.data(), "receipt-7", "--applied"])
    }),
    row("reconciling both ways", Code::Usage, |it| {
        let receipt = format!("blake3:{}", "0".repeat(64));
        writ(["reconcile", "--data", it.data(), &receipt, "--applied", "--not-applied"])
    }),
    row("reconciling neither way", Code::Usage, |it| {
        writ(["reconcile", "--data", it.data(), &format!("blake3:{}", "0".repeat(64))])
    }),
    row("revoking an unknown key", Code::KeyUnknown, |it| {
        writ(["key", "revoke", "--data", it.data(), &format!("ed25519:{}", "0".repeat(64))])
    }),
    row("trusting what is no key", Code::Usage, |it| {
        writ(["key", "trust", "--data", it.data(), "ed25519:00", "--tenant", "acme", "--principal", "p"])
    }),
    row("trusting a key of small order", Code::Schema, |it| {
        let key = format!("ed25519:{}", "0".repeat(64));
        writ(["key", "trust", "--data", it.data(), &key, "--tenant", "acme", "--principal", "p"])
    }),
    row("evidence by a key without trust", Code::EvidenceInvalid, |it| {
        let key = it.dir.path().join("new.key").to_string_lossy().into_owned();
        writ(["key", "new", &key]).ended(0);
        writ(["evidence", "add", "--data", it.data(), "--tenant", "acme", "--kind", "ticket", "--key", &key])
    }),
    row("evidence for another tenant", Code::EvidenceInvalid, |it| {
        writ(["evidence", "add", "--data", it.data(), "--tenant", "globex", "--kind", "ticket"])
    }),
    row("evidence of a missing artifact", Code::InputFile, |it| {
        let artifact = "/nowhere/ticket.pdf";
        writ(["evidence", "add", "--data", it.data(), "--tenant", "acme", "--kind", "ticket", "--artifact", artifact])
    }),
    row("evidence for no hours", Code::Usage, |it| {
        writ(["evidence", "add", "--data", it.data(), "--tenant", "acme", "--kind", "ticket", "--hours", "0"])
    }),
    row("evidence as an act", Code::Envelope, |it| {
        let now = hours_ahead(0);
        let (tenant, kind) = ("acme".parse().expect("a name"), "ticket".parse().expect("a name"));
        let evidence = Evidence {
            ledger: it.ledger(),
            tenant,
            kind,
            artifact: None,
            effect: None,
            issued_at: now,
            expires_at: hours_ahead(1),
        };
        let envelope = Signed::unsigned(evidence).expect("JSON").sign(&it.key("approver.key")).to_envelope();
        writ(["policy", "activate", "--data", it.data(), &it.file("act.json", envelope)])
    }),
];

/// Submits a thaw that changes nothing, so signed.
fn act(scene: &Scene, ledger: LedgerId, key: &str, expires_at: UnixMicros) -> Run {
    let nonce = "1".parse().expect("a name");
    let act = Act { ledger, nonce, expires_at, statement: Statement::Thaw { principal: None, tenant: None } };
    let envelope = Signed::unsigned(act).expect("JSON").sign(&scene.key(key)).to_envelope();
    let file = scene.file("act.json", envelope);
    writ(["policy", "activate", "--data", scene.data(), &file])
}
