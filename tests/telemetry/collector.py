"""A real OpenTelemetry Collector: OTLP over mutual TLS comes in, and lies in a file a signal, as JSON.

It is the binary that `.ci/tools collector` has built. Its folder has all that it and its clients need:

    ca.pem, another-ca.pem      the authority that signed what is trusted, and one that signed nothing of it
    collector.pem, .key         of localhost
    client.pem, .key            a client that the collector knows
    stranger.pem, .key          one that another authority has signed
"""

import hashlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / name) for name in ("crash", "kafka")]
import security
from system import Broken, free_port

MANIFEST = pathlib.Path(__file__).resolve().with_name("collector.yaml")
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "writ"
SIGNALS = ("traces", "metrics", "logs")
START_SECONDS_MAX = 60

TLS = """
        tls:
          cert_file: {folder}/collector.pem
          key_file: {folder}/collector.key
          client_ca_file: {folder}/ca.pem"""

SETTINGS = """\
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 127.0.0.1:{port}{tls}
exporters:
{exporters}
service:
  telemetry:
    metrics: {{level: none}}
    logs: {{level: warn}}
  pipelines:
{pipelines}
"""


def binary():
    digest = hashlib.sha256(MANIFEST.read_bytes()).hexdigest()
    path = CACHE / f"otelcol-{digest[:16]}"
    if not path.exists():
        raise SystemExit(f"{path} is not there: .ci/tools collector")
    return path


class Collector:
    """A process that can be stopped, suspended and started again, on the same port."""

    def __init__(self, folder, secure=True):
        self.folder, self.port, self.secure = pathlib.Path(folder), free_port(), secure
        self.folder.mkdir()
        self.log, self.process = self.folder / "said", None
        if secure:
            make_certificates(self.folder)
        self.settings = self.folder / "settings.yaml"
        self.settings.write_text(SETTINGS.format(
            port=self.port, tls=TLS.format(folder=self.folder) if secure else "",
            exporters="\n".join(f"  file/{one}: {{path: {self.file(one)}, flush_interval: 100ms, append: true}}" for one in SIGNALS),
            pipelines="\n".join(f"    {one}: {{receivers: [otlp], exporters: [file/{one}]}}" for one in SIGNALS),
        ))

    def file(self, kind):
        return self.folder / f"{kind}.jsonl"

    def start(self):
        with self.log.open("ab") as said:
            self.process = subprocess.Popen([binary(), f"--config=file:{self.settings}"], stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        deadline = time.monotonic() + START_SECONDS_MAX
        while not listens(self.port):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Broken(f"the collector does not listen: {self.log.read_text()[-1000:]}")
            time.sleep(0.05)
        return self

    def suspend(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        """What it has, it writes."""
        if self.process and self.process.poll() is None:
            self.resume()
            self.process.terminate()
            self.process.wait(START_SECONDS_MAX)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def variables(self, client="client"):
        """What a process needs in its environment to be this client; `None` is one without a certificate."""
        found = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"{'https' if self.secure else 'http'}://localhost:{self.port}"}
        if self.secure:
            found["OTEL_EXPORTER_OTLP_CERTIFICATE"] = f"{self.folder}/ca.pem"
        else:
            found["OTEL_EXPORTER_OTLP_INSECURE"] = "true"
        if self.secure and client:
            found["OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"] = f"{self.folder}/{client}.pem"
            found["OTEL_EXPORTER_OTLP_CLIENT_KEY"] = f"{self.folder}/{client}.key"
        return found

    def requests(self, kind):
        """Each request of this signal that has come, in order; a last line that is not whole yet is left out."""
        if not self.file(kind).exists():
            return []
        lines = self.file(kind).read_bytes().split(b"\n")[:-1]
        return [json.loads(line) for line in lines]


def listens(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            return True
    except OSError:
        return False


def make_certificates(folder):
    for name in ("ca", "another-ca"):
        security.authority(folder, name)
    security.certificate(folder, "collector", "/CN=localhost", "DNS:localhost,IP:127.0.0.1")
    security.certificate(folder, "client", "/CN=writ")
    security.certificate(folder, "stranger", "/CN=writ", authority="another-ca")
