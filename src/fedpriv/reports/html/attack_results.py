"""What ``run.json`` says of attacks, and what each kind of them is measured by."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedpriv.runs import Run

from .by_setting import Measure


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of attack.

    Attributes:
        mark: a key that the results of this kind alone have, among those that come after the kinds before it.
        success: key of what it got, between 0 and 1.
        guess: what somebody who guesses gets: a number, or its key; None: there is no such number.
        asks: what the adversary tries.
        measured: what ``success`` is.
        guessing: what ``guess`` is.
    """

    name: str
    mark: str
    success: str
    guess: float | str | None
    asks: str
    measured: str
    guessing: str


MEMBERSHIP = "membership inference"

KINDS: Sequence[Kind] = (
    Kind(
        name=MEMBERSHIP,
        mark="tpr_at_1pct_fpr",
        success="auc",
        guess=0.5,
        asks="to tell who was in the training data",
        measured="AUC",
        guessing="guessing gets",
    ),
    Kind(
        name="property inference",
        mark="property",
        success="success",
        guess="control",
        asks="to tell which clients' data have a property",
        measured="balanced accuracy",
        guessing="the same attack on shuffled answers gets",
    ),
    Kind(
        name="attribute inference",
        mark="attribute",
        success="success",
        guess="control",
        asks="to tell which records are of a group from what a client that holds one sends",
        measured="balanced accuracy",
        guessing="the same attack on shuffled answers gets",
    ),
    Kind(
        name="reconstruction",
        mark="psnr",
        success="success",
        guess=None,
        asks="to rebuild a client's images from what it sends",
        measured="share of images rebuilt better than by the nearest other image",
        guessing="",
    ),
    Kind(
        name="label recovery",
        mark="precision",
        success="success",
        guess="baseline",
        asks="to tell which labels a client's examples have from what it sends",
        measured="share of the labels found",
        guessing="naming as many labels at random finds",
    ),
    Kind(
        name="malicious clients",
        mark="attackers",
        success="success",
        guess="baseline",
        asks="to change the model from within",
        measured="attack success",
        guessing="the same run without the attack has",
    ),
    Kind(
        name="attacks by the toolbox",
        mark="baseline_accuracy",
        success="success",
        guess="baseline",
        asks="to make the finished model answer wrongly",
        measured="attack success",
        guessing="without it there is",
    ),
)


def results(run: Run) -> Mapping[str, Mapping[str, Any]]:
    """By the attack's name."""
    found = run.record.extra.get("attacks")
    return {name: one for name, one in found.items() if isinstance(one, dict)} if isinstance(found, dict) else {}


def kind_of(found: Mapping[str, Any]) -> Kind | None:
    """None: a result unlike any that are known here."""
    return next((kind for kind in KINDS if kind.mark in found), None)


def named(runs: Sequence[Run], kind: str) -> list[str]:
    """The attacks of a kind that these runs met, by name."""
    every = ((name, kind_of(one)) for run in runs for name, one in results(run).items())
    return sorted({name for name, own in every if own is not None and own.name == kind})


def result(name: str, key: str) -> Measure:
    """One number of an attack's result; None where it has none."""
    return lambda run: number(results(run).get(name, {}).get(key))


def guess(name: str, kind: Kind) -> Measure:
    """What guessing gets where this attack was made."""
    fixed = kind.guess
    if isinstance(fixed, str):
        return result(name, fixed)
    return lambda run: fixed if name in results(run) else None


def number(value: Any) -> float | None:
    """A finite number as it is, anything else as None."""
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else None
