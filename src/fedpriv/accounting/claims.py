"""What each mechanism claims: whom it protects, against whom, and in which of its numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

Unit = Literal["example", "client"]
TrustModel = Literal["local", "distributed", "central"]

_SEES_GLOBAL_MODELS = "anyone who sees the global models but neither updates nor the server's coins"


@dataclass(frozen=True, kw_only=True)
class MechanismClaim:
    """What an entry of a mechanism stands for.

    Attributes:
        unit: what is protected.
        trust_model: ``local`` (a client's own noise protects it), ``distributed`` (the noise of many clients together,
            in a sum that hides single ones) or ``central`` (a trusted server adds the noise).
        observer: against whom it holds.
        released: what that observer sees.
        noise_law: of its noise, in the ledger's words.
        norm: key of the config that says what one unit's addend is clipped to.
        drawn: what its sampling draws into what.
    """

    unit: Unit
    trust_model: TrustModel
    observer: str
    released: str
    noise_law: str
    norm: str
    drawn: str


_CENTRAL = MechanismClaim(
    unit="client",
    trust_model="central",
    observer=_SEES_GLOBAL_MODELS,
    released="the global model after every round",
    noise_law="gaussian",
    norm="clipping_norm",
    drawn="clients into cohorts",
)
_LOCAL = MechanismClaim(
    unit="client",
    trust_model="local",
    observer="anyone who sees every client's updates, the server included",
    released="every client's noisy update of every round, and all that is computed from them: the global models",
    noise_law="gaussian",
    norm="clipping_norm",
    drawn="clients into cohorts, which the server sees",
)
CLAIMS: Mapping[str, MechanismClaim] = {
    "example_dpsgd": MechanismClaim(
        unit="example",
        trust_model="local",
        observer="anyone who sees every client's updates, the server included",
        released="every client's update of every round, and all that is computed from them: the global models",
        noise_law="gaussian",
        norm="max_grad_norm",
        drawn="examples into batches",
    ),
    "central_gaussian": _CENTRAL,
    "central_adaptive": _CENTRAL,
    "central_per_layer": _CENTRAL,
    "ftrl_tree": replace(_CENTRAL, noise_law="gaussian_tree"),
    "ftrl_banded": replace(_CENTRAL, noise_law="gaussian_banded"),
    "local_gaussian": _LOCAL,
    "local_laplace": replace(_LOCAL, noise_law="laplace"),
    "distributed_gaussian": MechanismClaim(
        unit="client",
        trust_model="distributed",
        observer="a server that sees sums of updates only (secure aggregation), and whoever sees the global models",
        released="the sum of every round's updates, and all that is computed from it: the global models",
        noise_law="discrete_gaussian",
        norm="clipping_norm",
        drawn="clients into cohorts, which the server sees",
    ),
}
"""By the mechanism's name in the ledger."""

LEDGER_NAMES: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "example": ("example_dpsgd",),
    "central": ("central_gaussian",),
    "central_adaptive": ("central_adaptive",),
    "central_per_layer": ("central_per_layer",),
    "both_units": ("central_gaussian", "example_dpsgd"),
    "distributed": ("distributed_gaussian",),
    "ftrl_banded": ("ftrl_banded",),
    "ftrl_tree": ("ftrl_tree",),
    "local_gaussian": ("local_gaussian",),
    "local_laplace": ("local_laplace",),
}
"""The choices of ``privacy``, each with the ledger names of its entries; the headline's first."""


def protected_units(mechanism: str) -> tuple[Unit, ...]:
    """Units that a choice of ``privacy`` protects; the headline's first."""
    return tuple(CLAIMS[name].unit for name in LEDGER_NAMES[mechanism])


def noise_by_server(mechanism: str) -> bool:
    """Whether whole updates go into one sum, to which a trusted server adds the noise."""
    return any(CLAIMS[name].trust_model == "central" for name in LEDGER_NAMES[mechanism])


def trust_model(mechanism: str) -> TrustModel | None:
    """Of the headline; None where nothing is claimed."""
    return next((CLAIMS[name].trust_model for name in LEDGER_NAMES[mechanism]), None)


def is_correlated(mechanism: str) -> bool:
    """Whether rounds share noise, so that no client may come back too soon."""
    return any(CLAIMS[name].noise_law in ("gaussian_tree", "gaussian_banded") for name in LEDGER_NAMES[mechanism])


def noise_by_clients(mechanism: str) -> bool:
    """Whether clients add noise themselves, so that the server is among those whom the guarantee protects from."""
    return any(CLAIMS[name].trust_model != "central" for name in LEDGER_NAMES[mechanism])


def protects(mechanism: str, unit: Unit) -> bool:
    """Whether a choice of ``privacy`` protects such units: ``example`` means private local steps."""
    return unit in protected_units(mechanism)
