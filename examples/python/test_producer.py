"""The producer's documents against published vectors, its signatures against a verification of our own, its [kafka] table.

    python -m unittest discover -s examples/python
"""

import base64
import hashlib
import json
import os
import pathlib
import tempfile
import unittest

import producer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

# Ed25519 as RFC 8032, section 6, has it, in the words of mathematics: slow, and independent of the library that signs.
P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P


def add(a, b):
    (x1, y1), (x2, y2) = a, b
    k = D * x1 * x2 * y1 * y2 % P
    return (x1 * y2 + x2 * y1) * pow(1 + k, -1, P) % P, (y1 * y2 + x1 * x2) * pow(1 - k, -1, P) % P


def times(scalar, point):
    result = (0, 1)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point, scalar = add(point, point), scalar >> 1
    return result


def point(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert (x * x - square) % P == 0, "not a point of the curve"
    return (P - x if x & 1 != sign else x), y


BASE = point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def verifies(public, message, signature):
    scalar = int.from_bytes(signature[32:], "little")
    challenge = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % ORDER
    return scalar < ORDER and times(scalar, BASE) == add(point(signature[:32]), times(challenge, point(public)))


# RFC 8032, section 7.1, test 3.
SEED = bytes.fromhex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7")
PUBLIC = "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"
KEY = Ed25519PrivateKey.from_private_bytes(SEED)


class Canonical(unittest.TestCase):
    def test_rfc_8785_sorts_by_utf16_and_escapes_little(self):
        # RFC 8785, section 3.2.3.
        value = {"\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh", "1": "One",
                 "\U0001f600": "Emoji: Grinning Face", "\u0080": "Control", "\u00f6": "Latin Small Letter O With Diaeresis"}
        expected = ('{"\\r":"Carriage Return","1":"One","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis",'
                    '"\u20ac":"Euro Sign","\U0001f600":"Emoji: Grinning Face","\ufb33":"Hebrew Letter Dalet With Dagesh"}')
        self.assertEqual(producer.canonical(value).decode(), expected)
        # RFC 8785, section 3.2.2.
        value = {"string": "\u20ac$\x0f\nA'B\"\\\\\"/", "literals": [None, True, False]}
        expected = '{"literals":[null,true,false],"string":"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
        self.assertEqual(producer.canonical(value).decode(), expected)

    def test_what_readers_do_not_hold_exactly_is_refused(self):
        for value in (0.5, 2**53, -(2**53), float("nan")):
            with self.assertRaises(producer.CouldNotRun):
                producer.canonical({"args": [value]})
        with self.assertRaises(UnicodeEncodeError):
            producer.canonical({"args": "\ud800"})


class Signing(unittest.TestCase):
    def test_the_key_id_is_the_public_key(self):
        self.assertEqual(producer.key_id(KEY), f"ed25519:{PUBLIC}")

    def test_pae_of_the_specification(self):
        self.assertEqual(producer.pae("http://example.com/HelloWorld", b"hello world"),
                         b"DSSEv1 29 http://example.com/HelloWorld 11 hello world")

    def test_our_own_verification_accepts_it_and_no_other(self):
        envelope = json.loads(producer.sign(KEY, producer.INTENT_TYPE, {"id": "a", "args": {}}))
        payload = base64.b64decode(envelope["payload"])
        signature = base64.b64decode(envelope["signatures"][0]["sig"])
        self.assertEqual(payload, b'{"args":{},"id":"a"}')
        signed = b"DSSEv1 35 application/vnd.writ.intent.v1+json 20 " + payload
        self.assertTrue(verifies(bytes.fromhex(PUBLIC), signed, signature))
        self.assertFalse(verifies(bytes.fromhex(PUBLIC), signed + b" ", signature))

    def test_equal_intents_are_equal_bytes(self):
        one = producer.sign(KEY, producer.INTENT_TYPE, {"id": "a", "args": {}})
        self.assertEqual(one, producer.sign(KEY, producer.INTENT_TYPE, {"args": {}, "id": "a"}))

    def test_opening_refuses_what_was_changed(self):
        envelope = producer.sign(KEY, producer.INTENT_TYPE, {"id": "a"})
        document, signers = producer.open_envelope(envelope, producer.INTENT_TYPE)
        self.assertEqual((document, signers), ({"id": "a"}, {f"ed25519:{PUBLIC}"}))
        other = base64.b64encode(b'{"id":"b"}')
        changes = [
            envelope.replace(base64.b64encode(b'{"id":"a"}'), other),
            envelope.replace(b"intent", b"decision"),
            envelope.replace(PUBLIC.encode(), PUBLIC.encode()[::-1]),
            envelope[:-1],
            b"[]",
            b'{"payload":"","payloadType":"application/vnd.writ.intent.v1+json","signatures":[]}',
        ]
        for changed in changes:
            with self.subTest(changed), self.assertRaises(ValueError):
                producer.open_envelope(changed, producer.INTENT_TYPE)


class Configuration(unittest.TestCase):
    WORD = "between-us-only"

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)

    def write(self, text):
        path = self.folder / "kafka.toml"
        path.write_text(text)
        return path

    def secret(self, content, mode=0o600):
        path = self.folder / "password"
        path.write_bytes(content)
        path.chmod(mode)
        return producer.secret("sasl.password", {"file": "password"}, self.folder)

    def test_a_table_becomes_properties(self):
        self.secret(self.WORD.encode())
        path = self.write("""
            http = "127.0.0.1:8080"
            [kafka]
            bootstrap = "a:9093,b:9093"
            prefix = "prod."
            [kafka.client]
            "security.protocol" = "SASL_SSL"
            "sasl.password" = { file = "password" }
            [kafka.consumer]
            "fetch.wait.max.ms" = 50
            [kafka.producer]
            "socket.keepalive.enable" = true
        """)
        kafka = producer.Kafka.read(path, None)
        common = {"security.protocol": "SASL_SSL", "sasl.password": self.WORD, "bootstrap.servers": "a:9093,b:9093", **producer.QUIET}
        self.assertEqual(kafka.settings("consumer"), {**common, "fetch.wait.max.ms": 50})
        self.assertEqual(kafka.settings("producer"), {**common, "socket.keepalive.enable": True})
        self.assertEqual(kafka.topic(producer.INTENTS), "prod.writ.intents.v1")
        self.assertEqual(producer.Kafka.read(path, "c:1").bootstrap, "c:1")

    def test_without_a_table_it_does_not_run(self):
        for text in ("", "[kafka]", 'kafka = "127.0.0.1:9092"'):
            with self.subTest(text), self.assertRaises(producer.CouldNotRun):
                producer.Kafka.read(self.write(text), None)

    def test_one_line_break_at_the_end_is_no_part_of_a_secret(self):
        for ending, kept in ((b"", ""), (b"\n", ""), (b"\r\n", ""), (b"\n\n", "\n"), (b" ", " ")):
            with self.subTest(ending):
                self.assertEqual(self.secret(self.WORD.encode() + ending), self.WORD + kept)

    def test_a_secret_of_the_environment_or_of_a_command(self):
        os.environ["WRIT_TEST_PASSWORD"] = self.WORD
        self.addCleanup(os.environ.pop, "WRIT_TEST_PASSWORD")
        for source in ({"env": "WRIT_TEST_PASSWORD"}, {"command": ["echo", self.WORD]}):
            with self.subTest(source):
                self.assertEqual(producer.secret("sasl.password", source, self.folder), self.WORD)

    def test_what_is_no_secret_is_refused_and_not_shown(self):
        with self.assertRaises(producer.CouldNotRun) as refused:
            self.secret(self.WORD.encode(), mode=0o640)
        self.assertNotIn(self.WORD, str(refused.exception))
        for content in (b"", b"\n"):
            with self.subTest(content), self.assertRaises(producer.CouldNotRun):
                self.secret(content)
        sources = [
            {"env": "WRIT_TEST_NOT_SET"},
            {"command": ["sh", "-c", f"echo {self.WORD}; echo {self.WORD} >&2; exit 3"]},
            {"command": []},
            {"file": "password", "env": "HOME"},
            {"vault": "somewhere"},
        ]
        for source in sources:
            with self.subTest(source), self.assertRaises(producer.CouldNotRun) as refused:
                producer.secret("sasl.password", source, self.folder)
            self.assertNotIn(self.WORD, str(refused.exception))


if __name__ == "__main__":
    unittest.main()
