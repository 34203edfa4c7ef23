"""What adversaries got, and what guessing gets."""

from collections.abc import Iterator, Sequence

from ..attack_results import KINDS, MEMBERSHIP, Kind, guess, named, number, result, results
from ..by_setting import interval_of
from ..panels import Setting
from .course import Course, at
from .movement import Movement, movement
from .point import Point
from .privacy import SEEN, covers


def attack_points(course: Course) -> Iterator[Point]:
    """A statement an attack, by kind."""
    for kind in KINDS:
        for name in named(course.runs, kind.name):
            found = movement(course, result(name, kind.success), metric="accuracy")
            known = "" if name.replace("_", " ") == kind.name else f" ({kind.name})"
            about = f"{name}{known} tries {kind.asks}:"
            if found is None:
                yield Point(about, "not measurable in these runs.")
                continue
            told = [
                f"{kind.measured} {found.said()}.",
                *_guessing(course, kind, name, found),
                *_uncovered(course, name),
            ]
            yield Point(about, " ".join([*told, *_more(course, kind, name)]))
    if unknown := sorted({name for run in course.runs for name in results(run)} - set(_known(course))):
        yield Point("Also made:", f"{', '.join(unknown)}, of kinds that this page has no words for.")


def _known(course: Course) -> list[str]:
    return [name for kind in KINDS for name in named(course.runs, kind.name)]


def _guessing(course: Course, kind: Kind, name: str, found: Movement) -> Iterator[str]:
    """What guessing gets, and whether the attack can be told apart from it at its most private setting."""
    chance = movement(course, guess(name, kind), metric="accuracy")
    if chance is None:
        return
    if isinstance(kind.guess, float):
        yield f"{kind.guessing.capitalize()} {kind.guess:g}."
    else:
        yield f"{kind.guessing.capitalize()} {_ends(chance)}."
    verdict = _against_guessing(found, chance)
    if verdict:
        yield f"{at(found.most).capitalize()} the attack is {verdict}."


def _uncovered(course: Course, name: str) -> Iterator[str]:
    """Where a claim is made, but not against this adversary."""
    for setting in course.private[:1]:
        made = next((one for run in setting.runs if (one := results(run).get(name))), {})
        sees, level = str(made.get("sees")), str(made.get("level"))
        if made and sees in SEEN and level in ("example", "client") and not covers(setting, sees=sees, level=level):
            yield (
                f"{at(setting).capitalize()} nothing is promised against this adversary, who sees {SEEN[sees]} and "
                f"asks about {level}s."
            )


def _ends(chance: Movement) -> str:
    if chance.least is chance.most:
        return f"{chance.end.mean:.3f}"
    return f"{chance.start.mean:.3f} {at(chance.least)}, {chance.end.mean:.3f} {at(chance.most)}"


def _against_guessing(found: Movement, chance: Movement) -> str:
    low, high = found.end.low, found.end.high
    if low is None or high is None:
        return ""
    if low > chance.end.mean:
        return "better than guessing"
    return "no better than guessing, as far as these seeds tell" if high >= chance.end.mean else "worse than guessing"


def _more(course: Course, kind: Kind, name: str) -> Iterator[str]:
    if kind.mark == "psnr":
        close, other = (movement(course, result(name, key), metric="psnr") for key in ("psnr", "baseline"))
        if close and other:
            yield (
                f"Likeness (PSNR) {close.said(_decibel)}; the nearest other image of the data has "
                f"{_decibel(other.end.mean)}."
            )
    if kind.mark == "attackers":
        clean = movement(course, result(name, "baseline_accuracy"), metric="accuracy")
        hurt = movement(course, result(name, "accuracy"), metric="accuracy")
        who = [(len(one["attackers"]), one.get("clients")) for run in course.runs if (one := results(run).get(name))]
        if clean and hurt and who:
            yield (
                f"{who[0][0]} of {who[0][1]} clients attack; {course.panel.metric} is {hurt.end.mean:.3f} "
                f"{at(hurt.most)}, {clean.end.mean:.3f} without them."
            )
    if kind.mark == "property":
        asked = {str(one.get("property")) for run in course.runs if (one := results(run).get(name))}
        yield f"The property: {'; '.join(sorted(asked))}."


def found_most(course: Course) -> Iterator[Point]:
    """Which group's members a membership attack finds most easily, where it tells its results by group."""
    for name in named(course.runs, MEMBERSHIP):
        ends = _ends_of(course, name)
        for attribute in dict.fromkeys(key for setting in ends for key in _attributes(setting, name)):
            found = [text for setting in reversed(ends) if (text := _most_and_least(setting, name, attribute))]
            if found:
                text = f"{'; '.join(found)}. Of several groups some differ by chance."
                yield Point(f"Found by {name}, by {attribute}:", text)


def _most_and_least(setting: Setting, name: str, attribute: str) -> str:
    areas = _areas(setting, name, attribute)
    if len(areas) < 2:
        return ""
    most, least = (pick(areas, key=areas.__getitem__) for pick in (max, min))
    return f"{at(setting)} most easily “{most}” (AUC {areas[most]:.3f}), least easily “{least}” ({areas[least]:.3f})"


def _ends_of(course: Course, name: str) -> Sequence[Setting]:
    told = [
        setting
        for setting in course.settings
        if any(results(run).get(name, {}).get("by_group") for run in setting.runs)
    ]
    return [told[0], told[-1]] if len(told) > 1 else told


def _attributes(setting: Setting, name: str) -> list[str]:
    return list(dict.fromkeys(key for run in setting.runs for key in results(run).get(name, {}).get("by_group") or {}))


def _areas(setting: Setting, name: str, attribute: str) -> dict[str, float]:
    groups = {
        group for run in setting.runs for group in (results(run).get(name, {}).get("by_group") or {}).get(attribute, {})
    }

    def area(group: str) -> float | None:
        found = interval_of(
            setting, lambda run: number(results(run)[name]["by_group"][attribute].get(group, {}).get("auc"))
        )
        return None if found is None else found.mean

    return {group: mean for group in sorted(groups) if (mean := area(group)) is not None}


def _decibel(value: float) -> str:
    return f"{value:.1f} dB"
