"""Whether Ray can be used as asked, before anything is started."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec

from fedpriv.errors import ConfigError

_REACH_SECONDS = 5.0
_ASK_SECONDS = 60.0
_ASK = (
    "import json, ray; ray.init(address={address!r}, logging_level='error', log_to_driver=False); "
    "print(json.dumps([node['Resources'].get('CPU', 0) for node in ray.nodes() if node['Alive']]))"
)


def cluster_address() -> str | None:
    """What ``RAY_ADDRESS`` says; None where Ray is to be started on this machine."""
    address = os.environ.get("RAY_ADDRESS", "")
    return None if address in ("", "local") else address


def check_installed() -> None:
    """Raise ConfigError where Flower cannot simulate on Ray."""
    if find_spec("ray") is None:
        raise ConfigError("runtime=ray needs Ray: pip install 'fedpriv[ray]', or use runtime=inprocess.")
    if not sys.platform.startswith("linux"):
        raise ConfigError("runtime=ray needs Linux, where all that it starts can be ended; use runtime=inprocess.")


def cpus_of_an_actor(*, workers: int, threads: int, address: str | None) -> int:
    """CPUs that each actor must ask for, that Flower starts ``workers``: it starts as many as there is room for.

    Args:
        address: of a cluster; None: Ray is started here, with CPUs to measure.

    Raises:
        ConfigError: the cluster is too small, or cannot be reached.
    """
    if address is None:
        return threads
    machines = _cpus_of_machines(address)
    # fewer actors with more CPUs each, as long as there is room for all
    shares = {int(cpus / count) for cpus in machines for count in range(1, workers + 1)}
    fitting = [share for share in shares if share >= threads and _room(machines, share) >= workers]
    if not fitting:
        raise ConfigError(
            f"workers={workers} with threads={threads} do not fit into the Ray cluster at {address}, whose machines "
            f"have {', '.join(f'{cpus:g}' for cpus in machines)} CPUs: use workers={_room(machines, threads)} or less."
        )
    return max(fitting)


def cluster_slots(*, threads: int) -> int | None:
    """Workers that the cluster of ``RAY_ADDRESS`` has room for; None where there is no cluster."""
    check_installed()
    address = cluster_address()
    return None if address is None else max(1, _room(_cpus_of_machines(address), threads))


def _room(machines: Sequence[float], share: int) -> int:
    return sum(int(cpus / share) for cpus in machines)


@cache
def _cpus_of_machines(address: str) -> tuple[float, ...]:
    _reach(address)
    command = [sys.executable, "-c", _ASK.format(address=address)]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_SECONDS, stdin=subprocess.DEVNULL)
        return tuple(json.loads(asked.stdout.splitlines()[-1]))
    except (subprocess.TimeoutExpired, ValueError, IndexError) as error:
        raise _unreachable(address) from error


def _reach(address: str) -> None:
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if "/" in address or not port.isdecimal():
        raise ConfigError(
            f"RAY_ADDRESS={address} is no HOST:PORT. Use the address that `ray start --head` printed, and start "
            "fedpriv on a machine of that cluster."
        )
    try:
        socket.create_connection((host, int(port)), timeout=_REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address) from error


def _unreachable(address: str) -> ConfigError:
    return ConfigError(
        f"No Ray cluster answers at RAY_ADDRESS={address}. Check it with `ray status --address {address}`, start one "
        "on this machine with `ray start`, or unset RAY_ADDRESS to start Ray for this run alone."
    )
