#!/usr/bin/env python3
"""Proves from system calls that nothing left the process before it was on the disk.

    strace -f -yy -s 65536 -e trace=CALLS -o TRACE writ serve ...       (CALLS: check.py --calls)
    check.py [--ids FILE] [--connector HOST:PORT] TRACE...              (traces of one ledger, in the order of their processes)

A kill keeps the page cache, so a crash test cannot see a missing sync. This can: it follows every byte into the log's
segments and every byte into a socket. The first violation is the cause, later ones may follow from it. The rules, by name:

NOT_SYNCED            a decision, a receipt or a connector call began to leave before an fdatasync of the segment that holds it
                      (begun after the write had returned) had itself returned 0
SYNC_FAILED           ... and the sync that covered it failed: a later success says nothing, the kernel may have dropped the pages
NOT_REWRITTEN         ... and an earlier process that ended had written it without a sync, and no later one wrote it again
NEVER_WRITTEN         ... and no write of the traces put it there, byte for byte
DISPATCH_NOT_SYNCED   a connector was called with no further durable write to the log after its decision was durable
SEGMENT_NOT_RENAMED   a segment was created under its final name: a crash would leave half of one
SEGMENT_NOT_SYNCED    a new segment got its final name before its content was synced
DIRECTORY_NOT_SYNCED  a new segment was written to, or what its first batch holds left, before the directory that names it was synced
NOT_DECIDED           an id of --ids has no durable decision
NOT_SENT              ... or its decision never left
OPAQUE                the trace cannot show what was written: cut strings, calls or descriptors that say too little
NOTHING               nothing left at all: the trace proves nothing

strace prints a call when it begins and when it returns, and the process cannot go on before the line is written. So the order
of lines is an order of time, across threads too.

Exit status: 0 proven, 1 violated, 2 could not run.
"""

import argparse
import ast
import base64
import collections
import json
import os.path
import re
import sys

SENDS = {"write", "writev", "sendto", "sendmsg", "sendmmsg"}
WRITES = {"write", "writev", "pwrite64", "pwritev", "pwritev2"}
RESIZES = {"ftruncate", "fallocate"}
SYNCS = {"fdatasync", "fsync"}
RENAMES = {"rename", "renameat", "renameat2"}
OPENS = {"open", "openat", "creat"}
# Bytes could leave or reach the log by these and the trace would not show them.
OPAQUE = {"sendfile", "splice", "copy_file_range", "io_uring_enter", "vmsplice"}
CALLS = SENDS | WRITES | RESIZES | SYNCS | RENAMES | OPENS | OPAQUE

LINE = re.compile(r"(?:\[pid +(?P<pid>\d+)\] +|(?P<id>\d+) +)?(?:\d+[:.][\d:.]* +)?(?P<rest>.*)", re.S)
RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)", re.S)
CALL = re.compile(r"(\w+)\((.*)", re.S)
RETURNED = re.compile(r"(.*)\)\s+= (-?\d+|\?)(?P<note>.*)", re.S)  # the last `) = ` of the line: strings may hold others
DESCRIPTOR = re.compile(r"(?:\d+|AT_FDCWD)<([\w-]+:\[.*?\]|[^>]*)>")
SEGMENT, UNFINISHED = ".seg", ".seg.new"  # a segment comes into being under its second name, its first batch in it
SOCKET = re.compile(r"(TCP|UDP|UNIX|NETLINK|socket)[\w-]*:")
STRING = re.compile(r'"((?:[^"\\]|\\.)*)"(\.\.\.)?')
VECTOR = re.compile(r'iov_base="((?:[^"\\]|\\.)*)"(\.\.\.)?')

# A DSSE envelope in an HTTP body, a Kafka record, or as text inside JSON.
PAYLOAD = re.compile(rb'\\?"payload\\?":\s?\\?"([A-Za-z0-9+/_-]+=*)\\?"')
LOGGED_ID = re.compile(rb'"id":"([A-Za-z0-9._:@/-]{1,128})"')
NAME_BYTES_MAX = 128


class CouldNotRun(Exception):
    """Ends the program with status 2 and this sentence."""


class Write:
    """One write to a file: `begun`, `written`, `unnamed` where its file's name may be lost, then `durable`; or `lost` by a failed
    sync, or `orphaned` by its process."""

    def __init__(self, data, line):
        self.data, self.began, self.state, self.durable_at = data, line, "begun", None


class File:
    """A file by its present name."""

    def __init__(self, path):
        self.path, self.writes = path, []
        self.synced = False  # at least once
        self.in_directory = True  # its name is durable; False from its rename to the directory's sync

    def unfinished(self):
        return any(write.state not in ("unnamed", "durable") for write in self.writes)

    def is_named(self):
        return self.in_directory and not self.path.endswith(UNFINISHED)


class Call:
    """A call of one thread, between its beginning and its return."""

    def __init__(self, name, text):
        self.name, self.text, self.returned = name, text, None
        found = DESCRIPTOR.match(text)
        self.target = found.group(1) if found else None

    def is_socket(self):
        return self.target is not None and SOCKET.match(self.target) is not None

    def is_file(self):
        return self.target is not None and self.target.startswith("/") and not self.target.startswith(("/dev/", "/proc/"))


def text_bytes(text):
    """The bytes of a string as strace prints it: C escapes, which Python reads the same way."""
    return ast.literal_eval(f'b"{text}"')


class Checker:
    """Reads traces line by line and keeps what is durable, what is only written, and what is wrong."""

    def __init__(self, expected=(), connector=None):
        self.expected, self.connector = [name.encode() for name in expected], connector
        self.files, self.calls = {}, {}
        self.by_id = collections.defaultdict(list)  # id -> the segment writes that name it
        self.last_log_write = None  # the newest durable write to the log, by its beginning
        self.tails = {}  # what a socket got last, where a document may have been cut in two
        self.violations, self.reported = [], set()
        self.left = collections.defaultdict(set)  # kind -> ids
        self.number = 0

    def violation(self, code, what):
        if (code, what) not in self.reported:
            self.reported.add((code, what))
            self.violations.append((code, self.number, what))

    # --- lines ---

    def trace(self, lines):
        """One process's trace. Its page cache is nobody's promise: what it had not synced, a later one must write again."""
        for line in lines:
            self.number += 1
            self.line(line.rstrip("\n"))
        self.calls.clear()
        self.tails.clear()
        for file in self.files.values():
            for write in file.writes:
                if write.state in ("begun", "written", "unnamed"):
                    write.state = "orphaned"

    def line(self, line):
        parts = LINE.fullmatch(line)
        thread, rest = parts["pid"] or parts["id"], parts["rest"]
        if resumed := RESUMED.fullmatch(rest):
            call = self.calls.pop(thread, None)
            if call is not None and call.name == resumed[1]:
                call.text += resumed[2]
                self.end(call)
            return
        made = CALL.fullmatch(rest)
        if made is None or made[1] not in CALLS:
            return  # signals, exits, calls that nobody asked for
        unfinished = rest.endswith("<unfinished ...>")
        call = Call(made[1], made[2].removesuffix("<unfinished ...>"))
        self.begin(call)
        if unfinished:
            self.calls[thread] = call
        else:
            self.end(call)

    def begin(self, call):
        if call.name in OPAQUE:
            self.violation("OPAQUE", f"{call.name}: its bytes are not in the trace")
        elif call.name in RENAMES:
            self.rename_begins(call)
        elif call.name in OPENS:
            pass
        elif call.target is None:
            if re.match(r"\d+[,)]", call.text):
                self.violation("OPAQUE", f"{call.name} on a descriptor without a name: run strace with -yy")
        elif call.name in SENDS and call.is_socket():
            self.send_begins(call)
        elif call.is_file() and call.name in WRITES | RESIZES:
            self.write_begins(call)
        elif call.is_file() and call.name in SYNCS:
            self.sync_begins(call)

    def end(self, call):
        returned = RETURNED.fullmatch(call.text)
        if returned is None or returned[2] == "?":
            return  # the process ended inside of it
        if call.returned is not None:
            call.returned(int(returned[2]))
        elif call.name in OPENS:
            self.opened(call, int(returned[2]), returned["note"])

    # --- the log's files ---

    def file(self, path):
        return self.files.setdefault(path, File(path))

    def data(self, call):
        """What a call hands over, and whether all of it is in the trace."""
        text = DESCRIPTOR.sub("", call.text, count=1)  # the name of a local socket is a string, too
        found = VECTOR.findall(text) if "iov_base=" in text.split('"', 1)[0] else STRING.findall(text)[:1]
        return b"".join(text_bytes(text) for text, _ in found), not any(cut for _, cut in found)

    def write_begins(self, call):
        file = self.file(call.target)
        is_segment = file.path.endswith((SEGMENT, UNFINISHED))
        data, whole = self.data(call) if is_segment and call.name in WRITES else (b"", True)
        if not whole and data.strip(b"\0"):
            self.violation("OPAQUE", f"a write to {file.path} is cut: run strace with a larger -s")
        if is_segment and not file.in_directory:
            self.violation("DIRECTORY_NOT_SYNCED", file.path)
        write = Write(data, self.number)
        file.writes.append(write)

        def returned(result):
            if result < 0:
                file.writes.remove(write)
                return
            if call.name in WRITES:
                write.data = write.data[:result]
            write.state = "written"
            for name in set(LOGGED_ID.findall(write.data)):
                self.by_id[name].append(write)

        call.returned = returned

    def sync_begins(self, call):
        file = self.file(call.target)
        covered = [write for write in file.writes if write.state == "written"]
        named = [one for one in self.files.values() if not one.in_directory and os.path.dirname(one.path) == file.path]

        def returned(result):
            for write in covered:
                if write.state != "written":
                    continue
                write.state = "lost" if result != 0 else "unnamed"
            if result == 0:
                file.synced = True
                for one in named:
                    one.in_directory = True
                for one in (file, *named):
                    self.settle(one)

        call.returned = returned

    def settle(self, file):
        """What is synced is durable once its file has a durable name."""
        if not file.is_named():
            return
        for write in file.writes:
            if write.state == "unnamed":
                write.state, write.durable_at = "durable", self.number
                if file.path.endswith(SEGMENT) and (self.last_log_write or write).began <= write.began:
                    self.last_log_write = write

    def path(self, directory, name):
        """An absolute path; a relative one of a call that names no directory is found by its end."""
        if directory or name.startswith("/"):
            return os.path.normpath(os.path.join(directory or "/", name))
        return next((path for path in self.files if path.endswith(f"/{name}")), name)

    def rename_begins(self, call):
        names = [text_bytes(text).decode(errors="replace") for text, _ in STRING.findall(call.text)[:2]]
        directories = DESCRIPTOR.findall(call.text)[:2] if call.name != "rename" else []
        directories += [None] * (2 - len(directories))
        old, new = (self.path(*pair) for pair in zip(directories, names))
        if not new.endswith(SEGMENT):
            return
        file = self.files.get(old)
        if file is None or not file.synced or file.unfinished():
            self.violation("SEGMENT_NOT_SYNCED", new)

        def returned(result):
            if result == 0:
                moved = self.files.pop(old, None) or File(old)
                moved.path, moved.in_directory = new, False
                self.files[new] = moved

        call.returned = returned

    def opened(self, call, result, note):
        named = re.match(r"<([^>]*)>", note)
        path = named[1] if named else self.path(call.target, text_bytes(STRING.search(call.text)[1]).decode(errors="replace"))
        creates = call.name == "creat" or "O_CREAT" in call.text
        if result >= 0 and creates and path.endswith(SEGMENT):
            self.violation("SEGMENT_NOT_RENAMED", path)
        if result >= 0 and creates and path.endswith(UNFINISHED):
            self.files.pop(path, None)  # made anew: what an earlier process left of it is gone

    # --- what leaves ---

    def send_begins(self, call):
        data, whole = self.data(call)
        if not whole:
            self.violation("OPAQUE", f"bytes to {call.target} are cut: run strace with a larger -s")
        stream = self.tails.get(call.target, b"") + data
        for found in PAYLOAD.finditer(stream):
            self.document_leaves(found[1], call.target)
        for name in {*self.expected, *self.by_id}:
            if name in stream:
                self.id_leaves(name, call.target)

        def returned(result):
            if result > 0:
                sent = self.tails.get(call.target, b"") + data[:result]
                opened = sent.rfind(b'"payload')
                cut = opened >= 0 and PAYLOAD.search(sent, max(0, opened - 1)) is None
                # An id may be cut in two, and so may an envelope.
                self.tails[call.target] = sent[opened - 1 if cut and opened else -2 * NAME_BYTES_MAX :]

        # sendmmsg returns a number of messages, not of bytes.
        call.returned = returned if call.name != "sendmmsg" else None

    def document_leaves(self, encoded, target):
        try:
            payload = base64.b64decode(encoded.translate(bytes.maketrans(b"-_", b"+/")))
            document = json.loads(payload)
        except ValueError:
            return
        if not isinstance(document, dict) or "id" not in document or not {"verdict", "status"} & document.keys():
            return  # an intent, an act: whoever sent it has it already
        kind = "decision" if "verdict" in document else "receipt"
        holders = [write for write in self.by_id[document["id"].encode()] if payload in write.data]
        self.left[kind].add(document["id"].encode())
        self.demand_durable(holders, f"the {kind} of {document['id']} to {target}")

    def id_leaves(self, name, target):
        """An id in the open: the body of a connector's call, a path, a claim. Its decision must be durable."""
        holders = self.decisions(name)
        what = f"the id {name.decode()} to {target}"
        durable = self.demand_durable(holders, what)
        if self.connector and target.endswith(f"->{self.connector}]"):
            self.left["call"].add(name)
            decided = min((write.durable_at for write in durable), default=None)
            if decided is not None and self.last_log_write.began <= decided:
                self.violation("DISPATCH_NOT_SYNCED", what)

    def decisions(self, name):
        mark = b'"id":"%s","intent_digest"' % name  # canonical JSON: the members of a decision stand in this order
        return [write for write in self.by_id[name] if mark in write.data]

    def demand_durable(self, holders, what):
        durable = [write for write in holders if write.state == "durable"]
        if not holders:
            self.violation("NEVER_WRITTEN", what)
        elif not durable:
            code = {"lost": "SYNC_FAILED", "orphaned": "NOT_REWRITTEN", "unnamed": "DIRECTORY_NOT_SYNCED"}
            self.violation(code.get(holders[-1].state, "NOT_SYNCED"), what)
        return durable

    def finish(self):
        """What had to be there and was not."""
        if not self.left["decision"]:
            self.violation("NOTHING", "no decision left the process")
        for name in self.expected:
            if not any(write.state == "durable" for write in self.decisions(name)):
                self.violation("NOT_DECIDED", name.decode())
            elif name not in self.left["decision"]:
                self.violation("NOT_SENT", name.decode())
        return self.violations


def check(traces, expected=(), connector=None):
    """The checker after all traces; each is an iterable of lines."""
    checker = Checker(expected, connector)
    for trace in traces:
        checker.trace(trace)
    checker.finish()
    return checker


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("traces", nargs="*", metavar="TRACE", help="of one ledger's processes, in their order")
    add("--ids", metavar="FILE", help="intents, an id a line, that must have been decided and answered")
    add("--connector", metavar="HOST:PORT", help="where connector calls go")
    add("--calls", action="store_true", help="print what strace must trace, and end")
    options = parser.parse_args()
    if options.calls:
        print(",".join(sorted(f"?{name}" for name in CALLS)))  # `?`: not every call is on every architecture
        return 0
    if not options.traces:
        raise CouldNotRun("name a trace")
    expected = open(options.ids).read().split() if options.ids else []
    checker = check((open(name, encoding="latin-1") for name in options.traces), expected, options.connector)
    for code, number, what in checker.violations:
        print(f"line {number}: {code}: {what}")
    counts = ", ".join(f"{len(checker.left[kind])} {kind}s" for kind in ("decision", "receipt", "call"))
    judged = f"{len(checker.violations)} violations" if checker.violations else "each was durable before it began to leave"
    print(f"{counts}: {judged}")
    return 1 if checker.violations else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (CouldNotRun, OSError) as problem:
        print(f"check: {problem}", file=sys.stderr)
        sys.exit(2)
