"""A run that has something to show: traffic over Kafka and HTTP, a connector that hangs for a while, a broker that stops, a rush."""

import contextlib
import os
import signal
import time

import policy
import services
import system
import workload
from ledger import Ledger
from traffic import Traffic

# What the variables of dashboards are: this ledger, and the connector of which there is most to see.
CHOSEN = {"instance": "ledger", "connector": "done"}

KAFKA_RATE, HTTP_RATE, RUSH_RATE = 20, 30, 400
ACTIONS = {"notes.add": 60, "pay": 25, "drift": 1, "broken": 1, "refuse": 3, "no.such": 2}
CENTS = (1, 2, 5, 120)  # the last asks people, until they are too many


class Run:
    def __init__(self, ledger, service, node):
        self.ledger, self.service, self.node = ledger, service, node
        self.numbers = 0

    def args(self, action):
        self.numbers += 1
        return {"cents": CENTS[0 if self.numbers % 40 else 3]} if action == "pay" else {"text": "hi"}

    def play(self, seconds):
        """The acts come at parts of it."""
        part = seconds / 10
        with Traffic(self.ledger, KAFKA_RATE, ACTIONS, self.args, kafka=True, name="k"), Traffic(self.ledger, HTTP_RATE, ACTIONS, self.args, name="h", threads=4):
            time.sleep(2 * part)
            self.service.instead = {"done": "broken"}
            time.sleep(part)
            self.service.instead = {}
            time.sleep(1.5 * part)
            os.kill(self.node, signal.SIGSTOP)
            time.sleep(part)
            os.kill(self.node, signal.SIGCONT)
            time.sleep(1.5 * part)
            with Traffic(self.ledger, RUSH_RATE, name="rush", threads=4):
                time.sleep(part)
            time.sleep(2 * part)


@contextlib.contextmanager
def running(writ, folder, env=None):
    """A ledger that is served."""
    with system.kafka(folder / "kafka") as bootstrap, services.Service() as service:
        ledger = Ledger(writ, folder / "ledger", bootstrap)
        ledger.found(policy.bundle(service, workload.unreachable(), time.gmtime().tm_wday))
        ledger.serve(env=env)
        try:
            ledger.wait_until_ready()
            yield Run(ledger, service, int((folder / "kafka/pid").read_text()))
            ledger.stop()
        finally:
            if ledger.process.poll() is None:
                ledger.kill()
