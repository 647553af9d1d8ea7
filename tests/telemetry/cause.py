"""What goes wrong with a ledger of its own: something breaks, and is mended."""

import os
import time

import strangers
from ledger import Ledger
from traffic import Traffic

TIERS = ("1h", "6h", "1d", "3d")  # of an objective: alerts of one name, told apart by their window
ENDED_SECONDS_MAX, DOWN_SECONDS_MAX = 60, 60
RATE = 3  # intents a second, of every ledger


def burns(name):
    return tuple((name, window) for window in TIERS)


class Cause:
    """Nothing is wrong here: what others have in common. `alerts` are those that it must bring; one that ends the process mends by
    starting it again, as an operator would."""

    does = ""  # for the table
    alerts = ()
    segment_bytes = 65536
    own_env = {}

    def __init__(self, world):
        self.world = world
        self.folder = world.folder / self.name
        self.folder.mkdir()
        self.hinder = self.folder / "hinder"
        self.hinder.touch()
        self.ledger = Ledger(world.writ, self.folder / "ledger", self.bootstrap())
        self.traffic = None

    @property
    def name(self):
        return type(self).__name__

    def bootstrap(self):
        return None

    def policy(self):
        return strangers.plain()

    def env(self):
        return {**os.environ, "LD_PRELOAD": str(self.world.hinder), "HINDER": str(self.hinder), **self.own_env}

    def serve(self):
        self.ledger.serve(env=self.env())
        self.ledger.wait_until_ready()

    def begin(self):
        self.ledger.found(self.policy(), self.segment_bytes)
        self.prepare()
        self.serve()
        self.audit()
        self.traffic = self.flow()
        self.traffic.__enter__()

    def prepare(self):
        pass

    def audit(self):
        for check in ("verify", "replay"):
            self.ledger.run(check, "--data", self.ledger.folder)

    def flow(self):
        return Traffic(self.ledger, RATE)

    def provoke(self):
        pass

    def mend(self):
        self.hinder.write_text("")
        self.again()

    def wakes_somebody(self):
        """Its process has ended, and stays so until WritDown fires. What ended it is shown by the next one."""
        self.ledger.process.wait(ENDED_SECONDS_MAX)
        deadline = time.monotonic() + DOWN_SECONDS_MAX
        while "WritDown" not in self.world.watch.of(self) and time.monotonic() < deadline:
            time.sleep(0.5)

    def again(self):
        """Serves it again where its process has ended."""
        if self.ledger.process.poll() is not None:
            self.serve()

    def end(self):
        if self.traffic:
            self.traffic.__exit__()
        if self.ledger.process and self.ledger.process.poll() is None:
            self.ledger.kill()
