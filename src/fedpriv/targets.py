"""`_target_`: a dotted name in a config, checked for its type before it is called."""

import importlib
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from fedpriv.errors import ConfigError, FedprivError

TARGET = "_target_"
T = TypeVar("T")


def build(spec: Mapping[str, Any], *, expected: type[T], where: str, **offered: Any) -> T:
    """Call ``spec``'s target with its other keys, and with what of ``offered`` its signature accepts.

    Args:
        spec: ``_target_`` and keyword arguments.
        expected: what the target must make: a subclass of it, or a function annotated to return one.
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
    spec: Mapping[str, Any], *, expected: type, where: str, positional: int = 0, **offered: Any
) -> Callable[..., Any]:
    """As ``build``, but returns a function of ``positional`` arguments that are still to come."""
    target = _resolve(spec, where)
    _check_type(target, spec[TARGET], expected, where)
    arguments = {key: value for key, value in spec.items() if key != TARGET}
    signature = _signature(target, spec[TARGET], where)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    for key, value in offered.items():
        if key in signature.parameters:
            arguments.setdefault(key, value)
    unknown = [key for key in arguments if key not in signature.parameters]
    if unknown and not takes_any:
        known = ", ".join(name for name in signature.parameters if name != "self")
        raise ConfigError(
            f"{where}.{unknown[0]}: {spec[TARGET]} takes no such argument. It takes: {known or 'none'}."
        )
    try:
        signature.bind(*[None] * positional, **arguments)
    except TypeError as error:
        raise ConfigError(f"{where}: {spec[TARGET]}: {error}.") from error
    return lambda *first: target(*first, **arguments)


def _resolve(spec: Mapping[str, Any], where: str) -> Callable[..., Any]:
    name = spec.get(TARGET)
    if not isinstance(name, str) or "." not in name:
        raise ConfigError(
            f"{where}.{TARGET} must be a dotted name such as package.module.Name, not {name!r}."
        )
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
            raise ConfigError(
                f"{where}: importing {module_name} failed: {type(error).__name__}: {error}"
            ) from error
        for part in parts[split:]:
            found = getattr(found, part, None)
        if callable(found):
            return typing.cast(Callable[..., Any], found)
        break
    raise ConfigError(
        f"{where}.{TARGET}: there is no class or function {name}. Check the spelling, and that its module can be "
        "imported (PYTHONPATH)."
    )


def _check_type(target: Callable[..., Any], name: str, expected: type, where: str) -> None:
    made = target if inspect.isclass(target) else _returns(target)
    if inspect.isclass(made) and issubclass(made, expected):
        return
    hint = "" if inspect.isclass(target) else f"; annotate what the function returns: -> {_name(expected)}"
    raise ConfigError(f"{where}.{TARGET}: {name} does not make a {_name(expected)}{hint}.")


def _returns(function: Callable[..., Any]) -> Any:
    try:
        returned = typing.get_type_hints(function).get("return")
    except Exception:  # an annotation that cannot be evaluated says nothing
        return None
    return typing.get_origin(returned) or returned


def _signature(target: Callable[..., Any], name: str, where: str) -> inspect.Signature:
    try:
        return inspect.signature(target)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}.{TARGET}: {name} has no signature to check arguments against.") from error


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
