"""What connectors call: an HTTP server that succeeds, drifts, fails, refuses or hangs, by the path; it remembers each call."""

import http.server
import json
import threading
from typing import NamedTuple

import effects  # tests/crash: a server that does not mind who goes

# Status, body and further headers by the last part of a path; `hang` has none, and never answers.
ANSWERS = {
    "done": (200, {"done": True}, {}),
    "drift": (200, {"finished": "yes"}, {}),
    "broken": (500, {"done": False}, {}),
    "refuse": (422, {"done": False}, {}),
    "away": (503, {"done": False}, {"Retry-After": "1"}),
    "hang": None,
}


class Call(NamedTuple):
    path: str
    headers: dict
    body: bytes


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer = self.server.service.take(Call(self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        if answer is None:
            self.server.service.ended.wait()
            self.close_connection = True
            return
        status, document, headers = answer
        content = json.dumps(document).encode()
        try:
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except OSError:
            self.close_connection = True  # who called has gone

    def log_message(self, *_):
        pass


class Server(effects.Server):
    request_queue_size = 128


class Service:
    """As long as the block runs; `instead` has what another path's answer is given for one."""

    def __init__(self):
        self.calls, self.instead, self.ended, self.lock = [], {}, threading.Event(), threading.Lock()
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.service = self

    def url(self, path):
        return f"http://127.0.0.1:{self.server.server_address[1]}/{path}"

    def take(self, call):
        name = call.path.partition("?")[0].rpartition("/")[2]
        with self.lock:
            self.calls.append(call)
            return ANSWERS[self.instead.get(name, name)]

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()
