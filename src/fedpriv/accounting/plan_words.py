"""From ``key=value`` words to a plan's request."""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from fedpriv.accounting.planner import KEYS, Plan, PlanRequest, Unit, make_plan
from fedpriv.accounting.sampled_gaussian import Accountant, Relation
from fedpriv.accounting.sampling import CohortKind
from fedpriv.errors import ConfigError


def plan(words: Sequence[str]) -> Plan:
    """The answer to words as ``fedpriv plan`` takes them, ``unit=client`` or ``unit=example`` among them.

    Raises:
        ConfigError: as ``make_plan``, or a word that is none of its keys; in the words of these keys.
    """
    given = _split(words)
    unit = _one_of("unit", given.pop("unit", ""), get_args(Unit))
    try:
        found = make_plan(_request(unit, given))
        _ = found.deployment  # priced once, and refused here if it must be
        return found
    except ConfigError as error:  # a run's keys are longer
        raise ConfigError(re.sub(r"\b(privacy|sampling)\.(?=\w)", "", str(error))) from error


def _request(unit: Unit, given: Mapping[str, str]) -> PlanRequest:
    units, summed, releases = KEYS[unit]
    shared: dict[str, tuple[str, Callable[[str, str], Any]]] = {
        units: ("population", _whole),
        summed: ("cohort", _number),
        releases: ("rounds", _whole),
        "noise_multiplier": ("noise_multiplier", _number),
        "epsilon": ("epsilon", _number),
        "delta": ("delta", _delta),
        "accept_weak_delta": ("accept_weak_delta", _yes_or_no),
        "accountant": ("accountant", _choice("auto", *get_args(Accountant))),
        "relation": ("relation", _choice("auto", *get_args(Relation))),
        "parameters": ("parameters", _whole),
    }
    of_clients: dict[str, tuple[str, Callable[[str, str], Any]]] = {
        "sampling": ("sampling", _choice(*get_args(CohortKind))),
        "separation": ("separation", _whole),
        "cap": ("cap", _whole),
        "deployment_population": ("deployment_population", _whole),
        "deployment_cohort": ("deployment_cohort", _whole),
    }
    of_examples = {"sampling": ("sampling", _choice("poisson"))}
    known = {**shared, **(of_clients if unit == "client" else of_examples)}
    of_other = dict(zip(KEYS["client" if unit == "example" else "example"], KEYS[unit], strict=True))
    found: dict[str, Any] = dict.fromkeys((field for field, _ in {**shared, **of_clients}.values()))
    found |= {"accept_weak_delta": False, "accountant": "auto", "relation": "auto", "sampling": "poisson"}
    for key, text in given.items():
        if key not in known:
            near = [of_other[key]] if key in of_other else difflib.get_close_matches(key, known, n=1, cutoff=0.6)
            meant = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(f"A plan with unit={unit} has no key {key}.{meant} Its keys: {', '.join(known)}.")
        field, read = known[key]
        if text != "null":
            found[field] = read(key, text)
    if found["population"] is None:
        raise ConfigError(f"{units} is missing: how many are protected?")
    return PlanRequest(unit=unit, **found)


def _split(words: Sequence[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise ConfigError(f"{word} is no KEY=VALUE.")
        if key in given:
            raise ConfigError(f"{key} is given twice.")
        given[key] = text
    return given


def _number(key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{key}={text}: a number is asked for.") from None


def _whole(key: str, text: str) -> int:
    """Also 1e9."""
    try:
        return int(text)
    except ValueError:
        number = _number(key, text)
    if not number.is_integer():
        raise ConfigError(f"{key}={text}: a whole number is asked for.")
    return int(number)


def _delta(key: str, text: str) -> float | None:
    return None if text in ("auto", "n^-1.1", "N^-1.1") else _number(key, text)


def _yes_or_no(key: str, text: str) -> bool:
    return bool(_one_of(key, text.lower(), ("true", "false")) == "true")


def _choice(*choices: str) -> Callable[[str, str], str]:
    return lambda key, text: str(_one_of(key, text, choices))


def _one_of(key: str, text: str, choices: Sequence[str]) -> Any:
    if text not in choices:
        raise ConfigError(f"{key}={text} is unknown; use one of {', '.join(choices)}.")
    return text
