"""The system under test, as other processes see it: a Kafka node, a ledger in a folder, `writ` as a command."""

import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
BROKER = ROOT / "tests/kafka/broker"
sys.path.insert(0, str(ROOT / "examples/python"))

TENANT, PRINCIPAL = "acme", "agent-1"  # what `writ init` trusts keys/producer.key for

# Each is far above what was measured on two idle cores, and far below what makes a gate hang.
COMMAND_SECONDS_MAX = 120
READY_SECONDS_MAX = 60
STOP_SECONDS_MAX = 60


# What was started ends with this process, whoever ends it.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


class Broken(Exception):
    """The system did something that it must not do, or did not do what it must."""


def script(name, main, *could_not_run):
    """Runs a script to its end. Exit status: what `main` says, 1 if something is broken, 2 if it could not run."""
    try:
        sys.exit(main())
    except Broken as problem:
        print(f"{name}: {problem}", file=sys.stderr)
        sys.exit(1)
    except could_not_run as problem:
        print(f"{name}: {problem}", file=sys.stderr)
    except Exception:
        traceback.print_exc()
    sys.exit(2)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as held:
        return held.getsockname()[1]


@contextlib.contextmanager
def kafka(folder, *options):
    """A node's HOST:PORT, as long as the block runs; with options, all that `broker start` prints."""
    done = subprocess.run([BROKER, "start", folder, *options], stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL, timeout=1200)
    if done.returncode != 0:
        raise SystemExit(2)
    try:
        yield done.stdout.strip()
    finally:
        subprocess.run([BROKER, "kill", folder], timeout=COMMAND_SECONDS_MAX)


@contextlib.contextmanager
def effects(file, *options):
    """The HOST:PORT of an effects.py, as long as the block runs."""
    command = [sys.executable, ROOT / "tests/crash/effects.py", file, *map(str, options)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as service:
        try:
            yield service.stdout.readline().strip()
        finally:
            service.kill()


def get(address, path, seconds):
    """Status and body of a GET; (0, b"") if nobody answers."""
    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=seconds)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def bundle(url):
    """A policy under which `notes.add` passes and touches nothing, and `effect.count` passes and calls `url`."""
    hour = 3_600_000_000
    return {
        "name": "crash-tests",
        "gates": {
            "temporal": {"disabled": "tests run at any hour"},
            "proof": "enforced",
            "budget": "enforced",
            "escalation": {"disabled": "nobody is there to ask"},
        },
        "rules": [
            {"action": "notes.add", "requires": {"exempt": "a note does no harm"},
             "spends": {"exempt": "notes are free"}, "connector": "echo", "window_us": hour},
            {"action": "effect.count", "requires": {"exempt": "the effect is only counted"},
             "spends": {"budget": {"name": "calls", "cost": {"fixed": 1}}}, "connector": "effects", "window_us": hour},
        ],
        "budgets": {"calls": {"unit": "calls", "limit": 1_000_000}},
        "connectors": {
            "echo": {"kind": "echo", "output_schema": {"type": "object"}},
            "effects": {
                "kind": {"http": {"url": url, "timeout_us": 5_000_000}},
                "output_schema": {"type": "object", "required": ["done"], "properties": {"done": {"type": "boolean"}}},
            },
        },
    }


class Ledger:
    """A ledger's folder and the commands on it."""

    def __init__(self, writ, folder, bootstrap, prefix=()):
        self.writ, self.folder, self.bootstrap = str(writ), pathlib.Path(folder), bootstrap
        self.prefix = list(prefix)  # what `init` and `serve` run under, such as strace
        self.http = f"127.0.0.1:{free_port()}"
        self.log = self.folder.with_suffix(".stderr")
        self.process = None

    def run(self, *arguments, expect=0, prefix=()):
        done = subprocess.run([*prefix, self.writ, *map(str, arguments)], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=COMMAND_SECONDS_MAX)
        if done.returncode != expect:
            words = (done.stderr or done.stdout).strip()[-2000:]
            raise Broken(f"writ {' '.join(map(str, arguments))}: status {done.returncode}, not {expect}: {words}")
        return done.stdout

    def init(self, url, segment_bytes=65536):
        """Small segments, so that there are many of them; `None` is the size that anybody has."""
        policy = self.folder.with_suffix(".policy")
        policy.mkdir()
        (policy / "policy.json").write_text(json.dumps(bundle(url), indent=2))
        size = [] if segment_bytes is None else ["--segment-bytes", segment_bytes]
        self.run("init", *size, "--data", self.folder, "--kafka", self.bootstrap, "--policy", policy, prefix=self.prefix)

    def serve(self, prefix=None):
        """Starts `writ serve`, and does not wait."""
        command = ["serve", "--data", self.folder, "--kafka", self.bootstrap, "--http", self.http]
        with self.log.open("ab") as stderr:
            self.process = subprocess.Popen(
                [*(self.prefix if prefix is None else prefix), self.writ, *map(str, command)],
                stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr,
            )

    def wait_until_ready(self):
        deadline = time.monotonic() + READY_SECONDS_MAX
        while get(self.http, "/health/ready", 5)[0] != 200:
            if self.process.poll() is not None:
                raise Broken(f"writ serve ended with status {self.process.returncode}: {self.last_words()}")
            if time.monotonic() > deadline:
                raise Broken(f"writ serve was not ready within {READY_SECONDS_MAX} s: {self.last_words()}")
            time.sleep(0.05)

    def metric(self, name):
        """Of one series, or over all labels; None if there is none."""
        lines = (line.rpartition(" ") for line in get(self.http, "/metrics", 20)[1].decode().splitlines())
        values = [float(value) for series, _, value in lines if name in (series, series.partition("{")[0])]
        return sum(values) if values else None

    def last_words(self):
        return self.log.read_text(errors="replace")[-1000:].strip()

    def kill(self):
        self.process.kill()
        self.process.wait(STOP_SECONDS_MAX)

    def stop(self):
        """A clean stop; any status but 0 is a failure."""
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Broken(f"writ serve did not stop within {STOP_SECONDS_MAX} s") from None
        if status != 0:
            raise Broken(f"writ serve stopped with status {status}: {self.last_words()}")

    def entries(self):
        return [json.loads(line) for line in self.run("log", "show", "--data", self.folder, "--json").splitlines()]


def default_writ():
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    return target / "release/writ"
