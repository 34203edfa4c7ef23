"""What may be claimed about a run, computed from its ledger and the terms that it was started under."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.metadata import version
from typing import Any

from fedpriv.errors import ConfigError

from .accountants import Epsilon
from .budget import Accounting
from .claims import CLAIMS
from .client_budgets import spent_by_budget, worst_of_all
from .curve import Curve, delta_curve
from .held_to_terms import check_entries
from .ledger import LAYER, ReleaseEntry, compositions
from .printed import rounded_up, upwards
from .release import Composition, Release
from .terms import Terms
from .threat_model import Cell, central_matrix, local_matrix, no_guarantee, reports_matrix, sums_matrix

EVIDENCE = "no audit was run"

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
BUDGETS = "which client allows which epsilon, even where that follows from its data, and who has retired: both public"
SIMULATION_ONLY = "the noise itself: it derives from a recorded seed (simulation only)"


@dataclass(frozen=True, kw_only=True)
class Guarantee:
    """An (epsilon, delta) statement with everything that a reviewer asks for (NIST SP 800-226, section 4).

    Attributes:
        epsilon: upper bound, the maximum over ``population`` participants.
        unit: ``example`` or ``client``.
        relation: ``add_or_remove_one``, ``replace_one`` or ``zero_out``.
        trust_model: ``local``, ``distributed`` or ``central`` (see ``fedpriv.accounting.claims``).
        observer: against whom it holds.
        released: what that observer sees.
        mu: of Gaussian DP, where nothing is sampled; else None.
        method: what judged, ``accountant_version`` its library.
        sampling: how the run drew, in the ledger's words; ``sampling_assumed``: what that was accounted as.
        participation_cap: most noisy sums that one unit can be in.
        norm: what clips, to how much (a number, or by part the least and the most), and whether that never changes.
        sensitivity: L2 norm that one unit's addend was clipped to; 1 where parts count in units of their noise.
        sensitivity_under_relation: how far neighbours can move a sum: twice as far under replace-one.
        worst_client: client id that attains epsilon where clients add the noise; else None.
        spent_by_budget: of ``terms.client_budgets``, in their order, the largest epsilon of a client.
        not_covered: what the statement does not speak about.
        evidence: audits.
        curve, threat_matrix: see ``fedpriv.accounting.curve`` and ``threat_model``.
        terms: what the run was started under; in JSON beside the others.
    """

    epsilon: float
    delta: float
    unit: str
    relation: str
    trust_model: str
    observer: str
    released: str
    population: int
    bound: str
    mu: float | None
    method: str
    accountant_version: str
    sampling: Mapping[str, Any]
    sampling_assumed: Mapping[str, Any]
    rounds: int
    releases: int
    participation_cap: int
    attempts: int
    norm: Mapping[str, Any]
    sensitivity: float
    sensitivity_under_relation: float
    noise_law: str
    noise_multiplier_min: float
    noise_multiplier_max: float
    worst_client: int | None
    spent_by_budget: tuple[float, ...]
    simulation_only: bool
    evidence: str
    not_covered: tuple[str, ...]
    curve: Curve
    threat_matrix: tuple[Cell, ...]
    terms: Terms

    def to_json(self) -> dict[str, Any]:
        """Flat: the terms' fields stand beside the guarantee's own."""
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "terms"}
        return {
            **own,
            **self.terms.to_json(),
            "spent_by_budget": list(self.spent_by_budget),
            "not_covered": list(self.not_covered),
            "curve": self.curve.to_json(),
            "threat_matrix": [cell.to_json() for cell in self.threat_matrix],
        }


def no_claim(terms: Terms, *, evidence: str) -> dict[str, Any]:
    """The keys of ``Guarantee.to_json`` for a run that claims nothing: null where only a claim has a value."""
    none = terms.mechanism == "none"
    because = "No noise is added." if none else "Nothing was released with noise that bounds epsilon."
    return {
        **dict.fromkeys(field.name for field in fields(Guarantee) if field.name != "terms"),
        **terms.to_json(),
        "evidence": evidence,
        "spent_by_budget": [],
        "not_covered": [],
        "threat_matrix": [cell.to_json() for cell in no_guarantee(because)],
    }


def claim_in_words(guarantee: Mapping[str, Any]) -> str:
    """Epsilon, delta, change and observer in one sentence, from what ``to_json`` gives."""
    person = "training example" if guarantee["unit"] == "example" else "client (all of its data)"
    change = {
        "add_or_remove_one": f"adding or removing one {person}",
        "replace_one": f"replacing one {person} by another",
        "zero_out": f"replacing one {person}'s contribution by nothing",
    }[guarantee["relation"]]
    return (
        f"({rounded_up(guarantee['epsilon'])}, {upwards(guarantee['delta'], 3)})-differential privacy for {change}, "
        f"against {guarantee['observer']}."
    )


def in_words(guarantee: Mapping[str, Any]) -> str:
    """One paragraph that can be quoted, from what ``to_json`` gives."""
    keeper = {
        "local": "Each client adds the noise.",
        "distributed": "Each client adds a share of the noise, under a secure sum.",
        "central": "A trusted server adds the noise.",
    }[guarantee["trust_model"]]
    return (
        f"{claim_in_words(guarantee)} {keeper} Accounted by {guarantee['method']} over "
        f"{guarantee['releases']} releases in {guarantee['rounds']} rounds. "
        f"Not covered: {'; '.join(guarantee['not_covered'])}."
    )


def state_guarantee(
    entries: Iterable[ReleaseEntry], *, terms: Terms, evidence: str = EVIDENCE
) -> Guarantee | None:
    """The guarantee that a ledger earns under its terms; None where nothing was released under a mechanism, or with
    noise too small to be told from none.

    Raises:
        ConfigError: entries that nothing here adds up, or that are not what the terms say.
    """
    entries = list(entries)
    if not entries:
        return None
    check_entries(entries, terms)
    first = entries[0]
    accounting = accounting_of(terms)
    released = compositions(entries)
    claim = CLAIMS[first.mechanism]
    who: Any = {"together": claim.trust_model == "central", "accounting": accounting}
    epsilon, worst = worst_of_all(released, terms.client_budgets, **who)
    if not math.isfinite(epsilon.value):
        return None
    distinct = [dict(composition) for composition in {frozenset(c.items()) for c in released.values()}]
    curve = delta_curve(distinct, accounting=accounting, epsilon=epsilon.value)
    releases = [release for composition in distinct for release in composition]
    return Guarantee(
        epsilon=epsilon.value,
        delta=accounting.delta,
        unit=first.unit,
        relation=accounting.relation,
        trust_model=claim.trust_model,
        observer=claim.observer,
        released=claim.released,
        population=terms.population,
        bound="upper bound",
        mu=curve.mu,
        method=epsilon.method,
        accountant_version=_library(accounting, epsilon),
        sampling={
            "kind": first.sampling,
            "of": claim.drawn,
            "rate_min": min(release.rate for release in releases),
            "rate_max": max(release.rate for release in releases),
        },
        sampling_assumed=_assumed(releases),
        rounds=len({entry.round for entry in entries}),
        releases=_number_of_releases(entries, released, at_server=claim.trust_model == "central"),
        participation_cap=max(sum(composition.values()) for composition in distinct),
        attempts=1 + max(entry.attempt for entry in entries),
        norm=_norm(claim.norm, entries),
        sensitivity=first.sensitivity,
        sensitivity_under_relation=first.sensitivity * max(r.sensitivity(accounting.relation) for r in releases),
        noise_law=first.noise_law,
        noise_multiplier_min=min(release.noise_multiplier for release in releases),
        noise_multiplier_max=max(release.noise_multiplier for release in releases),
        worst_client=worst if claim.trust_model != "central" else None,
        spent_by_budget=spent_by_budget(released, terms.client_budgets, **who) if terms.client_budgets else (),
        simulation_only=not terms.noise_secret,
        evidence=evidence,
        not_covered=(
            *NOT_COVERED,
            *((BUDGETS,) if terms.client_budgets else ()),
            *terms.caveats,
            *(() if terms.noise_secret else (SIMULATION_ONLY,)),
        ),
        curve=curve,
        threat_matrix=_matrix(first, released, epsilon.value, accounting, terms),
        terms=terms,
    )


def _number_of_releases(
    entries: Sequence[ReleaseEntry], released: Mapping[int, Composition], *, at_server: bool
) -> int:
    """Noisy sums; one that several groups of clients pay for is one."""
    if at_server:
        return sum(int(entry.steps) for entry in entries if isinstance(entry.steps, int))
    return sum(sum(composition.values()) for composition in released.values())


def _norm(name: str, entries: list[ReleaseEntry]) -> dict[str, Any]:
    """What clips, to how much: one number, or of each part the smallest and the largest over the rounds."""
    layers = {key.removeprefix(LAYER): value for key, value in entries[0].details if key.startswith(LAYER)}
    if layers:
        return {"name": name, "value": {**layers, "together": entries[0].sensitivity}, "fixed": True}
    if not entries[0].parts:
        return {"name": name, "value": entries[0].sensitivity, "fixed": True}
    norms: dict[str, list[float]] = {}
    for part in (part for entry in entries for part in entry.parts):
        norms.setdefault(part.name, []).append(part.sensitivity)
    ranges = {part: {"least": min(values), "most": max(values)} for part, values in norms.items()}
    return {"name": name, "value": ranges, "fixed": all(len(set(values)) == 1 for values in norms.values())}


def accounting_of(terms: Terms) -> Accounting:
    """How releases under these terms are judged."""
    if terms.delta is None or terms.relation is None or terms.accountant is None:
        raise ConfigError("Releases were made, but the run was started without a mechanism.")
    return Accounting(delta=terms.delta, relation=terms.relation, accountant=terms.accountant)


def _library(accounting: Accounting, epsilon: Epsilon) -> str:
    by_opacus = accounting.accountant in ("prv", "opacus_rdp") and not epsilon.method.startswith("closed form")
    library = "opacus" if by_opacus else "dp-accounting"
    return f"{library} {version(library)}"


def _assumed(releases: list[Release]) -> dict[str, Any]:
    """What the accountant was told; whoever takes turns is accounted in its own."""
    kinds = {release.sampling for release in releases}
    return {
        "kind": ", ".join(sorted(kinds)),
        "rate_max": max(release.rate for release in releases),
        "population": max(release.population for release in releases) or None,
        "cap" if "capped_poisson" in kinds else "cohort": max(release.cohort for release in releases) or None,
    }


def _matrix(
    first: ReleaseEntry, released: Mapping[int, Composition], epsilon: float, accounting: Accounting, terms: Terms
) -> tuple[Cell, ...]:
    if first.unit == "example":
        return local_matrix(epsilon=epsilon, accounting=accounting)
    if CLAIMS[first.mechanism].trust_model == "distributed":
        return sums_matrix(released=released, epsilon=epsilon, accounting=accounting)
    if CLAIMS[first.mechanism].trust_model == "local":
        return reports_matrix(released=released, epsilon=epsilon, accounting=accounting)
    return central_matrix(
        sampling=first.sampling,
        released=released,
        epsilon=epsilon,
        accounting=accounting,
        num_examples=terms.num_examples,
        some_retire=bool(terms.client_budgets),
    )
