"""The whole statement of a run: what its ``guarantee.json`` holds, and its ``guarantee.md`` tells a reviewer."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .guarantee import Guarantee, claim_in_words, no_claim
from .printed import upwards
from .terms import Terms
from .threat_model import OBSERVERS

SCHEMA_VERSION = 2

# Every key of a statement but matrix, curve and what is not covered, in the order of a review.
SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Claim": (
        "unit", "relation", "epsilon", "bound", "delta", "delta_rule", "mu", "population", "observer", "trust_model",
        "released", "worst_client", "spent_by_budget", "simulation_only", "evidence",
    ),
    "Accounting": (
        "accountant", "accountant_version", "method", "sampling_assumed", "rounds", "releases", "participation_cap",
        "attempts",
    ),
    "Mechanism": (
        "mechanism", "norm", "sensitivity", "sensitivity_under_relation", "noise_law", "noise_rng", "noise_secret",
        "noise_multiplier_min", "noise_multiplier_max", "weighting", "denominator", "dropout_policy",
    ),
    "What ran": (
        "sampling", "sampling_run", "noisy_steps_per_round", "client_budgets", "dropout_rate", "num_examples",
        "num_clients", "public_data", "initial_weights", "seeds", "caveats",
    ),
    "Provenance": ("name", "run_id", "revision", "config_sha256", "packages", "schema_version"),
}  # fmt: skip


def whole_statement(
    guarantees: Sequence[Guarantee | None],
    *,
    terms: Sequence[Terms],
    provenance: Mapping[str, Any],
    config_sha256: str,
    evidence: str,
) -> dict[str, Any]:
    """Everything that may be said of a run's privacy, flat; ``epsilon`` is None where nothing is claimed.

    Where units beside the headline's are protected, ``also`` holds as much of each.

    Args:
        guarantees: of each unit, the headline's first; ``terms``: aligned with them.
        provenance: ``name``, ``run_id``, ``revision`` (hash of fedpriv's source) and ``packages`` (name -> version).
        config_sha256: of the resolved config's file.
        evidence: what an audit found, where nothing is claimed.
    """
    claims = [
        no_claim(about, evidence=evidence) if guarantee is None else guarantee.to_json()
        for guarantee, about in zip(guarantees, terms, strict=True)
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        **claims[0],
        "also": claims[1:],
        **provenance,
        "config_sha256": config_sha256,
    }


def markdown(statement: Mapping[str, Any]) -> str:
    """The statement for a reviewer, from what ``guarantee.json`` holds."""
    return "\n".join(_lines(statement)) + "\n"


def _lines(statement: Mapping[str, Any]) -> Iterator[str]:
    yield f"# Guarantee of {_text(statement['name'])}, run {_text(statement['run_id'])}"
    yield from _claim(statement, SECTIONS)
    for other in statement["also"]:
        yield from ("", f"# Also, for each {other['unit']}")
        yield from _claim(other, {title: keys for title, keys in SECTIONS.items() if title != "Provenance"})
    yield from ("", "## Recompute", "")
    yield (
        "`fedpriv verify RUN`, with the run's folder as RUN, recomputes all of this from the raw numbers of "
        "`ledger.jsonl` and from what `audit.jsonl` says that the run was started with."
    )


def _claim(statement: Mapping[str, Any], sections: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """All about one unit."""
    yield ""
    if statement["epsilon"] is None:
        yield "**No differential privacy is claimed about this run.**"
    else:
        yield f"**{_text(claim_in_words(statement))}**"
        if statement["simulation_only"]:
            yield ""
            yield "Simulation only: the noise derives from a recorded seed, and whoever knows it can subtract it."
    for title, keys in sections.items():
        yield from ("", f"## {title}", "", "| field | value |", "| --- | --- |")
        for key in keys:
            yield f"| {key.replace('_', ' ')} | {_value(key, statement[key])} |"
    yield from _matrix(statement["threat_matrix"])
    if statement["curve"] is not None:
        yield from _curve(statement["curve"])
    if statement["not_covered"]:
        yield from ("", "## Not covered", "")
        for item in statement["not_covered"]:
            yield f"* {_text(item)}"


def _matrix(cells: list[Mapping[str, Any]]) -> Iterator[str]:
    yield from ("", "## Against whom", "")
    for observer, sees in OBSERVERS.items():
        yield f"* {observer.replace('_', ' ')}: {sees}"
    columns = ("unit", "observer", "epsilon", "delta", "relation", "because")
    yield from ("", f"| {' | '.join(columns)} |", "| --- | --- | --- | --- | --- | --- |")
    for cell in cells:
        yield f"| {' | '.join(_value(key, cell[key]) for key in columns)} |"
    yield ""
    yield "Without an epsilon there is no guarantee: nothing is carried from one cell to another without a proof."


def _curve(curve: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", "## delta(epsilon)", "", f"Every point holds. By: {_text(curve['method'])}.", "")
    yield from ("| epsilon | delta |", "| --- | --- |")
    for point in curve["points"]:
        yield f"| {upwards(point['epsilon'], 6)} | {upwards(point['delta'], 6)} |"


def _value(key: str, value: Any) -> str:
    if value is None:
        return "none" if key == "epsilon" else "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key in ("epsilon", "delta", "mu"):
        return upwards(value, 6)
    if isinstance(value, Mapping):
        return "; ".join(f"{_text(k)}: {_value('', v)}" for k, v in value.items()) or "-"
    if isinstance(value, list):
        return "; ".join(_value("", item) for item in value) or "-"
    return _text(f"{value:.6g}" if isinstance(value, float) else value)


def _text(value: Any) -> str:
    """In one line, with nothing that Markdown or HTML would read."""
    line = " ".join(str(value).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*{}\[\]|~#!]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", line)
