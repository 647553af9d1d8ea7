#!/usr/bin/env python3
"""A ledger on Kafka as companies run it: TLS, users, access rules; and each of them wrong, missing or late.

    secure.py [--writ target/release/writ] [--only NAME]...

NAME is a way to say who one is (scram, plain, oauthbearer, mtls), `page` for the commands of docs/kafka.md, or one case. All run on
one node; each way has a ledger of its own. At the end everything that was written is searched for secrets.
Exit status: 0 all passed, 1 one did not, 2 could not run.
"""

import argparse
import base64
import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from typing import NamedTuple

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(pathlib.Path(__file__).resolve().parents[1] / "crash")]
import system
from system import ROOT, TENANT, Broken, get  # which also finds examples/python

import acls
import page
import producer
import security
import tokens
import topics

WAIT_SECONDS_MAX = 90
# How long `serve` asks a token endpoint that refuses, and what a busy machine may add.
TOKEN_SECONDS = (55, 120)

# What a secret is called, by mechanism.
SECRET = {
    "scram-sha-256": "sasl.password", "plain": "sasl.password", "oauthbearer": "sasl.oauthbearer.client.secret",
    "mtls": "ssl.key.password",
}
VARIABLE = "WRIT_TEST_SECRET"


class Done(NamedTuple):
    status: int
    out: str
    err: str


class World:
    """The node, and all that was ever said about it."""

    def __init__(self, writ, folder, bootstrap, endpoint):
        self.writ, self.folder, self.bootstrap, self.endpoint = writ, folder, bootstrap, endpoint
        self.node, self.said = folder / "kafka", folder / "said"
        self.said.mkdir()
        self.searched = [self.said]
        self.tells_all = False  # whether librdkafka's every line was asked for
        self.files = 0
        self.lock = threading.Lock()
        self.env = {**os.environ, VARIABLE: security.password(self.node, "writ")}

    def file(self, name):
        """A new file of what is said."""
        with self.lock:
            self.files += 1
            return self.said / f"{self.files:03}-{name}"

    def run(self, command, stdin=None, **env):
        """Runs it, and keeps what it says."""
        done = subprocess.run(list(map(str, command)), input=stdin, capture_output=True, text=True, timeout=2 * WAIT_SECONDS_MAX,
                              env={**self.env, **env}, **({} if stdin else {"stdin": subprocess.DEVNULL}))
        self.file(pathlib.Path(command[0]).name).write_text(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
        return Done(done.returncode, done.stdout, done.stderr)


class Ledger(system.Ledger):
    """One whose writ.toml says where Kafka is."""

    def __init__(self, world, folder):
        super().__init__(world.writ, folder, None)
        self.world = world

    def run(self, *arguments, expect=0, stdin=None, **env):
        done = self.world.run([self.writ, *arguments], stdin, **env)
        if done.status != expect:
            raise Broken(f"writ {' '.join(map(str, arguments))}: status {done.status}, not {expect}: {(done.err or done.out)[-2000:].strip()}")
        return done.out

    def serve(self, **env):
        self.log = self.world.file("serve")
        with self.log.open("wb") as said:
            self.process = subprocess.Popen([self.writ, "serve", "--data", self.folder, "--http", self.http], stdin=subprocess.DEVNULL,
                                            stdout=said, stderr=said, env={**self.world.env, **env})

    def says(self, *words):
        """Waits until one line of the log has all of these words."""
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while not any(all(word in line for word in words) for line in self.log.read_text(errors="replace").splitlines()):
            if self.process.poll() is not None:
                raise Broken(f"writ serve ended with status {self.process.returncode}: {self.last_words()}")
            if time.monotonic() > deadline:
                raise Broken(f"no line with {words} within {WAIT_SECONDS_MAX} s: {self.last_words()}")
            time.sleep(0.1)


class Way:
    """A way to say who one is: a ledger under a prefix of its own, and a producer."""

    def __init__(self, world, mechanism, prefix, secret):
        self.world, self.mechanism, self.prefix = world, mechanism, prefix
        self.folder = world.folder / mechanism
        self.folder.mkdir()
        self.ledger = Ledger(world, self.folder / "ledger")
        self.secret = secret(world, self.folder)
        self.sent = set()
        for user, rights in (("writ", acls.ledger(prefix)), ("producer", acls.producer(prefix))):
            acls.grant(world.bootstrap, user, rights)
        world.searched.append(self.ledger.folder)

    def table(self, user="writ", listener=None, bootstrap=None, **changes):
        """The [kafka] table of a user, with other values of some properties: `ssl_ca_location` is `ssl.ca.location`."""
        client = security.client(self.world.node, self.mechanism, user)
        client |= {name.replace("_", "."): value for name, value in changes.items()}
        listener = listener or ("MTLS" if self.mechanism == "mtls" else "SASL_SSL")
        return security.toml(client, bootstrap or security.listeners(self.world.node)[listener], self.prefix)

    def file(self, name, text):
        path = self.folder / name
        security.private(path, text)
        return path

    def secret_file(self, name, text, mode=0o600):
        path = self.file(name, text)
        path.chmod(mode)
        return {"file": str(path)}

    @contextlib.contextmanager
    def configured(self, text):
        """The ledger's writ.toml is this, as long as the block runs."""
        path = self.ledger.folder / "writ.toml"
        before = path.read_text()
        path.write_text(text)
        try:
            yield
        finally:
            path.write_text(before)

    @contextlib.contextmanager
    def without(self, user, right):
        acls.revoke(self.world.bootstrap, user, [right])
        try:
            yield
        finally:
            acls.grant(self.world.bootstrap, user, [right])

    @contextlib.contextmanager
    def served(self, **env):
        self.ledger.serve(**env)
        try:
            yield
        finally:
            if self.ledger.process.poll() is None:
                self.ledger.kill()

    @property
    def key(self):
        return self.ledger.folder / "keys/producer.key"

    def send(self, name):
        """One intent, past all listeners that ask who is there."""
        intent = producer.sign(producer.load_key(self.key), producer.INTENT_TYPE, document(name))
        producer.send(producer.Kafka(self.world.bootstrap, self.prefix), TENANT, [intent], WAIT_SECONDS_MAX)
        self.sent.add(name)

    def wait_for_all(self):
        """Until each intent that was ever sent has its decision on the topic, once."""
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while (found := topics.decisions(self.world.bootstrap, self.prefix)) != {name: 1 for name in self.sent}:
            if set(found) >= self.sent or time.monotonic() > deadline or self.ledger.process.poll() is not None:
                raise Broken(f"decisions: {dict(found)}, sent: {sorted(self.sent)}; {self.ledger.last_words()}")
            time.sleep(0.2)

    def goes_on(self):
        """The ledger is served with what it was made with, and nothing was lost."""
        with self.served():
            self.ledger.wait_until_ready()
            self.wait_for_all()
            self.ledger.stop()
        self.ledger.run("verify", "--data", self.ledger.folder)


def document(name):
    return {"tenant": TENANT, "principal": system.PRINCIPAL, "id": name, "action": "notes.add", "args": {"text": "hi"},
            "expires_at": int((time.time() + 3600) * 1_000_000)}


class Door(socketserver.ThreadingTCPServer):
    """In front of a listener: closes each connection, until it is opened."""

    allow_reuse_address, daemon_threads, block_on_close = True, True, False

    def __init__(self, behind):
        super().__init__(("127.0.0.1", 0), self.handle_one)
        host, port = behind.rsplit(":", 1)
        self.behind, self.open, self.closed = (host, int(port)), False, 0
        self.address = f"localhost:{self.server_address[1]}"

    def handle_one(self, client, *_):
        if not self.open:
            self.closed += 1
            return
        with socket.create_connection(self.behind) as broker:
            back = threading.Thread(target=copy, args=(broker, client), daemon=True)
            back.start()
            copy(client, broker)
            back.join()

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


def copy(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def failed(done, code, *words):
    """It ended with status 2, this code, and these words behind it."""
    found = re.search(rf"^writ: {code}: .*", done.err, re.MULTILINE)
    if done.status != 2 or found is None or any(word not in found[0] for word in words):
        raise Broken(f"status {done.status}, not 2 with {code} and {words}: {(done.err or done.out)[-1000:].strip()}")


def all_refuse(way, text, code, *words, serve=True):
    """`init`, `serve` and `submit` end with this code on this table, which says why; nothing is made, and nothing lost."""
    world, ledger, never = way.world, way.ledger, way.folder / "never"
    file = way.file("wrong.toml", text)
    way.send(f"beside-{len(way.sent)}")
    commands = [
        ((ledger.writ, "init", "--data", never, "--kafka-config", file, "--json"), None),
        ((ledger.writ, "submit", "--kafka-config", file, "--key", way.key, "--json"), json.dumps(document("never"))),
    ]
    if serve:
        commands.append(((ledger.writ, "serve", "--data", ledger.folder), None))
    with way.configured(text), concurrent.futures.ThreadPoolExecutor(len(commands)) as pool:
        for done in list(pool.map(lambda one: world.run(*one), commands)):
            failed(done, code, *words)
    if never.exists():
        raise Broken(f"`writ init` failed, and left {never}")


# --- What works -------------------------------------------------------------------------------------------------------


def journey(way):
    """From an empty folder: init, serve, the Python producer with garbage, submit, a clean stop, verify; librdkafka tells all."""
    world, ledger = way.world, way.ledger
    world.tells_all = True
    ours = {SECRET[way.mechanism].replace(".", "_"): way.secret, "debug": "all"}
    ledger.run("init", "--data", ledger.folder, "--kafka-config", way.file("ledger.toml", way.table(**ours)), "--json", WRIT_LOG="debug")
    theirs = way.file("producer.toml", way.table("producer", debug="all"))
    with way.served(WRIT_LOG="debug"):
        ledger.wait_until_ready()
        send = [sys.executable, ROOT / "examples/python/producer.py", "--kafka-config", theirs, "--key", way.key, "--outbox",
                way.folder / "outbox", "--run", "journey", "--count", 5, "--garbage", 3, "--timeout", WAIT_SECONDS_MAX]
        done = world.run(send)
        if done.status != 0 or not re.search(r"5 PASS.* 3 unreadable: 3 refused; 0 without answer", done.out):
            raise Broken(f"the producer: status {done.status}: {(done.out + done.err)[-1000:]}")
        said = ledger.run("submit", "--kafka-config", theirs, "--key", way.key, "--json", stdin=json.dumps(document("submitted")), WRIT_LOG="debug")
        if json.loads(said)["decision"]["payload"]["verdict"] != "PASS":
            raise Broken(f"the answer of submit: {said}")
        way.sent |= {"submitted", *(f"journey-{number:04}" for number in range(1, 6))}
        way.wait_for_all()
        world.file("metrics").write_bytes(get(ledger.http, "/metrics", 10)[1])
        world.file("ps").write_bytes(subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, check=True, timeout=30).stdout)
        ledger.stop()
    ledger.run("verify", "--data", ledger.folder, "--json")
    # What comes now says no more than it must.
    (ledger.folder / "writ.toml").write_text(way.table())


def a_secret_in_each_place(way):
    """A file, a relative one, one that ends in a line break, a command, a variable: the same password."""
    password = security.password(way.world.node, "producer")
    way.secret_file("line", password + "\r\n")
    places = [{"file": "line"}, {"command": ["cat", way.secret_file("bare", password)["file"]]}, {"env": "WRIT_TEST_PRODUCER"}]
    with way.served():
        way.ledger.wait_until_ready()
        for number, place in enumerate(places):
            file = way.file("place.toml", way.table("producer", **{SECRET[way.mechanism].replace(".", "_"): place}))
            way.ledger.run("submit", "--kafka-config", file, "--key", way.key, stdin=json.dumps(document(f"place-{number}")),
                           WRIT_TEST_PRODUCER=password)
            way.sent.add(f"place-{number}")
        way.ledger.stop()


# --- What is wrong ----------------------------------------------------------------------------------------------------


def a_wrong_password(way):
    """It is told from a broker that is away."""
    all_refuse(way, way.table(sasl_password=way.secret_file("wrong", "not-the-password")), "ERR_KAFKA_AUTHENTICATION", "authentication")


def a_certificate_that_cannot_be_trusted(way):
    """It has expired, is another's, or is signed by somebody else."""
    all_refuse(way, way.table(listener="EXPIRED"), "ERR_KAFKA_TLS", "certificate")
    all_refuse(way, way.table(listener="OTHER_NAME"), "ERR_KAFKA_TLS", "certificate")
    another = security.folder_of(way.world.node) / "another-ca.pem"
    all_refuse(way, way.table(ssl_ca_location=str(another)), "ERR_KAFKA_TLS", "certificate")


def an_authority_that_cannot_be_read(way):
    """The file of the authority's certificate is none, or missing."""
    all_refuse(way, way.table(ssl_ca_location=str(way.file("none.pem", "not a certificate\n"))), "ERR_CONFIG", "ssl.ca.location")
    all_refuse(way, way.table(ssl_ca_location=str(way.folder / "missing.pem")), "ERR_CONFIG", "ssl.ca.location")


def a_secret_that_cannot_be_had(way):
    """The file is missing, empty, open to others; the variable is not set; the command fails."""
    secret = lambda place: way.table(sasl_password=place)
    all_refuse(way, secret({"file": str(way.folder / "missing")}), "ERR_SECRET", "missing")
    all_refuse(way, secret(way.secret_file("empty", "\n")), "ERR_SECRET", "empty")
    all_refuse(way, secret(way.secret_file("open", "seen-by-all", 0o644)), "ERR_SECRET", "chmod 600")
    all_refuse(way, secret({"env": "WRIT_TEST_NOT_SET"}), "ERR_SECRET", "WRIT_TEST_NOT_SET")
    all_refuse(way, secret({"command": ["sh", "-c", "echo told-in-vain; exit 3"]}), "ERR_SECRET", "command sh", "3")


def a_property_that_cannot_be(way):
    """librdkafka does not know it, it is the ledger's own, or it is a secret that the file must not hold."""
    all_refuse(way, way.table(sasl_pasword="x"), "ERR_CONFIG", "sasl.pasword")
    all_refuse(way, way.table(socket_timeout_ms="soon"), "ERR_CONFIG", "socket.timeout.ms")
    all_refuse(way, way.table(group_id="mine"), "ERR_CONFIG", "group.id")
    all_refuse(way, way.table(sasl_password="written-down"), "ERR_CONFIG", "sasl.password")


def a_broker_that_closes_each_connection(way):
    """`serve` says so, waits, and goes on once the broker talks; the others end."""
    with Door(security.listeners(way.world.node)["SASL_SSL"]) as door:
        text = way.table(bootstrap=door.address)
        with way.configured(text), way.served():
            all_refuse(way, text, "ERR_KAFKA_UNAVAILABLE", "isconnected", serve=False)
            way.ledger.says("waiting for Kafka", "ERR_KAFKA_UNAVAILABLE")
            door.open = True
            way.ledger.wait_until_ready()
            way.wait_for_all()
            way.ledger.stop()
        if not door.closed:
            raise Broken("nobody came: this tests nothing")


# --- What is not allowed ----------------------------------------------------------------------------------------------


def each_right_of_init(way):
    """Whoever grants what each refusal names gets a ledger in the end."""
    world, prefix = way.world, "new."
    file = way.file("new.toml", way.table().replace(f'prefix = "{way.prefix}"', f'prefix = "{prefix}"'))
    make = lambda: world.run([way.ledger.writ, "init", "--data", way.folder / "new", "--kafka-config", file])
    rights = acls.ledger(prefix)
    acls.grant(world.bootstrap, "writ", [right for right in rights if right.operation != "CREATE"])
    for right in (right for right in rights if right.operation == "CREATE"):
        failed(make(), "ERR_KAFKA_AUTHORIZATION", str(right))
        acls.grant(world.bootstrap, "writ", [right])
    if (done := make()).status != 0:
        raise Broken(f"nothing was missing any more: {done.err}")


def each_right_of_a_ledger(way):
    """`serve` names the one that is missing; and needs none of those that `init` had to make topics."""
    for right in acls.ledger(way.prefix):
        if right.operation != "CREATE":
            with way.without("writ", right):
                failed(way.world.run([way.ledger.writ, "serve", "--data", way.ledger.folder]), "ERR_KAFKA_AUTHORIZATION", str(right))
    create = [right for right in acls.ledger(way.prefix) if right.operation == "CREATE"]
    acls.revoke(way.world.bootstrap, "writ", create)
    way.goes_on()
    acls.grant(way.world.bootstrap, "writ", create)


def each_right_of_a_producer(way):
    """`submit` names the one that is missing."""
    file = way.file("submit.toml", way.table("producer"))
    for right in acls.producer(way.prefix):
        with way.without("producer", right):
            submit = [way.ledger.writ, "submit", "--kafka-config", file, "--key", way.key]
            failed(way.world.run(submit, json.dumps(document("never"))), "ERR_KAFKA_AUTHORIZATION", str(right))


def a_right_that_is_taken_away(way):
    """While it serves: it ends with the name of the right, and what it had decided is published after the next start."""
    for operation, name in (("WRITE", "decisions"), ("READ", "intents")):
        right = acls.Right(operation, "TOPIC", f"{way.prefix}writ.{name}.v1")
        with way.served():
            way.ledger.wait_until_ready()
            with way.without("writ", right):
                way.send(f"without-{name}")
                status = way.ledger.process.wait(WAIT_SECONDS_MAX)
                failed(Done(status, "", way.ledger.log.read_text()), "ERR_KAFKA_AUTHORIZATION", str(right))
        way.goes_on()


def a_user_without_rights(way):
    """Who is known and may do nothing is told so."""
    all_refuse(way, way.table("nobody"), "ERR_KAFKA_AUTHORIZATION")


# --- Tokens and client certificates -----------------------------------------------------------------------------------


def a_token_endpoint_that_hangs(way):
    """`serve` waits, and goes on once it answers."""
    way.world.endpoint.mode = "hang"
    try:
        way.send("while-it-hangs")
        with way.served():
            way.ledger.says("waiting for Kafka", "ERR_KAFKA_UNAVAILABLE")
            way.world.endpoint.mode = "answer"
            way.ledger.wait_until_ready()
            way.wait_for_all()
            way.ledger.stop()
    finally:
        way.world.endpoint.mode = "answer"


def a_token_endpoint_that_refuses(way):
    """It is asked for a while, since it may be starting itself; then `serve` ends."""
    way.world.endpoint.mode = "refuse"
    try:
        all_refuse(way, way.table(), "ERR_KAFKA_AUTHENTICATION", serve=False)
        began = time.monotonic()
        failed(way.world.run([way.ledger.writ, "serve", "--data", way.ledger.folder]), "ERR_KAFKA_AUTHENTICATION")
        if not TOKEN_SECONDS[0] < time.monotonic() - began < TOKEN_SECONDS[1]:
            raise Broken(f"it ended after {time.monotonic() - began:.0f} s")
    finally:
        way.world.endpoint.mode = "answer"


def a_client_certificate_that_is_refused(way):
    """One of another authority: the broker just goes away, and what it said last is passed on."""
    folder = security.folder_of(way.world.node)
    security.certificate(folder, "stranger", "/CN=writ", key_options=("-passout", f"file:{folder}/writ.password"), authority="another-ca")
    changes = {"ssl_certificate_location": f"{folder}/stranger.pem", "ssl_key_location": f"{folder}/stranger.key"}
    text = way.table(**changes)
    all_refuse(way, text, "ERR_KAFKA_UNAVAILABLE", "alert", serve=False)
    with way.configured(text), way.served():
        way.ledger.says("waiting for Kafka", "ERR_KAFKA_UNAVAILABLE", "alert")


def a_key_that_does_not_open(way):
    """The passphrase of the client's key is another: nobody is asked at all."""
    all_refuse(way, way.table(ssl_key_password=way.secret_file("wrong", "not-the-passphrase")), "ERR_CONFIG", "ssl.key")


# --- The end ----------------------------------------------------------------------------------------------------------


def nothing_was_lost(way):
    """Each intent that was sent while something was wrong is decided, once."""
    way.goes_on()


def hidden(world):
    """What nobody may find, and what it is."""
    found = {}
    for user in security.USERS:
        secret = security.password(world.node, user)
        found[f"the password of {user}"] = secret
        found[f"the password of {user} in base64"] = base64.b64encode(secret.encode()).decode().rstrip("=")
        for form in (f"\0{user}\0{secret}", f"{user}:{secret}"):
            found[f"{form.replace(secret, '...')!r} in base64"] = base64.b64encode(form.encode()).decode()
        found[f"the key of {user}"] = (security.folder_of(world.node) / f"{user}.key").read_text().splitlines()[2]
    for number, token in enumerate(world.endpoint.issued):
        found[f"token {number}"] = token.rpartition(".")[2]
    for path in world.folder.glob("page/*.password"):
        found[f"{path.name} of the page"] = path.read_text().strip()
    for word in ("not-the-password", "not-the-passphrase", "seen-by-all", "told-in-vain", "written-down"):
        found[f"the wrong secret {word}"] = word
    return {what: text.encode() for what, text in found.items()}


def no_secret_was_told(world):
    """In nothing that was printed, logged, counted or stored, with librdkafka telling all that it does."""
    told, mechanisms, debugged = [], set(), 0
    secrets = hidden(world)
    for folder in world.searched:
        for path in (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".password"):
            text = path.read_bytes()
            told += [f"{what}: {path.relative_to(world.folder)}" for what, secret in secrets.items() if secret in text]
            mechanisms |= set(re.findall(rb"SCRAM-SHA-256|OAUTHBEARER", text))
            debugged += text.count(b"DEBUG librdkafka")
    if told:
        raise Broken("; ".join(told))
    if not mechanisms or (world.tells_all and not debugged):
        raise Broken("nowhere stands how anybody signs in: this tests nothing")
    print(f"{len(secrets)} secrets, {debugged} lines of librdkafka ... ", end="", flush=True)


# --- The run ----------------------------------------------------------------------------------------------------------

# Its mechanism, the prefix of its ledger, where that ledger's secret is, and its cases.
WAYS = {
    "scram": (
        "scram-sha-256", "desk.", lambda world, _: {"file": str(security.folder_of(world.node) / "writ.password")},
        [journey, a_secret_in_each_place, a_wrong_password, a_certificate_that_cannot_be_trusted, an_authority_that_cannot_be_read,
         a_secret_that_cannot_be_had, a_property_that_cannot_be, a_user_without_rights, each_right_of_init, each_right_of_a_ledger,
         each_right_of_a_producer, a_right_that_is_taken_away, a_broker_that_closes_each_connection, nothing_was_lost],
    ),
    "plain": (
        "plain", "plain.", lambda world, _: {"command": ["cat", str(security.folder_of(world.node) / "writ.password")]},
        [journey, a_wrong_password, a_user_without_rights, nothing_was_lost],
    ),
    "oauthbearer": (
        "oauthbearer", "token.", lambda *_: {"env": VARIABLE},
        [journey, a_user_without_rights, a_token_endpoint_that_hangs, a_token_endpoint_that_refuses, nothing_was_lost],
    ),
    "mtls": (
        "mtls", "", lambda world, _: {"file": str(security.folder_of(world.node) / "writ.password")},
        [journey, a_user_without_rights, a_client_certificate_that_is_refused, a_key_that_does_not_open, nothing_was_lost],
    ),
}


def run(name, case, *arguments):
    print(f"{name} ... ", end="", flush=True)
    began = time.monotonic()
    try:
        case(*arguments)
    except Exception as why:  # the next case may pass all the same
        print(f"FAILED\n    {case.__doc__}\n    {why if isinstance(why, Broken) else traceback.format_exc()}", flush=True)
        return False
    print(f"ok ({time.monotonic() - began:.0f} s)", flush=True)
    return True


def run_all(world, only):
    def chosen(way, case):
        return not only or way in only or case.__name__ in only

    passed = []
    for name, (mechanism, prefix, secret, cases) in WAYS.items():
        todo = [case for case in cases if chosen(name, case)]
        if not todo:
            continue
        way = Way(world, mechanism, prefix, secret)
        # What the others work on.
        if journey not in todo:
            todo.insert(0, journey)
        passed += [run(f"{name}: {case.__name__}", case, way) for case in todo]
    for case in (page.the_tables_of_the_page, page.the_commands_of_the_page):
        if chosen("page", case):
            passed.append(run(f"page: {case.__name__}", case, world))
    passed.append(run("no_secret_was_told", no_secret_was_told, world))
    return passed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--writ", type=pathlib.Path, default=system.default_writ())
    parser.add_argument("--only", action="append", metavar="NAME")
    options = parser.parse_args()
    if not options.writ.exists():
        print(f"secure: there is no {options.writ}: cargo build --release", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="writ-secure-") as folder, system.kafka(pathlib.Path(folder) / "kafka", "--secure") as bootstrap:
        folder = pathlib.Path(folder)
        with tokens.Endpoint(folder / "kafka") as endpoint:
            passed = run_all(World(options.writ.resolve(), folder, bootstrap, endpoint), options.only)
    print(f"{passed.count(True)} passed, {passed.count(False)} failed")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
