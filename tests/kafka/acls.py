#!/usr/bin/env python3
"""Who may do what on a secure node, as rights that a test can leave out one by one.

    acls.py FOLDER [--prefix PREFIX]    grants `writ` the rights of a ledger, and `producer` those of examples/python/producer.py

Needs confluent_kafka. It administers over PLAINTEXT on loopback, where everybody may do everything.
"""

import argparse
import pathlib
import sys
import time
from typing import NamedTuple

from confluent_kafka.admin import (
    AclBinding, AclBindingFilter, AclOperation, AclPermissionType, AdminClient, ResourcePatternType, ResourceType,
)

ADMIN_SECONDS_MAX = 20


class Right(NamedTuple):
    operation: str
    resource: str  # TOPIC, GROUP, TRANSACTIONAL_ID
    name: str
    pattern: str = "LITERAL"

    def __str__(self):
        return f"{self.operation} on {self.resource.lower().replace('_', ' ')} {self.name}"


def ledger(prefix=""):
    """What `writ init` and `writ serve` need. Reading and writing a topic includes describing it."""
    topic = lambda name: f"{prefix}writ.{name}.v1"
    return [
        *(Right("CREATE", "TOPIC", topic(name)) for name in ("intents", "decisions", "receipts", "refusals", "progress")),
        *(Right("READ", "TOPIC", topic(name)) for name in ("intents", "progress")),
        *(Right("WRITE", "TOPIC", topic(name)) for name in ("decisions", "receipts", "refusals", "progress")),
        # A transaction's id ends in the ledger's, which nobody knows before there is one.
        Right("WRITE", "TRANSACTIONAL_ID", "writ-", "PREFIXED"),
    ]


def producer(prefix=""):
    """What sends intents and reads the answers. Who only sends needs the first."""
    topic = lambda name: f"{prefix}writ.{name}.v1"
    return [Right("WRITE", "TOPIC", topic("intents")), *(Right("READ", "TOPIC", topic(name)) for name in ("decisions", "refusals"))]


def binding(kind, right, user):
    return kind(ResourceType[right.resource], right.name, ResourcePatternType[right.pattern], f"User:{user}", "*",
                AclOperation[right.operation], AclPermissionType.ALLOW)


def grant(bootstrap, user, rights):
    change(bootstrap, "create_acls", [binding(AclBinding, one, user) for one in rights])
    wait(bootstrap, [binding(AclBindingFilter, one, user) for one in rights], there=True)


def revoke(bootstrap, user, rights):
    filters = [binding(AclBindingFilter, one, user) for one in rights]
    change(bootstrap, "delete_acls", filters)
    wait(bootstrap, filters, there=False)


def change(bootstrap, what, bindings):
    # A variable: a client that nobody holds ends, and its answers with it.
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 3})
    for future in getattr(admin, what)(bindings).values():
        future.result(ADMIN_SECONDS_MAX)


def wait(bootstrap, filters, there):
    """Until the broker knows it: the controller, which has recorded it, is another part of the node."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 3})
    deadline = time.monotonic() + ADMIN_SECONDS_MAX
    for one in filters:
        while bool(admin.describe_acls(one).result(ADMIN_SECONDS_MAX)) != there:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the broker does not follow the controller: {one}")
            time.sleep(0.02)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--prefix", default="")
    options = parser.parse_args()
    properties = (options.folder / "node.properties").read_text()
    bootstrap = properties.partition("advertised.listeners=PLAINTEXT://")[2].partition(",")[0]
    for user, rights in {"writ": ledger(options.prefix), "producer": producer(options.prefix)}.items():
        grant(bootstrap, user, rights)
        for right in rights:
            print(f"{user}: {right}")


if __name__ == "__main__":
    sys.exit(main())
