"""From a TARGET to a table of verdicts."""

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from fedpriv.errors import ConfigError, FedprivError, in_one_line
from fedpriv.targets import resolve

from .calling import checked_call
from .properties import PROPERTIES
from .stage import COARSE, BrokenReleaseError, Stage
from .subject import Subject
from .verdict import Row, Verdicts, judged

CLAIM = "claim."


def measure(target: str | Callable[..., Any], arguments: Mapping[str, Any]) -> Verdicts:
    """Measure an importable target ``module:Name``, or a class, factory, mod or object.

    Args:
        arguments: for the target; those that begin with ``claim.`` say what it cannot say of itself.

    Raises:
        ConfigError: no such target, arguments that it does not take, or a kind that the kit does not know.
        FedprivError: not even an ordinary round can be played.
    """
    name = target if isinstance(target, str) else getattr(target, "__qualname__", type(target).__name__)
    found = _import(target) if isinstance(target, str) else target
    subject = _subject(found, arguments, name=name)
    return measure_subject(subject)


def measure_subject(subject: Subject) -> Verdicts:
    """Every property of the kit on one subject.

    Raises:
        FedprivError: not even an ordinary round can be played.
    """
    with _one_thread():
        _try(subject)
        rows = [measure_property(name, subject) for name in PROPERTIES]
    return Verdicts(target=subject.name, claim=subject.claim, rows=rows)


def _try(subject: Subject) -> None:
    """Whether there is anything to measure."""
    stage = Stage(subject=subject, rows=COARSE)
    try:
        stage.play([stage.ordinary()], seed=0)
    except FedprivError:
        raise
    except Exception as error:
        raise ConfigError(f"{subject.name} cannot play an ordinary round: {in_one_line(error)}") from error


def measure_property(name: str, subject: Subject) -> Row:
    """One property. What the subject raises, where others do not, is its failure."""
    try:
        finding = PROPERTIES[name](subject)
    except BrokenReleaseError as broken:
        finding = judged(False, str(broken))
    except Exception as error:
        finding = judged(False, f"raised {in_one_line(error)}")
    return Row(property=name, verdict=finding.verdict, evidence=finding.evidence)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Vectors are small: more threads only wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _subject(target: Any, arguments: Mapping[str, Any], *, name: str) -> Subject:
    """The target as a subject, by its kind."""
    from flwr.serverapp.strategy import Strategy

    from . import own_mechanisms
    from .flower_clients import seeded

    claims = {key.removeprefix(CLAIM): value for key, value in arguments.items() if key.startswith(CLAIM)}
    given = {key: value for key, value in arguments.items() if not key.startswith(CLAIM)}
    if own_mechanisms.is_ours(target):
        return own_mechanisms.build(target, arguments, name=name)
    if own_mechanisms.makes_mechanism(target):
        return own_mechanisms.wrap(target, given, claims, name=name)
    if inspect.isclass(target) and issubclass(target, Strategy):
        from .flower_strategies import strategy_subject

        return strategy_subject(target, given, claims, name=name)
    make: Callable[..., Any] = target
    if isinstance(target, Strategy) or _is_mod(target):
        if given:
            raise ConfigError(f"{name} is made already and takes no arguments: leave out {', '.join(given)}.")
        make = partial(copy.deepcopy, target)
    made = checked_call(make, seeded(make, given, 0), name=name)
    if isinstance(made, Strategy):
        from .flower_strategies import strategy_subject

        return strategy_subject(make, given, claims, name=name)
    if _is_mod(made):
        from .flower_mods import mod_subject

        return mod_subject(make, given, claims, name=name)
    if own_mechanisms.is_mechanism(made):
        return own_mechanisms.wrap(make, given, claims, name=name)
    raise ConfigError(
        f"{name} makes a {type(made).__name__}. The kit measures a fedpriv.privacy.Mechanism, a "
        "flwr.serverapp.strategy.Strategy, or a client mod: a function of (Message, Context, call_next)."
    )


def _is_mod(found: Any) -> bool:
    """Whether it is called with a message, a context, and what comes next."""
    if inspect.isclass(found) or not callable(found):
        return False
    try:
        parameters = list(inspect.signature(found).parameters.values())
    except (TypeError, ValueError):
        return False
    needed = [p for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    hints = [str(p.annotation) for p in parameters[:1]]
    return len(needed) == 3 and (needed[2].name == "call_next" or any("Message" in hint for hint in hints))


def _import(target: str) -> Any:
    module, colon, attribute = target.partition(":")
    if not colon or not module or not attribute:
        raise ConfigError(f"TARGET must be module:Name, such as mypackage.mymodule:MyStrategy, not {target!r}.")
    try:
        return resolve({"_target_": f"{module}.{attribute}"}, "TARGET")
    except ConfigError as error:
        raise ConfigError(str(error).removeprefix("TARGET._target_: ")) from error
