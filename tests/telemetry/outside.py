"""What a ledger needs outside: connectors and Kafka."""

import time

import services
import strangers
from cause import RATE, Cause, burns
from policy import DONE, HOUR_US
from system import TENANT, Broken
from traffic import Traffic


class Connector(Cause):
    """`effect.count` calls a service; `outside` is carried out by others."""

    timeout_us, more = 8_000_000, {}

    def __init__(self, world):
        super().__init__(world)
        self.service = services.Service()
        self.service.__enter__()

    def policy(self):
        bundle = strangers.plain()
        kind = {"http": {"url": self.service.url("done"), "timeout_us": self.timeout_us}}
        bundle["connectors"]["effects"] = {"kind": kind, "output_schema": DONE, **self.more}
        bundle["connectors"]["outside"] = {"kind": {"external": {"role": "carrier", "within_us": HOUR_US}}, "output_schema": DONE}
        bundle["rules"].append({**bundle["rules"][0], "action": "outside", "connector": "outside"})
        return bundle

    def flow(self):
        return Traffic(self.ledger, RATE, {"effect.count": 1})

    def says(self, answer):
        self.service.instead = {"done": answer} if answer else {}

    def mend(self):
        self.says(None)

    def end(self):
        super().end()
        self.service.__exit__()


class HangingConnector(Connector):
    does = "a connector does not answer within its 8 s"
    alerts = ("WritConnectorHangs", "WritConnectorFailing", "WritReceiptsUncertain")

    def provoke(self):
        self.says("hang")

    def mend(self):
        super().mend()
        self.service.ended.set()
        time.sleep(self.timeout_us / 1e6 + 1)
        for entry in self.ledger.entries():
            if entry["kind"] == "ReceiptIssued" and entry["event"]["payload"]["status"] == "UNCERTAIN":
                self.ledger.run("reconcile", "--data", self.ledger.folder, "--not-applied", entry["event"]["digest"])


class OldExecution(Connector):
    does = "nobody reports what was carried out outside"
    alerts = ("WritExecutionsOld",)

    def prepare(self):
        self.key = self.folder / "carrier.key"
        public = self.ledger.run("key", "new", self.key).strip()
        self.ledger.run("key", "trust", "--data", self.ledger.folder, public, "--tenant", TENANT, "--principal", "carrier", "--role", "carrier")

    def provoke(self):
        maker = Traffic(self.ledger, 1, {"outside": 1}, name="outside")
        status, answer = self.ledger.submit(maker.envelope())
        if answer.get("answer") != "decided":
            raise Broken(f"{status} {answer}")

    def mend(self):
        output = self.folder / "output.json"
        output.write_text('{"done": true}')
        self.ledger.run("outcome", "report", "--data", self.ledger.folder, "--applied", "--output", output, "--key", self.key, TENANT, "outside-0000000")


class AwayBroker(Cause):
    does = "the broker is suspended (SIGSTOP)"
    alerts = ("WritKafkaAway", *burns("WritPublicationLate"))

    def bootstrap(self):
        return self.world.node(self.name).bootstrap

    def provoke(self):
        self.world.node(self.name).suspend()

    def mend(self):
        self.world.node(self.name).resume()


class FullConnector(Connector):
    does = "a connector is away, and 1024 executions wait for it"
    alerts = ("WritPartitionsHeld", "WritKafkaNotRead", "WritConnectorBreakerOpen")
    more = {"breaker": {"failures": 3, "pause_us": 10_000_000}, "retry": {"attempts": 16, "base_us": 1_000_000, "cap_us": 2_000_000}}
    intents = 1200

    def bootstrap(self):
        return self.world.node(self.name).bootstrap

    def flow(self):
        return Traffic(self.ledger, RATE, {"effect.count": 1}, kafka=True)

    def provoke(self):
        self.says("away")
        self.rush = Traffic(self.ledger, 200, {"effect.count": 1}, kafka=True, name="rush")
        self.rush.__enter__()
        time.sleep(self.intents / 200)
        self.rush.__exit__()
