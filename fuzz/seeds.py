#!/usr/bin/env python3
"""Writes the seeds in fuzz/corpus, from schemas/vectors, tests/golden/v1 and the demo's policy.

    python3 fuzz/seeds.py

Run it when a format has gained something; a run that finds nothing new changes no file.
"""
import json
import pathlib
import struct

FUZZ = pathlib.Path(__file__).resolve().parent
ROOT = FUZZ.parent
VECTORS = ROOT / "schemas" / "vectors"


def put(target, name, data):
    path = FUZZ / "corpus" / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def golden_entries():
    """(kind tag, payload) of the golden log; the frame is laid out in docs/log-format.md."""
    for segment in sorted((ROOT / "tests/golden/v1/log").glob("*.seg")):
        data, at = segment.read_bytes(), 512
        while at + 8 <= len(data):
            (body,) = struct.unpack_from("<I", data, at)
            if body == 0:
                break
            header = at + 8 + 16 + 16
            (tag,) = struct.unpack_from("<H", data, header + 2)
            yield tag, data[header + 100 : at + 8 + body]
            at += (8 + body + 7) // 8 * 8


def envelopes():
    vectors = json.loads((VECTORS / "dsse.json").read_text())
    for number, case in enumerate(vectors["documents"]):
        if case["kind"] in ("intent", "act", "evidence"):
            put("envelope", f"envelope-{number}-{case['kind']}", case["envelope"].encode())
            put("envelope", f"payload-{number}-{case['kind']}", case["payload"].encode())
    # What numbers, names and nesting are at their limits.
    intent = (
        '{"action":"a","args":{"":-0.0,"a":9007199254740991,"b":1e21,"c":5e-324,"d":1.5e300,"e":-0.1,"f":333333333.33333329,'
        '"g":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[{}]]]]]]]]]]]]]]]]]]]]]]]]]]]]],"\\u0000\\ud83d\\ude00":null,"\u20ac":true,"\\"\\\\":false},'
        '"evidence":[],"expires_at":1790000000000000,"id":"i","principal":"p","session":null,"tenant":"t"}'
    )
    json.loads(intent)
    put("envelope", "payload-limits", intent.encode())
    # One of every kind of act, as bare payloads.
    seen = set()
    for _, payload in golden_entries():
        start, end = payload.find(b'{"expires_at"'), payload.rfind(b"}")
        if start >= 0 and b'"statement"' in payload:
            document = payload[start : end + 1]
            try:
                kind = json.loads(document)["statement"]["kind"]
            except (ValueError, KeyError, TypeError):
                continue
            if kind not in seen:
                seen.add(kind)
                put("envelope", f"payload-act-{kind}", document)


def payloads():
    seen = {}
    for tag, payload in golden_entries():
        if tag not in seen or len(payload) < len(seen[tag]):
            seen[tag] = payload
    for tag, payload in seen.items():
        put("payload", f"golden-{tag:02}", struct.pack("<H", tag) + payload)
    for case in json.loads((VECTORS / "entries.json").read_text())["entries"]:
        (tag,) = struct.unpack_from("<H", bytes.fromhex(case["header"]), 2)
        if tag not in seen:
            put("payload", f"vector-{tag:02}", struct.pack("<H", tag) + bytes.fromhex(case["payload"]))


def policies():
    demo = json.loads((ROOT / "src/cli/demo/policy.json").read_text())
    args = b'{"amount_cents":1200,"note":"a","amount":0.5}'
    put("policy", "demo", json.dumps(demo, separators=(",", ":")).encode() + b"\0" + args)
    desk = json.loads((ROOT / "src/cli/example_policy.json").read_text())
    args = b'{"amount_cents":300001,"currency":"EUR"}'
    put("policy", "desk", json.dumps(desk, separators=(",", ":")).encode() + b"\0" + args)
    for rule in desk["rules"]:
        rule["requires"] = {"exempt": "a seed"}
        rule["escalates"] = {"to": {"role": "approver", "quorum": 1, "within_us": 5}}
        rule["timing"] = {"limits": {"rate": {"count": 1, "per_us": 9, "burst": 2}}}
    put("policy", "desk-asks", json.dumps(desk, separators=(",", ":")).encode() + b"\0" + args)
    off = {"disabled": "not now"}
    leaf = {"evidence": {"kind": "ticket", "role": "agent", "about_effect": False}}
    other = {"evidence": {"kind": "ticket", "role": "approver", "about_effect": True, "signers": 2, "not_submitter": True, "max_age_us": 5}}
    after, asks = {"receipt": {"action": "pay"}}, {"expression": "intent.args.amount <= 5"}
    rule = {"action": "pay", "requires": {"requirement": "r"}, "connector": "e", "window_us": 1000000}
    small = {
        "name": "p",
        "gates": {"temporal": off, "proof": "enforced", "budget": "enforced", "escalation": off},
        "rules": [dict(rule, spends={"budget": {"name": "b", "cost": {"arg": "amount"}}})],
        "requirements": {"r": {"any_of": [leaf, {"all_of": [other, {"at_least": {"count": 1, "of": [after, asks]}}]}]}},
        "budgets": {"b": {"unit": "cents", "limit": 100, "tenants": {"acme": 5}}},
        "connectors": {"e": {"kind": "echo", "output_schema": {"minimum": 1.5e300, "maximum": 9007199254740991, "multipleOf": 0.1, "exclusiveMaximum": 1e21}}},
    }
    put("policy", "requires-and-spends", json.dumps(small, separators=(",", ":")).encode() + b"\0" + b'{"amount":3}')
    small["gates"]["proof"] = off
    small["connectors"]["e"]["kind"] = {"http": {"url": "https://a", "timeout_us": 5}}
    put("policy", "passes", json.dumps(small, separators=(",", ":")).encode() + b"\0" + b'{"amount":3}')
    for _ in range(24):
        leaf = {"any_of": [leaf]}
    small["requirements"] = {"r": leaf}
    put("policy", "deep", json.dumps(small, separators=(",", ":")).encode())

    for number, (expression, args) in enumerate([
        ("intent.args.amount <= 5000 || evidence.exists(e, e.kind == 'ticket' && 'approver' in e.roles)", '{"amount":3}'),
        ("intent.args.tags.all(t, t.startsWith('a') && !t.endsWith('b')) ? size(intent.args.tags) > 1 : now % 7 == 0", '{"tags":["a","ab"]}'),
        ("evidence.exists_one(e, e.age_us == null || e.age_us < 60 && e.about_effect && e.principal != intent.principal)", "{}"),
        ("has(intent.args.to) && intent.args['to'].iban.contains(\"x\") && budget == null && intent.session != intent.tenant", '{"to":{"iban":"x"}}'),
        ("-intent.args.a * 2 + 1 / 3 - 4 == 0x10 && [1, 2.5, 'c', b'd', true] == intent.args.list", '{"a":1,"list":[1,2.5]}'),
    ]):
        put("policy", f"expression-{number}", expression.encode() + b"\0" + args.encode())


# How the crate `arbitrary` reads: an enum by the upper part of a u32, numbers little-endian, a list by "is there more?"
# (an odd byte) before each element. What it reads otherwise one day is still a seed, of something else.
def variant(number, count, *fields):
    index = -(-(number << 32) // count)
    return struct.pack("<I", index) + b"".join(f if isinstance(f, bytes) else bytes([f]) for f in fields)


def steps():
    def step(number, *fields):
        return variant(number, 17, *fields)

    by = lambda nonce: bytes([0, 0, nonce])
    wait = lambda unit: step(0, unit)
    intent = lambda *f: step(1, *f)  # tenant id principal session action cost evidence expires signer source
    evidence = lambda *f: step(3, *f)  # tenant kind effect_of expires signer ledger
    trust = lambda nonce, key, tenant=0: step(4, by(nonce), key, tenant, 0, 3)
    rule = lambda requires, spends: bytes([requires, spends, 0, 0])
    policy = lambda nonce, gates, rules, limits: step(
        6, by(nonce), gates, b"".join(rules), bytes([0, 0, 0, 0]), bytes(limits)
    )
    dispatch, conclude = lambda which: step(12, which), lambda *f: step(13, *f)
    spending = [rule(0, 1), rule(0, 2), rule(2, 3)]
    opening = trust(1, 4) + trust(2, 5, 1) + wait(0) + policy(3, 0, spending, [0, 0, 0])
    pay = lambda number, cost=1: intent(0, number, 0, 1, 0, cost, 0, 0, 4, 0)
    put("decide", "pays", opening + pay(0) + dispatch(0) + conclude(0, 0, 1) + pay(1) + pay(2) + step(16))
    put("decide", "again", opening + pay(0) + step(2, 0) + pay(0, 2) + dispatch(0) + dispatch(0) + step(11, 0))
    put("decide", "uncertain", opening + pay(0) + dispatch(0) + conclude(0, 1, 0) + pay(1) + wait(2)
        + step(9, by(9), 0, 1) + step(9, by(10), 0, 0) + pay(3, 2))
    put("decide", "to-the-limit", opening + pay(0) + pay(1, 2) + pay(2, 0) + dispatch(0) + conclude(0, 0, 0) + pay(3, 0))
    put("decide", "drifts", opening + pay(0) + dispatch(0) + conclude(0, 4, 1) + pay(1) + dispatch(0) + conclude(0, 5, 0))
    put("decide", "expires", opening + pay(0) + wait(5) + dispatch(0) + pay(0) + wait(6) + pay(1) + wait(7) + pay(1))
    put("decide", "frozen", opening + pay(0) + step(7, by(9)) + pay(1) + dispatch(0) + step(8, by(10)) + pay(2)
        + step(5, by(11), 4) + pay(3) + dispatch(0))
    put("decide", "shows", opening + evidence(0, 0, 0x80, 0, 4, 0) + intent(0, 0, 0, 0, 2, 0, 15, 0, 4, 2) + dispatch(0)
        + evidence(0, 1, 0, 0, 4, 0) + intent(0, 1, 0, 0, 2, 0, 15, 0, 4, 3) + step(14, 0, 5) + step(15, 1, 9))
    put("decide", "lowers", opening + pay(0) + pay(1) + policy(4, 0, spending, [1, 1, 2]) + pay(2) + dispatch(0)
        + conclude(0, 0, 0) + dispatch(0) + conclude(0, 2, 0) + policy(5, 2, spending, [0, 0, 0]) + pay(4))


def segments():
    def edit(number, *fields):
        return b"\1" + variant(number, 13, *fields)

    spot = lambda file, at: struct.pack("<BH", file, at)
    none, lengths = 255, [[10, 90, 255], [200, 255, 255], [0, 1, 2], [90, 90, 90], [30, 255, 255], [7, 255, 255]]
    u64 = lambda number: struct.pack("<Q", number)

    def case(name, *edits, sectors=1, dies_at=none, kept=0, covered=0, patience=1):
        head = bytes([sectors]) + bytes(sum(lengths, [])) + struct.pack("<BIBB", dies_at, kept, covered, patience)
        # Nothing behind the last edit: bytes that have run out are read as zeros, so the list ends.
        put("segment", name, head + b"".join(edits))

    case("whole", covered=4)
    case("large", sectors=6, covered=9)
    case("dies-in-a-write", dies_at=9, kept=0b0101)
    case("dies-at-a-sync", dies_at=12, kept=0xFFFFFFFF)
    case("dies-at-a-name", dies_at=5, kept=1)
    case("flip", edit(0, spot(0, 700), 3), covered=2)
    case("last-batch-without-a-sector", edit(3, spot(9, 512)), sectors=6, patience=0)
    case("a-segment-removed", edit(7, 1))
    case("a-segment-twice", edit(8, 0, 6), edit(8, 1, 1))
    case("forged", edit(11, 0, 1, 65), covered=1)
    case("forged-to-the-end", edit(11, 9, 0, 65), sectors=6, covered=5)
    case("header", edit(9, 1, 2, u64(0)), edit(5, spot(0, 700)))
    for field in range(11):
        case(f"frame-field-{field:02}", edit(10, 0, 1, field, u64(7)))
    case("appended", edit(12, 9, 1, 0, 1, 20), sectors=6)
    case("half-a-batch-appended", edit(12, 9, 1, 0, 2, 20), sectors=6)


envelopes()
payloads()
policies()
steps()
segments()
