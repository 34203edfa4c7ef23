"""Who is compared."""

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.pairs import BARE, Contender
from benchmarks.workloads import ROOT, Random, Workload

PEERS = ("pfl", "fedlab", "flower")
_HERE = Path(sys.executable)
_FEWER = {"flower": {"W2": 8, "W3": 1}}  # a message a client


def contenders(*, peers: bool, overrides: Sequence[str]) -> list[Contender]:
    """The bare loop first, as ``compare`` wants it.

    Args:
        peers: whether the other simulators run, too, each with the Python that `make bench-peers` made for it.
        overrides: Hydra overrides for fedpriv.
    """
    ours = [
        _own(BARE, "bare"),
        _own("fedpriv", "with_fedpriv", options=tuple(overrides)),
        _own("bare_channels_last", "bare", options=("channels_last",), takes=_has_images),
        _own("opacus", "opacus_alone", takes=_protects_examples),
    ]
    return [*ours, *(_peer(name) for name in PEERS)] if peers else ours


def _any(workload: Workload) -> bool:
    return True


def _has_images(workload: Workload) -> bool:
    return workload.is_of_images


def _protects_examples(workload: Workload) -> bool:
    return workload.protects == "example"


def _is_random(workload: Workload) -> bool:
    return isinstance(workload.data, Random)  # a peer's Python has no fedpriv to load real data with


def _own(name: str, module: str, *, options: tuple[str, ...] = (), takes=_any) -> Contender:  # type: ignore[no-untyped-def]
    return Contender(name=name, module=f"benchmarks.{module}", options=options, python=_HERE, takes=takes, fewer={})


def _peer(name: str) -> Contender:
    python = ROOT / "benchmarks" / ".venvs" / name / "bin" / "python"
    return Contender(
        name=name,
        module=f"benchmarks.peers.{name}",
        options=(),
        python=python,
        takes=_is_random,
        fewer=_FEWER.get(name, {}),
    )
