#!/usr/bin/env python3
"""The order run: a real Kafka, `writ init` and `writ serve` under strace, intents, a kill and a second serve, then check.py.

    run.py [--writ target/release/writ] [--keep FOLDER]

Exit status: 0 proven, 1 violated or broken, 2 could not run.
"""

import argparse
import pathlib
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "crash"))
import check
import system
from system import Broken

import producer  # examples/python: signing, sending

# The folders that `writ init` makes, and the files in them that it does not replace later.
MADE = ("", "log", "keys", "policy", "checkpoints", "writ.toml", "policy/policy.json",
        "keys/decision.key", "keys/checkpoint.key", "keys/operator.key", "keys/producer.key", "keys/approver.key")
INTENTS = 60
# Above what one call of this run writes, the rewriting of a tail at opening included. check.py refuses a trace that was cut.
STRING_BYTES_MAX = 1 << 20
ANSWER_SECONDS_MAX = 120  # everything is several times slower under strace


class Options:
    """What producer.answers asks of a command line."""

    tenant, decision_key = system.TENANT, None


def strace(output):
    calls = ",".join(f"?{name}" for name in sorted(check.CALLS))
    return ["strace", "-f", "-yy", "-s", str(STRING_BYTES_MAX), "-e", f"trace={calls}", "-e", "signal=none", "-o", output]


def envelopes(key, names):
    """Signed intents by id; every second one calls the connector. The id stands in the args, so that calls can be told apart."""
    expires_at = int((time.time() + 3600) * 1_000_000)
    return {
        name: producer.sign(key, producer.INTENT_TYPE, {
            "tenant": system.TENANT, "principal": system.PRINCIPAL, "id": name, "args": {"note": name},
            "action": ("notes.add", "effect.count")[number % 2], "expires_at": expires_at,
        })
        for number, name in enumerate(names)
    }


def send(bootstrap, signed, names):
    return producer.send(producer.Kafka(bootstrap), system.TENANT, [signed[name] for name in names], 60)


def send_and_wait(bootstrap, signed, names):
    """What was sent before is sent as it was: signed anew it would be other content under the same id, and refused."""
    reader = producer.Reader(producer.Kafka(bootstrap), [producer.DECISIONS, producer.REFUSALS], 20)
    wanted, deadline = dict(zip(send(bootstrap, signed, names), names)), time.monotonic() + ANSWER_SECONDS_MAX
    for kind, name, document, _ in producer.answers(reader, Options, wanted, set(), deadline):
        if kind != "decision" or document["verdict"] != "PASS":
            raise Broken(f"{name}: {kind} {document}")
    reader.close()


def run(writ, folder):
    """The traces and ids of a ledger that was made, served, killed and served again."""
    # Random, so that a match in a buffer is the id and nothing else.
    names = [f"order-{secrets.token_hex(16)}-{number:04}" for number in range(INTENTS)]
    traces = [folder / name for name in ("init.trace", "first.trace", "second.trace")]
    with system.kafka(folder / "kafka") as bootstrap, system.effects(folder / "effects.txt", "--delay-ms", 5, 20) as address:
        ledger = system.Ledger(writ, folder / "ledger", bootstrap, prefix=strace(traces[0]))
        ledger.init(f"http://{address}/effects")
        # It comes to be in a folder inside of its own, and moves into place.
        made = [ledger.folder / ".unfinished" / name for name in MADE]
        require_synced(traces[0], [*made, ledger.folder, ledger.folder.parent])
        signed = envelopes(producer.load_key(ledger.folder / "keys/producer.key"), names)
        try:
            ledger.serve(prefix=strace(traces[1]))
            ledger.wait_until_ready()
            # Several batches, not one.
            for start in range(0, INTENTS // 2, 10):
                send_and_wait(bootstrap, signed, names[start : start + 10])
            # Killed with records under way, so that the next process finds something to write again.
            send(bootstrap, signed, names[INTENTS // 2 :])
            kill_traced(ledger)
            ledger.serve(prefix=strace(traces[2]))
            ledger.wait_until_ready()
            send_and_wait(bootstrap, signed, names)
            stop_traced(ledger)
        finally:
            if ledger.process and ledger.process.poll() is None:
                kill_traced(ledger)
        ledger.run("verify", "--data", ledger.folder)
    return traces, names, address


def require_synced(trace, paths):
    """What is not synced, or whose name is not, may be gone after a power cut, and decisions that were told with it."""
    calls = trace.read_text(encoding="latin-1")
    for path in paths:
        if not re.search(rf"fsync\(\d+<{re.escape(str(path))}>", calls):
            raise Broken(f"writ init did not sync {path}")


def traced(ledger):
    """The process id of `writ`, the only child of strace."""
    children = pathlib.Path(f"/proc/{ledger.process.pid}/task/{ledger.process.pid}/children").read_text().split()
    if not children:
        raise Broken(f"writ serve is gone: {ledger.last_words()}")
    return children[0]


def kill_traced(ledger):
    subprocess.run(["kill", "-KILL", traced(ledger)], check=True)
    ledger.process.wait(system.STOP_SECONDS_MAX)


def stop_traced(ledger):
    subprocess.run(["kill", "-TERM", traced(ledger)], check=True)
    if (status := ledger.process.wait(system.STOP_SECONDS_MAX)) != 0:  # strace ends as its child ended
        raise Broken(f"writ serve stopped with status {status}: {ledger.last_words()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--writ", type=pathlib.Path, default=system.default_writ())
    parser.add_argument("--keep", type=pathlib.Path, metavar="FOLDER", help="a new folder that is left behind, traces in it")
    options = parser.parse_args()
    for needed, how in ((options.writ.is_file(), f"{options.writ}: cargo build --release"), (shutil.which("strace"), "strace")):
        if not needed:
            print(f"run: missing {how}", file=sys.stderr)
            return 2
    with tempfile.TemporaryDirectory(prefix="writ-order-") as temporary:
        folder = options.keep or pathlib.Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        traces, names, address = run(options.writ, folder.resolve())
        (folder / "ids").write_text("\n".join(names))
        command = [sys.executable, HERE / "check.py", "--ids", folder / "ids", "--connector", address, *traces]
        return subprocess.run(command, timeout=600).returncode


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Broken, producer.CouldNotRun) as problem:
        print(f"run: {problem}", file=sys.stderr)
        sys.exit(1)
