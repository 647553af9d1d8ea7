"""Takes brokers and leaders out of what a node says about its cluster.

A KRaft node whose controller has fenced it answers so: no brokers, the topics, and no leader for any partition. librdkafka from 2.10 on then
forgets every broker it knows, and takes up its bootstrap servers again only if the threads of those brokers end late enough; otherwise it
asks nobody any more, for good (confluentinc/librdkafka issue 5301). How late is late enough depends on how long the rest of the answer takes
to read, so this one is long: then it happens each time.
"""

import struct

VERSION_MIN = 9  # the first with compact arrays; librdkafka 2.12 asks for 12
LEADER_NOT_AVAILABLE = 5
NO_OPERATIONS = -(2**31)
# Topics that nobody asked for and no client keeps.
STRANGERS = 3000


def fenced(answer, version):
    """An answer to a Metadata request, as a fenced node gives it."""
    if version < VERSION_MIN:
        raise OSError(f"Metadata of version {version}")
    old, new = Cursor(answer), bytearray()

    def keep(skip):
        begin = old.at
        skip()
        new.extend(answer[begin : old.at])

    keep(lambda: (old.skip(4), old.tags(), old.skip(4)))  # correlation; throttle time
    for _ in range(old.count()):
        old.skip(4), old.text(), old.skip(4), old.text(), old.tags()
    new.extend(varint(1))  # no brokers: counts are one more than they count
    keep(lambda: (old.text(), old.skip(4)))  # cluster, controller
    topics = old.count()
    new.extend(varint(topics + STRANGERS + 1))
    for _ in range(topics):
        keep(lambda: (old.skip(2), old.text(), old.skip(16 if version >= 10 else 0), old.skip(1)))
        partitions = old.count()
        new.extend(varint(partitions + 1))
        for _ in range(partitions):
            old.skip(2)
            new.extend(struct.pack(">h", LEADER_NOT_AVAILABLE))
            keep(lambda: old.skip(4))
            old.skip(4)
            new.extend(struct.pack(">i", -1))
            keep(lambda: (old.skip(4), old.ids(), old.ids(), old.ids(), old.tags()))
        keep(lambda: (old.skip(4), old.tags()))
    for number in range(STRANGERS):
        name = b"stranger-%06d" % number
        topic_id = b"\x01" * 16 if version >= 10 else b""
        new.extend(struct.pack(">h", 0) + varint(len(name) + 1) + name + topic_id + b"\0" + varint(1) + struct.pack(">i", NO_OPERATIONS) + varint(0))
    return bytes(new) + answer[old.at :]


class Cursor:
    """Where in an answer; each method skips what it is named for."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def skip(self, count):
        self.at += count

    def varint(self):
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def count(self):
        return max(0, self.varint() - 1)

    def text(self):
        self.skip(self.count())

    def ids(self):
        self.skip(4 * self.count())

    def tags(self):
        for _ in range(self.varint()):
            self.varint()
            self.skip(self.varint())


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
