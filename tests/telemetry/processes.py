"""Processes that end, clocks that jump, logs that were changed, signers that hang, clients that hold too much."""

import socket
import threading

from cause import Cause, burns
from policy import HOUR_US


class Killed(Cause):
    does = "`kill -9`, and nobody starts it again"
    alerts = ("WritDown",)

    def provoke(self):
        self.ledger.kill()

    def mend(self):
        self.serve()


class Restarts(Cause):
    does = "`kill -9` and a new start, again and again"
    alerts = ("WritRestarts",)
    pause_seconds = 3

    def provoke(self):
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.go_on, daemon=True)
        self.thread.start()

    def go_on(self):
        while not self.over.wait(self.pause_seconds):
            self.ledger.kill()
            self.serve()

    def mend(self):
        self.over.set()
        self.thread.join()
        self.again()


class JumpedClock(Cause):
    does = "the wall clock is set an hour ahead, and back before the next start"
    alerts = ("WritClockStopped",)

    def env(self):
        self.shift = self.folder / "shift"
        self.shift.write_text("0")
        return {**super().env(), "LD_PRELOAD": str(self.world.shift), "SHIFT_BY": str(self.shift)}

    def provoke(self):
        self.shift.write_text(str(HOUR_US))
        self.wakes_somebody()
        self.serve()  # which sets it right


class ForgedLog(Cause):
    does = "a byte of the log is changed, and `writ verify` finds it"
    alerts = ("WritAuditBroken",)
    place = 700  # in the first entries

    def provoke(self):
        self.change()
        self.ledger.run("verify", "--data", self.ledger.folder, expect=1)

    def change(self):
        """Once changes it, twice changes it back."""
        segment = min((self.ledger.folder / "log").glob("*.seg"))
        with segment.open("r+b") as file:
            file.seek(self.place)
            [byte] = file.read(1)
            file.seek(self.place)
            file.write(bytes([byte ^ 1]))

    def mend(self):
        """The count of what was found ends with the process."""
        self.change()
        self.ledger.stop()
        self.serve()


class NoAudit(Cause):
    does = "nobody runs `writ verify` and `writ replay`"
    alerts = ("WritAuditNotRun",)

    def audit(self):
        pass

    def mend(self):
        super().audit()


class StuckSigner(Cause):
    does = "the command that signs checkpoints does not answer"
    alerts = ("WritCheckpointStuck", *burns("WritCheckpointsLate"))
    command = """#!/usr/bin/env python3
# The signer, but for as long as the file `stuck` is there.
import os, subprocess, sys, time
signer = subprocess.Popen([{writ!r}, "key", "signer", {key!r}], stdin=subprocess.PIPE)
for line in iter(sys.stdin.buffer.readline, b""):
    while os.path.exists({stuck!r}):
        time.sleep(0.1)
    signer.stdin.write(line)
    signer.stdin.flush()
signer.stdin.close()
sys.exit(signer.wait())
"""

    def prepare(self):
        self.stuck, script = self.folder / "stuck", self.folder / "signer"
        key = self.ledger.folder / "keys/checkpoint.key"
        script.write_text(self.command.format(writ=self.ledger.writ, key=str(key), stuck=str(self.stuck)))
        script.chmod(0o755)
        self.ledger.configure(f'[signer]\ncheckpoint = ["{script}"]\ntimeout_ms = 600000')

    def provoke(self):
        self.stuck.touch()

    def mend(self):
        self.stuck.unlink()
        self.again()


class MuchMemory(Cause):
    does = "clients send bodies that never end"
    alerts = ("WritMemoryHigh",)
    bodies, body_bytes = 3, 19 << 20

    def provoke(self):
        host, port = self.ledger.http.rsplit(":", 1)
        self.held = [socket.create_connection((host, int(port))) for _ in range(self.bodies)]
        self.over = threading.Event()
        for one in self.held:
            threading.Thread(target=self.pour, args=(one,), daemon=True).start()

    def pour(self, connection):
        """All but the end at once, then a byte now and then."""
        head = f"POST /v1/intents HTTP/1.1\r\nHost: {self.ledger.http}\r\nContent-Type: application/x-ndjson\r\nContent-Length: {self.body_bytes}\r\n\r\n"
        try:
            connection.sendall(head.encode() + b" " * (self.body_bytes - 100_000))
            while not self.over.wait(1):
                connection.sendall(b" ")
        except OSError:
            pass

    def mend(self):
        self.over.set()
        for one in self.held:
            one.close()


class ManyFiles(Cause):
    does = "the limit of file descriptors is 256, and clients hold connections"
    alerts = ("WritFilesShort",)
    most, connections = 256, 200

    def serve(self):
        self.ledger.serve(prefix=("prlimit", f"--nofile={self.most}:{self.most}"), env=self.env())
        self.ledger.wait_until_ready()

    def provoke(self):
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.hold, daemon=True)
        self.thread.start()

    def hold(self):
        host, port = self.ledger.http.rsplit(":", 1)
        while not self.over.is_set():
            held = []
            try:
                held = [socket.create_connection((host, int(port))) for _ in range(self.connections)]
            except OSError:
                pass
            self.over.wait(4)  # idle ones are closed by the server after some time
            for one in held:
                one.close()

    def mend(self):
        self.over.set()
        self.thread.join()
