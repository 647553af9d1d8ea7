#!/usr/bin/env python3
"""The outside world of the crash loop: an HTTP service that has effects, and remembers each by its idempotency key.

A POST with an `Idempotency-Key` is one call. An effect is written to FILE and synced *before* the answer, and nothing is ever
taken for a repetition: two calls with one key are two effects, which is what the loop looks for.

    GET /counts           {"calls": N, "answered": N, "effects": {KEY: N}}
    GET /next?seconds=S   answers at the moment a call has come in and is not answered yet; 204 if none comes
"""

import argparse
import collections
import http.server
import json
import os
import pathlib
import random
import sys
import threading
import time
import urllib.parse


class World:
    """What happened, and who waits for something to happen."""

    def __init__(self, options):
        self.options = options
        self.random = random.Random(options.seed)
        self.changed = threading.Condition()
        self.calls = self.answered = 0
        self.effects = collections.Counter()
        if options.file.exists():  # an earlier process of this service counted these
            self.effects.update(options.file.read_text().split())
        self.file = options.file.open("a")

    def fate(self):
        """What becomes of the next call: the chances are in the options, the dice are seeded."""
        dice = self.random.random()
        for fate in ("refuse", "fail", "break", "vanish"):
            if (dice := dice - getattr(self.options, fate)) < 0:
                return fate
        return "succeed"

    def call(self, key):
        with self.changed:
            fate = self.fate()
            if fate not in ("refuse", "fail"):
                self.file.write(f"{key}\n")
                self.file.flush()
                os.fsync(self.file.fileno())
                self.effects[key] += 1
            self.calls += 1
            self.changed.notify_all()
            delay = self.random.uniform(*self.options.delay_ms) / 1000
        time.sleep(delay)
        return fate


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    world: World

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        key = self.headers.get("Idempotency-Key", "").strip('"')
        if not key or key.split() != [key]:
            return self.answer(400, {"error": "no Idempotency-Key"})
        fate = self.world.call(key)
        with self.world.changed:
            self.world.answered += 1
        if fate == "vanish":
            self.close_connection = True
            return
        status = {"succeed": 200, "refuse": 422, "fail": 503, "break": 500}[fate]
        self.answer(status, {"done": status == 200})

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        world = self.world
        if url.path == "/counts":
            with world.changed:
                body = {"calls": world.calls, "answered": world.answered, "effects": dict(world.effects)}
            return self.answer(200, body)
        if url.path == "/next":
            seconds = float(urllib.parse.parse_qs(url.query).get("seconds", ["10"])[0])
            with world.changed:
                before = world.calls
                came = world.changed.wait_for(lambda: world.calls > before, seconds)
            return self.answer(200, {"calls": before + 1}) if came else self.answer(204, None)
        self.answer(404, {"error": "unknown path"})

    def answer(self, status, body):
        content = b"" if body is None else json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
        try:
            self.send_response(status)
            if content:
                self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the caller was killed: that is what this service is here for

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("file", type=pathlib.Path, metavar="FILE", help="effects are appended to it, a key a line")
    add("--port", type=int, default=0, help="on loopback; 0 chooses a free one")
    add("--delay-ms", type=float, nargs=2, default=[0, 0], metavar=("LOW", "HIGH"), help="between effect and answer")
    add("--refuse", type=float, default=0, metavar="CHANCE", help="no effect, 422")
    add("--fail", type=float, default=0, metavar="CHANCE", help="no effect, 503")
    add("--break", type=float, default=0, metavar="CHANCE", help="an effect, then 500")
    add("--vanish", type=float, default=0, metavar="CHANCE", help="an effect, then no answer")
    add("--seed", type=int, default=0)
    Handler.world = World(parser.parse_args())
    server = Server(("127.0.0.1", Handler.world.options.port), Handler)
    print(f"127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
