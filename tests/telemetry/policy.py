"""A policy under which each gate can refuse, and each receipt can come to be."""

HOUR_US = 3_600_000_000
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

HANG_US = 300_000  # how long a connector is waited for that hangs
WINDOW_US = 1_500_000  # in which an execution must begin that waits behind an open breaker
OUTSIDE_US = 1_500_000  # in which an executor outside must report
ASKED_FROM_CENTS = 100
LIMIT_CENTS = 10_000

DONE = {"type": "object", "required": ["done"], "properties": {"done": {"type": "boolean"}}}


def rule(action, connector, **more):
    """One that asks nobody for anything, but for what is said."""
    free = {"exempt": "nothing to ask here"}
    return {"action": action, "connector": connector, "requires": free, "spends": free, "timing": free, "escalates": free,
            "window_us": HOUR_US, **more}


def http(url, timeout_us=5_000_000, **more):
    return {"kind": {"http": {"url": url, "timeout_us": timeout_us}}, "output_schema": DONE, **more}


def other_day(today):
    """A day that is neither this one nor one beside it: `today` counts from Monday."""
    return DAYS[(today + 3) % 7]


def bundle(service, unreachable, today):
    """`service` is a Service, `unreachable` an URL where nobody listens."""
    spends = {"budget": {"name": "cents", "cost": {"arg": "cents"}}}
    asks = {"to": {"role": "approver", "quorum": 1, "within_us": HOUR_US, "when": f"intent.args.cents >= {ASKED_FROM_CENTS}"}}
    hours = {"limits": {"hours": {"zone": "UTC", "spans": [{"days": [other_day(today)], "from": "00:00", "to": "24:00"}]}}}
    return {
        "name": "telemetry",
        "gates": {gate: "enforced" for gate in ("temporal", "proof", "budget", "escalation")},
        "rules": [
            rule("notes.add", "echo"),
            rule("another.day", "echo", timing=hours),
            rule("shown", "echo", requires={"requirement": "ticket"}),
            rule("pay", "done", spends=spends, escalates=asks),
            rule("drift", "drift"), rule("hang", "hang"), rule("broken", "broken"), rule("refuse", "refuse"), rule("away", "away"),
            rule("cut", "cut", window_us=WINDOW_US),
            rule("outside", "outside"),
        ],
        "requirements": {"ticket": {"evidence": {"kind": "ticket", "role": "approver", "about_effect": False}}},
        "budgets": {"cents": {"unit": "cents", "limit": LIMIT_CENTS}},
        "connectors": {
            "echo": {"kind": "echo", "output_schema": {"type": "object"}},
            **{name: http(f"{service.url(name)}?key=planted-key") for name in ("done", "drift", "broken", "refuse")},
            "hang": http(service.url("hang"), HANG_US),
            "away": http(unreachable),
            # The first failure opens its breaker for longer than any window.
            "cut": http(service.url("broken"), breaker={"failures": 1, "pause_us": HOUR_US}),
            "outside": {"kind": {"external": {"role": "carrier", "within_us": OUTSIDE_US}}, "output_schema": DONE},
        },
    }
