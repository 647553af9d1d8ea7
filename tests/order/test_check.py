"""The order checker's own tests: each file of traces/ is one story.

    python3 -m unittest discover -s tests/order

`sound-*` passes. `doctored-*` is a sound one with one thing made wrong; its first violation is that of its `expect:` line.
A line `=== next process` begins the trace of the next process.
"""

import pathlib
import re
import unittest

import check

TRACES = pathlib.Path(__file__).parent / "traces"


def load(path):
    """The settings of the leading comments, and the traces of the processes."""
    lines = path.read_text().splitlines()
    settings = dict(line[2:].split(": ", 1) for line in lines if line.startswith("# ") and ": " in line)
    processes = [[]]
    for line in lines:
        if line == "=== next process":
            processes.append([])
        elif not line.startswith("#"):
            processes[-1].append(line)
    return settings, processes


def checked(path):
    settings, processes = load(path)
    return check.check(processes, settings.get("ids", "").split(), settings.get("connector")), settings


class Traces(unittest.TestCase):
    def test_sound_traces_pass(self):
        for path in sorted(TRACES.glob("sound-*.trace")):
            with self.subTest(path.name):
                checker, _ = checked(path)
                self.assertEqual(checker.violations, [])
                self.assertEqual(len(checker.left["decision"]), 2)

    def test_a_sound_walk_is_seen_whole(self):
        checker, _ = checked(TRACES / "sound-walk.trace")
        self.assertEqual({kind: len(ids) for kind, ids in checker.left.items()}, {"decision": 2, "receipt": 1, "call": 1})

    def test_doctored_traces_fail_for_their_reason(self):
        for path in sorted(TRACES.glob("doctored-*.trace")):
            with self.subTest(path.name):
                checker, settings = checked(path)
                self.assertEqual([code for code, _, _ in checker.violations][:1], [settings["expect"]], checker.violations)

    def test_every_rule_has_a_doctored_trace(self):
        rules = set(re.findall(r"^([A-Z_]{6,}) ", check.__doc__, re.M))
        self.assertEqual(rules, {load(path)[0]["expect"] for path in TRACES.glob("doctored-*.trace")})


class Lines(unittest.TestCase):
    def test_a_string_may_look_like_the_end_of_a_call(self):
        returned = check.RETURNED.fullmatch(r'7</data/a.seg>, ") = 0 (", 4096, 0) = -1 EIO (Input/output error)')
        self.assertEqual(returned[2], "-1")

    def test_escapes_are_read_back(self):
        self.assertEqual(check.text_bytes(r'\0\7\n\"\\\3779\x41'), b'\x00\x07\n"\\\xff9A')

    def test_descriptors_have_names(self):
        for text, name, socket in [
            ("7</data/log/00000000.seg>, ", "/data/log/00000000.seg", False),
            ("7</data/a b>(deleted), ", "/data/a b", False),
            ("9<TCP:[127.0.0.1:1->127.0.0.1:2]>, ", "TCP:[127.0.0.1:1->127.0.0.1:2]", True),
            ("9<TCPv6:[[::1]:1->[::1]:2]>, ", "TCPv6:[[::1]:1->[::1]:2]", True),
            ('9<UNIX-STREAM:[1->2,"/data/writ.sock"]>, ', 'UNIX-STREAM:[1->2,"/data/writ.sock"]', True),
            ("9<pipe:[12]>, ", "pipe:[12]", False),
        ]:
            call = check.Call("write", text)
            self.assertEqual((call.target, call.is_socket()), (name, socket))


if __name__ == "__main__":
    unittest.main()
