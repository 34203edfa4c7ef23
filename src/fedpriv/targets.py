"""`_target_`: a dotted name in a config, checked for its type before it is called."""

import importlib
import inspect
import json
import math
import os
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from fedpriv.errors import ConfigError, FedprivError

TARGET = "_target_"
T = TypeVar("T")


def build(spec: Mapping[str, Any], *, expected: type[T] | tuple[type[T], ...], where: str, **offered: Any) -> T:
    """Call ``spec``'s target with its other keys, and with what of ``offered`` its signature accepts.

    Args:
        spec: ``_target_`` and keyword arguments.
        expected: what the target must make: a subclass of it (of one of them), or a function annotated to return one.
        where: the config key, for messages.
        offered: context that the target may ask for by parameter name; a key of ``spec`` wins.

    Raises:
        ConfigError: no such target, one of another type, or arguments that it does not take.
    """
    call = partial_target(spec, expected=expected, where=where, **offered)
    try:
        made = call()
    except FedprivError:
        raise
    except Exception as error:
        raise ConfigError(f"{where}: {spec[TARGET]} failed: {type(error).__name__}: {error}") from error
    if not isinstance(made, expected):
        raise ConfigError(
            f"{where}: {spec[TARGET]} returned {type(made).__name__}, but {_name(expected)} is asked for."
        )
    return made


def partial_target(
    spec: Mapping[str, Any], *, expected: type | tuple[type, ...], where: str, positional: int = 0, **offered: Any
) -> Callable[..., Any]:
    """As ``build``, but returns a function of ``positional`` arguments that are still to come.

    ``expected=object`` takes any function, annotated or not.
    """
    target = resolve(spec, where)
    _check_type(target, spec[TARGET], expected, where)
    arguments = {key: value for key, value in spec.items() if key != TARGET}
    hints = _hints(target.__init__ if inspect.isclass(target) else target)
    for key, value in arguments.items():
        if key in hints and not _fits(value, hints[key]):
            shown = value if isinstance(value, str) else json.dumps(value, default=str)
            raise ConfigError(f"{where}.{key}={shown} must be {_in_words(hints[key])}.")
    signature = _signature(target, spec[TARGET], where)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    for key, value in offered.items():
        if key in signature.parameters:
            arguments.setdefault(key, value)
    unknown = [key for key in arguments if key not in signature.parameters]
    if unknown and not takes_any:
        known = ", ".join(name for name in signature.parameters if name != "self")
        raise ConfigError(f"{where}.{unknown[0]}: {spec[TARGET]} takes no such argument. It takes: {known or 'none'}.")
    try:
        signature.bind(*[None] * positional, **arguments)
    except TypeError as error:
        raise ConfigError(f"{where}: {spec[TARGET]}: {error}.") from error
    return lambda *first: target(*first, **arguments)


def resolve(spec: Mapping[str, Any], where: str) -> Callable[..., Any]:
    name = spec.get(TARGET)
    if not isinstance(name, str) or "." not in name:
        raise ConfigError(f"{where}.{TARGET} must be a dotted name such as package.module.Name, not {name!r}.")
    parts = name.split(".")
    for split in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:split])
        try:
            found: Any = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is not None and not f"{module_name}.".startswith(f"{error.name}."):
                raise ConfigError(f"{where}: importing {module_name} failed: {error}.") from error
            continue
        except Exception as error:
            raise ConfigError(f"{where}: importing {module_name} failed: {type(error).__name__}: {error}") from error
        for part in parts[split:]:
            found = getattr(found, part, None)
        if callable(found):
            return typing.cast(Callable[..., Any], found)
        break
    raise ConfigError(
        f"{where}.{TARGET}: there is no class or function {name}. Check the spelling, and that its module can be "
        "imported (PYTHONPATH)."
    )


def _check_type(
    target: Callable[..., Any], name: str, expected: type | tuple[type, ...], where: str
) -> None:
    if expected is object:
        return
    made = target if inspect.isclass(target) else _returns(target)
    if inspect.isclass(made) and issubclass(made, expected):
        return
    hint = "" if inspect.isclass(target) else f"; annotate what the function returns: -> {_name(expected)}"
    raise ConfigError(f"{where}.{TARGET}: {name} does not make a {_name(expected)}{hint}.")


def _returns(function: Callable[..., Any]) -> Any:
    returned = _hints(function).get("return")
    return typing.get_origin(returned) or returned


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except Exception:  # annotations that cannot be evaluated say nothing
        return {}


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value from YAML may be passed as ``hint``; what is not one of YAML's own types is let through."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (bool, str, types.NoneType):
        return isinstance(value, hint)
    if origin is typing.Literal:
        return value in arguments
    if origin is Sequence or origin is list:
        return isinstance(value, list) and all(_fits(item, argument) for item in value for argument in arguments)
    if not inspect.isclass(hint) or hint.__module__ == "builtins":
        return True
    try:
        return isinstance(value, hint) or (isinstance(value, str) and issubclass(hint, os.PathLike))
    except TypeError:  # Any, TypedDict and the like
        return True


def _in_words(hint: Any) -> str:
    words = {float: "a number", int: "a whole number", bool: "true or false", str: "a text", types.NoneType: "null"}
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(_in_words(argument) for argument in arguments)
    if typing.get_origin(hint) is typing.Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if typing.get_origin(hint) in (Sequence, list):
        return f"a list [{', '.join(_in_words(argument) for argument in arguments)}, ...]"
    return words.get(hint) or str(getattr(hint, "__name__", hint))


def _signature(target: Callable[..., Any], name: str, where: str) -> inspect.Signature:
    try:
        return inspect.signature(target)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}.{TARGET}: {name} has no signature to check arguments against.") from error


def _name(kind: type | tuple[type, ...]) -> str:
    """The shortest dotted name: torch.nn.Module, not torch.nn.modules.module.Module."""
    if isinstance(kind, tuple):
        return " or ".join(_name(one) for one in kind)
    parts = kind.__module__.split(".")
    for end in range(1, len(parts) + 1):
        module = ".".join(parts[:end])
        if getattr(sys.modules.get(module), kind.__qualname__, None) is kind:
            return f"{module}.{kind.__qualname__}"
    return f"{kind.__module__}.{kind.__qualname__}"
