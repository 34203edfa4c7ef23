"""The best run, and what its epsilon leaves out."""

from collections.abc import Sequence

from fedpriv.runs.selection import select_best

from .numbers import bound, metric
from .panels import Panel


def best_run(panel: Panel) -> Sequence[str]:
    """Sentences about the best private run; none without one."""
    found = select_best(panel.runs)
    if found is None:
        return []
    best = found.best
    setting = next(setting.label for setting in panel.settings if best in setting.runs)
    return [
        f"{best.record.name}/{best.record.run_id} ({setting}, seed {best.record.seed}) reaches {panel.metric} "
        f"{metric(best.value)} at epsilon {bound(best.epsilon)}.",
        *found.sentences(),
    ]
