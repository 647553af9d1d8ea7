"""A real Prometheus: what it scrapes, which rules it follows, what it answers."""

import json
import pathlib
import subprocess
import time
import urllib.parse

from system import Broken, free_port, get

START_SECONDS_MAX = 60
ASK_SECONDS_MAX = 30

SETTINGS = """\
global: {{scrape_interval: {interval}, scrape_timeout: {interval}, evaluation_interval: {interval}}}
rule_files: [{rules}]
scrape_configs:
- job_name: writ
  static_configs:
{targets}
"""


class Prometheus:
    """A process; `targets` are the addresses of ledgers, each with the labels that its series get."""

    def __init__(self, folder, targets, rules=(), interval="1s"):
        self.folder, self.address = pathlib.Path(folder), f"127.0.0.1:{free_port()}"
        self.folder.mkdir()
        self.log, self.process = self.folder / "said", None
        self.settings = self.folder / "prometheus.yaml"
        rows = "\n".join(f"  - {{targets: [{address!r}], labels: {json.dumps(labels)}}}" for address, labels in targets.items())
        self.settings.write_text(SETTINGS.format(interval=interval, rules=", ".join(map(str, rules)), targets=rows))

    def __enter__(self):
        with self.log.open("ab") as said:
            self.process = subprocess.Popen(
                ["prometheus", f"--config.file={self.settings}", f"--storage.tsdb.path={self.folder}/data", "--log.level=warn",
                 f"--web.listen-address={self.address}", "--query.lookback-delta=10s"],
                stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        deadline = time.monotonic() + START_SECONDS_MAX
        while get(self.address, "/-/ready", 5)[0] != 200:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Broken(f"Prometheus is not ready: {self.log.read_text()[-1000:]}")
            time.sleep(0.1)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def ask(self, path, **parameters):
        status, body = get(self.address, f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}", ASK_SECONDS_MAX)
        answer = json.loads(body) if body else {}
        if status != 200 or answer.get("status") != "success":
            raise Broken(f"Prometheus: {path} {parameters}: {status} {body[:500]!r}")
        return answer["data"]

    def now(self, query):
        """The value of each series, by its labels."""
        return {tuple(sorted(one["metric"].items())): float(one["value"][1]) for one in self.ask("query", query=query)["result"]}

    def over(self, query, start, end, step):
        """Each series over time: its labels, and pairs of seconds and value."""
        found = self.ask("query_range", query=query, start=start, end=end, step=step)["result"]
        return [(one["metric"], [(at, float(value)) for at, value in one["values"]]) for one in found]

    def alerts(self):
        return self.ask("alerts")["alerts"]
