#!/usr/bin/env python3
"""The token endpoint that a secure node's OAUTHBEARER users ask: OAuth 2.0 client credentials, answered with a signed JWT.

    tokens.py FOLDER [--seconds N]    serves the node in FOLDER until it is killed; tokens live N seconds (300)

A client's id is the user's name, its secret the user's password. A test that imports this may tell the endpoint to hang, or to
refuse everybody.
"""

import argparse
import base64
import hmac
import http.server
import json
import pathlib
import subprocess
import sys
import threading
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import security

LIFE_SECONDS = 300
REQUEST_BYTES_MAX = 16 << 10
OPENSSL_SECONDS_MAX = 60


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def token(node, user, seconds):
    """A JWT of RFC 7519, signed with RS256, as the node's listeners ask for it."""
    now = int(time.time())
    header = {"alg": "RS256", "typ": "JWT", "kid": "tests"}
    claims = {"iss": security.ISSUER, "aud": security.AUDIENCE, "sub": user, "iat": now, "exp": now + seconds, "scope": "kafka"}
    text = b".".join(encode(json.dumps(part).encode()) for part in (header, claims))
    done = subprocess.run(["openssl", "dgst", "-sha256", "-sign", security.folder_of(node) / "tokens.key"], input=text,
                          capture_output=True, check=True, timeout=OPENSSL_SECONDS_MAX)
    return (text + b"." + encode(done.stdout)).decode()


class Endpoint:
    """Serves as long as the block runs."""

    def __init__(self, node, seconds=LIFE_SECONDS):
        self.node, self.seconds = node, seconds
        self.mode = "answer"  # or "hang", or "refuse"
        self.issued = []  # every token: a test searches for them where they must not be
        self.asked = 0
        host, port = security.listeners(node)["tokens"].rsplit(":", 1)
        self.server = http.server.ThreadingHTTPServer((host, int(port)), self.handler())
        # Whoever hangs here must not keep the process.
        self.server.daemon_threads, self.server.block_on_close = True, False

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def known(self, header, form):
        """Whose token is asked for, or None: RFC 6749, section 2.3.1, in the header or in the form."""
        scheme, _, credentials = (header or "").partition(" ")
        if scheme.lower() == "basic":
            name, _, secret = base64.b64decode(credentials).decode().partition(":")
            name, secret = urllib.parse.unquote_plus(name), urllib.parse.unquote_plus(secret)
        else:
            name, secret = (form.get(field, [""])[0] for field in ("client_id", "client_secret"))
        if name not in security.USERS or not hmac.compare_digest(secret, security.password(self.node, name)):
            return None
        return name

    def handler(self):
        endpoint = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                length = min(int(self.headers.get("Content-Length") or 0), REQUEST_BYTES_MAX)
                form = urllib.parse.parse_qs(self.rfile.read(length).decode())
                endpoint.asked += 1
                while endpoint.mode == "hang":
                    time.sleep(0.1)
                user = endpoint.known(self.headers.get("Authorization"), form)
                if endpoint.mode == "refuse" or user is None or form.get("grant_type") != ["client_credentials"]:
                    return self.answer(401, {"error": "invalid_client"})
                issued = token(endpoint.node, user, endpoint.seconds)
                endpoint.issued.append(issued)
                return self.answer(200, {"access_token": issued, "token_type": "Bearer", "expires_in": endpoint.seconds})

            def answer(self, status, document):
                body = json.dumps(document).encode()
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    pass  # the client waited long enough

            def log_message(self, *_):
                pass

        return Handler


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seconds", type=int, default=LIFE_SECONDS)
    options = parser.parse_args()
    with Endpoint(options.folder.resolve(), options.seconds) as endpoint:
        print(f"http://{security.listeners(endpoint.node)['tokens']}/token", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
