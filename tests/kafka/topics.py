"""What stands on a ledger's topics, for a reader of committed records."""

import collections
import contextlib
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "crash"))
from system import Broken  # which also finds examples/python

import producer
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

READ_SECONDS_MAX = 60


def consumer(bootstrap, isolation="read_committed"):
    return Consumer({"bootstrap.servers": bootstrap, "group.id": "tests", "enable.auto.commit": False,
                     "enable.partition.eof": True, "isolation.level": isolation, **producer.QUIET})


def decisions(bootstrap, prefix=""):
    """How often each intent's decision stands on the topic."""
    topic = prefix + producer.DECISIONS
    with contextlib.closing(consumer(bootstrap)) as reader:
        partitions = set(reader.list_topics(topic, timeout=20).topics[topic].partitions)
        reader.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
        found, deadline = collections.Counter(), time.monotonic() + READ_SECONDS_MAX
        while partitions:
            if time.monotonic() > deadline:
                raise Broken(f"{topic} does not come to its end")
            record = reader.poll(0.5)
            if record is not None and record.error() is None:
                found[producer.open_envelope(record.value(), producer.DECISION_TYPE)[0]["id"]] += 1
            elif record is not None and record.error().code() == KafkaError._PARTITION_EOF:
                partitions.discard(record.partition())
        return found
