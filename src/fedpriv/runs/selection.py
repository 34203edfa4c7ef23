"""The best of several runs: what its own epsilon leaves out."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

from fedpriv.accounting.printed import rounded_up, upwards
from fedpriv.accounting.selection import all_together, repeat_and_select
from fedpriv.errors import FedprivError

from .run import Run


@final
@dataclass(frozen=True, kw_only=True)
class Selection:
    """The best of the runs that claim something.

    Attributes:
        best: its ``epsilon`` is that of a run which nobody chose.
        tries: the runs it was chosen among, itself included.
        unclaimed: further runs that were looked at, but claim nothing.
        delta: at which the next two hold, the smallest of the tries.
        repeated: epsilon, had the number of tries been drawn from a Poisson distribution of mean ``tries``.
        composed: epsilon of all tries together: chosen in any way, even all of them published.
        refused: why there is neither of them.
    """

    best: Run
    tries: int
    unclaimed: int
    delta: float
    repeated: float | None
    composed: float | None
    refused: str | None

    def sentences(self) -> Iterator[str]:
        """The warning that belongs beside the best run; nothing where it was the only one."""
        if self.tries == 1:
            return
        yield (
            f"The best of {self.tries} runs with a guarantee ({self.best.record.name}/{self.best.record.run_id}) was "
            "chosen by looking at all of them: its epsilon is that of one run, and leaves out the selection; its "
            f"{self.best.headline.replace('_', ' ')} is too good for the same reason."
        )
        if self.unclaimed:
            yield (
                f"Runs without a guarantee ({self.unclaimed}) had no say in this; if they had one, nothing bounds its "
                "cost."
            )
        at = f"at delta {upwards(self.delta, 3)}, if each run had noise of its own (not one noise seed for several)"
        if self.repeated is not None:
            yield (
                "RepeatAndSelect (Papernot & Steinke 2022, Theorem 6) would make it epsilon "
                f"{rounded_up(self.repeated)} {at}, had the number of tries been drawn from a Poisson distribution of "
                f"mean {self.tries} before the first, each try's setting at random among these, and all but the best "
                "kept secret. A grid whose size is fixed, or a search that learns from its trials, is not covered."
            )
        if self.composed is not None:
            yield f"All {self.tries} together cost epsilon {rounded_up(self.composed)} {at}: however one chooses."
        if self.refused is not None:
            yield f"What the choice costs cannot be said: {self.refused}."


def select_best(runs: Iterable[Run]) -> Selection | None:
    """The run with the best headline metric among those that claim something; None where there is none.

    Args:
        runs: comparable ones.
    """
    runs = list(runs)
    measured = [(run.value, run) for run in runs if run.epsilon is not None and run.value is not None]
    if not measured:
        return None
    choose = max if runs[0].higher_is_better else min
    best = choose(measured, key=lambda pair: pair[0])[1]
    tries = [run for run in runs if run.guarantee is not None]
    delta = min(float((run.guarantee or {})["delta"]) for run in tries)
    repeated, composed, refused = _cost(tries, delta) if len(tries) > 1 else (None, None, None)
    return Selection(
        best=best,
        tries=len(tries),
        unclaimed=len(runs) - len(tries),
        delta=delta,
        repeated=repeated,
        composed=composed,
        refused=refused,
    )


def _cost(tries: Sequence[Run], delta: float) -> tuple[float | None, float | None, str | None]:
    stated = {(run.guarantee["unit"], run.guarantee["relation"]) for run in tries if run.guarantee is not None}
    if len(stated) > 1:
        return None, None, "the runs differ in privacy unit or neighbouring relation"
    relation = stated.pop()[1]
    try:
        released = [list(run.released().values()) for run in tries]
        repeated = repeat_and_select(released, repetitions=float(len(tries)), delta=delta, relation=relation)
        composed = all_together(released, delta=delta, relation=relation)
    except FedprivError as error:
        return None, None, str(error).rstrip(".")
    refused = "Rényi DP has no finite bound for so little noise" if repeated is None and composed is None else None
    return (repeated.value if repeated else None), (composed.value if composed else None), refused
