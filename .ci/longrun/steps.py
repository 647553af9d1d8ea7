"""The steps of the long run: what each holds, what it reads, its parts, and what their figures are together."""

import dataclasses
import functools
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from command import PYTHON, ROOT, TARGET, Failed

RUST = ("Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "src", "schemas", "projections")
KERNEL = ("Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "src/kernel", "schemas")
TESTS = (*RUST, "tests", "fuzz/corpus", "fuzz/fuzz_targets", "docs/decisions", "docs/log-format.md", "docs/policy.md", "docs/errors.md")

DEMO_SECONDS_MAX = 15
FUZZ_SECONDS = 120
FUZZ_TARGETS = ("decide", "envelope", "payload", "policy", "segment")
LINES_PERCENT_MIN = 95
WAYS = ("scram", "plain", "oauthbearer", "mtls", "page")
FAULTS = ("init", "submit", "serve", "verify", "show")
BUSY_RUNS, BUSY_LOOPS = 20, 4
MODEL_STEPS = 100_000
CRASH_ROUNDS = 50
OUTAGE_ROUNDS, OUTAGE_PARTS = 50, 10
LATENCY_RATIO_MAX = {"p50": 4, "p99": 2.5}  # beside a plain copy in transactions; at each rate
GENERATOR_LATE_MS_MAX = 2  # whoever sends later than this measures the machine
MUTANT_SHARDS = {"writ-kernel": 10, "writ-schemas": 4}


def only(figures):
    """The figures of a step of one part."""
    return figures[0]


@dataclasses.dataclass(frozen=True)
class Step:
    name: str
    holds: str
    reads: tuple
    parts: dict  # name -> function of a runner; it returns figures or fails
    tools: tuple = ()
    summary: Callable = only


def last(pattern, text):
    """The groups of the last place where a line fits."""
    found = re.findall(pattern, text, re.MULTILINE)
    if not found:
        raise Failed(f"nothing in the output fits {pattern}")
    return found[-1]


# --- The release build, and what is measured with it ---


def release(run):
    run("cargo", "build", "--release", "--locked")
    began = time.monotonic()
    run("cargo", "run", "--release", "--", "demo")
    seconds = time.monotonic() - began
    if seconds > DEMO_SECONDS_MAX:
        raise Failed(f"the demo took {seconds:.1f} s; the README promises a few")
    return {"demo_s": round(seconds, 1)}


def rounded(figures):
    return {name: round(value, 3 if abs(value) < 10 else 0) for name, value in figures.items() if isinstance(value, (int, float))}


def throughput(run):
    return rounded(json.loads(run("cargo", "bench", "--locked", "--bench", "throughput", "--", "--json"))["median"])


def memory(run):
    return rounded(json.loads(run("cargo", "bench", "--locked", "--bench", "throughput", "--", "--memory", "--views", "--json")))


def clients(run):
    return rounded(json.loads(run("cargo", "bench", "--locked", "--bench", "throughput", "--", "--clients", "--json")))


def decide(run):
    """Nanoseconds by table: `rules decide 1000`, `budgets decide 100000`."""
    figures, of = {}, None
    for line in run("cargo", "bench", "--locked", "--bench", "decide").splitlines():
        if head := re.fullmatch(r"\s*(rules|budgets)\s+(decide|judge), ns\s+ratio", line):
            of = f"{head[2]}_ns, {head[1]}"
        elif row := re.fullmatch(r"\s*(\d+)\s+(\d+)\s+[\d.]+", line):
            figures[f"{of}: {row[1]}"] = int(row[2])
        elif expression := re.fullmatch(r"the expression of it: (\d+) ns", line):
            figures["expression_ns"] = int(expression[1])
    if len(figures) != 10:
        raise Failed(f"{len(figures)} figures, not 10: {figures}")
    return figures


def crash(run):
    run("cargo", "build", "--release", "--locked")
    output = run(PYTHON, "tests/crash/loop.py", "--rounds", CRASH_ROUNDS, "--writ", TARGET / "release/writ")
    rounds = last(r"^(\d+) passed, 0 failed", output)
    return {"rounds": int(rounds), "killed_between_dispatch_and_receipt": int(last(r"^(\d+) rounds were killed between", output))}


def secure(way, run):
    run("cargo", "build", "--release", "--locked")
    output = run(PYTHON, "tests/kafka/secure.py", "--only", way, "--writ", TARGET / "release/writ")
    return {"cases": int(last(r"^(\d+) passed, 0 failed", output)), "secrets": int(last(r"(\d+) secrets, \d+ lines", output))}


def secure_together(parts):
    return {"cases": sum(part["cases"] for part in parts), "secrets_looked_for": max(part["secrets"] for part in parts)}


def outages(number, run):
    """Some of the rounds; every second part on a busy machine."""
    run("cargo", "build", "--release", "--locked")
    output = run(PYTHON, "tests/kafka/outages.py", "--rounds", OUTAGE_ROUNDS, "--part", f"{number}/{OUTAGE_PARTS}",
                 *(["--busy"] if number % 2 == 0 else []), "--writ", TARGET / "release/writ")
    rounds = re.findall(r"^ *\d+ +[a-z]+ +\d+ +[a-z]+ +[a-z]+ +(\d+) +(\d+|-) +([\d.]+) *$", output, re.MULTILINE)
    if len(rounds) != int(last(r"^(\d+) passed, 0 failed", output)):
        raise Failed(f"{len(rounds)} rounds can be read, and others passed; {run.log}")
    return {
        "rounds": len(rounds), "decisions": sum(int(decisions) for decisions, _, _ in rounds),
        "abandoned": sum(int(abandoned) for _, abandoned, _ in rounds if abandoned != "-"),
        "back_s": [float(back) for _, _, back in rounds],
    }


def outages_together(parts):
    back = [seconds for part in parts for seconds in part["back_s"]]
    return {
        **{name: sum(part[name] for part in parts) for name in ("rounds", "decisions", "abandoned")},
        "back_s_median": statistics.median(back), "back_s_max": max(back),
    }


def latency(run):
    """Milliseconds from produced to consumed, ours beside the copy's."""
    run("cargo", "build", "--release", "--locked")
    found = json.loads(run(PYTHON, "tests/kafka/latency.py", "--json", "--writ", TARGET / "release/writ"))
    figures, slow = {}, []
    for row in found["rates"]:
        for part, most in LATENCY_RATIO_MAX.items():
            figures[f"{part}_ms at {row['rate']}/s"] = row["ours"][f"{part}_ms"]
            figures[f"{part}_ratio at {row['rate']}/s"] = ratio = row[f"{part}_ratio"]
            if ratio > most:
                slow.append(f"{part} at {row['rate']}/s is {ratio} times the copy's, at most {most}")
        if (late := row["generator_late_ms"]["p99"]) > GENERATOR_LATE_MS_MAX:
            raise Failed(f"the generator was late by {late} ms at {row['rate']}/s: this machine is too busy to measure on")
    if slow:
        raise Failed(f"{'; '.join(slow)}: {figures}")
    return figures


# --- Telemetry ---


def telemetry(script, read, run):
    """A script of tests/telemetry on the release build, and what is read from its output."""
    run("cargo", "build", "--release", "--locked")
    return read(run(PYTHON, f"tests/telemetry/{script}", "--writ", TARGET / "release/writ"))


def load_figures(output):
    found = json.loads(output)
    figures = {f"{name}_ratio": found[f"{name}_ratio"] for name in ("on", "stopped", "on_cpu", "stopped_cpu")}
    figures |= {f"{name}_per_s": number for name, number in found["per_s"].items()}
    figures["stop_s_max"] = max(*found["stop_s"].values(), found["exact"]["stop_s"])
    return figures | {f"spans_{name}": found["exact"][name] for name in ("made", "exported", "dropped")}


def needle_figures(output):
    return {"slow_decisions_found": len(re.findall(r"^WritDecisionStalled fired; ", output, re.MULTILINE))}


def alert_figures(output):
    return {"alerts_fired_and_ended": int(last(r"^(\d+) alerts fired and ended; 0 did not", output))}


def telemetry_together(parts):
    return {name: value for part in parts for name, value in part.items()}


# --- What tests would find ---


def fuzz(target, run):
    row = last(rf"^{target} +(\d+) +(\d+)  ok", run("fuzz/run", FUZZ_SECONDS, target))
    return {"seeds": int(row[0]), "executions": int(row[1])}


def known_mutants():
    lines = (ROOT / "tests/mutants/known.txt").read_text().splitlines()
    return {line.split(" # ")[0].strip() for line in lines if line and not line.startswith("#")}


def mutants(crate, shard, run):
    # 2: some were not noticed; 3: some took too long, which is to be noticed.
    output = run("tests/mutants/run", crate, shard, fine=(0, 2, 3))
    tried, noticed, slow, unviable = map(int, last(r"^mutants: (\d+) tried, (\d+) noticed, (\d+) timed out, (\d+) unviable", output))
    unnoticed = re.findall(r"^unnoticed: (.+)$", output, re.MULTILINE)
    if unexplained := [one for one in unnoticed if one not in known_mutants()]:
        raise Failed("no test notices, and tests/mutants/known.txt does not say why:\n" + "\n".join(unexplained))
    return {"tried": tried, "noticed": noticed + slow, "unviable": unviable, "explained": unnoticed}


def mutants_together(parts):
    total = {name: sum(part[name] for part in parts) for name in ("tried", "noticed", "unviable")}
    return {**total, "explained": sorted(one for part in parts for one in part["explained"])}


def covered(summary, prefix):
    """Lines that are run and lines that there are, below a folder."""
    counts = [file["summary"]["lines"] for file in summary["files"] if file["filename"].startswith(f"{ROOT}/{prefix}")]
    return sum(count["covered"] for count in counts), sum(count["count"] for count in counts)


def coverage(run):
    summary = json.loads(run("cargo", "llvm-cov", "--workspace", "--json", "--summary-only"))["data"][0]
    figures = {}
    for name, prefix in {
        "schemas": "schemas/src/", "kernel": "src/kernel/", "executor": "src/executor", "log": "src/log/",
        "projections": "projections/src/", "all of src": "src/",
    }.items():
        run_lines, lines = covered(summary, prefix)
        figures[name] = round(100 * run_lines / lines, 1)
    low = [name for name in ("schemas", "kernel", "executor") if figures[name] < LINES_PERCENT_MIN]
    if low:
        raise Failed(f"less than {LINES_PERCENT_MIN} % of lines: {low}: {figures}")
    return figures


def model(run):
    output = run("cargo", "test", "--release", "-p", "writ-kernel", "--test", "model", "--", "--steps", MODEL_STEPS)
    steps, entries = last(r"^model: no difference in (\d+) steps, (\d+) entries", output)
    return {"steps": int(steps), "entries": int(entries)}


def planted(run):
    rows = re.findall(r"^(\S+) +yes +(\d+)  ", run("tests/model/planted/run"), re.MULTILINE)
    return {"found": len(rows), "steps": {name: int(steps) for name, steps in rows}}


def planted_together(parts):
    steps = parts[0]["steps"].values()
    return {"found": parts[0]["found"], "steps_min": min(steps), "steps_max": max(steps)}


def faults(test, run):
    """Each call on a file fails once, in each way."""
    output = run("sh", "-c", f"exec cargo test --test it -- --nocapture faults::{test} 2>&1", env={"WRIT_FAULTS": "all"})
    met, calls = map(int, last(r"^(\d+) faults met at (\d+) calls", output))
    return {"calls": calls, "faults": met}


def faults_together(parts):
    return {name: sum(part[name] for part in parts) for name in ("calls", "faults")}


def busy(run):
    """The README's test command, beside loops that want the same cores."""
    run("cargo", "test", "--no-run")
    # Each ends with this process, however that ends.
    loop = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"
    loops = [subprocess.Popen([sys.executable, "-c", loop]) for _ in range(BUSY_LOOPS)]
    try:
        began = time.monotonic()
        # More threads than the gate has, so that each of them waits longer for a core.
        output = run("cargo", "test", "--no-fail-fast", fine=(0, 101), env={"RUST_TEST_THREADS": str(4 * os.cpu_count())})
        seconds = time.monotonic() - began
    finally:
        for process in loops:
            process.kill()
            process.wait()
    if failed := re.findall(r"^test (.+) \.\.\. FAILED$", output, re.MULTILINE):
        raise Failed(f"under load: {', '.join(failed)}; {run.log}")
    passed = sum(map(int, re.findall(r"^test result: ok\. (\d+) passed", output, re.MULTILINE)))
    if not passed or "test result: FAILED" in output:
        raise Failed(f"the tests did not run to their end; {run.log}")
    return {"passed": passed, "s": round(seconds)}


def busy_together(parts):
    seconds = [part["s"] for part in parts]
    return {
        "runs": len(parts), "failed": 0, "tests": parts[-1]["passed"], "s_min": min(seconds),
        "s_median": round(statistics.median(seconds)), "s_max": max(seconds),
    }


def fuzz_together(parts):
    return {"seeds": sum(part["seeds"] for part in parts), "executions": sum(part["executions"] for part in parts)}


def shards():
    for crate, count in MUTANT_SHARDS.items():
        for shard in range(count):
            which = f"{shard}/{count}"
            yield f"{crate} {which}", functools.partial(mutants, crate, which)


ALL = (
    Step("release", "README's `cargo run --release -- demo`, in 15 s", RUST, {"all": release}, ("compilers",)),
    Step("crash", f"`kill -9` under load, {CRASH_ROUNDS} rounds", (*RUST, "tests/crash", "tests/kafka", "examples"), {"all": crash},
         ("compilers", "python", "kafka")),
    Step("secure", "a real Kafka with TLS, each way to sign in, and each of them wrong", (*RUST, "tests/kafka", "tests/crash", "examples", "docs/kafka.md"),
         {way: functools.partial(secure, way) for way in WAYS}, ("compilers", "python", "kafka", "openssl"), secure_together),
    Step("outages", f"Kafka goes away and comes back, {OUTAGE_ROUNDS} times, half of them on a busy machine: each output once, one process",
         (*RUST, "tests/crash/loop.py", "tests/crash/system.py", "tests/kafka", "examples/python"),
         {f"{number}/{OUTAGE_PARTS}": functools.partial(outages, number) for number in range(1, OUTAGE_PARTS + 1)},
         ("compilers", "python", "kafka"), outages_together),
    Step("model", f"an independent model beside the kernel, {MODEL_STEPS} steps", (*KERNEL, "tests/model"), {"all": model}, ("compilers",)),
    Step("planted", "bugs that are planted into the kernel are found by the model", (*KERNEL, "tests/model"), {"all": planted},
         ("compilers",), planted_together),
    Step("fuzz", f"fuzzers beyond their corpora, {FUZZ_SECONDS} s each", (*KERNEL, "src/log", "fuzz", "tests/properties"),
         {target: functools.partial(fuzz, target) for target in FUZZ_TARGETS}, ("compilers", "fuzz"), fuzz_together),
    Step("coverage", "lines that tests run, the processes that they start included", TESTS, {"all": coverage}, ("compilers", "openssl", "coverage")),
    Step("bench_decide", "how long a decision takes, by rules and by budgets", (*RUST, "benches"), {"all": decide}, ("compilers",)),
    Step("bench_throughput", "durable intents a second beside the limits of the machine", (*RUST, "benches"), {"all": throughput},
         ("compilers",)),
    Step("bench_clients", "known beside new intents, and decisions beside 64 readers of 200 000 receipts", (*RUST, "benches"),
         {"all": clients}, ("compilers",)),
    Step("bench_memory", "memory after 100 000 and after 1 000 000 intents, views following", (*RUST, "benches"), {"all": memory},
         ("compilers",)),
    Step("latency", "from produced to consumed over Kafka, beside a plain copy in transactions",
         (*RUST, "tests/crash/system.py", "tests/kafka", "examples/python"), {"all": latency}, ("compilers", "python", "kafka")),
    Step("telemetry", "what telemetry costs, on, off and with a collector that stands still; every alert by its cause; one slow decision among 100 000",
         (*RUST, "tests/telemetry", "tests/kafka", "tests/crash", "tests/it/shift.c", "examples/python", "ops/prometheus/rules", "docs/runbooks"),
         {script: functools.partial(telemetry, f"{script}.py", read)
          for script, read in (("load", load_figures), ("needle", needle_figures), ("alerts", alert_figures))},
         ("compilers", "python", "kafka", "collector", "prometheus", "openssl", "jq"), telemetry_together),
    Step("faults", "each call on a file fails once in each way, or the process is killed at it", TESTS,
         {test: functools.partial(faults, test) for test in FAULTS}, ("compilers",), faults_together),
    Step("busy", f"`cargo test`, {BUSY_RUNS} times beside {BUSY_LOOPS} busy loops", TESTS,
         {f"run {number}": busy for number in range(1, BUSY_RUNS + 1)}, ("compilers", "openssl"), busy_together),
    Step("mutants", "changes of kernel and schemas, one place at a time, are noticed by their tests",
         (*KERNEL, "tests/kernel", "tests/mutants/run", ".cargo"), dict(shards()), ("compilers", "mutants"), mutants_together),
)
