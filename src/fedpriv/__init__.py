"""fedpriv: federated-learning privacy simulation."""

import os

__version__ = "0.1.0"

# Flower reads these when it is imported: no telemetry, no look for updates, no installing of anything.
for _name, _value in (
    ("FLWR_TELEMETRY_ENABLED", "0"),
    ("FLWR_DISABLE_UPDATE_CHECK", "1"),
    ("FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION", "1"),
    ("RAY_USAGE_STATS_ENABLED", "0"),
):
    os.environ.setdefault(_name, _value)


def __getattr__(name: str) -> object:
    if name in ("run", "sweep", "replay"):  # imported late: they bring torch
        from fedpriv import interactive

        return getattr(interactive, name)
    if name == "load":
        from fedpriv.runs import load

        return load
    if name == "report":  # it brings altair
        from fedpriv.reports import html

        return html
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
