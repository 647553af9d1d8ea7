#!/usr/bin/env python3
"""Checks Writ's test vectors without Writ's code. Needs `cryptography`; checks BLAKE3 too if `blake3` is installed.

Exit status: 0 all hold, 1 some do not, 2 could not run.
"""

import base64
import hashlib
import json
import pathlib
import struct
import sys

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
except ImportError:
    print("pip install cryptography", file=sys.stderr)
    sys.exit(2)

try:
    import blake3
except ImportError:
    blake3 = None

HERE = pathlib.Path(__file__).resolve().parent
counts, failures = {}, []


def check(what, holds, case):
    counts[what] = counts.get(what, 0) + 1
    if not holds:
        failures.append(f"{what}: {json.dumps(case)[:300]}")


def load(name):
    return json.loads((HERE / name).read_text(encoding="utf-8"))


def key_bytes(text):
    prefix, _, digits = text.partition(":")
    assert prefix == "ed25519" and len(digits) == 64, text
    return bytes.fromhex(digits)


def fits(key, signature, message):
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
        return True
    except (InvalidSignature, ValueError):
        return False


def check_digest(what, text, data, case):
    if blake3 is not None:
        check(what, text == "blake3:" + blake3.blake3(data).hexdigest(), case)


def derived(context, data):
    return blake3.blake3(data, derive_key_context=context).hexdigest()


# Keys. OpenSSL follows RFC 8032 and refuses an unreduced S, but not keys of small order: only the strict rule does.
keys = load("keys.json")
for case in keys["keys"]:
    public = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(case["seed"])).public_key()
    check("public key", public.public_bytes(Encoding.Raw, PublicFormat.Raw) == key_bytes(case["key"]), case)
for case in keys["signatures"]:
    if "small order" not in case["name"]:
        accepted = fits(key_bytes(case["key"]), bytes.fromhex(case["signature"]), bytes.fromhex(case["message"]))
        check("signature", accepted == case["accepted"], case)


# Documents.
def pae(payload_type, payload):
    return b"DSSEv1 %d %s %d %s" % (len(payload_type), payload_type.encode(), len(payload), payload)


for case in load("dsse.json")["documents"]:
    envelope = json.loads(case["envelope"])
    payload = base64.b64decode(envelope["payload"], validate=True)
    check("payload", payload == case["payload"].encode(), case)
    check("payload type", envelope["payloadType"] == case["payloadType"], case)
    message = pae(envelope["payloadType"], payload)
    check("pre-authentication encoding", message == base64.b64decode(case["pae_base64"]), case)
    check("signatures present", len(envelope["signatures"]) > 0, case)
    for one in envelope["signatures"]:
        signature = base64.b64decode(one["sig"], validate=True)
        check("document signature", fits(key_bytes(one["keyid"]), signature, message), case)
    check_digest("document digest", case["digest"], payload, case)
    if "effect" in case:
        check_digest("effect digest", case["effect_digest"], case["effect"].encode(), case)


# RFC 8785, written here from its text: keys by UTF-16 code units, numbers as ECMAScript prints them.
def number(value):
    if isinstance(value, int) and abs(value) < 2**53:
        return str(value)
    value = float(value)
    if value == 0:
        return "0"
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    point = len(whole) + int(exponent or 0)
    digits = whole + fraction
    point -= len(digits) - len(digits.lstrip("0"))
    digits = digits.strip("0")
    k = len(digits)
    if k <= point <= 21:
        text = digits + "0" * (point - k)
    elif 0 < point <= 21:
        text = digits[:point] + "." + digits[point:]
    elif -6 < point <= 0:
        text = "0." + "0" * -point + digits
    else:
        e = point - 1
        text = digits[0] + ("." + digits[1:] if k > 1 else "") + "e" + ("+" if e > 0 else "-") + str(abs(e))
    return "-" + text if value < 0 else text


def canonical(value):
    if value is None or isinstance(value, bool) or isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, (int, float)):
        return number(value)
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    fields = sorted(value.items(), key=lambda field: field[0].encode("utf-16-be"))
    return "{" + ",".join(canonical(key) + ":" + canonical(one) for key, one in fields) + "}"


for case in load("canonical.json")["cases"]:
    check("canonical form", canonical(json.loads(case["input"])) == case["canonical"], case)
    check_digest("canonical digest", case["digest"], case["canonical"].encode(), case)


# Entries: the header's layout, the chain, the leaf.
def leaf(data):
    return hashlib.sha256(b"\0" + data).digest()


entries = load("entries.json")
tags = {kind["kind"]: kind["tag"] for kind in entries["kinds"]}
previous = "00" * 32
for seq, case in enumerate(entries["entries"]):
    header = struct.pack(
        "<HH16sQQ32s32s",
        case["version"],
        tags[case["kind"]],
        bytes.fromhex(case["ledger"]),
        case["seq"],
        case["recorded_at"],
        bytes.fromhex(case["previous"]),
        bytes.fromhex(case["commitment"]),
    )
    check("header", header.hex() == case["header"] and case["seq"] == seq, case)
    check("chain", case["previous"] == previous, case)
    check("entry leaf", leaf(header).hex() == case["leaf"], case)
    payload = bytes.fromhex(case["payload"])
    check_digest("payload digest", case["payload_digest"], payload, case)
    if blake3 is not None:
        check("entry hash", derived("writ 2026-11 entry hash v1", header) == case["hash"], case)
    previous = case["hash"]
if blake3 is not None:
    for case in entries["commitments"] + entries["entries"]:
        data = bytes.fromhex(case["salt"]) + bytes.fromhex(case["payload"])
        check("commitment", derived("writ 2026-11 payload commitment v1", data) == case["commitment"], case)


# The tree, by the definition of RFC 6962, section 2.1.
def root(hashes):
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return hashlib.sha256(b"\1" + root(hashes[:split]) + root(hashes[split:])).digest()


merkle = load("merkle.json")
hashes = []
for case in merkle["leaves"]:
    hashes.append(leaf(bytes.fromhex(case["input"])))
    check("leaf", hashes[-1].hex() == case["leaf"], case)
for case in merkle["roots"]:
    check("root", root(hashes[: case["size"]]).hex() == case["root"], case)


# Checkpoints: C2SP signed-note and tlog-checkpoint.
def opens(note, origin, verifier_key):
    """Whether the note is a checkpoint of `origin`, signed by the key of that vkey."""
    name, key_hash, typed = verifier_key.split("+", 2)
    typed = base64.b64decode(typed, validate=True)
    computed = hashlib.sha256(name.encode() + b"\n" + typed).digest()[:4]
    if name != origin or typed[0] != 1 or computed.hex() != key_hash:
        return False
    text, blank, signatures = note.partition("\n\n")
    lines = text.split("\n")
    if not blank or len(lines) != 4 or lines[0] != origin or not signatures.endswith("\n"):
        return False
    if not lines[3].startswith("writ-chain-head ") or lines[1] != str(int(lines[1])):
        return False
    signed = False
    for line in signatures[:-1].split("\n"):
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != "\u2014":
            return False
        signature = base64.b64decode(parts[2], validate=True)
        if parts[1] == name and signature[:4] == computed:
            if not fits(typed[1:], signature[4:], (text + "\n").encode()):
                return False
            signed = True
    return signed


checkpoints = load("checkpoints.json")
for case in checkpoints["notes"]:
    check("note", opens(case["note"], case["origin"], case["verifier_key"]), case)
    check("verifier key", base64.b64decode(case["verifier_key"].split("+", 2)[2])[1:] == key_bytes(case["key"]), case)
    head = base64.b64encode(bytes.fromhex(case["root"])).decode()
    body = f"{case['origin']}\n{case['size']}\n{head}\nwrit-chain-head {case['head']}\n"
    check("body", body == case["body"] and case["note"].startswith(body + "\n"), case)
origin, verifier_key = checkpoints["notes"][0]["origin"], checkpoints["notes"][0]["verifier_key"]
for case in checkpoints["cosigned"]:
    check("note", opens(case["note"], origin, verifier_key), case)
for case in checkpoints["refused"]:
    check("refused note", not opens(case["note"], origin, verifier_key), case)

for what, count in counts.items():
    print(f"{count:4} {what}")
if blake3 is None:
    print("BLAKE3 was not checked: pip install blake3", file=sys.stderr)
for failure in failures:
    print(f"DOES NOT HOLD: {failure}", file=sys.stderr)
sys.exit(1 if failures else 0)
