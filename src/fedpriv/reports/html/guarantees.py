"""Guarantees in words and as a table."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fedpriv.accounting.guarantee import claim_in_words, in_words
from fedpriv.runs import Run

from .numbers import bound
from .panels import Panel, Setting, each_run, each_setting
from .tables import Table

_FIELDS = ("unit", "relation", "trust_model", "accountant", "noise_multiplier_min", "noise_multiplier_max", "releases")


def in_all_words(panels: Sequence[Panel]) -> Iterator[Mapping[str, Any]]:
    """For each setting with a guarantee: what its costliest run claims in full, what the others claim, against whom."""
    for setting in each_setting(panels):
        claiming = sorted((run for run in setting.runs if run.guarantee), key=lambda run: -(run.epsilon or 0.0))
        if claiming:
            unit = (claiming[0].guarantee or {})["unit"]
            yield {
                "summary": f"{setting.label}: {_count(len(claiming))}, {unit} level",
                "claims": [claim for run in claiming for claim in _claims(run, whole=run is claiming[0])],
                "matrix": _matrix(claiming[0]),
            }


def guarantee_table(panels: Sequence[Panel]) -> Table:
    """A row a run; "none" where nothing is claimed."""
    columns = ["setting", "seed", "run", "epsilon", "delta", *(name.replace("_", " ") for name in _FIELDS)]
    rows = [row for _, setting, run in each_run(panels) for row in _rows(setting, run)]
    return Table(
        key="guarantees",
        caption="Each run's guarantee, recomputed from its ledger.",
        columns=columns,
        rows=rows,
        numbers=frozenset({"seed", "epsilon", "delta", "noise multiplier min", "noise multiplier max", "releases"}),
    )


def _claims(run: Run, *, whole: bool) -> Iterator[Mapping[str, str]]:
    for guarantee in (run.guarantee or {}, *run.also):
        yield {"text": in_words(guarantee) if whole else claim_in_words(guarantee), "run": run.record.run_id}


def _matrix(run: Run) -> Table | None:
    cells = (run.guarantee or {}).get("threat_matrix") or []
    observers = list(dict.fromkeys(cell["observer"] for cell in cells))
    if not observers:
        return None
    rows = []
    for unit in dict.fromkeys(cell["unit"] for cell in cells):
        found = {cell["observer"]: cell["epsilon"] for cell in cells if cell["unit"] == unit}
        rows.append([unit, *(bound(found.get(observer), 5) for observer in observers)])
    names = [observer.replace("_", " ") for observer in observers]
    return Table(
        key="",
        caption="Epsilon of one unit against whom; none: no guarantee.",
        columns=["unit", *names],
        rows=rows,
        numbers=frozenset(names),
    )


def _rows(setting: Setting, run: Run) -> Iterator[list[str]]:
    head = [setting.label, str(run.record.seed), run.record.run_id]
    if run.guarantee is None:
        yield [*head, "none", "", *("" for _ in _FIELDS)]
        return
    for guarantee in (run.guarantee, *run.also):
        values = [guarantee.get(name) for name in _FIELDS]
        shown = [f"{value:.4g}" if isinstance(value, float) else str(value).replace("_", " ") for value in values]
        yield [*head, bound(guarantee["epsilon"]), bound(guarantee["delta"], 3), *shown]


def _count(number: int) -> str:
    return "one run" if number == 1 else f"{number} runs"
