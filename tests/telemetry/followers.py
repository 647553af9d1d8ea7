"""Views and collectors that do not follow, and clients that ask too much."""

import ctypes
import os
import pathlib
import threading
import time

from cause import Cause
from collector import Collector
from traffic import at_once

PTRACE_ATTACH, PTRACE_DETACH = 16, 17
WAIT_FOR_ANY_THREAD = 0x40000000  # __WALL


class StoppedView(Cause):
    does = "the thread that applies entries to the views is stopped (ptrace)"
    alerts = ("WritViewBehind",)
    thread_name = "views"

    def provoke(self):
        self.over = threading.Event()
        self.stopper = threading.Thread(target=self.hold, daemon=True)
        self.stopper.start()

    def hold(self):
        """Who stops a thread is the only one that can let it go on."""
        tasks = pathlib.Path(f"/proc/{self.ledger.process.pid}/task")
        [thread] = [int(task.name) for task in tasks.iterdir() if (task / "comm").read_text().strip() == self.thread_name]
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.ptrace(PTRACE_ATTACH, thread, None, None) != 0:
            raise OSError(ctypes.get_errno(), "a thread cannot be stopped")
        os.waitpid(thread, WAIT_FOR_ANY_THREAD)
        self.over.wait()
        libc.ptrace(PTRACE_DETACH, thread, None, None)

    def mend(self):
        self.over.set()
        self.stopper.join()


class LostView(Cause):
    does = "writes of the views fail (EIO)"
    alerts = ("WritViewLost",)

    def provoke(self):
        self.hinder.write_text("/views/ 0 5\n")


class Flood(Cause):
    does = "more is asked than a disk takes whose syncs take 1 s longer"
    alerts = ("WritOverloaded",)
    bodies, lines = 6, 4000

    def provoke(self):
        self.hinder.write_text("/log/ 1000000 0\n")
        self.over = threading.Event()
        for number in range(self.bodies):
            threading.Thread(target=self.ask, args=(number,), daemon=True).start()

    def ask(self, client):
        number = 0
        while not self.over.is_set():
            try:
                at_once(self.ledger, self.lines, f"flood-{client}-{number}")
            except OSError:
                time.sleep(1)
            number += 1

    def mend(self):
        self.over.set()
        super().mend()


class LostCollector(Cause):
    does = "the collector is suspended (SIGSTOP)"
    alerts = ("WritTelemetryLost",)

    def __init__(self, world):
        super().__init__(world)
        self.collector = Collector(self.folder / "collector").start()
        self.own_env = self.collector.variables() | {"OTEL_TRACES_SAMPLER": "parentbased_always_on", "OTEL_METRIC_EXPORT_INTERVAL": "1000"}

    def provoke(self):
        self.collector.suspend()

    def mend(self):
        self.collector.resume()

    def end(self):
        super().end()
        self.collector.resume()
        self.collector.__exit__()
