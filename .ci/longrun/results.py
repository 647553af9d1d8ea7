"""What the long run found, as data: docs/results/STEP.json."""

import datetime
import hashlib
import json
import os
import pathlib
import platform
import subprocess

from command import CannotRun

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs/results"


def git(*arguments):
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def source(step):
    """A digest of what the step reads, as git has it. It stays as it is when anything else is committed."""
    return hashlib.sha256(git("ls-files", "-s", "--", *step.reads).encode()).hexdigest()[:16]


def require_committed(step):
    if changed := git("status", "--porcelain", "--", *step.reads).split("\n")[0]:
        raise CannotRun(f"{step.name} reads what is not committed: {changed[3:]}: commit it, so that its result is of a commit")


def machine():
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    release = ".".join(platform.release().split(".")[:2])
    return f"{platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {release}"


class Result:
    """The result of a step so far: of each part that has passed, its seconds and figures."""

    def __init__(self, step, known):
        self.step = step
        self.source, self.commit, self.date = known.get("source"), known.get("commit"), known.get("date")
        self.machine, self.parts = known.get("machine"), known.get("parts", {})

    @classmethod
    def of(cls, step):
        file = FOLDER / f"{step.name}.json"
        return cls(step, json.loads(file.read_text()) if file.exists() else {})

    def is_current(self):
        return self.source == source(self.step)

    def is_whole(self):
        return all(name in self.parts for name in self.step.parts)

    def begin(self):
        self.source, self.parts = source(self.step), {}

    def add(self, name, seconds, figures):
        require_committed(self.step)
        if not self.is_current():
            raise CannotRun(f"what {self.step.name} reads was changed while {name} ran: run it again")
        self.parts[name] = {"seconds": round(seconds), "figures": figures}
        self.write()

    def drop(self, name):
        """What fails now has no result, whatever it had before."""
        self.parts.pop(name, None)
        self.write()

    def write(self):
        self.commit, self.date = git("rev-parse", "--short", "HEAD").strip(), datetime.date.today().isoformat()
        self.machine = machine()
        known = {
            "step": self.step.name, "holds": self.step.holds, "source": self.source, "commit": self.commit, "date": self.date,
            "machine": self.machine, "seconds": self.seconds(), "figures": self.figures(), "parts": self.parts,
        }
        FOLDER.mkdir(exist_ok=True)
        partial = FOLDER / f".{self.step.name}.json"
        partial.write_text(json.dumps(known, indent=2) + "\n")
        partial.replace(FOLDER / f"{self.step.name}.json")

    def seconds(self):
        return sum(part["seconds"] for part in self.parts.values())

    def figures(self):
        """The figures of all parts together; only a whole result has them."""
        return self.step.summary([part["figures"] for part in self.parts.values()]) if self.is_whole() else None
