"""Runs a command for a part: its words into a file, its end with the end of this process."""

import contextlib
import os
import pathlib
import signal
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "writ"
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or CACHE / "target")
PYTHON = CACHE / "venv/bin/python"

SETTINGS = {
    "CARGO_TARGET_DIR": str(TARGET), "CARGO_INCREMENTAL": "0", "CARGO_TERM_COLOR": "never", "PYTHONDONTWRITEBYTECODE": "1",
    "WRIT_REQUIRE_ALL": "1",
}

LAST_LINES = 30


class CannotRun(Exception):
    """What says nothing about the sources."""


class Failed(Exception):
    """A check that did not hold."""


def tools(*names):
    done = subprocess.run([ROOT / ".ci/tools", *names], env={**os.environ, **SETTINGS}, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise CannotRun(done.stderr.strip().removeprefix("tools: "))


def brief(figures):
    """A few figures for people, on one line."""
    plain = {name: value for name, value in figures.items() if not isinstance(value, (dict, list))}
    return ", ".join(f"{name} {value}" for name, value in list(plain.items())[:6])


class Runner:
    """Runs the commands of one part."""

    def __init__(self, label, scratch):
        self.scratch = scratch
        folder = CACHE / "long"
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / f"{label.replace('/', '-of-').replace(' ', '-')}.log"
        self.log.write_text("")

    def __call__(self, *arguments, fine=(0,), env=None):
        """Standard output of a command that ended so; both outputs are in the log in the end."""
        arguments = [str(one) for one in arguments]
        settings = {**os.environ, **SETTINGS, "TMPDIR": self.scratch, **(env or {})}
        # A file and not a pipe: what a command leaves running would hold the pipe open.
        with self.log.open("a") as log, self.log.with_suffix(".out").open("w+", errors="replace") as out:
            print("$", *arguments, file=log, flush=True)
            process = subprocess.Popen(arguments, cwd=ROOT, env=settings, stdin=subprocess.DEVNULL, stdout=out, stderr=log,
                                       start_new_session=True)
            try:
                status = process.wait()
            finally:
                self.end(process)
            out.seek(0)
            output = out.read()
            log.write(output)
        if status not in fine:
            words = self.log.read_text(errors="replace").splitlines()[-LAST_LINES:]
            raise Failed("\n".join([f"`{' '.join(arguments)}` ended with status {status}; {self.log} has all of this:", *words]))
        return output

    def end(self, process):
        """Ends what the command has started: its group, and what left the group but still knows the scratch folder."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM if process.poll() is None else signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        end_all(self.scratch)


def end_all(scratch):
    """Kills what has this scratch folder in its command line or its environment."""
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or it is another user's
            if any(scratch.encode() in (process / file).read_bytes() for file in ("cmdline", "environ")):
                os.kill(int(process.name), signal.SIGKILL)
