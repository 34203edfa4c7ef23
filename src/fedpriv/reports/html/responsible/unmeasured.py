"""What nobody measured: as plain as what was."""

from collections.abc import Iterator

from ..attack_results import KINDS, named, results
from ..groups import GAPS, attributes, gap
from ..measured import empirical
from ..numbers import listed
from .course import Course, at
from .movement import movement

_ALWAYS = (
    "Adversaries that nobody tried: an attack that fails proves nothing, and others may get more. What is promised is "
    "above; what was tried bounds nothing from above.",
    "Harm outside of these numbers: what the model is used for, and what follows for people.",
)


def unmeasured(course: Course) -> Iterator[str]:
    """Sentences; some hold of every run."""
    tried = [kind for kind in KINDS if named(course.runs, kind.name)]
    if untried := [kind for kind in KINDS if kind not in tried and kind.mark != "baseline_accuracy"]:
        yield f"Nobody tried {'; or '.join(f'{kind.asks} ({kind.name})' for kind in untried)}."
    spared = [setting for setting in course.settings if not any(results(run) for run in setting.runs)]
    if tried and spared:
        yield f"Nobody attacked the models {listed([at(setting) for setting in spared])}."
    private = course.private
    if private and not any(empirical(run) is not None for setting in private for run in setting.runs):
        yield "No claim was audited: epsilon is proved from the ledger, and not measured."
    if not attributes(course.runs):
        yield "Who pays is not known: the data name no sensitive group."
    for attribute in attributes(course.runs):
        if all(movement(course, gap(attribute, key), metric="accuracy") is None for key in GAPS.values()):
            yield f"Demographic parity and equalised odds by {attribute} (they are defined for two classes)."
    yield from _reasons(course)
    if single := [setting for setting in course.settings if setting.seeds == 1]:
        where = "" if len(single) == len(course.settings) else f" {listed([at(setting) for setting in single])}"
        yield f"How much another seed would change{where}: there is one seed only."
    if course.others:
        yield (
            f"Of several series this panel follows one ({course.series}). Others that were attacked, audited or "
            f"measured by group: {len(course.others)}, in the sections on groups and attacks alone."
        )
    yield from _ALWAYS


def _reasons(course: Course) -> Iterator[str]:
    """Why a run that names groups has no numbers of them."""
    found = dict[str, None]()
    for run in course.runs:
        for attribute, entry in (run.record.extra.get("fairness") or {}).items():
            if isinstance(entry, dict) and entry.get("not_measured"):
                found[f"Fairness by {attribute}: {entry['not_measured']}."] = None
    yield from found
