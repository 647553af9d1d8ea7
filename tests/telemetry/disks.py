"""Disks that are slow, full, filling up, or fail."""

import shutil
import subprocess
import threading
import time

from cause import Cause, burns
from ledger import Ledger


class SlowDisk(Cause):
    does = "each sync of the log takes 0.3 s longer"
    alerts = ("WritSyncSlow", *burns("WritDecisionsSlow"))

    def provoke(self):
        self.hinder.write_text("/log/ 300000 0\n")


class StalledDisk(Cause):
    does = "one sync of the log takes 3 s longer"
    alerts = ("WritDecisionStalled",)

    def provoke(self):
        self.hinder.write_text("/log/ 3000000 0\n")
        time.sleep(1)  # it has begun
        self.hinder.write_text("")


class FailingDisk(Cause):
    does = "a sync of the log fails (EIO), and it is started again"
    alerts = ("WritSyncFailed", "WritFatal", "WritDown")

    def provoke(self):
        self.hinder.write_text("/log/ 0 5\n")
        self.wakes_somebody()
        self.hinder.write_text("")
        self.serve()


class SmallDisk(Cause):
    """Its folder is a disk of its own."""

    mebibytes = 400

    def __init__(self, world):
        super().__init__(world)
        self.disk = self.folder / "disk"
        self.disk.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={self.mebibytes}m", "tmpfs", self.disk], capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise OSError(f"a tmpfs cannot be mounted, for which root is needed: {done.stderr.strip()}")
        self.ledger = Ledger(world.writ, self.disk / "ledger", None)
        self.ballast = self.disk / "ballast"

    def fill(self, leave_bytes):
        """Until so many are free."""
        free = shutil.disk_usage(self.disk).free
        with self.ballast.open("ab") as file:
            file.write(b"\1" * max(0, free - leave_bytes))

    def mend(self):
        self.ballast.unlink(missing_ok=True)
        self.again()

    def end(self):
        super().end()
        subprocess.run(["umount", "--lazy", self.disk], timeout=60)


class FullDisk(SmallDisk):
    does = "the disk is filled"
    alerts = ("WritDiskShort", *burns("WritDecisionsFailing"))
    left = 256 << 10  # less than half of what is kept for so small segments

    def provoke(self):
        self.fill(self.left)


class FillingDisk(SmallDisk):
    does = "a file on the disk grows by 1 MiB a second"
    alerts = ("WritDiskFillsUp",)
    growth = 1 << 20

    def provoke(self):
        self.grown = threading.Event()
        threading.Thread(target=self.grow, daemon=True).start()

    def grow(self):
        while not self.grown.wait(1):
            with self.ballast.open("ab") as file:
                file.write(b"\1" * self.growth)

    def mend(self):
        self.grown.set()
        super().mend()
