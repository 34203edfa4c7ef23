"""What may be claimed about a run, computed from its ledger and nothing else."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .budget import Accounting
from .ledger import ReleaseEntry, compositions

_TRUST = {
    "example": ("local", "anyone who sees every client's updates, the server included"),
    "client": ("central", "anyone who sees the global models but neither updates nor the server's coins"),
}

NOT_COVERED = (
    "hyperparameter tuning and the choice among runs",
    "metrics named diagnostic_*: computed on training data, for the simulator's eyes only",
    "the run folder's other tables and logs: cohorts, who answered",
    "which clients failed and why: an example that makes its client fail takes the whole client out of the sum",
    "the test examples and test_* metrics, which count as public",
    "preprocessing, splits and the division among clients (also where they look at labels), client sizes and the "
    "number of clients, which count as public",
    "copies of one example, at several clients or in the test set: each counts as an example of its own",
    "other runs on the same data; runs that share a seed share their noise",
    "attacks on the generator (not a cryptographic one) or on the floating-point arithmetic of the noise",
)
SIMULATION_ONLY = "the noise itself: it derives from a recorded seed (simulation only)"


@dataclass(frozen=True, kw_only=True)
class Guarantee:
    """An (epsilon, delta) statement with everything that a reviewer asks for (NIST SP 800-226, section 4).

    Attributes:
        epsilon: upper bound, the maximum over ``population`` participants.
        unit: ``example`` or ``client``.
        relation: ``add_or_remove_one``, ``replace_one`` or ``zero_out``.
        trust_model: ``local`` (noise is added by the client) or ``central`` (by a trusted server).
        observer: against whom it holds.
        sampling: what the accountant assumed and the run did.
        sensitivity: L2 norm that one unit's addend was clipped to (max_grad_norm or clipping_norm).
        worst_client: client id that attains epsilon at example level; None at client level.
        caveats: what this run in particular adds to what is not covered.
        not_covered: what the statement does not speak about.
        noise_secret: whether the noise key was random, owner-only and deleted; if not: simulation only.
    """

    epsilon: float
    delta: float
    delta_rule: str
    unit: str
    relation: str
    trust_model: str
    observer: str
    population: int
    accountant: str
    method: str
    sampling: Mapping[str, Any]
    rounds: int
    releases: int
    attempts: int
    sensitivity: float
    noise_law: str
    noise_multiplier_min: float
    noise_multiplier_max: float
    worst_client: int | None
    noise_secret: bool
    caveats: tuple[str, ...]
    not_covered: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "caveats": list(self.caveats), "not_covered": list(self.not_covered)}


def in_words(guarantee: Mapping[str, Any]) -> str:
    """One paragraph that can be quoted, from what ``to_json`` gives."""
    person = "training example" if guarantee["unit"] == "example" else "client (all of its data)"
    change = {
        "add_or_remove_one": f"adding or removing one {person}",
        "replace_one": f"replacing one {person} by another",
        "zero_out": f"replacing one {person}'s contribution by nothing",
    }[guarantee["relation"]]
    keeper = "Each client" if guarantee["trust_model"] == "local" else "A trusted server"
    return (
        f"({rounded_up(guarantee['epsilon'])}, {guarantee['delta']:.3g})-differential privacy for {change}, against "
        f"{guarantee['observer']}. {keeper} adds the noise. Accounted by {guarantee['method']} over "
        f"{guarantee['releases']} releases in {guarantee['rounds']} rounds. "
        f"Not covered: {'; '.join(guarantee['not_covered'])}."
    )


def rounded_up(epsilon: float) -> str:
    """Epsilon with four decimals, never printed below its value."""
    return f"{math.ceil(epsilon * 1e4) / 1e4:.4f}"


def state_guarantee(
    entries: Iterable[ReleaseEntry],
    *,
    accounting: Accounting,
    delta_rule: str,
    population: int,
    noise_secret: bool,
    caveats: Sequence[str],
) -> Guarantee | None:
    """The guarantee that a ledger earns; None where nothing was released under a mechanism.

    ``population`` is the number of protected units that delta is to be compared with; ``caveats`` say what this run
    adds to what is never covered.
    """
    entries = list(entries)
    if not entries:
        return None
    epsilon, worst = accounting.worst(compositions(entries))
    if not math.isfinite(epsilon.value):
        return None  # noise too small to be told from none
    first = entries[0]
    trust_model, observer = _TRUST[first.unit]
    multipliers = [release.noise_multiplier for entry in entries for _, release, _ in entry.releases()]
    rates = [release.rate for entry in entries for _, release, _ in entry.releases()]
    return Guarantee(
        epsilon=epsilon.value,
        delta=accounting.delta,
        delta_rule=delta_rule,
        unit=first.unit,
        relation=accounting.relation,
        trust_model=trust_model,
        observer=observer,
        population=population,
        accountant=accounting.accountant,
        method=epsilon.method,
        sampling={
            "kind": first.sampling,
            "of": "examples into batches" if first.unit == "example" else "clients into cohorts",
            "rate_min": min(rates),
            "rate_max": max(rates),
        },
        rounds=len({entry.round for entry in entries}),
        releases=sum(count for entry in entries for participant, _, count in entry.releases()),
        attempts=1 + max(entry.attempt for entry in entries),
        sensitivity=first.sensitivity,
        noise_law=first.noise_law,
        noise_multiplier_min=min(multipliers),
        noise_multiplier_max=max(multipliers),
        worst_client=worst if first.unit == "example" else None,
        noise_secret=noise_secret,
        caveats=tuple(caveats),
        not_covered=(*NOT_COVERED, *caveats, *(() if noise_secret else (SIMULATION_ONLY,))),
    )
