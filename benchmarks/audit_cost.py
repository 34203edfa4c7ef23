"""What an audit costs beyond the canaries' own training. Prints a Markdown table.

python -m benchmarks.audit_cost [--times 5] [--workers 2]

Each audited run is compared with the same run of as many more plain clients, or of plain examples in the places of the
canaries; both take turns, the first of a pair in turn, too. Seconds are those of whole runs: data, rounds, the audit at
the end, records. A run's own evaluation is left out, but for the last round's.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.with_fedpriv import RUNS, describe
from benchmarks.workloads import WORKLOADS, Random, Workload
from fedpriv.interactive import run


@dataclass(frozen=True, kw_only=True)
class Pair:
    """An audited run and its plain counterpart.

    Attributes:
        audited, plain: workload and further overrides.
    """

    name: str
    audited: tuple[Workload, tuple[str, ...]]
    plain: tuple[Workload, tuple[str, ...]]


def of_clients(workload: Workload, *, canaries: int) -> Pair:
    """So many canary clients, against so many more clients like the others; a round's cohort is as large in both."""
    if not isinstance(workload.data, Random):
        raise TypeError(f"{workload.name} has data of its own.")
    everybody = workload.data.population + canaries
    cohort = round(workload.cohort * everybody / workload.data.population)
    larger = replace(
        workload,
        name=f"{workload.name}_and_{canaries}",
        data=replace(workload.data, population=everybody),
        cohort=cohort,
    )
    WORKLOADS[larger.name] = larger  # where the data's loader looks it up
    audit = ("audit=client_canaries", f"audit.canaries={canaries}")
    return Pair(
        name=f"`client_canaries`, {canaries} beside {workload.data.population:,} clients ({workload.name})",
        audited=(replace(workload, cohort=cohort), audit),
        plain=(larger, ()),
    )


def of_examples(workload: Workload, audit: str, *, canaries: int) -> Pair:
    """So many places among the examples, against the same examples in them."""
    return Pair(
        name=f"`{audit}`, {canaries} ({workload.name})",
        audited=(workload, (f"audit={audit}", f"audit.canaries={canaries}")),
        plain=(workload, ()),
    )


def seconds(workload: Workload, overrides: Sequence[str], *, rounds: int, workers: int) -> float:
    """Of one run, from its config to its finished folder."""
    given, own = describe(workload)
    asked = [f"rounds={rounds}", f"evaluation.every={rounds}", "evaluation.clients=false", f"workers={workers}"]
    RUNS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=RUNS) as folder:
        began = time.perf_counter()
        run(*given, *asked, f"output_dir={folder}", "name=audit_cost", *overrides, **own)
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=None, help="of every run (W2 and W3: 60)")
    asked = parser.parse_args()
    pairs = [
        of_clients(WORKLOADS["W3"], canaries=1000),
        of_examples(WORKLOADS["W2"], "gradient_canaries", canaries=500),
    ]
    rows = ["| audit | seconds, audited | plain | audited over plain |", "| --- | --- | --- | --- |"]
    for pair in pairs:
        found: dict[str, list[float]] = {"audited": [], "plain": []}
        for turn in range(-1, asked.times):
            for side in ("audited", "plain") if turn % 2 == 0 else ("plain", "audited"):
                workload, overrides = getattr(pair, side)
                took = seconds(workload, overrides, rounds=asked.rounds or 60, workers=asked.workers)
                if turn >= 0:  # the first pair warms up
                    found[side].append(took)
        ratios = [own / base for own, base in zip(found["audited"], found["plain"], strict=True)]
        spread = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} .. {max(ratios):.3f})"
        own, base = (statistics.median(found[side]) for side in ("audited", "plain"))
        rows.append(f"| {pair.name} | {own:.1f} | {base:.1f} | {spread} |")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
