"""A ledger that is observed: its policy, what it is asked over HTTP, what it says, and its log when it is counted."""

import http.client
import json
import subprocess
import time

import system
from system import Broken

HTTP_SECONDS_MAX = 60
WAIT_SECONDS_MAX = 90


class Ledger(system.Ledger):
    """`serve` takes what the process needs in its environment."""

    def found(self, policy, segment_bytes=None):
        """Makes it, under this policy."""
        self.policy = policy
        folder = self.folder.with_suffix(".policy")
        folder.mkdir()
        (folder / "policy.json").write_text(json.dumps(policy, indent=2))
        kafka = ["--kafka", self.bootstrap] if self.bootstrap else []
        size = ["--segment-bytes", segment_bytes] if segment_bytes else []
        self.run("init", "--data", self.folder, "--policy", folder, *kafka, *size)

    def configure(self, text):
        """Adds a table to writ.toml."""
        with (self.folder / "writ.toml").open("a") as file:
            file.write(f"\n{text}\n")

    def serve(self, *more, prefix=(), env=None):
        kafka = ["--kafka", self.bootstrap] if self.bootstrap else []
        command = [*prefix, self.writ, "serve", "--data", self.folder, "--http", self.http, *kafka, *more]
        with self.log.open("ab") as said:
            self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=env)

    def submit(self, envelope, **headers):
        """Status and answer of one envelope over HTTP."""
        host, port = self.http.rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=HTTP_SECONDS_MAX)
        try:
            connection.request("POST", "/v1/intents", envelope, {"Content-Type": "application/json", **headers})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def wait(self, what, found, seconds=WAIT_SECONDS_MAX):
        """Asks until something is found, and returns it."""
        deadline = time.monotonic() + seconds
        while not (it := found()):
            if self.process.poll() is not None:
                raise Broken(f"no {what}: writ serve ended with status {self.process.returncode}: {self.last_words()}")
            if time.monotonic() > deadline:
                raise Broken(f"no {what} within {seconds} s: {self.last_words()}")
            time.sleep(0.1)
        return it

    def said(self):
        return self.log.read_text(errors="replace").splitlines()
