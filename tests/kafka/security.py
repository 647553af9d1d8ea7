"""What the node of a company has and a plain one lacks: certificates, users, listeners that ask who comes, access rules.

`broker start FOLDER --secure` makes all of it in FOLDER/secure. A client finds there:

    listeners.json              the HOST:PORT of each listener, and of the token endpoint (tokens.py)
    ca.pem, another-ca.pem      the authority that signed the node's certificates; one that signed none
    USER.password               0600; also the user's secret at the token endpoint
    USER.pem, USER.key          a client certificate, its key encrypted under USER.password
    kafka-MECHANISM.toml        the [kafka] table of writ.toml for the user `writ`; kafka-MECHANISM-USER.toml for others

Nobody but `admin`, and whoever comes over PLAINTEXT on loopback, may do anything until acls.py grants it.
"""

import base64
import json
import os
import pathlib
import secrets
import subprocess

USERS = ("writ", "producer", "nobody", "admin")
SUPER_USERS = ("ANONYMOUS", "admin")

# Each has a port of its own. The last two show certificates that no client may accept.
LISTENERS = ("SASL_SSL", "MTLS", "EXPIRED", "OTHER_NAME")
PROTOCOLS = {"SASL_SSL": "SASL_SSL", "MTLS": "SSL", "EXPIRED": "SASL_SSL", "OTHER_NAME": "SASL_SSL"}

ISSUER, AUDIENCE = "https://tokens.example", "kafka"
DAYS = 30
OPENSSL_SECONDS_MAX = 60

SETTINGS = """\
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users={super_users}
ssl.truststore.type=PEM
ssl.truststore.location={secure}/ca.pem
ssl.keystore.type=PEM
ssl.keystore.location={secure}/node.store
# A client certificate names its user by the common name.
ssl.principal.mapping.rules=RULE:^CN=([^,]+).*$/$1/,DEFAULT
listener.name.mtls.ssl.client.auth=required
listener.name.expired.ssl.keystore.location={secure}/expired.store
listener.name.other_name.ssl.keystore.location={secure}/other-name.store
"""

SASL_SETTINGS = """\
listener.name.{name}.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
listener.name.{name}.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required {users};
listener.name.{name}.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.{name}.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.{name}.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;
listener.name.{name}.oauthbearer.sasl.server.callback.handler.class=\
org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler
listener.name.{name}.sasl.oauthbearer.jwks.endpoint.url=file://{secure}/jwks.json
listener.name.{name}.sasl.oauthbearer.expected.issuer={issuer}
listener.name.{name}.sasl.oauthbearer.expected.audience={audience}
"""

# The client's side, by mechanism: librdkafka's own properties.
MECHANISMS = {
    "scram-sha-256": {"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-256"},
    "scram-sha-512": {"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512"},
    "plain": {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"},
    "oauthbearer": {"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER", "sasl.oauthbearer.method": "oidc"},
    "mtls": {"security.protocol": "SSL"},
}


def folder_of(node):
    """What clients need of the node in this folder."""
    return pathlib.Path(node) / "secure"


def listeners(node):
    return json.loads((folder_of(node) / "listeners.json").read_text())


def password(node, user):
    return (folder_of(node) / f"{user}.password").read_text()


# --- The [kafka] table ------------------------------------------------------------------------------------------------


def client(node, mechanism, user="writ"):
    """The properties of [kafka.client]; a secret is a table."""
    secure = folder_of(node)
    table = {**MECHANISMS[mechanism], "ssl.ca.location": f"{secure}/ca.pem"}
    secret = {"file": f"{secure}/{user}.password"}
    if mechanism == "mtls":
        table |= {"ssl.certificate.location": f"{secure}/{user}.pem", "ssl.key.location": f"{secure}/{user}.key", "ssl.key.password": secret}
    elif mechanism == "oauthbearer":
        table |= {
            "sasl.oauthbearer.token.endpoint.url": f"http://{listeners(node)['tokens']}/token",
            "sasl.oauthbearer.client.id": user, "sasl.oauthbearer.client.secret": secret,
        }
    else:
        table |= {"sasl.username": user, "sasl.password": secret}
    return table


def toml(client, bootstrap, prefix="", **tables):
    """The [kafka] table as text; `tables` are those beside [kafka.client]."""
    def text(value):
        # TOML's inline tables are written with `=`, everything else here as in JSON.
        if isinstance(value, dict):
            return "{ " + ", ".join(f"{name} = {json.dumps(one)}" for name, one in value.items()) + " }"
        return json.dumps(value)

    lines = ["[kafka]", f"bootstrap = {text(bootstrap)}", f"prefix = {text(prefix)}"]
    for name, table in {"client": client, **tables}.items():
        lines += ["", f"[kafka.{name}]", *(f"{text(key)} = {text(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def config(node, mechanism, user="writ", prefix="", listener=None):
    """A whole file for this user; over another listener where one is named."""
    listener = listener or ("MTLS" if mechanism == "mtls" else "SASL_SSL")
    return toml(client(node, mechanism, user), listeners(node)[listener], prefix)


# --- Files ------------------------------------------------------------------------------------------------------------


def openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          timeout=OPENSSL_SECONDS_MAX)
    if done.returncode != 0:
        raise OSError(f"openssl {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


def private(path, text):
    """A file that only its owner may read, from its first byte on."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


ELLIPTIC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


def authority(folder, name):
    openssl("req", "-x509", *ELLIPTIC, "-nodes", "-days", DAYS, "-subj", f"/CN=writ tests {name}",
            "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem")


def certificate(folder, name, subject, names=None, days=DAYS, key_options=("-nodes",), authority="ca"):
    """NAME.key and NAME.pem, signed by an authority; `names` are those of a server."""
    request, extensions = folder / f"{name}.request", folder / f"{name}.extensions"
    openssl("req", *ELLIPTIC, *key_options, "-subj", subject, "-keyout", folder / f"{name}.key", "-out", request)
    extensions.write_text(f"subjectAltName={names}\n" if names else "extendedKeyUsage=clientAuth\n")
    openssl("x509", "-req", "-in", request, "-CA", folder / f"{authority}.pem", "-CAkey", folder / f"{authority}.key", "-days", days,
            "-extfile", extensions, "-out", folder / f"{name}.pem")
    request.unlink()
    extensions.unlink()


def store(folder, name):
    """Key and certificate in one file, as Kafka reads PEM."""
    private(folder / f"{name}.store", (folder / f"{name}.key").read_text() + (folder / f"{name}.pem").read_text())


def token_keys(folder):
    """The RSA key that signs tokens, and its public half as the set that the node reads."""
    private(folder / "tokens.key", openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"))
    line = openssl("rsa", "-in", folder / "tokens.key", "-noout", "-modulus")
    modulus = bytes.fromhex(line.strip().removeprefix("Modulus="))
    number = lambda value: base64.urlsafe_b64encode(value).rstrip(b"=").decode()
    key = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "tests", "n": number(modulus), "e": number((65537).to_bytes(3, "big"))}
    (folder / "jwks.json").write_text(json.dumps({"keys": [key]}))


def make(node, ports):
    """Everything in FOLDER/secure. `ports` are one for each listener, and one for the token endpoint."""
    folder = folder_of(node)
    folder.mkdir(mode=0o700)
    addresses = [f"localhost:{port}" for port in ports]
    (folder / "listeners.json").write_text(json.dumps(dict(zip([*LISTENERS, "tokens"], addresses)), indent=2) + "\n")
    authority(folder, "ca")
    authority(folder, "another-ca")
    here = "DNS:localhost,IP:127.0.0.1"
    certificate(folder, "node", "/CN=localhost", here)
    certificate(folder, "expired", "/CN=localhost", here, days=-1)
    certificate(folder, "other-name", "/CN=kafka.example", "DNS:kafka.example")
    for name in ("node", "expired", "other-name"):
        store(folder, name)
    for user in USERS:
        private(folder / f"{user}.password", secrets.token_urlsafe(24))
        certificate(folder, user, f"/CN={user}", key_options=("-passout", f"file:{folder}/{user}.password"))
    token_keys(folder)
    for mechanism in MECHANISMS:
        for user in USERS:
            suffix = "" if user == "writ" else f"-{user}"
            (folder / f"kafka-{mechanism}{suffix}.toml").write_text(config(node, mechanism, user))


# --- The node ---------------------------------------------------------------------------------------------------------


def ports_needed():
    return len(LISTENERS) + 1


def listener_settings(node):
    """What stands in `listeners`, and in the map of protocols, behind the plain ones."""
    addresses = listeners(node)
    return [f"{name}://{addresses[name]}" for name in LISTENERS], [f"{name}:{PROTOCOLS[name]}" for name in LISTENERS]


def settings(node):
    secure = folder_of(node)
    text = SETTINGS.format(secure=secure, super_users=";".join(f"User:{user}" for user in SUPER_USERS))
    users = " ".join(f'user_{user}="{password(node, user)}"' for user in USERS)
    for name in (name for name in LISTENERS if PROTOCOLS[name] == "SASL_SSL"):
        text += SASL_SETTINGS.format(name=name.lower(), users=users, secure=secure, issuer=ISSUER, audience=AUDIENCE)
    return text


def format_options(node):
    """What the storage tool writes into the node's first record: the users of SCRAM."""
    return [option for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512") for user in USERS
            for option in ("--add-scram", f"{mechanism}=[name={user},password={password(node, user)}]")]


def java_options(node):
    # The node reads keys of tokens only from where it is told to.
    return [f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=file://{folder_of(node)}/jwks.json"]
