"""docs/kafka.md, held to what it says: its commands are run as they stand there, its tables are those that secure.py signs in with."""

import json
import os
import re
import shlex
import subprocess
import tomllib

import security
from system import BROKER, ROOT, Broken

PAGE = ROOT / "docs/kafka.md"
SCRIPT_SECONDS_MAX = 300

# Kafka's own tools, as their scripts start them.
TOOLS = {"kafka-acls.sh": "org.apache.kafka.tools.AclCommand", "kafka-configs.sh": "kafka.admin.ConfigCommand"}

# What of a table is where and who, and so another in each place; a secret is in one of three places.
PLACES = ("ssl.ca.location", "ssl.certificate.location", "ssl.key.location", "sasl.username", "sasl.oauthbearer.client.id",
          "sasl.oauthbearer.token.endpoint.url")


def blocks(kind):
    found = re.findall(rf"^```{kind}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    if not found:
        raise Broken(f"{PAGE} has no block of {kind}: mend this test")
    return found


def kind_of(client):
    return {name: "secret" if isinstance(value, dict) else "place" if name in PLACES else value for name, value in client.items()}


def the_tables_of_the_page(world):
    """Each has the properties with which a ledger signs in to the node, and no mechanism is left out."""
    tested = {name: kind_of(security.client(world.node, name)) for name in security.MECHANISMS}
    shown = []
    for text in blocks("toml"):
        client = tomllib.loads(text)["kafka"]["client"]
        names = [name for name, properties in tested.items() if properties == kind_of(client)]
        if not names:
            raise Broken(f"nothing is tested that has these properties: {json.dumps(client)}")
        shown += names
    if not {"scram-sha-256", "mtls", "oauthbearer"} <= set(shown):
        raise Broken(f"{PAGE} shows only {shown}")


def tools(folder, writ):
    """A folder for the PATH: `writ`, and Kafka's tools."""
    folder.mkdir()
    (folder / "writ").symlink_to(writ)
    jars = subprocess.run([BROKER, "fetch"], capture_output=True, text=True, check=True).stdout.strip()
    for name, main in TOOLS.items():
        path = folder / name
        path.write_text(f'#!/bin/sh\nexec java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp {shlex.quote(jars)}"/*" {main} "$@"\n')
        path.chmod(0o755)
    return folder


def the_commands_of_the_page(world):
    """From an empty folder, with the three variables that the page asks for."""
    folder = world.folder / "page"
    folder.mkdir()
    world.searched.append(folder)
    admin = world.folder / "admin.properties"
    secure = security.folder_of(world.node)
    login = f'org.apache.kafka.common.security.scram.ScramLoginModule required username="admin" password="{security.password(world.node, "admin")}";'
    security.private(admin, "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-256\n"
                            f"sasl.jaas.config={login}\nssl.truststore.type=PEM\nssl.truststore.location={secure}/ca.pem\n")
    env = {**os.environ, "PATH": f"{tools(world.folder / 'bin', world.writ)}:{os.environ['PATH']}", "ADMIN": str(admin),
           "KAFKA": security.listeners(world.node)["SASL_SSL"], "CA": str(secure / "ca.pem")}
    # Of its own group, and each line said before it is run, without what stands in its variables.
    with world.file("page").open("w+") as said:
        process = subprocess.Popen(["bash", "-euvo", "pipefail", "-c", "".join(blocks("sh"))], cwd=folder, env=env, stdin=subprocess.DEVNULL,
                                   stdout=said, stderr=said, start_new_session=True)
        try:
            status = process.wait(SCRIPT_SECONDS_MAX)
        finally:
            with_all_of_its_group(process)
        said.seek(0)
        text = said.read()
    if status != 0 or not re.search(r"acme\s+n-1\s+PASS", text):
        raise Broken(f"the script of {PAGE.name}: status {status}: {text[-2000:]}")


def with_all_of_its_group(process):
    """Ends what the script left running, such as a ledger after a command that failed."""
    try:
        os.killpg(process.pid, 9)
    except ProcessLookupError:
        pass
    process.wait()
